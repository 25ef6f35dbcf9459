"""Families of forwards to try oracles on, each with its derivative from mpmath at 250 digits.

A family draws a case: a formula `f(m, x, c)` over a number system `m` (NumPy scalars of some dtype, or
mpmath), a point x, a tangent v and constants c that are exact in the dtype. The formula is run natively
for phi(t) = f(x + t v) and in mpmath for the truth, from the very same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import mpmath
import numpy as np

Formula = Callable[[Any, list[Any], list[Any]], Any]
TRUTH_STEP = mpmath.mpf(10) ** -28
NOTHING = mpmath.mpf(10) ** -240  # of the terms of a difference: their rounding
BITS = {"float64": 20, "float32": 10, "float16": 4, "bfloat16": 4}
MOST_PARTS = 8  # partial derivatives are taken one by one, for as many inputs as this
mpmath.mp.dps = 250  # a slope of 1e-63, or a third derivative of 1e-76, beside a value of 1 must come out too


@dataclass(frozen=True)
class Case:
    """One forward along one line. `slopes` are the one-sided derivatives, equal unless 0 is a kink."""

    family: str
    phi: Callable[[float], float]
    eps: float
    slopes: tuple[float, float]
    scale: float  # root of the sum of squares of g_i v_i: what the slope is without cancellation
    note: str
    formula: Formula
    x: list[float]
    v: list[float]
    c: list[float]


@dataclass(frozen=True)
class Family:
    """How to draw a case; `goal` is the relative bound asked of nine in ten, None where none is."""

    name: str
    draw: Callable[[np.random.Generator], tuple[Formula, list[float], list[float], str]]
    dtype: Any = np.float64
    goal: float | None = 1e-6

    @property
    def eps(self) -> float:
        """The spacing of the dtype at 1."""
        return float(ml_dtypes.finfo(self.dtype).eps)


class Native:
    """NumPy functions that keep the dtype of their scalar argument."""

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        ufunc = getattr(np, name)
        return lambda x: type(x)(ufunc(x))

    @staticmethod
    def maximum(a: Any, b: Any) -> Any:
        return max(a, b)

    @staticmethod
    def solve(a: list[list[Any]], b: list[Any]) -> list[Any]:
        return list(np.linalg.solve(np.array(a), np.array(b)))

    @staticmethod
    def single(x: Any) -> Any:
        return type(x)(np.float32(x))

    @staticmethod
    def round(x: Any) -> Any:
        return type(x)(np.rint(x))


class Exact:
    """The same functions at 250 digits; rounding to a narrower type is the identity there."""

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        return getattr(mpmath, name)

    @staticmethod
    def maximum(a: Any, b: Any) -> Any:
        return max(a, b)

    @staticmethod
    def abs(x: Any) -> Any:
        return mpmath.fabs(x)

    @staticmethod
    def solve(a: list[list[Any]], b: list[Any]) -> list[Any]:
        return list(mpmath.lu_solve(mpmath.matrix(a), mpmath.matrix(b)))

    @staticmethod
    def single(x: Any) -> Any:
        return x

    @staticmethod
    def round(x: Any) -> Any:
        return mpmath.nint(x)


def draw_case(family: Family, seed: int, order: int = 1) -> Case:
    """The case of a seed: native forward, spacing, true one-sided derivatives of that order."""
    rng = np.random.default_rng([seed, sum(map(ord, family.name))])
    formula, x, c, note = family.draw(rng)
    kind = family.dtype
    x, c = [[float(kind(value)) for value in values] for values in (x, c)]
    v = [_few_bits(rng, value, BITS[np.dtype(kind).name]) for value in x]

    def phi(t: float) -> float:
        moved = [kind(a + t * b) for a, b in zip(x, v, strict=True)]
        return float(formula(Native(), moved, [kind(value) for value in c]))

    return Case(family.name, phi, family.eps, *_truth(formula, x, v, c, order), note, formula, x, v, c)


def _few_bits(rng: np.random.Generator, x: float, bits: int) -> float:
    """Of the size of x and of few bits, as the probes of `check` are."""
    size = 2.0 ** math.floor(math.log2(abs(x))) if x else 1.0
    return float(rng.choice([-1.0, 1.0])) * size * round(rng.uniform(0.5, 1.5) * 2**bits) / 2**bits


def _truth(
    formula: Formula, x: list[float], v: list[float], c: list[float], order: int
) -> tuple[tuple[float, float], float]:
    exact = [mpmath.mpf(value) for value in c]

    def at(t: Any, along: list[float]) -> Any:
        moved = [mpmath.mpf(a) + t * mpmath.mpf(b) for a, b in zip(x, along, strict=True)]
        return formula(Exact(), moved, exact)

    def one_sided(step: Any, along: list[float]) -> float:
        # Steps are relative to the point: error 1e-28, far below any bound in double precision.
        terms = [(-1) ** (order - k) * math.comb(order, k) * at(k * step, along) for k in range(order + 1)]
        total = sum(terms)
        nothing = abs(total) <= NOTHING * sum(map(abs, terms))
        return 0.0 if nothing else float(total / step**order)

    left, right = (one_sided(s * TRUTH_STEP, v) for s in (-1, 1))
    if len(v) > MOST_PARTS or order > 1:
        return (left, right), max(abs(left), abs(right))
    single = [[b if i == j else 0.0 for j, b in enumerate(v)] for i in range(len(v))]
    return (left, right), math.hypot(*(one_sided(TRUTH_STEP, along) for along in single))


def _normal(rng: np.random.Generator, n: int) -> list[float]:
    return [float(value) for value in rng.normal(size=n)]


def _size(rng: np.random.Generator, low: float, high: float) -> float:
    return float(10.0 ** rng.uniform(low, high))


def _entire(m: Any, x: list[Any], c: list[Any]) -> Any:
    return m.sin(c[0] * x[0]) * m.exp(c[1] * x[1]) + m.cos(x[2] * x[0]) + c[2] * x[1] * x[2]


def draw_entire(rng: np.random.Generator) -> Any:
    return _entire, _normal(rng, 3), _normal(rng, 3), ""


def draw_pole(rng: np.random.Generator) -> Any:
    distance = _size(rng, -4, 0.3)
    p = 1.0 + distance * rng.choice([-1, 1])
    return lambda _, x, c: x[1] / (x[0] - c[0]) + x[0] * x[0], [1.0, *_normal(rng, 1)], [p], f"{distance:.1e}"


def draw_lorentz(rng: np.random.Generator) -> Any:
    width = _size(rng, -4, 0)
    x = [float(rng.uniform(0.5, 2.0))]
    return (lambda _, x, c: c[0] / ((x[0] - c[1]) * (x[0] - c[1]) + c[0]), x,
            [width * width, x[0] + width * rng.normal()], f"{width:.1e}")


def draw_stiff(rng: np.random.Generator) -> Any:
    return lambda m, x, c: m.sin(c[0] * x[0]) + x[1] * x[0], _normal(rng, 2), [300.0], ""


def draw_fast(rng: np.random.Generator) -> Any:
    speed = _size(rng, 3, 6)
    return lambda m, x, c: m.sin(c[0] * x[0]), [float(rng.uniform(0.5, 2))], [speed], f"{speed:.1e}"


def draw_ripple(rng: np.random.Generator) -> Any:
    speed, height = _size(rng, 2, 5), _size(rng, -7, -2)
    return (lambda m, x, c: m.exp(x[0]) + c[1] * m.sin(c[0] * x[0]), [float(rng.uniform(0.5, 2))],
            [speed, height], f"speed {speed:.1e} height {height:.1e}")


def draw_offset(rng: np.random.Generator) -> Any:
    offset = _size(rng, 3, 9)
    c = [*_normal(rng, 3), offset]
    return lambda m, x, c: c[3] + _entire(m, x, c), _normal(rng, 3), c, f"{offset:.1e}"


def draw_cancel(rng: np.random.Generator) -> Any:
    offset = _size(rng, 3, 10)
    c = [*_normal(rng, 3), offset]
    return lambda m, x, c: (c[3] + _entire(m, x, c)) - c[3], _normal(rng, 3), c, f"{offset:.1e}"


def draw_exponents(rng: np.random.Generator) -> Any:
    size, out = _size(rng, -12, 12), _size(rng, -12, 12)
    return (lambda m, x, c: c[3] * _entire(m, [a / c[4] for a in x], c), [a * size for a in _normal(rng, 3)],
            [*_normal(rng, 3), out, size], f"{size:.0e} {out:.0e}")


def draw_log(rng: np.random.Generator) -> Any:
    near = _size(rng, -9, -0.5)
    return lambda m, x, c: m.log(x[0] - c[0]) + x[0] * x[0], [1.0 + near], [1.0], f"{near:.1e}"


def draw_sqrt(rng: np.random.Generator) -> Any:
    near = _size(rng, -9, -0.5)
    return lambda m, x, c: m.sqrt(x[0] - c[0]) * x[1], [1.0 + near, *_normal(rng, 1)], [1.0], f"{near:.1e}"


def draw_flat(rng: np.random.Generator) -> Any:
    kind, x = rng.integers(4), float(rng.uniform(0.5, 2.0))
    formula = [lambda m, x, c: m.tanh(c[0] * x[0]), lambda m, x, c: m.maximum(c[1], x[0] - c[0]),
               lambda _, x, c: c[0] + c[1] * x[0], lambda m, x, c: m.exp(-c[0] * c[0] * x[0])][kind]
    return formula, [x], [float(rng.uniform(40, 60)), 0.0], ["tanh", "dead", "constant", "underflow"][kind]


def draw_staircase(rng: np.random.Generator) -> Any:
    bits, inside, x = int(rng.integers(2, 13)), rng.random() < 0.5, float(rng.uniform(0.5, 2))
    if inside:
        c = [2.0**bits, *_normal(rng, 1)]
        return lambda m, x, c: m.tanh(m.round(x[0] * c[0]) / c[0]) * c[1], [x], c, f"{bits} bits inside"
    return lambda m, x, c: m.round(x[0] * c[0]) / c[0], [x], [2.0**bits], f"{bits} bits"


def _bent(m: Any, x: list[Any], c: list[Any]) -> Any:
    return m.exp(c[0] * x[0]) + c[1] * m.abs(x[0] - c[2]) + c[3] * m.maximum(x[0], c[2])


def draw_kink(rng: np.random.Generator) -> Any:
    x, gap = float(rng.uniform(0.5, 2)), _size(rng, -2.5, 1)
    return _bent, [x], [*_normal(rng, 1), gap, x, gap * rng.uniform(0, 1)], f"gap {gap:.1e}"


def draw_near_kink(rng: np.random.Generator) -> Any:
    x, gap, away = float(rng.uniform(0.5, 2)), _size(rng, -2.5, 1), _size(rng, -12, -0.5)
    c = [*_normal(rng, 1), gap, x * (1 + away * rng.choice([-1, 1])), gap * rng.uniform(0, 1)]
    return _bent, [x], c, f"gap {gap:.1e} away {away:.1e}"


def _softmax(m: Any, x: list[Any], c: list[Any]) -> Any:
    top = x[0]
    for value in x[1:]:
        top = m.maximum(top, value)
    e = [m.exp(value - top) for value in x]
    return sum(c[i] * e[i] for i in range(len(e))) / sum(e)


def draw_softmax(rng: np.random.Generator) -> Any:
    spread = _size(rng, -1, 1.7)
    return _softmax, [spread * a for a in _normal(rng, 5)], _normal(rng, 5), f"{spread:.1e}"


def draw_solve(rng: np.random.Generator) -> Any:
    n = int(rng.integers(2, 7))

    def formula(m: Any, x: list[Any], c: list[Any]) -> Any:
        a = [[x[i * n + j] for j in range(n)] for i in range(n)]
        y = m.solve(a, c[:n])
        return sum(c[n + i] * y[i] for i in range(n))

    hilbert = [1.0 / (i + j + 1) for i in range(n) for j in range(n)]
    return formula, hilbert, _normal(rng, 2 * n), f"n = {n}"


def _network(depth: int, width: int, act: Callable[[Any, Any], Any]) -> Formula:
    def formula(m: Any, x: list[Any], c: list[Any]) -> Any:
        h, used = x, 0
        for _ in range(depth):
            rows = [c[used + i * width : used + (i + 1) * width] for i in range(width)]
            used += width * width
            h = [act(m, sum(w * a for w, a in zip(row, h, strict=True))) for row in rows]
        return sum(h)

    return formula


def draw_tanh_network(rng: np.random.Generator) -> Any:
    depth, width = int(rng.integers(1, 31)), 4
    gain = float(rng.uniform(0.8, 2.0)) / math.sqrt(width)
    c = [gain * a for a in _normal(rng, depth * width * width)]
    return _network(depth, width, lambda m, z: m.tanh(z)), _normal(rng, width), c, f"depth {depth}"


def draw_relu_network(rng: np.random.Generator) -> Any:
    depth, width = int(rng.integers(1, 11)), 8
    c = [a * math.sqrt(2 / width) for a in _normal(rng, depth * width * width)]
    return _network(depth, width, lambda m, z: m.maximum(z, z * 0)), _normal(rng, width), c, f"depth {depth}"


def draw_single_inside(rng: np.random.Generator) -> Any:
    return (lambda m, x, c: m.single(m.sin(m.single(c[0] * x[0]))) * x[1] + m.single(m.exp(m.single(x[1]))),
            _normal(rng, 2), _normal(rng, 1), "")


def draw_newton(rng: np.random.Generator) -> Any:
    def formula(_: Any, x: list[Any], c: list[Any]) -> Any:
        y = c[0]
        for _ in range(9):
            y = (y + x[0] / y) / c[1]
        return y

    return formula, [float(rng.uniform(0.5, 4))], [1.0, 2.0], ""


def draw_low(rng: np.random.Generator) -> Any:
    formula = [_entire, lambda m, x, c: m.tanh(x[0] * x[1]) + c[0] * x[2],
               lambda _, x, c: x[0] * x[1] / (c[0] * c[0] + x[2] * x[2]) + x[0]][int(rng.integers(3))]
    return formula, _normal(rng, 3), _normal(rng, 3), ""


FAMILIES = (
    Family("entire", draw_entire), Family("pole nearby", draw_pole), Family("narrow peak", draw_lorentz),
    Family("sin(300 z)", draw_stiff), Family("sin(1e3..1e6 z)", draw_fast, goal=None),
    Family("fast ripple", draw_ripple, goal=None), Family("offset 1e3..1e9", draw_offset, goal=None),
    Family("inner cancellation", draw_cancel, goal=None), Family("exponents -12..12", draw_exponents),
    Family("log near its edge", draw_log, goal=None), Family("sqrt near its edge", draw_sqrt, goal=None),
    Family("flat", draw_flat, goal=None), Family("staircase", draw_staircase, goal=None),
    Family("kink at the point", draw_kink, goal=None), Family("kink nearby", draw_near_kink, goal=None),
    Family("softmax", draw_softmax), Family("ill-conditioned solve", draw_solve, goal=None),
    Family("tanh network", draw_tanh_network), Family("relu network", draw_relu_network),
    Family("newton inside", draw_newton), Family("float32 inside", draw_single_inside, goal=None),
    Family("float32", draw_low, np.float32, 1e-3), Family("float16", draw_low, np.float16, 1e-1),
    Family("bfloat16", draw_low, ml_dtypes.bfloat16, 1e-1),
)
