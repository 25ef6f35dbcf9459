"""The commonest ufuncs on a + ib with its two parts kept apart: each is a few real ones of NumPy's fast loops.

Real parts are computed as the plain forward computes them. Imaginary parts follow the addition theorems with
cosh b = 1 and sinh b = b, as they are for infinitesimal b, and for products a d + b c. Every rule takes the
`Watch` of the run and `Planes` (or plain real) operands, and returns the two parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradverify.arithmetic import complextable
from gradverify.arithmetic.complextable import Watch, imag, join, order, real, signbit

Array = np.ndarray
Parts = tuple[Any, Any]
Rule = Callable[..., Parts]

ONE, TWO, MINUS_TWO = np.array(1.0), np.array(2.0), np.array(-2.0)  # NumPy is slower with Python's own numbers


@dataclass(slots=True)
class Planes:
    """Two float64 arrays of one shape; what asks only for parts and dtype takes it for a complex array."""

    real: Array
    imag: Array
    dtype: ClassVar[np.dtype] = np.dtype(np.complex128)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.real.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """That of either part."""
        return self.real.shape

    def joined(self) -> Array:
        """A complex copy."""
        return join(self.real, self.imag)


def parted(z: Any) -> Planes:
    """The two parts of a complex array, copied."""
    whole = np.asarray(z, np.complex128)
    return Planes(whole.real.copy(), whole.imag.copy())


def analytic(ufunc: np.ufunc, turn: Callable[[Any, Any, Any], Any]) -> Rule:
    """``f(a) + i turn(a, f(a), b)``."""

    def rule(watch: Watch, z: Any) -> Parts:
        y = ufunc(z.real)
        return y, turn(z.real, y, z.imag)

    return rule


def sech_squared(x: Any, y: Any, b: Any) -> Any:
    """``b e (1 + |y|)^2`` with e = exp(-2 |x|) and y = tanh x: in saturation 1 - y^2 has no digits."""
    e = np.abs(x)
    e *= MINUS_TWO
    e = np.exp(e)
    rest = np.abs(y)
    rest += ONE
    rest *= rest
    rest *= e
    rest *= b
    return rest


def _positive(x: Any, im: Any) -> Any:
    """`im`, and NaN where a logarithm or a root has no slope."""
    open_ = x > 0
    return im if np.all(open_) else np.where(open_, im, np.nan)


def _spread(im: Any, re: Any) -> Any:
    """A copy of the shape of the real part: no two arrays of a forward share memory that ndarrays would not."""
    return im.copy() if im.shape == re.shape else np.array(np.broadcast_to(im, re.shape))


def add(watch: Watch, a: Any, b: Any) -> Parts:
    """Both parts added."""
    re = real(a) + real(b)
    if type(a) is Planes and type(b) is Planes:
        return re, a.imag + b.imag
    return re, _spread(a.imag if type(a) is Planes else b.imag, re)


def subtract(watch: Watch, a: Any, b: Any) -> Parts:
    """Both parts subtracted."""
    re = real(a) - real(b)
    if type(a) is Planes and type(b) is Planes:
        return re, a.imag - b.imag
    return re, _spread(a.imag, re) if type(a) is Planes else -_spread(b.imag, re)


def multiply(watch: Watch, a: Any, b: Any) -> Parts:
    """``a c + i (a d + b c)``."""
    x, y = real(a), real(b)
    if type(b) is not Planes:
        return x * y, a.imag * y
    if a is b:
        return square(watch, a)
    im = x * b.imag
    if type(a) is Planes:
        im += a.imag * y
    return x * y, im


def square(watch: Watch, z: Any) -> Parts:
    """``a^2 + 2iab``."""
    im = z.real * z.imag
    im *= TWO
    return np.square(z.real), im


def divide(watch: Watch, a: Any, b: Any) -> Parts:
    """``q + i (b - q d) / c`` with q = a / c; where c is infinite nothing is left to move: 1 / (1 + exp(800))."""
    x, c = real(a), real(b)
    q = x / c
    if type(b) is not Planes:
        return q, a.imag / c
    im = q * b.imag
    im = a.imag - im if type(a) is Planes else -im
    im /= c
    endless = np.isinf(c)
    return q, np.where(endless & np.isfinite(x), 0.0, im) if np.any(endless) else im


def power(watch: Watch, a: Any, p: Any) -> Parts:
    """``a^n + i n a^(n-1) b`` for whole n from 2 on, or whatever the complex rule says."""
    if type(p) is not Planes and p.ndim == 0 and p >= 2 and p == np.trunc(p):
        return square(watch, a) if p == 2 else _whole_power(a, p)
    z = complextable.power(watch, whole(a), whole(p))
    return z.real.copy(), z.imag.copy()


def _whole_power(a: Any, n: Any) -> Parts:
    im = np.square(a.real) if n == 3 else np.power(a.real, n - 1)
    im *= n
    im *= a.imag
    return np.power(a.real, n), im


def whole(a: Any) -> Any:
    """A complex array; a plain one as it is."""
    return a.joined() if type(a) is Planes else a


def matmul(watch: Watch, a: Any, b: Any) -> Parts:
    """Three real products where a complex one takes four."""
    if type(b) is not Planes:
        return a.real @ b, a.imag @ b
    if type(a) is not Planes:
        return a @ b.real, a @ b.imag
    im = a.real @ b.imag
    im += a.imag @ b.real
    return a.real @ b.real, im


def maximum(watch: Watch, a: Any, b: Any) -> Parts:
    """The larger, NaN first; of tied ones the faster."""
    above, level = order(watch, a, b)
    re = np.maximum(real(a), real(b))
    return re, np.where(above | level | np.isnan(real(a)), imag(a), imag(b))


def minimum(watch: Watch, a: Any, b: Any) -> Parts:
    """The smaller, NaN first; of tied ones the slower."""
    above, level = order(watch, b, a)
    re = np.minimum(real(a), real(b))
    return re, np.where(above | level | np.isnan(real(a)), imag(a), imag(b))


def absolute(watch: Watch, z: Any) -> Parts:
    """The sign of the real part on both, and at zero the one to which the tangent moves."""
    below, _ = order(watch, np.zeros(()), z)
    return np.abs(z.real), np.where(below, -z.imag, z.imag)


EXACT: dict[Any, Rule] = {
    np.positive: lambda watch, z: (+z.real, +z.imag), np.negative: lambda watch, z: (-z.real, -z.imag),
    np.conjugate: lambda watch, z: (+z.real, +z.imag),
    np.absolute: absolute, np.fabs: absolute, np.maximum: maximum, np.minimum: minimum,
}

PLAIN: dict[Any, Callable[..., Any]] = {
    np.greater: lambda watch, a, b: order(watch, a, b)[0],
    np.less: lambda watch, a, b: order(watch, b, a)[0],
    np.greater_equal: lambda watch, a, b: np.logical_or(*order(watch, a, b)),
    np.less_equal: lambda watch, a, b: np.logical_or(*order(watch, b, a)),
    np.equal: lambda watch, a, b: order(watch, a, b)[1],
    np.not_equal: lambda watch, a, b: ~order(watch, a, b)[1],
    np.isnan: lambda watch, z: np.isnan(z.real), np.isfinite: lambda watch, z: np.isfinite(z.real),
    np.isinf: lambda watch, z: np.isinf(z.real), np.signbit: signbit,
    np.logical_not: lambda watch, z: order(watch, z, np.zeros(()))[1],
}

ROUNDED: dict[Any, Rule] = {
    np.add: add, np.subtract: subtract, np.multiply: multiply, np.divide: divide, np.square: square,
    np.power: power, np.float_power: power, np.matmul: matmul,
    np.reciprocal: lambda watch, z: divide(watch, np.ones(()), z),
    np.exp: analytic(np.exp, lambda x, y, b: y * b), np.expm1: analytic(np.expm1, lambda x, y, b: np.exp(x) * b),
    np.tanh: analytic(np.tanh, sech_squared),
    np.sin: analytic(np.sin, lambda x, y, b: np.cos(x) * b), np.cos: analytic(np.cos, lambda x, y, b: -np.sin(x) * b),
    np.sinh: analytic(np.sinh, lambda x, y, b: np.cosh(x) * b),
    np.cosh: analytic(np.cosh, lambda x, y, b: np.sinh(x) * b),
    np.log: analytic(np.log, lambda x, y, b: _positive(x, b / x)),
    np.log2: analytic(np.log2, lambda x, y, b: _positive(x, b / (x * np.log(2.0)))),
    np.log10: analytic(np.log10, lambda x, y, b: _positive(x, b / (x * np.log(10.0)))),
    np.log1p: analytic(np.log1p, lambda x, y, b: _positive(1.0 + x, b / (1.0 + x))),
    np.sqrt: analytic(np.sqrt, lambda x, y, b: _positive(x, 0.5 * b / y)),
}
