"""Elementary functions that stay accurate in the tails and run on numbers of any arithmetic.

They are written with NumPy's ufuncs, `np.where` and comparisons alone, and allocate nothing in a fixed
dtype. So the same lines run on float32, float64, longdouble, complex (for the complex step), on arrays
that answer ``__array_ufunc__``, and on object arrays, where NumPy calls ``element.exp()`` for `np.exp`.

``abs`` is avoided throughout: on complex numbers it is not analytic, and a complex step through it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gradverify.reference.layer import Array, shape_of

TimesSlope: TypeAlias = Callable[[Array], Array]
Valued: TypeAlias = tuple[Array, TimesSlope]


def decay(x: Array) -> tuple[Array, Array]:
    """``(x >= 0, exp(-|x|))``: the one exponential that never overflows, and the side it was taken on."""
    positive = x >= 0
    return positive, np.exp(np.where(positive, -x, x))


def bounded(x: Array) -> Array:
    """The nearest number within +-1e12, for a power of x that stands next to an e^-x^2, long since zero.

    Unbounded, the power would overflow and its product with that zero be NaN; float32 holds the cube of 1e12.
    """
    return np.minimum(np.maximum(x, -1e12), 1e12)


def constants_like(constants: Any, x: Array) -> np.ndarray:
    """Plain numbers in the dtype of x if that is a floating one, so that they do not widen what they meet.

    >>> (constants_like([0.5], np.ones(1, np.float32)) * np.ones(1, np.float32)).dtype
    dtype('float32')
    """
    dtype = getattr(x, "dtype", None)
    return np.asarray(constants, dtype if getattr(dtype, "kind", "") == "f" else np.float64)


def expit(x: Array) -> Array:
    """``1 / (1 + exp(-x))`` without overflow, to full relative accuracy in both tails.

    >>> print(*(f"{s:.6g}" for s in expit(np.array([-700.0, 0.0, 700.0]))))
    9.85968e-305 0.5 1
    """
    positive, e = decay(x)
    return np.where(positive, 1, e) / (1 + e)


def log1p(x: Array) -> Array:
    """``log(1 + x)``, accurate for small x wherever the arithmetic has a log1p of its own."""
    return _ufunc_or_method(np.log1p, "log1p", x, lambda t: np.log(1 + t))


def expm1(x: Array) -> Array:
    """``exp(x) - 1``, accurate for small x wherever the arithmetic has an expm1 of its own."""
    return _ufunc_or_method(np.expm1, "expm1", x, lambda t: np.exp(t) - 1)


def erfc(x: Array) -> Array:
    """``2/sqrt(pi) int_x^oo exp(-t^2) dt``, by SciPy's ufunc or the elements' own method `erfc`."""
    from scipy import special

    return _ufunc_or_method(special.erfc, "erfc", x, None)


def erf(x: Array) -> Array:
    """``1 - erfc(x)`` with the digits of small x, likewise."""
    from scipy import special

    return _ufunc_or_method(special.erf, "erf", x, None)


def _ufunc_or_method(ufunc: Any, name: str, x: Array, fallback: Any) -> Array:
    if getattr(x, "dtype", None) != np.dtype(object) or not isinstance(x, np.ndarray):
        return ufunc(x)
    if fallback is not None and not all(hasattr(element, name) for element in x.flat):
        return fallback(x)
    return np.frompyfunc(lambda element: getattr(element, name)(), 1, 1)(x)


def largest_first(x: Array) -> Array:
    """A mask of the first largest entry along the last axis, for classes that may be tied."""
    return np.arange(shape_of(x)[-1]) == np.expand_dims(np.argmax(x, axis=-1), -1)
