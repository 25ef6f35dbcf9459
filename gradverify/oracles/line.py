"""The forward along ``x + t v`` in another arithmetic, and differences of its outputs there.

What quad and multiprecision have in common: every floating leaf is lifted exactly, the outputs are
combined before they are rounded, and the values must be near those of the plain forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradverify.arithmetic.allocation import allocating
from gradverify.arithmetic.numberarray import NumberArray, Numbers
from gradverify.arithmetic.scipyfunctions import scipy_functions
from gradverify.arrays import Arrays, is_floating, one_ulp, to_float64
from gradverify.records import Estimate

Stencil = dict[int, float]

CENTRAL: dict[int, Stencil] = {
    1: {1: 0.5, -1: -0.5},
    2: {1: 1.0, 0: -2.0, -1: 1.0},
    3: {2: 0.5, 1: -1.0, -1: 1.0, -2: -0.5},
}  # times h^-n; the error is O(h^2)
INEXACT = 1e-3  # a larger relative difference to the plain forward is another computation
SCATTER = 8.0  # times the span of three errors: two in a hundred draws of noise lie that close together
BESIDE = 2.0**-30  # relative: far enough for every rounding inside to be another one
LAST_BITS = 512 * 2.0**-52  # of the largest value: sums in another order, functions of a few ulps
MOST_TEXT = 200
WIDER = 8.0  # times the relative distance of the values: so far the derivatives may be apart as well


def one_sided(order: int, side: int) -> Stencil:
    """``(sum_k (-1)^(n-k) binom(n, k) f(x + side k h)) side^n``, times h^-n the one-sided derivative."""
    return {side * k: float(side**order * (-1) ** (order - k) * math.comb(order, k)) for k in range(order + 1)}


@dataclass
class Line:
    """``f(x + t v)`` for a question ``<u, J v>``, counting the forwards it takes."""

    forward: Callable[[Arrays], Arrays]
    point: Arrays
    u: Arrays
    v: Arrays
    evaluations: int = 0
    allocates: bool = False  # arrays that the forward makes itself carry numbers of the arithmetic too

    def __post_init__(self) -> None:
        for name, tangent in self.v.items():
            if np.shape(tangent) != np.shape(self.point[name]):
                raise ValueError(f"v[{name!r}] has shape {np.shape(tangent)}, not {np.shape(self.point[name])}")

    def plain(self) -> Arrays:
        """The outputs in float64 as the user computes them."""
        self.evaluations += 1
        outputs = self.forward({name: _own(array) for name, array in self.point.items()})
        found = {name: to_float64(outputs[name]) for name in self.u}
        for name, cotangent in self.u.items():
            if found[name].shape != np.shape(cotangent):
                raise ValueError(f"u[{name!r}] has shape {np.shape(cotangent)}, not {found[name].shape}")
        return found

    def at(self, numbers: Numbers, t: Any) -> dict[str, NumberArray]:
        """The outputs at ``x + t v`` as numbers of that arithmetic; t None is x itself."""
        leaves = {name: self.lifted(numbers, name) for name in self.point}
        if t is not None:
            leaves |= {name: leaves[name] + numbers.wrap(tangent) * t for name, tangent in self.v.items()}
        return self.outputs(leaves, numbers)

    def outputs(self, leaves: Arrays, numbers: Numbers) -> dict[str, NumberArray]:
        """The outputs of the forward that have a cotangent."""
        self.evaluations += 1
        with scipy_functions(), allocating(numbers.wrap) if self.allocates else nullcontext():
            found = self.forward(leaves)
        return {name: _numbers(found[name], numbers) for name in self.u}

    def lifted(self, numbers: Numbers, name: str) -> Any:
        """A floating leaf as numbers of that arithmetic; others are constants and stay as they are."""
        array = self.point[name]
        return numbers.wrap(array) if is_floating(array) else _own(array)

    @property
    def room(self) -> float:
        """log2 of the step that moves no entry by more than its own size, or by more than 1."""
        return min((_room(self.point[name], tangent, 1.0) for name, tangent in self.v.items()), default=0.0)

    @property
    def reach(self) -> float:
        """The same where large entries move by their own size: too far for a sine, not far enough for a square."""
        return min((_room(self.point[name], tangent, math.inf) for name, tangent in self.v.items()), default=0.0)

    @property
    def span(self) -> float:
        """log2 of the largest entry beside that step: bits lost when it is taken."""
        largest = max((_largest(self.point[name]) for name in self.v), default=1.0)
        speed = max((_largest(tangent) for tangent in self.v.values()), default=1.0)
        return max(0.0, math.log2(max(largest, 1e-300)) - self.room - math.log2(max(speed, 1e-300)))


def twice(ask: Callable[[bool], Estimate]) -> Estimate:
    """What ``ask(allocates)`` says without, and where it is refused, with NumPy's allocations carrying numbers too."""
    found = ask(False)
    if not found.note:
        return found
    again = ask(True)
    return replace(again, evaluations=found.evaluations + again.evaluations)


