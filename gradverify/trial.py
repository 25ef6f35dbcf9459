"""One target at one point: what it computes, how noisy that is, and what the oracles expect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np

from gradverify import limits
from gradverify.arrays import (
    EPS,
    Arrays,
    all_finite,
    axpy,
    dot,
    dtype_name,
    norm,
    one_ulp,
    one_ulp_if_rounded,
    select,
    to_float64,
)
from gradverify.domains import Region, move, project
from gradverify.limits import BudgetSpent
from gradverify.noise import LEAP, Gradient, Noise, differences, sudden, without_branches
from gradverify.oracles.complexstep import Imaginary, Steps, complex_step, take_steps
from gradverify.oracles.opinion import Opinion, consult
from gradverify.records import Estimate, Options
from gradverify.targets.gradients import WrongClaim
from gradverify.targets.record import Linearize, Perturb, Target

_NOISE_RUNS = 3
_LARGE = 2**13  # numbers in a point from which on a run is not repeated for the sake of statistics
_WIDE = 2**14  # numbers beyond which extended precision, which no BLAS knows, costs more than it shows


@dataclass
class Counts:
    """Evaluations spent so far, and the regimes that could not be judged."""

    forwards: int = 0
    backwards: int = 0
    reruns: int = 0  # of the forward with a mistake in it
    mistakes: list[Any] = field(default_factory=list)  # those that explained a leaf
    edits: int = 0  # of the backward, tried
    mending: float | None = None  # until when, by `time.thread_time`, they are
    repairs: list[Any] = field(default_factory=list)  # those that made a leaf right
    skipped: list[str] = field(default_factory=list)


@dataclass
class Trial:
    """A target, a point and the options of the check, with a running count of evaluations."""

    target: Target
    options: Options
    point: Arrays
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.settled: list[list[Any]] = []  # the findings of each probe that settled all leaves at once
        # What was computed along the last direction asked, for whatever cotangent asks next.
        self._steps: tuple[Arrays, Steps | None] | None = None
        self._line: tuple[Arrays, Callable[[float], Arrays]] | None = None
        anchored = self.target.anchored
        self._run = self.target.forward if anchored is None else anchored(self.point)
        outputs = self.target.outputs(self.point)
        self.counts.forwards += 1
        claimed = self.target.claimed if self.options.wrt is None else None
        self.leaves = select(claimed or tuple(self.target.point), self.options.wrt, "wrt")
        self.outputs = select(outputs, self.options.outputs or self.target.recorded, "outputs")
        self.regions: Mapping[str, Region] = self.options.domain or {}
        select(tuple(self.target.point), tuple(self.regions) or None, "domain")
        self.base = {name: np.array(outputs[name], dtype=np.float64) for name in self.outputs}

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
        outputs = self._run(point)
        return {name: outputs[name] for name in self.outputs}

    def phi(self, u: Arrays, v: Arrays) -> Callable[[float], float]:
        """``t -> <u, f(x + t v)>``, the forward run in its own dtype."""
        return lambda t: dot(self._along(v)(t), u)

    def _along(self, v: Arrays) -> Callable[[float], Arrays]:
        """``t -> f(x + t v)``; of a large point remembered, so that another cotangent costs nothing."""
        if self._line is None or self._line[0] is not v:
            line = self.target.line(self.point, v) if self.target.line is not None and not self.regions else None
            ask: Callable[[float], Arrays] = partial(self._on, line) if line is not None else partial(self._afresh, v)
            keep = self.large and sum(map(np.size, self.base.values())) <= self.size / 16
            # The point itself has been run: of a large one not again.
            self._line = v, cache(lambda t: ask(t) if t else self.base) if keep else ask
        return self._line[1]

    def _afresh(self, v: Arrays, t: float) -> Arrays:
        return self.forward(self.moved(t, v))

    def _on(self, line: Callable[[float], Arrays], t: float) -> Arrays:
        self.spend()
        outputs = line(t)
        return {name: outputs[name] for name in self.outputs}

    @property
    def size(self) -> int:
        """How many numbers the point has."""
        return sum(map(np.size, self.point.values()))

    @property
    def large(self) -> bool:
        """Whether a forward is so dear that nothing is run twice for the sake of statistics."""
        return self.size > _LARGE

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
        del point  # made for this call: over a million numbers a copy less while the backward runs
        if between is not None:
            self.spend()
            claim(between, None)
        found = pullback(cotangents(u, outputs))
        del pullback
        # A backward may answer with a buffer of its own that its next call fills again.
        return {name: g.copy() if isinstance(g, np.ndarray) else g for name, g in _emptied(found)}

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
        dtypes = {n: dtype_name(g) for n, g in first.items() if g is not None}
        absent = frozenset(n for n in self.leaves if first.get(n) is None)
        del first
        runs = tuple(self._perturbed(u, value))
        return Gradient(value, Noise(value, runs, self.target.eps / 2), runs, absent, dtypes)

    def _perturbed(self, u: Arrays, value: Arrays) -> Iterator[Arrays]:
        """By how much the gradient differs where everything was moved by one rounding."""
        # Over many entries one run has seen as many roundings as three over few.
        for seed in range(1 if self.large else _NOISE_RUNS):
            yield from (self._rounded(u, value, seed, found) for found in self._jittered(u, value, seed))
        if self.target.dtype == "float64" and EPS["longdouble"] < EPS["float64"] and self.size <= _WIDE:
            yield from self._differing(lambda: self._wider_gradient(u), value)
        if self.target.trusted is not None:
            yield from _quietly(partial(self._trusted_rounding, self.target.trusted, u))

    def _trusted_rounding(self, trusted: tuple[Linearize, Linearize], u: Arrays) -> Arrays:
        """What the reference's own gradient loses in the target's dtype: code that recomputes has no residuals."""
        wide, own = (self._dense(self.raw_gradient(u, target=replace(self.target, linearize=x))) for x in trusted)
        return {name: own[name] - wide[name] for name in wide}

    def _rounded(self, u: Arrays, value: Arrays, seed: int, found: Arrays) -> Arrays:
        """What a run found, without the branches that moved residuals alone have taken."""
        if not sudden(found, value, self.target.eps):
            return found
        wide = self._jittered(u, value, seed, times=LEAP)
        quiet = self._jittered(u, value, seed, residuals=False)
        return without_branches(found, wide[0], quiet[0]) if wide and quiet else found

    def _differing(self, run: Callable[[], Arrays], value: Arrays) -> list[Arrays]:
        for found in _quietly(run):
            dense = self._dense(found)
            found.clear()
            return [differences(dense, value, narrow=self.large)] if all_finite(dense) else []
        return []

    def _wider_gradient(self, u: Arrays) -> Arrays:
        """The target's own derivative code with eleven more bits: what it rounds away shows directly."""
        twin = self.target.cast("longdouble") if self.target.cast is not None else None
        if twin is None:
            raise TypeError(f"{self.target.name}: does not run in longdouble")
        return self.raw_gradient(u, target=twin)

    def _jittered(
        self, u: Arrays, value: Arrays, seed: int, *, times: float = 1.0, residuals: bool = True
    ) -> list[Arrays]:
        """The difference that moving by so many rounding units makes, or nothing where it is not finite."""
        rng = np.random.default_rng((self.options.seed, seed))
        eps = self.target.eps / 2
        key = int(rng.integers(2**62))
        signs = {n: times * eps * rng.choice([-1.0, 1.0], np.shape(y)) for n, y in u.items()}
        nudged = {n: to_float64(y) * (1 + signs[n]) for n, y in u.items()}
        move = partial(one_ulp, key=key, eps=eps, times=times)
        saved = partial(one_ulp_if_rounded, key=key, eps=eps, times=times) if residuals else None
        return self._differing(lambda: self.raw_gradient(nudged, saved, point=self._near(move)), value)

    def _near(self, move: Perturb) -> Arrays:
        return {n: move(x) if n in self.leaves else x for n, x in self.point.items()}

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
        step = partial(self.complex_step, runs=0 if self.large else 2) if self._continues() else None
        return consult(
            phi=self.phi(u, v), forward=self._counted(foreign), point=self.point, u=u, v=v,
            eps=self.eps, need=need, oracle=self.options.oracle, seed=self.options.seed, step=step,
            large=self.large, size=norm({n: y * u[n] for n, y in self.base.items() if n in u}),
        )  # fmt: skip

    def _continues(self) -> bool:
        return self.target.foreign or self.target.imaginary is not None

    def complex_step(self, u: Arrays, v: Arrays, runs: int = 1) -> Estimate:
        """``<u, J v>`` by complex step: the framework's, if the target brings one, with so many runs for its bound."""
        if self.target.imaginary is None:
            known = self.base if self.large else None
            return complex_step(self.forward, self.point, u, v, seed=self.options.seed, known=known)
        if self._steps is None or self._steps[0] is not v:
            self.forget()
            self._steps = v, self._take_steps(self.target.imaginary, v, runs)
        steps = self._steps[1]
        return steps.estimate(u) if steps is not None else Estimate(np.nan, np.inf, 1, "complex", "unsupported")

    def forget(self) -> None:
        """Give up what was kept of the last direction."""
        self._line = self._steps = None

    def _take_steps(self, imaginary: Imaginary, v: Arrays, runs: int) -> Steps | None:
        def counted(*question: Any) -> tuple[Arrays, Arrays]:
            self.spend()
            return imaginary(*question)

        try:
            return take_steps(counted, self.base, self.point, v, self.options.seed, runs)
        except Exception:  # an operator without a continuation, or code that asks what a tensor is made of
            return None

    def _counted(self, forward: Callable[[Arrays], Arrays] | None) -> Callable[[Arrays], Arrays] | None:
        return None if forward is None else self.forward


def _quietly(run: Callable[[], Arrays]) -> list[Arrays]:
    # A perturbation that the target refuses (a read-only cache, say) only costs this sample of the noise.
    try:
        return [run()]
    except Exception:
        return []


def _emptied(found: Arrays) -> Iterator[tuple[str, Any]]:
    """The items, each given up before the next: of a million numbers one copy less."""
    found = dict(found)
    for name in list(found):
        yield name, found.pop(name)


def cotangents(u: Arrays, outputs: Arrays) -> Arrays:
    """One for every output, zeros where none is asked; copies, for a backward may overwrite what it is given."""
    return {name: _like(u[name] if name in u else np.zeros(np.shape(y)), y) for name, y in outputs.items()}


def _like(u: np.ndarray, output: Any) -> np.ndarray:
    dtype = output.dtype if isinstance(output, (np.ndarray, np.generic)) else np.dtype(np.float64)
    return np.array(u, dtype=dtype)
