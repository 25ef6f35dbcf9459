"""Taylor remainders: a derivative is right if and only if what is left after it falls one order faster.

    r_n(t) = phi(t) - sum_{j <= n} t^j d_j / j!     with  phi(t) = <u, f(x + t v)>  and d_j as computed

falls as t^(n+1) if d_1 .. d_n are right; with d_n wrong it falls as t^n only. In which way it does so tells
a wrong derivative from a kink: a wrong d_n leaves a part of the parity of n (odd for n = 1), since it is a
multiple of t^n, while a kink |t| under a right gradient leaves an even part. So each order is judged by the
part of its own parity, which falls as t^(n+2) where d_n is right, on the finest steps above the rounding floor.

Source: Farrell, Ham, Funke and Rognes, *Automated derivation of the adjoint* (2013), section 6, for the test;
the parity is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify import sheets
from gradverify.arrays import Arrays, dot, magnitude, one_ulp
from gradverify.convergence.slopes import ASYMPTOTIC, FLOORS, Slope, finest_slope, leading_slope, resolved
from gradverify.convergence.stepsweep import Sweep, sweep_figure
from gradverify.precision import wide_twin
from gradverify.probes import draw_cotangent, draw_tangent
from gradverify.records import Cause, Curve, Figure, Options, Sheet, Verdict, worst_verdict
from gradverify.targets import Target, make_targets
from gradverify.targets.calling import quiet
from gradverify.trial import Trial

HALVINGS = 34  # from a relative change of one to where phi(t) - phi(0) has a handful of digits left
LOST = 1e-3  # a pass must have excluded a relative error this large in the derivative


@dataclass(frozen=True)
class Remainder:
    """What is left of ``phi`` along one leaf after the terms up to `order`, at every step, and how fast it falls.

    `slope` is fitted on the window it names; it should be at least ``order + 1``. None means that there is
    nothing to fit: the remainder is rounding at every step, so that phi is a polynomial of that degree along v.
    `resolution` is the smallest relative error in the derivative of that order which would have been seen.
    """

    leaf: str
    order: int
    verdict: Verdict
    slope: Slope | None
    resolution: float
    reason: str
    steps: tuple[float, ...]
    values: tuple[float, ...]
    floor: tuple[float, ...]
    wrong_by: float = 0.0

    @property
    def expected(self) -> int:
        """The least slope of a right derivative."""
        return self.order + 1


@dataclass(frozen=True)
class TaylorReport:
    """The remainders of every leaf and order; fails if a derivative leaves a term of its own order behind."""

    target: str
    remainders: tuple[Remainder, ...]
    sweeps: tuple[Sweep, ...] = ()
    forwards: int = 0

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the remainders."""
        return worst_verdict([row.verdict for row in self.remainders])

    @property
    def ok(self) -> bool:
        """Whether every remainder falls as fast as it should."""
        return self.verdict is Verdict.PASS

    def sheet(self) -> Sheet:
        """The table of slopes, the remainders as one figure a leaf, and error against step."""
        return Sheet(
            "taylor", self.target, str(self.verdict), self.ok, _headline(self), _COLUMNS,
            tuple(_cells(row) for row in self.remainders), tuple(c for row in self.remainders for c in _causes(row)),
            (*_figures(self.remainders), *map(sweep_figure, self.sweeps)),
        )  # fmt: skip

    frame = sheets.frame
    to_json = sheets.to_json
    to_html = sheets.to_html
    __str__ = sheets.text
    _repr_html_ = sheets.fragment


def check_taylor(target: Any, *inputs: Any, order: int = 1, **options: Any) -> TaylorReport:
    """Whether Taylor remainders fall at the order that right derivatives give them: slopes 1, 2 and 3.

    The target and the options `kwargs`, `wrt`, `outputs`, `surrogate`, `seed` are those of `check`; ``order=2``
    needs a target that claims a Hessian product. Each leaf is moved on its own. It takes about 70 forwards a
    leaf and shows a derivative converging; to see a wrong one located and explained, use `check`.

    >>> import numpy as np
    >>> from gradverify import function
    >>> right = check_taylor(function(np.exp, derivative=np.exp), 0.3)
    >>> right.verdict.value, [round(row.slope.value, 2) for row in right.remainders]
    ('pass', [1.0, 2.0])
    >>> check_taylor(function(np.exp, derivative=lambda x: 1.0009 * np.exp(x)), 0.3).verdict.value
    'fail'
    """
    if isinstance(order, bool) or order not in (1, 2):
        raise ValueError(f"order={order!r}: must be 1 or 2")
    chosen = Options(order=order, **options)
    with quiet():
        reports = [_check(each, chosen) for each in make_targets(target, inputs, chosen)]
    first = reports[0]
    return TaylorReport(
        first.target, tuple(row for r in reports for row in r.remainders), tuple(s for r in reports for s in r.sweeps),
        sum(r.forwards for r in reports))  # fmt: skip


