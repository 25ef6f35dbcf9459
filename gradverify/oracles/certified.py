"""The derivative enclosed: dual numbers over balls, with no step, no truncation and no estimate.

Whatever is rounded widens a ball, so the bound is a theorem about the forward's formula at this point.
At a tie the forward is run once for each side of it; the enclosure then covers both slopes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradverify.arithmetic.balls import Dual, Side, balls, precision
from gradverify.arithmetic.numberarray import NumberArray, Numbers
from gradverify.arrays import Arrays, all_finite, is_floating, to_float64
from gradverify.oracles.line import Line, departure, refusal, twice
from gradverify.records import Estimate

PRECISIONS = (128, 512, 2048)  # bits: saturation and cancellation cost balls their digits, no more than that
NARROW = 2.0**-60  # relative to the sum of moduli: beyond this float64 cannot tell
EPS = 2.0**-52


@dataclass(frozen=True)
class Enclosure:
    """A ball that holds ``<u, J v>``, the sum of the moduli of its terms, and the outputs beneath."""

    ball: Any
    size: Any
    tied: bool
    outputs: dict[str, NumberArray]

    @property
    def finite(self) -> bool:
        """Whether there is a value and a slope at all."""
        values = (y.x for output in self.outputs.values() for y in output.payload.flat)
        return bool(self.ball.is_finite() and all(x.is_finite() for x in values))

    @property
    def narrow(self) -> bool:
        """Whether more bits would show in float64."""
        return bool(self.finite and self.ball.rad() <= NARROW * self.size.abs_upper())


def certified(forward: Callable[[Arrays], Arrays], point: Arrays, u: Arrays, v: Arrays) -> Estimate:
    """``<u, J v>`` with a rigorous radius, or ``unsupported``; a tie that matters is a ``kink``."""
    return twice(lambda allocates: _ask(forward, point, u, v, allocates))


def _ask(forward: Callable[[Arrays], Arrays], point: Arrays, u: Arrays, v: Arrays, allocates: bool) -> Estimate:
    line = None
    try:
        line = Line(forward, point, u, v, allocates=allocates)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return _answer(line)
    except Exception as error:  # absent flint, overlapping balls, and whatever a forward raises on foreign numbers
        return replace(_estimate(line, math.nan, math.inf, "unsupported"), note=refusal(error))


def enclose(line: Line, bits: int, sign: int = 1) -> Enclosure:
    """The enclosure at one precision, ties decided for t of that sign; raises what the forward raises."""
    side = Side(sign)
    with precision(bits):
        numbers = balls(side)
        outputs = _run(line, numbers, side)
        terms = [_slope(y) * flat_u for name, y in outputs.items()
                 for y, flat_u in zip(y.payload.flat, to_float64(line.u[name]).flat, strict=True)]
        zero = numbers.lift(np.zeros(())).item().x
        return Enclosure(sum(terms, zero), sum((abs(t) for t in terms), zero), bool(side.ties), outputs)


def _slope(y: Dual) -> Any:
    return y.x * 0 if y.dx is None else y.dx


def _run(line: Line, numbers: Numbers, side: Side) -> dict[str, NumberArray]:
    leaves = {name: line.lifted(numbers, name) for name in line.point}
    for name, tangent in line.v.items():
        moving = np.frompyfunc(lambda x, dx: Dual(x.x, dx.x, side), 2, 1)
        leaves[name] = NumberArray(moving(leaves[name].payload, numbers.lift(to_float64(tangent))), numbers)
    return line.outputs(leaves, numbers)


def _answer(line: Line) -> Estimate:
    plain, again = line.plain(), line.plain()
    if not all(np.array_equal(again[name], plain[name], equal_nan=True) for name in plain):
        return _estimate(line, math.nan, math.inf, "nondeterministic")
    if not all_finite({name: x for name, x in line.point.items() if is_floating(x)}):
        return _estimate(line, math.nan, math.inf, "domain")  # the sine of an infinity is a ball too
    found, failure = None, None
    for bits in PRECISIONS:
        try:
            found = enclose(line, bits)
        except TypeError as error:  # `Refused`: balls that overlap here may be apart with more bits
            failure = error
            continue
        if found.narrow:
            return _judge(line, plain, found, bits)
    if found is None or not found.finite:
        raise failure or ArithmeticError("an unbounded ball")
    return _judge(line, plain, found, PRECISIONS[-1])


def _judge(line: Line, plain: Arrays, right: Enclosure, bits: int) -> Estimate:
    with precision(bits):
        apart = departure(line, plain, right.outputs, balls(Side()))
    if apart > 0.0:
        return _estimate(line, math.nan, math.inf, "kink" if right.tied else "forward-inexact")
    if not right.tied:
        return _estimate(line, *_float64(right.ball))
    left = enclose(line, bits, -1)
    if not _meet(left, right):
        return _estimate(line, math.nan, math.inf, "kink")
    if left.ball.overlaps(right.ball):
        return _estimate(line, *_float64(left.ball.union(right.ball)))
    slopes = (float(left.ball.mid()), float(right.ball.mid()))
    return _estimate(line, slopes[1], math.inf, "kink", slopes)


def _meet(left: Enclosure, right: Enclosure) -> bool:
    """Whether the outputs on both sides may be the same, or there is a jump."""
    pairs = ((a, b) for name in right.outputs
             for a, b in zip(left.outputs[name].payload.flat, right.outputs[name].payload.flat, strict=True))
    return all(a.x.overlaps(b.x) for a, b in pairs)


def _float64(ball: Any) -> tuple[float, float]:
    """The midpoint in float64, and a radius that covers what its rounding left out; both rounded up."""
    value = float(ball.mid())
    reach = (ball - value).abs_upper()
    return value, math.nextafter(math.nextafter(float(reach), math.inf), math.inf)


def _estimate(
    line: Line | None, value: float, error: float, reason: str = "", slopes: tuple[float, float] | None = None
) -> Estimate:
    count = line.evaluations if line else 0
    return Estimate(value, error, count, "certified", reason, slopes, certified=not reason)
