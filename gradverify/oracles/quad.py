"""Central differences at 113 bits: fast enough for whole networks, exact far below float64's last bit.

    R = (4 D(h) - D(2h)) / 3 = f^(n) + O(h^4),   and with 9 D(h) - D(3h) the same again

Every inexact result is moved by an ulp at random, so that the outputs at seven points scatter about a
cubic by what rounding does to them, wherever in the forward it happened:

    s^2 = mean of (4th difference)^2 / 70, (6th)^2 / 924, (odd 5th)^2 / 84,   noise of R < 4 s / h^n
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.arithmetic.numberarray import NumberArray, Numbers
from gradverify.arithmetic.quadarray import BITS, quadruple
from gradverify.arrays import Arrays, all_finite
from gradverify.oracles.line import (
    CENTRAL,
    Line,
    Stencil,
    change,
    combine,
    departure,
    one_sided,
    power_of_two,
    refusal,
    twice,
)
from gradverify.records import Estimate

STEPS = {1: (30, 46, 20), 2: (22, 30, 17), 3: (18, 22, 15)}  # h = 2^-k of the room; then smaller, or larger
SPREAD = 8.0  # times the disagreement of R and its twin, of which each is wrong by 4/5 and 9/5
NOISE = 128.0  # times s / h^n: s has three degrees of freedom, and |t_3| > 32 once in 15,000
ROUNDING = 2.0**24  # times what the outputs' own last bits leave: more is no rounding, and wants a smaller step
STEADY = 0.05  # of their gap: how far one-sided slopes of three steps may be apart at a corner
FOURTH = ({-2: 1.0, -1: -4.0, 0: 6.0, 1: -4.0, 2: 1.0}, 70.0)
ODD_FIFTH = ({-3: -1.0, -2: 4.0, -1: -5.0, 1: 5.0, 2: -4.0, 3: 1.0}, 84.0)
SIXTH = ({-3: 1.0, -2: -6.0, -1: 15.0, 0: -20.0, 1: 15.0, 2: -6.0, 3: 1.0}, 924.0)
RESIDUALS = {1: (FOURTH, ODD_FIFTH, SIXTH), 2: (ODD_FIFTH, SIXTH), 3: (SIXTH,)}  # those that h^k f^(k) leaves empty
STRETCHES = (1, 2, 3)
EPS = 2.0**-52
ENOUGH = 16 * EPS
SMALLEST = 2.0**-1074


@dataclass(frozen=True)
class _Finding:
    value: float
    error: float
    reason: str = ""
    slopes: tuple[float, float] | None = None
    noisy: bool = False


def quad(
    forward: Callable[[Arrays], Arrays], point: Arrays, u: Arrays, v: Arrays, seed: int = 0, *, order: int = 1
) -> Estimate:
    """``<u, J v>``, or a higher derivative along v, in quadruple precision; ``unsupported`` where it cannot run."""
    return twice(lambda allocates: _ask(forward, point, u, v, seed, order, allocates))


def _ask(
    forward: Callable[[Arrays], Arrays], point: Arrays, u: Arrays, v: Arrays, seed: int, order: int, allocates: bool
) -> Estimate:
    line = None
    try:
        line = Line(forward, point, u, v, allocates=allocates)
        found = _answer(line, order, np.random.default_rng(seed))
    except Exception as error:  # an absent package and whatever a forward raises on foreign numbers are refusals
        count = line.evaluations if line else 0
        return Estimate(math.nan, math.inf, count, "quad", "unsupported", note=refusal(error))
    return Estimate(found.value, found.error, line.evaluations, "quad", found.reason, found.slopes)


def _answer(line: Line, order: int, rng: np.random.Generator) -> _Finding:
    numbers = quadruple()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        plain = line.plain()
        here = line.at(numbers.jittered(rng), None)
        apart = departure(line, plain, here, numbers)
        if apart == math.inf:
            return _Finding(math.nan, math.inf, "forward-inexact" if _repeats(line, plain) else "nondeterministic")
        if not all(np.all(np.isfinite(y.values)) for y in here.values()):
            return _Finding(math.nan, math.inf, "noise" if all_finite(plain) else "domain")
        first, smaller, larger = STEPS[order]
        best = _difference(line, numbers, here, line.room - first, order, rng, apart)
        if best.error > ENOUGH * abs(best.value):
            further = line.reach - first if line.reach > line.room + 4 else line.room - larger
            exponent = further if best.noisy else line.room - smaller
            again = _difference(line, numbers, here, exponent, order, rng, apart)
            best = again if again.error < best.error else best
            if not _repeats(line, plain):
                return _Finding(best.value, math.inf, "nondeterministic")
    return best


def _repeats(line: Line, plain: Arrays) -> bool:
    again = line.plain()
    return all(np.array_equal(again[name], plain[name], equal_nan=True) for name in plain)


def _difference(
    line: Line, numbers: Numbers, here: dict[str, NumberArray], exponent: float, order: int, rng: np.random.Generator,
    apart: float,
) -> _Finding:  # fmt: skip
    h = power_of_two(numbers, round(exponent))
    central, left, right = (
        [{m * k: w for k, w in stencil.items()} for m in STRETCHES]
        for stencil in (CENTRAL[order], one_sided(order, -1), one_sided(order, 1))
    )
    nodes = {k for stencil in central + left + right for k in stencil} | {-3, -2, -1, 1, 2, 3}
    # A generator of its own for every node: the noise of two nodes must not be the same.
    outputs = {k: line.at(numbers.jittered(np.random.default_rng(rng.integers(2**63))), h * float(k))
               for k in sorted(nodes - {0})}
    outputs[0] = here

    def slopes(stencils: list[Stencil]) -> list[Any]:
        return [combine(line.u, outputs, s)[0] / (h * m) ** order for s, m in zip(stencils, STRETCHES, strict=True)]

    floor = _rounding(line, here, h, order)
    noise = _float(NOISE * _scatter(line.u, outputs, RESIDUALS[order]) / h**order) + floor
    noise += apart * _float(combine(line.u, outputs, central[0])[1] / h**order) if apart else 0.0
    kink = _kink([_float(x) for x in slopes(left)], [_float(x) for x in slopes(right)])
    return kink or _smooth(slopes(central), noise, rounding=noise <= ROUNDING * floor)


def _scatter(
    u: Arrays, outputs: dict[int, dict[str, NumberArray]], residuals: tuple[tuple[Stencil, float], ...]
) -> float:
    """s: of the probe, or of its terms added in squares, whichever is larger."""
    squares = [[float(x) ** 2 / weight for x in _moduli(u, outputs, stencil)] for stencil, weight in residuals]
    return math.sqrt(max(sum(column) / len(residuals) for column in zip(*squares, strict=True)))


def _moduli(u: Arrays, outputs: dict[int, dict[str, NumberArray]], stencil: Stencil) -> tuple[float, float]:
    terms = [change(cotangent, outputs, name, stencil).values for name, cotangent in u.items()]
    return abs(sum(float(np.sum(t)) for t in terms)), math.hypot(*(float(x) for t in terms for x in np.ravel(t)))


def _kink(left: list[float], right: list[float]) -> _Finding | None:
    """One-sided slopes that stay apart while the step grows: a corner; that fall as 1/h: a jump."""
    gaps = [abs(b - a) for a, b in zip(left, right, strict=True)]
    middle = (left[0] + right[0]) / 2
    if not all(map(math.isfinite, gaps)) or gaps[0] <= 2.0**-40 * (abs(left[0]) + abs(right[0])):
        return None
    if max(max(left) - min(left), max(right) - min(right)) <= STEADY * gaps[0]:
        return _Finding(middle, math.inf, "kink", (left[0], right[0]))
    jump = all(abs(gap * m / gaps[0] - 1) <= STEADY for gap, m in zip(gaps, STRETCHES, strict=True))
    return _Finding(middle, math.inf, "kink") if jump else None


def _smooth(central: list[Any], noise: float, *, rounding: bool) -> _Finding:
    d1, d2, d3 = central
    value, twin = (d1 * 4.0 - d2) / 3.0, (d1 * 9.0 - d3) / 8.0
    number, error = _float(value), SPREAD * _float(np.abs(value - twin)) + noise
    if not math.isfinite(number) or not math.isfinite(error):
        return _Finding(number, math.inf, "domain")
    return _Finding(number, error + EPS * abs(number) + SMALLEST, noisy=rounding and noise > error / 2)


def _rounding(line: Line, here: dict[str, NumberArray], h: NumberArray, order: int) -> float:
    """What the last rounding of the outputs alone leaves in a difference."""
    sizes = sum(float(np.sum(np.abs(line.u[name] * y.values))) for name, y in here.items())
    return _float(4.0**order * sizes * 2.0**-BITS / h**order)


def _float(x: Any) -> float:
    return float(x.values) if isinstance(x, NumberArray) else float(x)