def _check(target: Target, options: Options) -> TaylorReport:
    from gradverify.surrogates import with_surrogate

    if not target.point:
        raise TypeError(f"nothing to check: {target.name} has no floating input or parameter")
    if options.order > 1 and target.higher is None:
        raise ValueError(f"order={options.order}: {target.name} claims no second derivative")
    if options.surrogate is not None:
        target = with_surrogate(target, options.surrogate)
    target = wide_twin(target) or target  # float32 leaves hardly a decade between curvature and rounding
    trial = Trial(target, options, dict(target.point))
    lines = [_sampled(trial, leaf) for leaf in trial.leaves]
    rows = tuple(_remainder(line, n) for line in lines for n in range(len(line.claims) + 1))
    sweeps = tuple(Sweep(x.leaf, x.steps, x.left_over(1), x.part(1), x.noise, x.claims[0]) for x in lines)
    return TaylorReport(target.name, rows, sweeps, trial.counts.forwards)


@dataclass(frozen=True)
class _Line:
    """phi along one leaf: at zero, at +-t for every step t, its rounding noise, and the derivatives claimed."""

    leaf: str
    zero: float
    steps: tuple[float, ...]
    plus: tuple[float, ...]
    minus: tuple[float, ...]
    noise: float
    claims: tuple[float, ...]

    def term(self, n: int, t: float) -> float:
        """The Taylor polynomial of degree n at t, without its constant."""
        return sum(d * t**j / math.factorial(j) for j, d in enumerate(self.claims[:n], 1))

    def sides(self, n: int) -> list[tuple[float, float]]:
        """r_n at t and at -t."""
        rows = zip(self.steps, self.plus, self.minus, strict=True)
        return [(a - self.zero - self.term(n, t), b - self.zero - self.term(n, -t)) for t, a, b in rows]

    def left_over(self, n: int) -> tuple[float, ...]:
        """|r_n|, the root mean square of both sides."""
        return tuple(math.hypot(a, b) / math.sqrt(2) for a, b in self.sides(n))

    def part(self, parity: int, n: int | None = None) -> tuple[float, ...]:
        """The odd or even part of r_n (by default n is the parity)."""
        sign = -1.0 if parity % 2 else 1.0
        return tuple((a + sign * b) / 2 for a, b in self.sides(parity if n is None else n))

    @property
    def floor(self) -> tuple[float, ...]:
        return (self.noise,) * len(self.steps)


def _sampled(trial: Trial, leaf: str) -> _Line:
    rng = np.random.default_rng((trial.options.seed, 29))
    u, v = draw_cotangent(rng, trial.base), draw_tangent(rng, trial.point, [leaf], trial.target.dtype)
    if trial.options.order > 1:
        u = {name: np.ones(y.shape) for name, y in trial.base.items()}  # a Hessian product is of the output itself
    phi = trial.phi(u, v)
    rows = [(t, phi(t), phi(-t)) for t in (2.0**-k for k in range(HALVINGS))]
    finite = [row for row in rows if all(map(math.isfinite, row))]
    steps, plus, minus = zip(*finite, strict=True) if finite else ((), (), ())
    return _Line(leaf, phi(0.0), steps, plus, minus, _noise(trial, u), _claims(trial, u, v))


def _noise(trial: Trial, u: Arrays) -> float:
    """How far phi is from a function of exact numbers: its change when every input moves by one rounding unit.

    At least two roundings of the largest term, also where the forward happens to be exact at this point.
    """
    near = [{n: one_ulp(x, key, trial.eps / 2) for n, x in trial.point.items()} for key in (3, 5, 7, 11)]
    zero = dot(trial.base, u)
    spread = max(abs(dot(trial.forward(x), u) - zero) for x in near)
    return max(spread, trial.eps * max(abs(zero), magnitude(trial.base, u)), 2.0**-1000)


def _claims(trial: Trial, u: Arrays, v: Arrays) -> tuple[float, ...]:
    """``<u, J v>`` as computed by the target, and ``<v, H v>`` where order 2 is asked for."""
    push, higher = trial.target.pushforward, trial.target.higher
    if trial.target.linearize is not None:
        first = dot(trial.raw_gradient(u), v)
    elif push is not None:
        first = dot(push(trial.point, v), u)
    else:
        raise TypeError(f"{trial.target.name}: claims no first derivative")
    second = (dot(higher(trial.point, u, [v]), v),) if trial.options.order > 1 and higher is not None else ()
    return (first, *second)


def _remainder(line: _Line, n: int) -> Remainder:
    slope = leading_slope(line.steps, line.left_over(n), line.floor)
    resolution = _resolution(line, n)
    verdict, reason = _judged(line, n, resolution)
    if verdict is Verdict.PASS and n and slope is not None and slope.value + slope.error < n + 0.75:
        verdict, reason = Verdict.INCONCLUSIVE, "smooth"
    if verdict is Verdict.FAIL:  # the order that is left as t goes to zero, not the one that curvature hides it behind
        slope = finest_slope(line.steps, line.part(n), line.floor)
    wrong_by = _coefficient(line, n) if verdict is Verdict.FAIL else 0.0
    shown = (line.steps, line.left_over(n), line.floor)
    return Remainder(line.leaf, n, verdict, slope, resolution, reason, *shown, wrong_by)