def refusal(error: Exception) -> str:
    """A line on what an oracle was refused by: an absent package, or whatever a forward raises on foreign numbers."""
    return f"{type(error).__name__}: {error}".strip().rstrip(":").split("\n")[0][:MOST_TEXT]


def change(cotangent: Any, outputs: dict[int, dict[str, NumberArray]], name: str, stencil: Stencil) -> Any:
    """The terms ``u_i sum_k w_k y_k,i`` of one output."""
    total: Any = 0.0
    for k, weight in stencil.items():
        total = outputs[k][name] * weight + total
    return total * to_float64(cotangent)


def combine(u: Arrays, outputs: dict[int, dict[str, NumberArray]], stencil: Stencil) -> tuple[Any, Any]:
    """``sum_k w_k <u, y_k>`` and the sum of the moduli of its terms, as numbers without axes."""
    total, size = None, None
    for name, cotangent in u.items():
        terms = np.ravel(change(cotangent, outputs, name, stencil))
        part, modulus = np.sum(terms), np.sum(np.abs(terms))
        total, size = (part, modulus) if total is None else (total + part, size + modulus)
    return total, size


def power_of_two(numbers: Numbers, exponent: int) -> Any:
    """``2^exponent``, also where float64 has no such number."""
    result: Any = numbers.wrap(1.0)
    for _ in range(abs(exponent) // 1000):
        result = result * 2.0 ** math.copysign(1000, exponent)
    return result * 2.0 ** math.copysign(abs(exponent) % 1000, exponent)


def departure(line: Line, plain: Arrays, seen: dict[str, NumberArray], numbers: Numbers) -> float:
    """The relative distance to the plain forward that its rounding does not explain; infinite if it is another one.

    An iteration that stops by a tolerance, or a branch on what it is given, computes something near:
    as much of the derivative's terms has to join its bound.
    """
    sizes = {name: _largest_finite(y) for name, y in plain.items()}
    gaps = {name: _gap(y, seen[name].values) for name, y in plain.items()}
    if all(gap <= LAST_BITS * sizes[name] for name, gap in gaps.items()):
        return 0.0
    # Rounding is another one at inputs nearby, silent though it may be under their last bits; a difference stays.
    nearby = [Line(line.forward, _beside(line.point, key), line.u, line.v) for key in (1, 2)]
    pairs = [(plain, seen), *((there.plain(), there.at(numbers, None)) for there in nearby)]
    line.evaluations += sum(there.evaluations for there in nearby)
    beyond = {name: gap for name, gap in gaps.items()
              if gap > LAST_BITS * sizes[name] + SCATTER * _scatter([y[name] - z[name].values for y, z in pairs])}
    if any(gap > INEXACT * sizes[name] for name, gap in beyond.items()):
        return math.inf
    return WIDER * max((gap / sizes[name] for name, gap in beyond.items()), default=0.0)


def _beside(point: Arrays, key: int) -> Arrays:
    return {name: one_ulp(array, key, BESIDE) for name, array in point.items()}


def _scatter(errors: list[np.ndarray]) -> float:
    with np.errstate(invalid="ignore"):
        span = np.max(errors, axis=0) - np.min(errors, axis=0)
    return float(np.max(span[np.isfinite(span)], initial=0.0))


def _gap(expected: np.ndarray, seen: np.ndarray) -> float:
    known = np.isfinite(expected) & np.isfinite(seen)
    lost = np.isfinite(expected) & ~np.isfinite(seen)
    return math.inf if np.any(lost) else float(np.max(np.abs(expected[known] - seen[known]), initial=0.0))


def _largest_finite(array: np.ndarray) -> float:
    return float(np.max(np.abs(array[np.isfinite(array)]), initial=0.0))


def _numbers(output: Any, numbers: Numbers) -> NumberArray:
    # What is done with outputs afterwards is no part of the forward, and its noise none of the forward's.
    clean = replace(numbers, moved=None)
    if isinstance(output, NumberArray):
        return NumberArray(output.payload, clean)
    return clean.wrap(to_float64(output))  # a plain output does not depend on v


def _own(array: Any) -> Any:
    return array.copy() if isinstance(array, np.ndarray) else array


def _room(x: Any, v: Any, most: float) -> float:
    size, speed = np.abs(to_float64(x)), np.abs(to_float64(v))
    moving = speed > 0
    own = np.where(size > 0, np.minimum(size, most), 1.0)[moving]
    return math.floor(float(np.min(np.log2(own) - np.log2(speed[moving]), initial=1024.0)))


def _largest(array: Any) -> float:
    return float(np.max(np.abs(to_float64(array)), initial=0.0))
