"""Central differences at 113 bits: fast enough for whole networks, exact far below float64's last bit.

    R = (4 D(h) - D(2h)) / 3 = f^(n) + O(h^4),   and with 9 D(h) - D(3h) the same again

Every inexact result is moved by an ulp at random, so that three differences of one quantity disagree
by what rounding does to them, wherever in the forward it happened.
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
from gradverify.oracles.line import CENTRAL, Line, combine, one_sided, power_of_two, same_values
from gradverify.records import Estimate

STEPS = {1: (30, 46), 2: (22, 30), 3: (17, 22)}  # h = 2^-k of the room; the second where the first disappoints
SPREAD = 8.0  # times the largest disagreement of differences whose noise differs by a factor of three
SHARP = 0.55  # of a gap of one-sided slopes: half is smooth, all of it is a corner
EPS = 2.0**-52
ENOUGH = 8 * EPS
SMALLEST = 2.0**-1074


@dataclass(frozen=True)
class _Finding:
    value: float
    error: float
    reason: str = ""
    slopes: tuple[float, float] | None = None


def quad(
    forward: Callable[[Arrays], Arrays], point: Arrays, u: Arrays, v: Arrays, seed: int = 0, *, order: int = 1
) -> Estimate:
    """``<u, J v>``, or a higher derivative along v, in quadruple precision; ``unsupported`` where it cannot run."""
    line = None
    try:
        line = Line(forward, point, u, v)
        found = _answer(line, order, np.random.default_rng(seed))
    except Exception:  # an absent package and whatever a forward raises on foreign numbers are refusals
        return Estimate(math.nan, math.inf, line.evaluations if line else 0, "quad", "unsupported")
    return Estimate(found.value, found.error, line.evaluations, "quad", found.reason, found.slopes)


def _answer(line: Line, order: int, rng: np.random.Generator) -> _Finding:
    numbers = quadruple()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        plain = line.plain()
        here = line.at(numbers.jittered(rng), None)
        if not same_values(plain, here):
            return _Finding(math.nan, math.inf, "forward-inexact" if _repeats(line, plain) else "nondeterministic")
        if not all(np.all(np.isfinite(y.values)) for y in here.values()):
            return _Finding(math.nan, math.inf, "noise" if all_finite(plain) else "domain")
        best: _Finding | None = None
        for k in STEPS[order]:
            found = _difference(line, numbers, here, line.room - k, order, rng)
            best = found if best is None or found.error < best.error else best
            if best.error <= ENOUGH * abs(best.value):
                break
    assert best is not None
    return best


def _repeats(line: Line, plain: Arrays) -> bool:
    again = line.plain()
    return all(np.array_equal(again[name], plain[name], equal_nan=True) for name in plain)


def _difference(
    line: Line, numbers: Numbers, here: dict[str, NumberArray], exponent: float, order: int, rng: np.random.Generator
) -> _Finding:  # fmt: skip
    h = power_of_two(numbers, round(exponent))
    central = [{m * k: w for k, w in CENTRAL[order].items()} for m in (1, 2, 3)]
    sided = [{m * k: w for k, w in one_sided(order, s).items()} for m in (1, 2) for s in (-1, 1)]
    nodes = sorted({k for stencil in central + sided for k in stencil} - {0})
    # A generator of its own for every node: the noise of two nodes must not be the same.
    outputs = {k: line.at(numbers.jittered(np.random.default_rng(rng.integers(2**63))), h * float(k)) for k in nodes}
    outputs[0] = here
    sums = [combine(line.u, outputs, s) for s in central + sided]
    rows = [(total / (h * m) ** order, size / (h * m) ** order)
            for (total, size), m in zip(sums, (1, 2, 3, 1, 1, 2, 2), strict=True)]
    floor = _rounding(line, here, h, order)
    return _conclude([value for value, _ in rows], _float(rows[0][1]), floor)


def _conclude(rows: list[Any], size: float, floor: float) -> _Finding:
    d1, d2, d3, left1, right1, left2, right2 = rows
    value = (d1 * 4.0 - d2) / 3.0
    other = (d1 * 9.0 - d3) / 8.0
    number, error = _float(value), SPREAD * _float(np.abs(value - other)) + floor
    if not math.isfinite(number) or not math.isfinite(error):
        return _Finding(number, math.inf, "domain")
    gap, wider = _float(np.abs(right1 - left1)), _float(np.abs(right2 - left2))
    slopes = (_float(left1), _float(right1))
    if gap > SHARP * wider and gap > max(error, 2.0**-40 * size):
        corner = gap < 1.5 * wider and _float(np.abs(d1 - d2)) <= 0.25 * gap
        return _Finding(number, math.inf, "kink", slopes if corner else None)
    return _Finding(number, error + EPS * abs(number) + SMALLEST)


def _rounding(line: Line, here: dict[str, NumberArray], h: NumberArray, order: int) -> float:
    """What the last rounding of the outputs alone leaves in a difference."""
    sizes = sum(float(np.sum(np.abs(line.u[name] * y.values))) for name, y in here.items())
    return 4.0**order * sizes * 2.0**-BITS * _float(1.0 / h**order)


def _float(x: Any) -> float:
    return float(x.values) if isinstance(x, NumberArray) else float(x)
