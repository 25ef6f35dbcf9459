"""Ufuncs that every arithmetic gets for nothing: composed of simpler ones, on wrapper arrays.

A row is called with the array whose arithmetic counts and then with wrapper arrays only, so that no
constant is rounded to float64 on the way. An arithmetic that knows better has a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

Row = Callable[..., Any]


def logaddexp(_: Any, a: Any, b: Any) -> Any:
    """``max(a, b) + log1p(exp(-|a - b|))``; -inf twice stays."""
    gap = np.abs(a - b)
    return np.maximum(a, b) + np.log1p(np.exp(-np.where(np.isnan(gap), 0.0, gap)))


def logaddexp2(n: Any, a: Any, b: Any) -> Any:
    """``log2(2^a + 2^b)``."""
    ln2 = n.constant("ln2")
    return np.logaddexp(a * ln2, b * ln2) / ln2


def expit(_: Any, x: Any) -> Any:
    """``1 / (1 + e)`` or ``e / (1 + e)`` with e = exp(-|x|)."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def softplus(_: Any, x: Any) -> Any:
    """``max(x, 0) + log1p(exp(-|x|))``."""
    return np.where(x >= 0, x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def xlogy(_: Any, x: Any, y: Any) -> Any:
    """``x log y``, zero where x is."""
    still = (x == 0) & ~np.isnan(y)
    return np.where(still, 0.0, x * np.log(np.where(still, 1.0, y)))


def entr(n: Any, x: Any) -> Any:
    """``-x log x``, -inf for negative x."""
    return np.where(x < 0, -np.inf, -xlogy(n, x, np.where(x < 0, 1.0, x)))


def rel_entr(_: Any, x: Any, y: Any) -> Any:
    """``x log(x / y)``, zero where x is zero and y is not negative."""
    still = (x == 0) & (y >= 0)
    inside = (x > 0) & (y > 0)
    ratio = np.where(inside, x, 1.0) / np.where(inside, y, 1.0)
    return np.where(still, 0.0, np.where(inside, x * np.log(ratio), np.inf))


def log_ndtr(_: Any, x: Any) -> Any:
    """``log(erfc(-x / sqrt 2) / 2)``, by the complement on the right."""
    s = x / np.sqrt(0.0 * x + 2.0)
    right = x > 0
    tail = special.erfc(np.where(right, s, -s)) / 2.0
    return np.where(right, np.log1p(-np.where(right, tail, 0.0)), np.log(tail))


def remainder(_: Any, a: Any, b: Any) -> Any:
    """``a - b floor(a / b)``."""
    return a - b * np.floor(a / b)


def fmod(_: Any, a: Any, b: Any) -> Any:
    """``a - b trunc(a / b)``."""
    return a - b * np.trunc(a / b)


def copysign(_: Any, a: Any, b: Any) -> Any:
    """The modulus with the sign of b, zeros by their sign bit where there is one."""
    size = np.abs(a)
    return np.where(np.signbit(b), -size, size)


def heaviside(_: Any, x: Any, middle: Any) -> Any:
    """0, `middle`, 1."""
    return np.where(x == 0, middle, np.where(x > 0, 1.0, 0.0) + 0.0 * x)


def scaled(name: str, factor: float, *, divide: bool) -> Row:
    """``x pi / 180`` and the like, with the constant to all digits."""
    if divide:
        return lambda n, x: x * factor / n.constant(name)
    return lambda n, x: x * n.constant(name) / factor


def _optional(rows: dict[str, Row]) -> dict[Any, Row]:
    return {getattr(owner, name): row for name, row in rows.items()
            for owner in (np, special) if isinstance(getattr(owner, name, None), np.ufunc)}


COMPOSED: dict[Any, Row] = {
    np.positive: lambda _, x: x.copy(), np.conjugate: lambda _, x: x.copy(), np.fabs: lambda _, x: np.abs(x),
    np.reciprocal: lambda _, x: 1.0 / x, np.square: lambda _, x: x * x,
    np.exp2: lambda n, x: np.exp(x * n.constant("ln2")),
    np.log2: lambda n, x: np.log(x) / n.constant("ln2"),
    np.log10: lambda _, x: np.log(x) / np.log(0.0 * x + 10.0),
    np.deg2rad: scaled("pi", 180.0, divide=False), np.radians: scaled("pi", 180.0, divide=False),
    np.rad2deg: scaled("pi", 180.0, divide=True), np.degrees: scaled("pi", 180.0, divide=True),
    np.hypot: lambda _, a, b: np.sqrt(a * a + b * b),
    np.logaddexp: logaddexp, np.logaddexp2: logaddexp2,
    np.float_power: lambda _, a, b: np.power(a, b),
    np.floor_divide: lambda _, a, b: np.floor(a / b), np.remainder: remainder, np.fmod: fmod,
    np.trunc: lambda _, x: np.where(x >= 0, np.floor(x), np.ceil(x)),
    np.copysign: copysign, np.heaviside: heaviside,
    np.logical_not: lambda _, x: x == 0,
    np.logical_and: lambda _, a, b: (a != 0) & (b != 0), np.logical_or: lambda _, a, b: (a != 0) | (b != 0),
    np.fmax: lambda _, a, b: np.where(np.isnan(a), b, np.where(np.isnan(b), a, np.maximum(a, b))),
    np.fmin: lambda _, a, b: np.where(np.isnan(a), b, np.where(np.isnan(b), a, np.minimum(a, b))),
    special.expit: expit, special.log_expit: lambda n, x: -softplus(n, -x),
    special.logit: lambda _, x: np.log(x / (1.0 - x)),
    special.xlogy: xlogy, special.xlog1py: lambda n, x, y: np.where(x == 0, 0.0, x * np.log1p(y)),
    special.entr: entr, special.rel_entr: rel_entr,
    special.kl_div: lambda n, x, y: rel_entr(n, x, y) - x + y,
    special.erfc: lambda _, x: 1.0 - special.erf(x),
    special.ndtr: lambda _, x: special.erfc(-x / np.sqrt(0.0 * x + 2.0)) / 2.0,
    special.log_ndtr: log_ndtr,
    special.log1p: lambda _, x: np.log1p(x), special.expm1: lambda _, x: np.expm1(x),
    special.cbrt: lambda _, x: np.cbrt(x), special.exp2: lambda _, x: np.exp2(x),
    **_optional({
        "softplus": softplus,
        "vecdot": lambda _, a, b: np.sum(a * b, axis=-1),
        "matvec": lambda _, a, x: np.matmul(a, x[..., None])[..., 0],
        "vecmat": lambda _, x, a: np.matmul(x[..., None, :], a)[..., 0, :],
    }),
}
