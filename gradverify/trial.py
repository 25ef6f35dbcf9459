"""One target at one point: what it computes, how noisy that is, and what the oracles expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from gradverify import limits
from gradverify.arrays import EPS, Arrays, all_finite, axpy, dot, dtype_name, magnitude, one_ulp, select, to_float64
from gradverify.domains import Region, move, project
from gradverify.limits import BudgetSpent
from gradverify.oracles.opinion import Opinion, consult
from gradverify.records import Options
from gradverify.targets.gradients import WrongClaim
from gradverify.targets.record import Perturb, Target

_NOISE_RUNS = 3


@dataclass
class Counts:
    """Evaluations spent so far, and the regimes that could not be judged."""

    forwards: int = 0
    backwards: int = 0
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Gradient:
    """A computed gradient with the noise of each entry; `absent` leaves came back as None."""

    value: Arrays
    noise: Arrays
    runs: tuple[Arrays, ...]
    absent: frozenset[str]
    dtypes: Mapping[str, str]

    def probe(self, v: Mapping[str, np.ndarray]) -> tuple[float, float]:
        """``<g, v>`` and its noise: the spread over the perturbed runs, at least one rounding of its terms."""
        value = dot(self.value, v)
        spread = max((abs(dot(run, v) - value) for run in self.runs), default=0.0)
        return value, max(spread, magnitude(self.noise, v))


@dataclass
class Trial:
    """A target, a point and the options of the check, with a running count of evaluations."""

    target: Target
    options: Options
    point: Arrays
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        outputs = self.target.forward(self.point)
        self.counts.forwards += 1
        claimed = self.target.claimed if self.options.wrt is None else None
        self.leaves = select(claimed or tuple(self.target.point), self.options.wrt, "wrt")
        self.outputs = select(outputs, self.options.outputs, "outputs")
        self.regions: Mapping[str, Region] = self.options.domain or {}
        select(tuple(self.target.point), tuple(self.regions) or None, "domain")
        self.base = {name: to_float64(outputs[name]) for name in self.outputs}

    def spend(self, backwards: int = 0) -> None:
        """Count one forward; raises BudgetSpent when the user's budget is used up."""
        if self.options.budget is not None and self.counts.forwards >= self.options.budget:
            raise BudgetSpent
        limits.spend()
        self.counts.forwards += 1
        self.counts.backwards += backwards

    @property
    def eps(self) -> float:
        """Spacing of the dtype that the forward runs in."""
        return self.target.forward_eps or self.target.eps

    def at(self, point: Arrays) -> Trial:
        """The same trial at another point, counting together."""
        return Trial(self.target, self.options, point, self.counts)

    def forward(self, point: Arrays) -> Arrays:
        """The outputs under differentiation."""
        self.spend()
        outputs = self.target.forward(point)
        return {name: outputs[name] for name in self.outputs}

    def phi(self, u: Arrays, v: Arrays) -> Callable[[float], float]:
        """``t -> <u, f(x + t v)>``, the forward run in its own dtype."""
        return lambda t: dot(self.forward(self.moved(t, v)), u)

    def moved(self, t: float, v: Arrays) -> Arrays:
        """The point at ``x + t v``, inside the domains the user declared."""
        if not self.regions:
            return axpy(t, v, self.point)
        x = {name: to_float64(self.point[name]) for name in v}
        return {**self.point, **{n: move(self.regions.get(n), x[n], t * v[n]) for n in v}}

    def admissible(self, v: Arrays) -> Arrays:
        """The direction, inside the domains the user declared."""
        return {n: project(self.regions.get(n), to_float64(self.point[n]), x) for n, x in v.items()}

    def raw_gradient(
        self,
        u: Arrays,
        perturb: Perturb | None = None,
        target: Target | None = None,
        point: Arrays | None = None,
        between: Arrays | None = None,
    ) -> Arrays:
        """One backward pass, as the target returned it; `between` is a point of another forward run before it."""
        claim = (target or self.target).linearize
        if claim is None:
            raise TypeError(f"{self.target.name}: claims no reverse mode")
        self.spend(backwards=1)
        outputs, pullback = claim(self.point if point is None else point, perturb)
        if between is not None:
            self.spend()
            claim(between, None)
        zeros = {name: np.zeros(np.shape(y)) for name, y in outputs.items() if name not in u}
        found = pullback({name: _like(u[name] if name in u else zeros[name], y) for name, y in outputs.items()})
        # A backward may answer with a buffer of its own that its next call fills again.
        return {name: g.copy() if isinstance(g, np.ndarray) else g for name, g in found.items()}

    def laid_out_gradient(self, u: Arrays) -> Arrays:
        """One backward pass given these very arrays, so that their strides reach the target."""
        if self.target.linearize is None:
            raise TypeError(f"{self.target.name}: claims no reverse mode")
        self.spend(backwards=1)
        outputs, pullback = self.target.linearize(self.point, None)
        found = pullback({**{n: np.zeros(np.shape(y)) for n, y in outputs.items()}, **u})
        return {name: None if g is None else np.array(g) for name, g in found.items()}

    def gradient(self, u: Arrays) -> Gradient:
        """A gradient and its noise, measured by moving everything it was made from by one rounding unit."""
        first = self.raw_gradient(u)
        self._require_shapes(first)
        value = self._dense(first)
        runs = [self._dense(g) for g in self._perturbed_gradients(u)]
        eps = self.target.eps / 2
        noise = {
            n: np.max([np.abs(g), *(np.abs(r[n] - g) / eps for r in runs)], axis=0) * eps
            for n, g in value.items()
        }
        absent = frozenset(n for n in self.leaves if first.get(n) is None)
        dtypes = {n: dtype_name(g) for n, g in first.items() if g is not None}
        return Gradient(value, noise, tuple(runs), absent, dtypes)

    def _perturbed_gradients(self, u: Arrays) -> list[Arrays]:
        runs = [run for seed in range(_NOISE_RUNS) for run in self._jittered(u, seed)]
        if self.target.dtype == "float64" and EPS["longdouble"] < EPS["float64"]:
            runs += _quietly(lambda: self._wider_gradient(u))
        return [run for run in runs if all_finite(run)]

    def _wider_gradient(self, u: Arrays) -> Arrays:
        """The target's own derivative code with eleven more bits: what it rounds away shows directly."""
        twin = self.target.cast("longdouble") if self.target.cast is not None else None
        if twin is None:
            raise TypeError(f"{self.target.name}: does not run in longdouble")
        return self.raw_gradient(u, target=twin)

    def _jittered(self, u: Arrays, seed: int) -> list[Arrays]:
        rng = np.random.default_rng((self.options.seed, seed))
        eps = self.target.eps / 2
        key = int(rng.integers(2**62))
        near = {n: one_ulp(x, key, eps) if n in self.leaves else x for n, x in self.point.items()}
        nudged = {n: to_float64(y) * (1 + eps * rng.choice([-1.0, 1.0], np.shape(y))) for n, y in u.items()}
        return _quietly(lambda: self.raw_gradient(nudged, lambda a: one_ulp(a, key, eps), point=near))

    def _dense(self, gradient: Arrays) -> Arrays:
        dense: Arrays = {}
        for name in self.leaves:
            g = gradient.get(name)
            shape = np.shape(self.point[name])
            dense[name] = np.zeros(shape) if g is None or np.shape(g) != shape else to_float64(g)
        return dense

    def _require_shapes(self, gradient: Arrays) -> None:
        for name in self.leaves:
            g, shape = gradient.get(name), np.shape(self.point[name])
            if g is not None and np.shape(g) != shape:
                raise WrongClaim(
                    "shape",
                    name,
                    f"the gradient of {name} has shape {np.shape(g)}, {name} has {shape}",
                    np.shape(g),
                )

    def expected(self, u: Arrays, v: Arrays, need: float | None) -> Opinion:
        """What the oracles say about ``<u, J v>``; `need` is the absolute error that is enough."""
        foreign = self.target.forward if self.target.foreign else None
        return consult(
            phi=self.phi(u, v), forward=self._counted(foreign), point=self.point, u=u, v=v,
            eps=self.eps, need=need, oracle=self.options.oracle, seed=self.options.seed,
        )  # fmt: skip

    def _counted(self, forward: Callable[[Arrays], Arrays] | None) -> Callable[[Arrays], Arrays] | None:
        return None if forward is None else self.forward


def _quietly(run: Callable[[], Arrays]) -> list[Arrays]:
    # A perturbation that the target refuses (a read-only cache, say) only costs this sample of the noise.
    try:
        return [run()]
    except BudgetSpent:
        raise
    except Exception:
        return []


def _like(u: np.ndarray, output: np.ndarray) -> np.ndarray:
    """A copy of the cotangent in the output's dtype: a backward may overwrite what it is given."""
    dtype = output.dtype if isinstance(output, (np.ndarray, np.generic)) else np.dtype(np.float64)
    return np.array(u, dtype=dtype)
