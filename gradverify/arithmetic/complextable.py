"""NumPy's ufuncs as analytic functions of a + ib with infinitesimal b, on the branch of a.

Every function takes the `Watch` of the run and complex128 (or plain real) ndarrays. NumPy's own
complex functions are used where they are analytic and accurate. What they are not is written out:

- products and quotients keep the real part of the real ones, for b d = O(h^2) must not stand where
  a c is exactly zero (a branch on x * x >= 0 would see -h^2);
- everything with an order, a sign or a modulus looks at a, and at ties at which side b moves to;
- at the edge of a domain the imaginary part becomes NaN rather than 1/sqrt(h).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gradverify.arithmetic.altering import Altering

Rule = Callable[..., Any]

TINY = 2.0**-200  # h * h and its multiples lie below; a real part this small is computed again in reals
ULP = 2.0**-52
FAINT = 2.0**-760  # times the step of complex differences, 2^-200 of the point, it is near the last number, 2^-1074


@dataclass
class Watch:
    """What one run saw: ties that moved, decided for tangents of this `side`, and undecidable jumps.

    With `rng`, every inexact result is moved by one ulp, in both parts, so that cancellation inside
    the forward shows even where the inputs' last bits do not reach it (Monte Carlo arithmetic).
    With `altering`, operations are counted and some carry another derivative.
    """

    side: int = 1
    rng: np.random.Generator | None = None
    ties: int = 0
    jumps: int = 0
    examines: bool = False
    faint: bool = False
    altering: Altering | None = None

    def examine(self, *parts: np.ndarray) -> None:
        """Note parts so small, zero apart, that the imaginary one may have lost its digits to underflow."""
        if self.examines and not self.faint:
            self.faint = any(map(_has_faint, parts))

    def jitter(self, part: Any, ulps: float = 1.0) -> Any:
        """A real array with its last bits moved at random; itself in an ordinary run."""
        return part if self.rng is None else part * self._factors(np.shape(part), ulps)

    def nearby(self, constant: Any) -> Any:
        """A plain floating array with its last bits moved."""
        if self.rng is None or not isinstance(constant, np.ndarray) or constant.dtype.kind != "f":
            return constant
        return constant * self._factors(constant.shape)

    def shake(self, a: Any, ulps: float) -> Any:
        """Matrices moved by ulps of each row's largest entry: the backward error of an elimination."""
        if self.rng is None:
            return a
        shift = np.max(np.abs(real(a)), axis=-1, keepdims=True) * (self._factors(a.shape) - 1)
        turn = np.max(np.abs(imag(a)), axis=-1, keepdims=True) * (self._factors(a.shape) - 1)
        return a + ulps * join(shift, turn)

    def _factors(self, shape: tuple[int, ...], ulps: float = 1.0) -> np.ndarray:
        assert self.rng is not None
        pool, size = _pool(ulps), math.prod(shape)
        start = int(self.rng.integers(0, pool.size // 2))
        window = pool[start : start + size]
        return (window if window.size == size else np.resize(pool[start:], size)).reshape(shape)


_BLOCK = 2**14  # numbers that stay in the cache between two looks at them


def _has_faint(part: Any) -> bool:
    """Whether a number other than zero is smaller than `FAINT`."""
    flat = np.ravel(part)
    for start in range(0, flat.size, _BLOCK):
        size = np.abs(flat[start : start + _BLOCK])
        if np.min(size) < FAINT and np.min(size, initial=1.0, where=size > 0) < FAINT:
            return True
    return False


@cache
def _pool(ulps: float) -> np.ndarray:
    # Every operation of every run takes a window of it: drawing afresh would cost more than tanh does.
    return 1 + ulps * ULP * (2.0 * np.random.default_rng(0).integers(0, 2, 2**19) - 1)


def real(z: Any) -> Any:
    """The real part; a plain array is its own."""
    return z.real if z.dtype.kind == "c" else z


def imag(z: Any) -> Any:
    """The imaginary part; zero for a plain array."""
    return z.imag if z.dtype.kind == "c" else np.zeros((1,) * z.ndim)


def join(re: Any, im: Any) -> np.ndarray:
    """``re + i im``, whatever infinities they hold."""
    z = np.empty(np.broadcast(re, im).shape, np.complex128)
    z.real, z.imag = re, im
    return z


def exact_real(z: Any, compute: Callable[[], Any]) -> np.ndarray:
    """`z` with real part ``compute()`` if any is so small that the h^2 dropped there could matter."""
    parts: np.ndarray = np.asarray(z)
    if parts.size and not np.min(np.abs(parts.real)) > TINY:
        return join(compute(), parts.imag)
    return parts


def native(ufunc: np.ufunc) -> Rule:
    """NumPy's complex function; for odd ones and those without zeros h^2 never reaches the real part."""
    return lambda watch, z: ufunc(z)


def inside(ufunc: np.ufunc, open_: Callable[[Any], Any]) -> Rule:
    """The real function, and the complex one's imaginary part where `open_` holds of a; NaN elsewhere.

    NumPy's complex logarithm loses the real part near |z| = 1, hence the real one.
    """

    def rule(watch: Watch, z: Any) -> Any:
        within = open_(z.real)
        if np.all(within):
            return join(ufunc(z.real), ufunc(z).imag)
        return join(ufunc(z.real), np.where(within, ufunc(np.where(within, z, 0.5)).imag, np.nan))

    return rule


def multiply(watch: Watch, a: Any, b: Any) -> Any:
    """The complex product with the real part of the real one."""
    z = np.asarray(np.multiply(a, b))
    z.real = real(a) * real(b)
    return z


def square(watch: Watch, z: Any) -> Any:
    """The product with itself."""
    return multiply(watch, z, z)


def divide(watch: Watch, a: Any, b: Any) -> Any:
    """``(a + ib) / (c + id) = q + i (b - q d) / c`` with q = a / c, but for O(h^2)."""
    c = real(b)
    q = real(a) / c
    im = (imag(a) - q * imag(b)) / c if b.dtype.kind == "c" else imag(a) / c
    vanished = np.isinf(c) & np.isfinite(real(a))  # 1 / (1 + exp(800)): nothing is left to move
    return join(q, np.where(vanished, 0.0, im) if np.any(vanished) else im)


def power(watch: Watch, a: Any, p: Any) -> Any:
    """De Moivre: ``a^p exp(i phi)`` with phi = p arg(1 + ib/a) + q log|a|, for real a of any sign.

    q, the imaginary part of the exponent, must vanish where a <= 0: no power is defined around there.
    """
    if p.dtype.kind != "c" and p.ndim == 0 and p == 2:
        return square(watch, a)
    x, y, q = real(a), real(p), imag(p)
    re = np.power(x, y)
    phi = y * np.arctan(imag(a) / x) + np.where(np.not_equal(q, 0), q * np.log(x), 0.0)
    im = re * np.sin(phi)
    origin = (x == 0) & (y > 0)
    if np.any(origin):
        im = np.where(origin, np.where(y > 1, 0.0, np.where(y == 1, imag(a), np.nan)), im)
    return join(re, np.where((y == 0) & np.equal(q, 0), 0.0, im))


def log1p(watch: Watch, z: Any) -> Any:
    """``log1p(a) + i b / (1 + a)``: NumPy's complex log1p loses all digits of small a."""
    x = z.real
    return join(np.log1p(x), np.where(x > -1, z.imag / (1 + x), np.nan))


def expm1(watch: Watch, z: Any) -> Any:
    """``expm1(a) + i e^a b``."""
    return join(np.expm1(z.real), np.exp(z.real) * z.imag)


def cbrt(watch: Watch, z: Any) -> Any:
    """The real cube root, turned by a third of the angle."""
    root = np.cbrt(z.real)
    return join(root, np.where(root == 0, np.nan, root * np.sin(np.arctan(z.imag / z.real) / 3)))


def hypot(watch: Watch, a: Any, b: Any) -> Any:
    """``s sqrt((a/s)^2 + (b/s)^2)`` with s the larger modulus; NaN imaginary part at the origin."""
    re = np.hypot(real(a), real(b))
    s = np.maximum(np.abs(real(a)), np.abs(real(b)))
    im = s * np.sqrt(np.square(a / s) + np.square(b / s)).imag
    return join(re, np.where(re == 0, np.nan, im))


def arctan2(watch: Watch, y: Any, x: Any) -> Any:
    """The angle t of the real parts, plus what is left after turning (x, y) back by t."""
    t = np.arctan2(real(y), real(x))
    sin, cos = np.sin(t), np.cos(t)
    rest = divide(watch, np.asarray(y * cos - x * sin), np.asarray(x * cos + y * sin))
    return join(t, np.arctan(rest).imag)


def logaddexp(watch: Watch, a: Any, b: Any) -> Any:
    """``m + log1p(exp(-|a - b|))``, m the larger: analytic on either side of a tie."""
    larger = real(a) >= real(b)
    gap = np.where(larger, b - a, a - b)
    gap = np.where(np.isnan(gap.real), 0, gap)  # both -inf
    z = np.where(larger, a, b) + log1p(watch, np.exp(gap))
    return join(np.logaddexp(real(a), real(b)), z.imag)


def logaddexp2(watch: Watch, a: Any, b: Any) -> Any:
    """``log2(2^a + 2^b)``."""
    log2 = np.log(2.0)
    return logaddexp(watch, np.asarray(a * log2), np.asarray(b * log2)) / log2


def order(watch: Watch, a: Any, b: Any) -> tuple[Any, Any]:
    """Where a > b and where a == b, a little way along the tangent: ties that move are decided by it."""
    x, y = real(a), real(b)
    above, level = x > y, x == y
    if np.any(level):
        slope = np.where(level, imag(a) - imag(b), 0.0) * watch.side
        if np.any(slope):
            watch.ties += 1
            above, level = above | (slope > 0), level & (slope == 0)
    return above, level


def fmax(watch: Watch, a: Any, b: Any) -> Any:
    """The larger, NaN last."""
    above, level = order(watch, a, b)
    return np.where(above | level | np.isnan(real(b)), a, b)


def fmin(watch: Watch, a: Any, b: Any) -> Any:
    """The smaller, NaN last."""
    above, level = order(watch, b, a)
    return np.where(above | level | np.isnan(real(b)), a, b)


def absolute(watch: Watch, z: Any) -> Any:
    """Either z or -z by the sign of the real part, and at zero by where the tangent moves."""
    below, _ = order(watch, np.zeros(()), z)
    return np.where(below, -z, z)


def copysign(watch: Watch, a: Any, b: Any) -> Any:
    """The modulus with the sign of the second."""
    size = absolute(watch, a)
    return np.where(signbit(watch, b), -size, size)


def signbit(watch: Watch, z: Any) -> Any:
    """Where the real part is negative, or about to be."""
    below, level = order(watch, np.zeros(()), z)
    return below | (level & np.signbit(real(z)))


def step(ufunc: Callable[..., Any]) -> Rule:
    """A piecewise constant function; on a step, its value on the side the tangent moves to."""

    def rule(watch: Watch, z: Any, *rest: Any) -> Any:
        x = z.real
        here = np.nextafter(x, np.copysign(np.inf, watch.side * z.imag))
        there = np.nextafter(x, np.copysign(np.inf, -watch.side * z.imag))
        moved = ufunc(here, *rest)
        on_step = (moved != ufunc(there, *rest)) & (z.imag != 0) & np.isfinite(x)
        watch.ties += int(np.any(on_step))
        return join(np.where(on_step, moved, ufunc(x, *rest)), 0.0)

    return rule


def remainder(quotient: np.ufunc, ufunc: np.ufunc) -> Rule:
    """``a - b n`` with n the integer that the real parts have; a multiple that moves is a jump."""

    def rule(watch: Watch, a: Any, b: Any) -> Any:
        re = ufunc(real(a), real(b))
        im = imag(a) - imag(b) * quotient(real(a) / real(b))
        watch.jumps += int(np.any((re == 0) & (im != 0)))
        return join(re, im)

    return rule


def floor_divide(watch: Watch, a: Any, b: Any) -> Any:
    """A staircase in the quotient; a step that may be stood on is a jump."""
    watch.jumps += int(np.any(np.remainder(real(a), real(b)) == 0))
    return join(np.floor_divide(real(a), real(b)), 0.0)


def matmul(watch: Watch, a: Any, b: Any) -> Any:
    """The complex product with the real part of the real one."""
    return exact_real(np.matmul(a, b), lambda: np.matmul(real(a), real(b)))


def vecdot(watch: Watch, a: Any, b: Any) -> Any:
    """The sum of products over the last axis, without NumPy's conjugate."""
    return np.sum(multiply(watch, a, b), axis=-1)


def optional(rows: dict[str, Rule]) -> dict[Any, Rule]:
    """The rows whose ufunc the installed NumPy has."""
    return {getattr(np, name): rule for name, rule in rows.items() if hasattr(np, name)}


EXACT: dict[Any, Rule] = {
    np.copysign: copysign, np.sign: step(np.sign),
    np.floor: step(np.floor), np.ceil: step(np.ceil), np.trunc: step(np.trunc), np.rint: step(np.rint),
    np.heaviside: step(np.heaviside), np.floor_divide: floor_divide, np.fmax: fmax, np.fmin: fmin,
}

ROUNDED: dict[Any, Rule] = {
    **{ufunc: native(ufunc) for ufunc in (np.exp2, np.tan, np.arctan, np.arcsinh)},
    **{ufunc: inside(ufunc, lambda x: np.abs(x) < 1) for ufunc in (np.arcsin, np.arccos, np.arctanh)},
    np.arccosh: inside(np.arccosh, lambda x: x > 1),
    np.cbrt: cbrt, np.hypot: hypot, np.arctan2: arctan2, np.logaddexp: logaddexp, np.logaddexp2: logaddexp2,
    np.remainder: remainder(np.floor, np.remainder), np.fmod: remainder(np.trunc, np.fmod),
    np.deg2rad: lambda watch, z: z * (np.pi / 180), np.radians: lambda watch, z: z * (np.pi / 180),
    np.rad2deg: lambda watch, z: z * (180 / np.pi), np.degrees: lambda watch, z: z * (180 / np.pi),
    **optional({"vecdot": vecdot,
                "matvec": lambda watch, a, x: matmul(watch, a, x[..., None])[..., 0],
                "vecmat": lambda watch, x, a: matmul(watch, x[..., None, :], a)[..., 0, :]}),
}
