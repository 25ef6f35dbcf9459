"""Dual numbers ``x + x' t`` over balls (`arb` of python-flint): values and slopes enclosed, not estimated.

    (x + x' t)(y + y' t) = x y + (x y' + x' y) t,     f(x + x' t) = f(x) + f'(x) x' t

Every ball contains the exact number, whatever was rounded, so the slope's ball contains the exact
derivative of the forward along its tangent. A comparison is answered only where the balls are apart;
equal points part along their slopes, on the `side` of t that is asked; anything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from scipy import special

from gradverify.arithmetic.functions import Refused
from gradverify.arithmetic.numberarray import Numbers
from gradverify.arithmetic.scalars import elementwise

Row = Callable[..., Any]


@dataclass
class Side:
    """On which side of t = 0 ties are decided, and whether there were any."""

    sign: int = 1
    ties: int = 0


class Dual:
    """``x + dx t`` with balls x and dx; dx None is a constant, which no operation has to carry."""

    __slots__ = ("dx", "side", "x")

    def __init__(self, x: Any, dx: Any, side: Side) -> None:
        self.x, self.dx, self.side = x, dx, side

    def __add__(self, other: Dual) -> Dual:
        dx = other.dx if self.dx is None else self.dx if other.dx is None else self.dx + other.dx
        return Dual(self.x + other.x, dx, self.side)

    def __sub__(self, other: Dual) -> Dual:
        return self + (-other)

    def __mul__(self, other: Dual) -> Dual:
        a, b = self.dx, other.dx
        left, right = None if a is None else a * other.x, None if b is None else self.x * b
        dx = right if left is None else left if right is None else left + right
        return Dual(self.x * other.x, dx, self.side)

    def __truediv__(self, other: Dual) -> Dual:
        q = self.x / other.x
        if other.dx is None:
            return Dual(q, None if self.dx is None else self.dx / other.x, self.side)
        turn = q * other.dx
        return Dual(q, (-turn if self.dx is None else self.dx - turn) / other.x, self.side)

    def __neg__(self) -> Dual:
        return Dual(-self.x, None if self.dx is None else -self.dx, self.side)

    def __abs__(self) -> Dual:
        return self if _order(self, Dual(self.x * 0, None, self.side)) >= 0 else -self

    def __lt__(self, other: Dual) -> bool:
        return _strict(self, other) < 0

    def __gt__(self, other: Dual) -> bool:
        return _strict(self, other) > 0

    def __le__(self, other: Dual) -> bool:
        return _strict(self, other) <= 0

    def __ge__(self, other: Dual) -> bool:
        return _strict(self, other) >= 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dual) and _strict(self, other) == 0

    __hash__ = None  # type: ignore[assignment]

    def __float__(self) -> float:
        return float(self.x.mid())


def _order(a: Dual, b: Dual) -> int:
    """-1, 0 or 1 for all small t of the side that is asked; 0 if equal in value and slope."""
    if a.x > b.x:
        return 1
    if a.x < b.x:
        return -1
    if not (a.x.is_exact() and b.x.is_exact() and a.x == b.x):
        raise Refused("a comparison of balls that overlap")
    zero = a.x * 0
    p, q = zero if a.dx is None else a.dx, zero if b.dx is None else b.dx
    if p.is_exact() and q.is_exact() and p == q:
        return 0
    a.side.ties += 1
    if p > q or p < q:
        return a.side.sign if p > q else -a.side.sign
    raise Refused("a tie whose slopes cannot be told apart")


def _strict(a: Dual, b: Dual) -> int:
    """The same for a branch, which may not take x^2 for 0 at 0: equal are constants and the same number."""
    found = 0 if a is b else _order(a, b)
    if found == 0 and a is not b and not (a.dx is None and b.dx is None):
        raise Refused("a tie to first order")
    return found


def _larger(a: Dual, b: Dual) -> Dual:
    return a if _order(a, b) >= 0 else b


def _smaller(a: Dual, b: Dual) -> Dual:
    return a if _order(a, b) <= 0 else b


def _carry(f: Row, slope: Row) -> Row:
    """``f(x) + f'(x) x' t`` of a dual number; `slope` is called with x and f(x)."""

    def rule(z: Dual) -> Dual:
        y = f(z.x)
        if y.is_nan() or z.dx is None:
            return Dual(y, None if z.dx is None else y, z.side)  # no value, hence no slope
        return Dual(y, slope(z.x, y) * z.dx, z.side)

    return elementwise(rule)


def _expit(x: Any) -> Any:
    # Either form encloses; the one that does not cancel or overflow encloses tightly.
    return 1 / (1 + (-x).exp()) if x.mid() >= 0 else x.exp() / (1 + x.exp())


def _softplus(x: Any) -> Any:
    return x + (-x).exp().log1p() if x.mid() >= 0 else x.exp().log1p()


def _by_name(arb: Any) -> dict[Any, Row]:
    """Rules on dual numbers by ufunc, each with its derivative (Abramowitz and Stegun, ch. 4 to 7)."""
    two_by_root_pi = 2 / arb.pi().sqrt()
    return {
        np.exp: _carry(arb.exp, lambda x, y: y), np.expm1: _carry(arb.expm1, lambda x, y: y + 1),
        np.log: _carry(arb.log, lambda x, y: 1 / x), np.log1p: _carry(arb.log1p, lambda x, y: 1 / (1 + x)),
        np.sqrt: _carry(arb.sqrt, lambda x, y: 1 / (2 * y)),
        np.sin: _carry(arb.sin, lambda x, y: x.cos()), np.cos: _carry(arb.cos, lambda x, y: -x.sin()),
        np.tan: _carry(arb.tan, lambda x, y: 1 + y * y),
        np.sinh: _carry(arb.sinh, lambda x, y: x.cosh()), np.cosh: _carry(arb.cosh, lambda x, y: x.sinh()),
        # 1 - tanh^2 would lose every digit in saturation.
        np.tanh: _carry(arb.tanh, lambda x, y: x.sech() ** 2),
        np.arcsin: _carry(arb.asin, lambda x, y: 1 / (1 - x * x).sqrt()),
        np.arccos: _carry(arb.acos, lambda x, y: -1 / (1 - x * x).sqrt()),
        np.arctan: _carry(arb.atan, lambda x, y: 1 / (1 + x * x)),
        np.arcsinh: _carry(arb.asinh, lambda x, y: 1 / (1 + x * x).sqrt()),
        np.arccosh: _carry(arb.acosh, lambda x, y: 1 / ((x - 1) * (x + 1)).sqrt()),
        np.arctanh: _carry(arb.atanh, lambda x, y: 1 / ((1 - x) * (1 + x))),
        np.cbrt: _carry(_cbrt, lambda x, y: 1 / (3 * y * y)),
        special.expit: _carry(_expit, lambda x, y: y * _expit(-x)),
        special.log_expit: _carry(lambda x: -_softplus(-x), lambda x, y: _expit(-x)),
        special.erf: _carry(arb.erf, lambda x, y: two_by_root_pi * (-x * x).exp()),
        special.erfc: _carry(arb.erfc, lambda x, y: -two_by_root_pi * (-x * x).exp()),
        special.gamma: _carry(arb.gamma, lambda x, y: y * x.digamma()),
        special.gammaln: _carry(_positive(arb.lgamma), lambda x, y: x.digamma()),
        special.loggamma: _carry(_positive(arb.lgamma), lambda x, y: x.digamma()),
        special.psi: _carry(arb.digamma, lambda x, y: arb(2).zeta(x)),
        **({special.softplus: _carry(_softplus, lambda x, y: _expit(x))} if hasattr(special, "softplus") else {}),
    }


def _cbrt(x: Any) -> Any:
    if x > 0 or x < 0:
        return x.root(3) if x > 0 else -((-x).root(3))
    raise Refused("a cube root at zero")


def _positive(f: Row) -> Row:
    def checked(x: Any) -> Any:
        if not x > 0:
            raise Refused("the logarithm of the gamma function left of zero")
        return f(x)

    return checked


def _power(a: Dual, p: Dual) -> Dual:
    if p.dx is None and p.x.is_integer():
        n = p.x.unique_fmpz()
        dx = None if a.dx is None or n == 0 else n * a.x ** (n - 1) * a.dx
        return Dual(a.x**n, dx, a.side)
    if not a.x > 0:
        raise Refused("a power of a number that may not be positive")
    y = a.x**p.x
    dx = None if a.dx is None else p.x * a.x ** (p.x - 1) * a.dx
    if p.dx is not None:
        turn = y * a.x.log() * p.dx
        dx = turn if dx is None else dx + turn
    return Dual(y, dx, a.side)


def _logaddexp(a: Dual, b: Dual) -> Dual:
    """``b + softplus(a - b)``: smooth, so that a tie is none."""
    gap = a - b
    if not gap.x.is_finite():
        raise Refused("logaddexp of infinities")
    dx = None if gap.dx is None else _expit(gap.x) * gap.dx
    return b + Dual(_softplus(gap.x), dx, a.side)


def _arctan2(y: Dual, x: Dual) -> Dual:
    square = x.x * x.x + y.x * y.x
    up = None if y.dx is None else x.x * y.dx
    down = None if x.dx is None else -y.x * x.dx
    dx = up if down is None else down if up is None else up + down
    angle = type(y.x).atan2(y.x, x.x)
    if not angle.is_finite() or (x.x <= 0 and y.x.contains(0)):
        raise Refused("arctan2 at its cut")
    return Dual(angle, None if dx is None else dx / square, x.side)


def _step(rounding: str) -> Row:
    def rule(z: Dual) -> Dual:
        y = getattr(z.x, rounding)()
        if not y.is_exact() or (z.dx is not None and z.x.is_integer()):
            raise Refused("a step of a staircase")
        return Dual(y, None, z.side)

    return elementwise(rule)


def _sign(z: Dual) -> Dual:
    return Dual(z.x * 0 + _order(z, Dual(z.x * 0, None, z.side)), None, z.side)


def _rows(arb: Any) -> dict[Any, Row]:
    operators = (np.add, np.subtract, np.multiply, np.divide, np.negative, np.absolute, np.greater,
                 np.less, np.greater_equal, np.less_equal, np.equal, np.not_equal)
    floor, ceil = _step("floor"), _step("ceil")
    return {
        **{ufunc: ufunc for ufunc in operators}, **_by_name(arb),
        np.maximum: elementwise(_larger, 2), np.minimum: elementwise(_smaller, 2),
        np.power: elementwise(_power, 2), np.logaddexp: elementwise(_logaddexp, 2),
        np.arctan2: elementwise(_arctan2, 2), np.floor: floor, np.ceil: ceil, np.sign: elementwise(_sign),
        np.signbit: lambda z: np.less(z, _zeros(z)),
        np.isnan: _tested(lambda x: x.is_nan()), np.isfinite: _tested(lambda x: x.is_finite()),
        np.isinf: _tested(lambda x: not x.is_finite() and not x.is_nan()),
    }  # fmt: skip


def _tested(test: Row) -> Row:
    def rule(z: Any) -> Any:
        return np.asarray(elementwise(lambda d: bool(test(d.x)))(z)).astype(bool)

    return rule


def _zeros(z: Any) -> Any:
    return elementwise(lambda d: Dual(d.x * 0, None, d.side))(z)


def _matmul(flint: Any) -> Row:
    """One product of arb matrices for the values and up to two for the slopes, in C."""

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.array((flint.arb_mat(a.tolist()) * flint.arb_mat(b.tolist())).tolist(), dtype=object)

    def matrices(a: np.ndarray, b: np.ndarray, side: Side) -> np.ndarray:
        x, y = _parts(a, "x"), _parts(b, "x")
        value, slopes = product(x, y), []
        if (dx := _slopes(a, flint.arb)) is not None:
            slopes.append(product(dx, y))
        if (dy := _slopes(b, flint.arb)) is not None:
            slopes.append(product(x, dy))
        dual = elementwise(lambda v, d: Dual(v, d, side), 2)
        return np.asarray(dual(value, sum(slopes[1:], slopes[0]) if slopes else None), dtype=object)

    def matmul(a: np.ndarray, b: np.ndarray) -> Any:
        left, right = a[None, :] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
        stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        left = np.broadcast_to(left, stack + left.shape[-2:])
        right = np.broadcast_to(right, stack + right.shape[-2:])
        total = np.empty((*stack, left.shape[-2], right.shape[-1]), dtype=object)
        if left.shape[-1] != right.shape[-2] or not total.size or not left.size:
            raise Refused(f"matmul of shapes {a.shape} and {b.shape}")
        for index in np.ndindex(stack):
            total[index] = matrices(left[index], right[index], left.flat[0].side)
        total = total[..., 0, :] if a.ndim == 1 else total
        return total[..., 0] if b.ndim == 1 else total

    return matmul


def _parts(a: np.ndarray, name: str) -> np.ndarray:
    return np.asarray(elementwise(lambda d: getattr(d, name))(a), dtype=object)


def _slopes(a: np.ndarray, arb: Any) -> np.ndarray | None:
    if all(d.dx is None for d in a.flat):
        return None
    zero = arb(0)
    return np.asarray(elementwise(lambda d: zero if d.dx is None else d.dx)(a), dtype=object)


def balls(side: Side) -> Numbers:
    """Dual numbers over balls of flint's current precision; raises `ImportError` without python-flint."""
    flint = import_module("flint")

    def lift(x: Any) -> Dual:
        if isinstance(x, Dual):
            return x
        exact = int(x) if isinstance(x, (bool, int, np.bool_, np.integer)) else float(x)
        return Dual(flint.arb(exact), None, side)

    rows, convert = _rows(flint.arb), elementwise(lift)
    rows[np.matmul] = _matmul(flint)
    constants = {"pi": flint.arb.pi, "ln2": lambda: flint.arb(2).log()}
    return Numbers(
        name="ball", dtype=np.dtype(object), lift=lambda a: np.asarray(convert(a), dtype=object),
        lower=lambda a: np.asarray(a, dtype=object).astype(np.float64), ufuncs=rows,
        constant=lambda name: Dual(constants[name](), None, side),
    )  # fmt: skip


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """The working precision of flint for a while."""
    context = import_module("flint").ctx
    before = context.prec
    context.prec = bits
    try:
        yield
    finally:
        context.prec = before