def _judged(line: _Line, n: int, resolution: float) -> tuple[Verdict, str]:
    """The verdict on d_n, by the order at which its own part of the remainder falls."""
    if not line.steps:
        return Verdict.INCONCLUSIVE, "domain"
    if n == 0:
        return _continuous(line)
    if _falls_like(line, 2, 1, 1):
        return Verdict.INCONCLUSIVE, "kink"
    slope = finest_slope(line.steps, line.part(n), line.floor)
    if slope is not None and slope.value + slope.error < n + 0.5 and slope.value - slope.error > n - 0.5:
        return Verdict.FAIL, "slope"
    right = slope is None or slope.value - slope.error > n + 0.5
    if right and resolution <= LOST:
        return Verdict.PASS, ""
    return Verdict.INCONCLUSIVE, "resolution" if right else "slope"


def _continuous(line: _Line) -> tuple[Verdict, str]:
    slope = finest_slope(line.steps, line.left_over(0), line.floor)
    if slope is None or slope.value + slope.error > 1 / 2:
        return Verdict.PASS, ""
    return Verdict.INCONCLUSIVE, "jump"


def _falls_like(line: _Line, parity: int, n: int, order: int) -> bool:
    """Whether that part of r_n falls at this order on the finest steps."""
    slope = finest_slope(line.steps, line.part(parity, n), line.floor)
    return slope is not None and abs(slope.value - order) + slope.error < 0.5


def _resolution(line: _Line, n: int) -> float:
    """The smallest relative error of d_n that some step shows: what remains of its parity, over t^n d_n."""
    if n == 0 or not line.steps:
        return math.nan if n == 0 else math.inf
    left = [(abs(r) + FLOORS * line.noise) / t**n for r, t in zip(line.part(n), line.steps, strict=True)]
    change = max(abs(r) / t**n for r, t in zip(line.part(n, n - 1), line.steps, strict=True))
    scale = max(abs(line.claims[n - 1]) / math.factorial(n), change)
    return min(left) / scale if scale > 0 else 0.0


def _coefficient(line: _Line, n: int) -> float:
    """By how much d_n is off: its part of the remainder over t^n / n!, at the coarsest step of the finest window."""
    part = line.part(n)
    k = resolved(line.steps, part, line.floor)[-ASYMPTOTIC:][0]
    return -part[k] * math.factorial(n) / line.steps[k] ** n


_COLUMNS = ("leaf", "order", "verdict", "slope", "slope_error", "expected", "window_low", "window_high", "resolution",
            "reason")


def _cells(row: Remainder) -> tuple[Any, ...]:
    slope = row.slope or Slope(math.nan, math.nan, math.nan, math.nan)
    return (row.leaf, row.order, str(row.verdict), slope.value, slope.error, row.expected, slope.low, slope.high,
            row.resolution, row.reason)


def _headline(report: TaylorReport) -> str:
    bad = [row for row in report.remainders if row.verdict is report.verdict]
    if report.verdict is Verdict.FAIL:
        return f"the remainder of order {bad[0].order} along {bad[0].leaf} keeps a term that the derivative should take"
    if report.verdict is Verdict.INCONCLUSIVE:
        return f"{bad[0].leaf}, order {bad[0].order}: {_REASONS[bad[0].reason]}"
    judged = [row for row in report.remainders if row.order > 0]
    worst = max(row.resolution for row in judged)
    return f"every remainder falls as it should; an error of {worst:.0e} in a derivative would have been seen"


_REASONS = {
    "domain": "the forward is not finite on both sides of the point",
    "kink": "the forward has a kink at the point: left and right slope differ",
    "jump": "the forward jumps at the point",
    "resolution": "too few steps lie between the curvature of the forward and its rounding",
    "slope": "the remainder falls at no whole order, or changes order too close to the rounding",
    "smooth": "the remainder falls too slowly on both sides alike: the forward has no further derivative here",
}


def _causes(row: Remainder) -> tuple[Cause, ...]:
    if row.verdict is not Verdict.FAIL:
        return ()
    name = {1: "first-derivative", 2: "second-derivative"}[row.order]
    return (Cause(
        name, f"the derivative of order {row.order} along {row.leaf} is off by {row.wrong_by:.3g}",
        f"slope {row.slope}, at least {row.expected} if it were right",
        "gradverify.check names the entries and the cause", 1.0,
    ),)  # fmt: skip


def _figures(rows: Sequence[Remainder]) -> list[Figure]:
    leaves = dict.fromkeys(row.leaf for row in rows)
    return [_figure(leaf, [row for row in rows if row.leaf == leaf]) for leaf in leaves]


def _figure(leaf: str, rows: Sequence[Remainder]) -> Figure:
    curves = [Curve(f"order {row.order}: slope {row.slope or 'none'}", row.steps, row.values) for row in rows]
    floor = Curve("rounding floor", rows[0].steps, rows[0].floor)
    return Figure(f"Taylor remainders along {leaf}", "step t", "|remainder|", (*curves, floor), log_x=True, log_y=True)
