"""NumPy's functions of several entries for numbers of any arithmetic.

Rows are called with the wrapper array first and then NumPy's own arguments, wrappers among them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from gradverify.arithmetic import contractions, elimination
from gradverify.arithmetic.functions import Function, Refused, is_wrapper, named, payloads

Row = Callable[..., Any]


def total(ufunc: np.ufunc, empty: float) -> Row:
    """The sum or product over axes; of nothing, the neutral number."""

    def row(array: Any, a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
        a = array.wrap(a)
        if a.size:
            result = array.like(ufunc.reduce(a.payload, axis=axis, keepdims=keepdims), moved=False)
        else:
            result = array.wrap(np.full(np.sum(np.zeros(a.shape), axis=axis, keepdims=keepdims).shape, empty))
        return result if initial is None else ufunc(result, initial)

    return row


def mean(array: Any, a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over axes, divided by how many entries there are."""
    result = np.sum(a, axis=axis, keepdims=keepdims)
    return result / (np.size(a) / max(np.size(result), 1))


def running(ufunc: np.ufunc) -> Row:
    """Partial sums or products along an axis."""

    def row(array: Any, a: Any, axis: int | None = None) -> Any:
        flat = np.ravel(a) if axis is None else a
        return array.like(ufunc.accumulate(payloads(flat), axis=axis or 0), moved=False)

    return row


