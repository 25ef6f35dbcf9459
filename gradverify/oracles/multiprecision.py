"""Differences at so many digits that neither truncation nor rounding can be seen in float64.

    w = digits (n + 2) / 2,   h = 10^(-w / (n + 2)):   truncation h^2 = rounding 10^-w / h^n = 10^-digits

Cancellation and saturation inside a forward eat digits unnoticed. So every inexact result is moved by
an ulp at random, and nothing is believed that was computed only once: the same derivative at 2.5 times
the digits, by a far smaller step, must agree. Their distance is what the first is off by, and bounds
the error of the second with a margin of as many digits as were added.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.arithmetic.numberarray import Numbers
from gradverify.arithmetic.scalars import EXACTLY, exact_difference, multiprecise
from gradverify.arrays import Arrays, all_finite
from gradverify.oracles.line import CENTRAL, Line, combine, departure, one_sided, power_of_two, refusal, twice
from gradverify.records import Estimate

LEVELS = 5
GROWTH = 2.5  # no two steps in a ratio that a kink or an oscillation could share
AGREED = 1e-25  # of the sum of moduli: disagreement beyond float64's last bit by nine digits
SHRINKS = 1e-10  # the gap of one-sided slopes is O(h), and h shrinks by 1e-20 at the least
VANISHES = 1e-100  # x^3 at 0: every difference is O(h^2) and none agrees with another
BITS = math.log2(10.0)
EPS = 2.0**-52
SMALLEST = 2.0**-1074


@dataclass(frozen=True)
class Truth:
    """A derivative as an mpmath number with a bound; `reason` as in `Estimate`."""

    value: Any
    error: Any
    reason: str = ""
    slopes: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Level:
    """One central and two one-sided differences; `size` is the sum of the moduli of the terms."""

    value: Any
    size: Any
    left: Any
    right: Any
    here: Any
    numbers: Numbers

    @property
    def finite(self) -> bool:
        return all(EXACTLY.isfinite(EXACTLY.make_mpf(x._mpf_)) for x in (self.value, self.left, self.right))

    @property
    def scale(self) -> Any:
        """What agreement is measured against; at a symmetric kink only the one-sided differences have a size."""
        return max(self.size, abs(self.left), abs(self.right))

    @property
    def gap(self) -> Any:
        return abs(exact_difference(self.right, self.left))


def multiprecision(
    forward: Callable[[Arrays], Arrays], point: Arrays, u: Arrays, v: Arrays, digits: int = 50, seed: int = 0,
    *, order: int = 1,
) -> Estimate:  # fmt: skip
    """``<u, J v>``, or a higher derivative along v, by mpmath; ``unsupported`` where the forward cannot run.

    >>> import numpy as np
    >>> forward = lambda p: {"y": -np.logaddexp(0.0, -p["x"])}
    >>> one = np.ones(1)
    >>> print(f"{multiprecision(forward, {'x': 40 * one}, {'y': one}, {'x': one}, order=2).value:.1e}")
    -4.2e-18
    """
    return twice(lambda allocates: _ask(forward, point, u, v, digits, seed, order, allocates))


def _ask(
    forward: Callable[[Arrays], Arrays], point: Arrays, u: Arrays, v: Arrays, digits: int, seed: int, order: int,
    allocates: bool,
) -> Estimate:  # fmt: skip
    line = None
    try:
        line = Line(forward, point, u, v, allocates=allocates)
        found = _answer(line, digits, order, seed)
    except Exception as raised:  # whatever a forward raises on foreign numbers is a refusal
        count = line.evaluations if line else 0
        return Estimate(math.nan, math.inf, count, "mpmath", "unsupported", note=refusal(raised))
    value = float(found.value)
    error = math.inf if found.reason else float(found.error) * (1 + EPS) + EPS * abs(value) + SMALLEST
    return Estimate(value, error, line.evaluations, "mpmath", found.reason, found.slopes)


def truth(
    forward: Callable[[Arrays], Arrays], point: Arrays, u: Arrays, v: Arrays, digits: int = 50, order: int = 1
) -> Truth:
    """The same before it is rounded to float64; raises what the forward raises."""
    return _answer(Line(forward, point, u, v), digits, order, 0)


def _answer(line: Line, digits: int, order: int, seed: int) -> Truth:
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        plain = line.plain()
        levels: list[_Level] = []
        working = digits * (order + 2) / 2 + 10 + (order + 2) * line.span / BITS / 2
        for _ in range(LEVELS):
            levels.append(_level(line, working, order, rng))
            if len(levels) > 1 and _agree(*levels[-2:]):
                return _judge(line, plain, *levels[-2:])
            working *= GROWTH
    return _disagreement(line, plain, levels)


def _level(line: Line, working: float, order: int, rng: np.random.Generator) -> _Level:
    numbers = multiprecise(math.ceil(working)).jittered(rng)
    h = power_of_two(numbers, round(line.room - working * BITS / (order + 2)))
    stencils = (CENTRAL[order], one_sided(order, -1), one_sided(order, 1))
    nodes = sorted({k for stencil in stencils for k in stencil})
    outputs = {k: line.at(numbers, None if k == 0 else h * float(k)) for k in nodes}
    scale = h**order
    sums = [combine(line.u, outputs, stencil) for stencil in stencils]
    value, left, right = ((total / scale).payload[()] for total, _ in sums)
    return _Level(value, (sums[0][1] / scale).payload[()], left, right, outputs[0], numbers)


def _agree(coarse: _Level, fine: _Level) -> bool:
    if not fine.finite or not coarse.finite:
        return False
    return bool(abs(exact_difference(fine.value, coarse.value)) <= AGREED * max(fine.scale, coarse.scale))


def _judge(line: Line, plain: Arrays, coarse: _Level, fine: _Level) -> Truth:
    apart = departure(line, plain, fine.here, fine.numbers)
    if apart == math.inf:
        return _another(line, plain, fine)
    slopes = (float(fine.left), float(fine.right))
    if fine.gap > SHRINKS * coarse.gap and fine.gap > AGREED * fine.scale:
        # Slopes that still grow belong to a root or a jump, not to a corner.
        corner = abs(exact_difference(fine.gap, coarse.gap)) <= SHRINKS * fine.gap
        return Truth(fine.value, math.inf, "kink", slopes if corner else None)
    return Truth(fine.value, abs(exact_difference(fine.value, coarse.value)) + apart * fine.size)


def _another(line: Line, plain: Arrays, level: _Level) -> Truth:
    return Truth(level.value, math.inf, "forward-inexact" if _repeats(line, plain) else "nondeterministic")


def _disagreement(line: Line, plain: Arrays, levels: list[_Level]) -> Truth:
    last, before = levels[-1], levels[-2]
    if not last.finite:
        here = all(np.all(np.isfinite(y.values)) for y in last.here.values())
        return Truth(math.nan, math.inf, "domain" if here or not all_finite(plain) else "noise")
    if not _repeats(line, plain):
        return Truth(last.value, math.inf, "nondeterministic")
    if departure(line, plain, last.here, last.numbers) > 0.0:
        return _another(line, plain, last)
    if max(abs(last.value), last.gap) <= SHRINKS * abs(before.value) and abs(before.value) <= VANISHES:
        return Truth(last.value, abs(before.value))
    grows = abs(last.value) * SHRINKS > abs(before.value)
    return Truth(last.value, math.inf, "kink" if grows else "noise")


def _repeats(line: Line, plain: Arrays) -> bool:
    again = line.plain()
    return all(np.array_equal(again[name], plain[name], equal_nan=True) for name in plain)