def extremum(ufunc: np.ufunc) -> Row:
    """The max or min over axes."""

    def row(array: Any, a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
        # An arithmetic's own rule reduces one axis only: NumPy does not know that its order is free.
        axes = tuple(range(a.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        result = a.payload
        for k in sorted((k % max(a.ndim, 1) for k in axes), reverse=True):
            result = array.numbers.ufuncs[ufunc].reduce(result, axis=k, keepdims=keepdims)
        result = array.like(result, moved=True)
        return result if initial is None else ufunc(result, initial)

    return row


def where(array: Any, condition: Any, *branches: Any) -> Any:
    """`numpy.where`; a condition that is a number is taken as ``condition != 0``."""
    mask = condition != 0 if is_wrapper(condition) else condition
    if not branches:
        return np.nonzero(mask)
    return array.like(np.where(mask, *(array.operand(branch) for branch in branches)), moved=True)


def sort(array: Any, a: Any, axis: int | None = -1, kind: Any = None, stable: Any = None) -> Any:
    """Ascending order."""
    flat = np.ravel(a) if axis is None else a
    along = 0 if axis is None else axis
    return np.take_along_axis(flat, argsort(array, a, axis), axis=along)


def argsort(array: Any, a: Any, axis: int | None = -1, kind: Any = None, stable: Any = None) -> Any:
    """The plain indices that sort, ties in their old order."""
    flat = np.ravel(a) if axis is None else a
    return np.argsort(payloads(flat), axis=0 if axis is None else axis, kind="stable")


def indices(func: Function) -> Row:
    """`argmax` and `argmin`: plain indices."""
    return lambda array, a, axis=None, keepdims=False: func(payloads(a), axis=axis, keepdims=keepdims)


def diff(array: Any, a: Any, n: int = 1, axis: int = -1) -> Any:
    """``a_(i+1) - a_i``, n times."""
    ends = np.moveaxis(array.wrap(a), axis, -1)
    for _ in range(n):
        ends = ends[..., 1:] - ends[..., :-1]
    return np.moveaxis(ends, -1, axis)


def gradient(array: Any, f: Any, *spacing: Any, axis: Any = None) -> Any:
    """Central differences, one-sided at the ends, for equal spacing."""
    axes = tuple(range(f.ndim)) if axis is None else tuple(np.atleast_1d(axis))
    if len(spacing) > 1 or (spacing and np.ndim(spacing[0])):
        raise Refused("numpy.gradient with other than one spacing")
    h = spacing[0] if spacing else 1.0
    slopes = []
    for k in axes:
        y = np.moveaxis(f, k, -1)
        inside = (y[..., 2:] - y[..., :-2]) / 2.0
        slope = np.concatenate([y[..., 1:2] - y[..., :1], inside, y[..., -1:] - y[..., -2:-1]], axis=-1)
        slopes.append(np.moveaxis(slope / h, -1, k))
    return slopes[0] if len(slopes) == 1 else slopes


def trace(array: Any, a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a diagonal."""
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1)


def sinc(array: Any, x: Any) -> Any:
    """``sin(pi x) / (pi x)``, 1 at zero."""
    y = array.constant("pi") * x
    return np.where(y == 0, 1.0, np.sin(y) / np.where(y == 0, 1.0, y))


def polyval(array: Any, p: Any, x: Any) -> Any:
    """Horner's rule, the highest power first."""
    result = array.wrap(np.zeros(np.shape(x)))
    for coefficient in array.wrap(p):
        result = result * x + coefficient
    return result


def windows(array: Any, x: Any, window_shape: Any, axis: Any = None) -> Any:
    """`sliding_window_view` by way of indices: not every dtype has the interface it needs."""
    index = np.arange(x.size).reshape(x.shape)
    view = np.lib.stride_tricks.sliding_window_view(index, window_shape, axis)
    return array.like(x.payload.reshape(-1)[view], moved=True)


def filled(func: Function) -> Row:
    """`zeros_like` and the like, in numbers of this arithmetic."""
    return lambda array, a, *args, **kwargs: array.wrap(func(np.zeros(np.shape(a)), *args, **kwargs))


def full_like(array: Any, a: Any, fill_value: Any, **kwargs: Any) -> Any:
    """An array of one number."""
    return array.wrap(np.zeros(np.shape(a))) + fill_value


def rounded(array: Any, a: Any, decimals: int = 0) -> Any:
    """`numpy.round`: to integers only, a staircase."""
    if decimals:
        raise Refused("numpy.round to decimals")
    return np.rint(array)


def copyto(array: Any, dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """Assignment into a wrapper; into a plain array it would lose digits."""
    if not is_wrapper(dst):
        raise Refused("numpy.copyto into a plain array")
    dst.assign(..., src, where)


def piecewise(array: Any, x: Any, condlist: Any, funclist: Any, *args: Any, **kwargs: Any) -> Any:
    """`numpy.piecewise` with a list of conditions: every function sees its own entries."""
    conditions = [np.asarray(c, bool) for c in condlist]
    default = ~np.any(conditions, axis=0)
    result = np.zeros_like(x)
    for mask, func in zip([*conditions, default], funclist, strict=False):
        result[mask] = func(x[mask], *args, **kwargs) if callable(func) else func
    return result


def _rows(rows: dict[str, Row]) -> dict[Any, Row]:
    return {func: row for names, row in rows.items() for func in named(*names.split())}


FUNCTIONS: dict[Any, Row] = _rows({
    "sum": total(np.add, 0.0), "prod": total(np.multiply, 1.0), "mean": mean,
    "cumsum cumulative_sum": running(np.add), "cumprod cumulative_prod": running(np.multiply),
    "max amax": extremum(np.maximum), "min amin": extremum(np.minimum),
    "argmax": indices(np.argmax), "argmin": indices(np.argmin), "sort": sort, "argsort": argsort,
    "where": where, "diff": diff, "gradient": gradient, "trace linalg.trace": trace, "sinc": sinc,
    "polyval": polyval, "lib.stride_tricks.sliding_window_view": windows,
    "zeros_like": filled(np.zeros_like), "ones_like": filled(np.ones_like), "empty_like": filled(np.zeros_like),
    "full_like": full_like, "round around round_": rounded, "copyto": copyto, "piecewise": piecewise,
    "ediff1d": lambda array, a: diff(array, np.ravel(a)),
    "dot": contractions.dot, "inner": contractions.inner, "outer linalg.outer": contractions.outer,
    "tensordot linalg.tensordot": contractions.tensordot, "einsum": contractions.einsum,
    "kron": contractions.kron, "convolve": contractions.convolve, "cross linalg.cross": contractions.cross,
    "linalg.matrix_power": contractions.matrix_power,
    "linalg.matmul": lambda array, a, b: np.matmul(a, b),
    "linalg.multi_dot": lambda array, arrays: reduce(np.matmul, arrays),
    "linalg.solve": elimination.solve, "linalg.inv": elimination.inv, "linalg.det": elimination.det,
    "linalg.slogdet": elimination.slogdet, "linalg.cholesky": elimination.cholesky,
})
