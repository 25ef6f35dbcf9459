"""NumPy's functions of several entries, as analytic functions of a + ib on the branch of a.

Rows are called with the wrapper array first and then NumPy's own arguments, wrappers among them.
`LINEAR` functions act on complex numbers as they are: they neither conjugate nor compare. Products
get the real part of the real product where h^2 could show. The rest is written out.
"""



from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradverify.arithmetic.complextable import Watch, exact_real, join, order
from gradverify.arithmetic.functions import Function, Refused, named, payloads, values

LINEAR = named("sum", "mean", "cumsum", "trace", "diff", "ediff1d", "gradient", "linalg.trace",
               "cumulative_sum")
PRODUCTS = named(
    "prod", "cumprod", "dot", "inner", "outer", "tensordot", "einsum", "kron", "cross", "convolve", "sinc",
    "linalg.multi_dot", "linalg.matrix_power", "linalg.outer", "linalg.matmul", "linalg.tensordot",
    "linalg.cross", "cumulative_prod", "polyval")


ELIMINATIONS = named("linalg.solve", "linalg.inv", "linalg.det")
ELIMINATION_ULPS = 4.0


def linear(func: Function) -> Function:
    """The function of the complex numbers themselves, its sums rounded once more in a jittered run."""
    return lambda array, *args, **kwargs: array.like(func(*payloads(args), **payloads(kwargs)), moved=False)


def product(func: Function) -> Function:
    """The same, with the real parts of the product of the real parts where it is tiny."""

    def row(array: Any, *args: Any, **kwargs: Any) -> Any:
        z = func(*payloads(args), **payloads(kwargs))
        return array.like(exact_real(z, lambda: func(*values(args), **values(kwargs))), moved=False)

    return row


def eliminated(func: Function) -> Function:
    """An analytic function of matrices by elimination, whose own rounding error is normwise."""

    def row(array: Any, a: Any, *rest: Any) -> Any:
        matrices = array.watch.shake(payload(a), ELIMINATION_ULPS)
        z = func(matrices, *payloads(rest))
        return array.like(exact_real(z, lambda: func(matrices.real, *values(rest))), moved=False)

    return row


def payload(a: Any) -> np.ndarray:
    """The complex numbers of a wrapper, or a plain array as it is."""
    return np.asarray(payloads(a))


def where(array: Any, condition: Any, *branches: Any) -> Any:
    """`numpy.where`; a condition with a derivative is taken as ``condition != 0``."""
    mask = condition != 0 if hasattr(condition, "payload") else condition
    if not branches:
        return np.nonzero(mask)
    return array.like(np.where(mask, *payloads(branches)), moved=True)


def extremum(side: int) -> Function:
    """The max (side 1) or min (side -1): of tied entries, the one moving furthest out."""

    def row(array: Any, a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        z, out = array.payload, side * array.watch.side
        x = z.real
        best = np.max(x, axis=axis, keepdims=True) if side > 0 else np.min(x, axis=axis, keepdims=True)
        tied = x == best
        furthest = np.max(np.where(tied, out * z.imag, -np.inf), axis=axis, keepdims=True)
        nearest = np.min(np.where(tied, out * z.imag, np.inf), axis=axis, keepdims=True)
        array.watch.ties += int(np.any(furthest > nearest))
        result = join(best, out * furthest)
        kept = result if keepdims else np.squeeze(result, axis)
        return array.like(kept, moved=True)

    return row


def _keys(array: Any, axis: int) -> np.ndarray:
    # NumPy orders complex numbers by real, then by imaginary part.
    keys = join(array.payload.real, array.watch.side * array.payload.imag)
    ordered = np.sort(keys, axis=axis)
    steps = np.diff(ordered, axis=axis)
    array.watch.ties += int(np.any((steps.real == 0) & (steps.imag != 0)))
    return keys


def sort(array: Any, a: Any, axis: int | None = -1, kind: Any = None) -> Any:
    """Ascending real parts; ties as they part along the tangent."""
    flat = np.ravel(array) if axis is None else array
    return np.take_along_axis(flat, argsort(array, a, axis), axis=0 if axis is None else axis)


def argsort(array: Any, a: Any, axis: int | None = -1, kind: Any = None, stable: Any = None) -> Any:
    """The plain indices that `sort` follows."""
    flat = np.ravel(array) if axis is None else array
    along = 0 if axis is None else axis
    return np.argsort(_keys(flat, along), axis=along, kind="stable")


def arg_extremum(side: int) -> Function:
    """The plain index of `extremum`'s entry, the first of those that stay tied."""

    def row(array: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        z = array.payload
        extremum(side)(array, a, axis)
        keys = join(side * z.real, side * array.watch.side * z.imag)
        return np.argmax(keys, axis=axis, keepdims=keepdims)

    return row


def rounded(array: Any, a: Any, decimals: int = 0) -> Any:
    """`numpy.round`: to integers only, a staircase."""
    if decimals:
        raise Refused("numpy.round to decimals")
    return np.rint(array)


def copyto(array: Any, dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """Assignment into a wrapper; into a plain array it would lose the derivative."""
    if not hasattr(dst, "payload"):
        raise Refused("numpy.copyto into a plain array")
    np.copyto(dst.payload, payloads(src), where=where)


def slogdet(array: Any, a: Any) -> Any:
    """The sign and log|det| of the real part, and the angle by which the complex determinant is turned."""
    z = array.watch.shake(array.payload, ELIMINATION_ULPS)
    sign, size = np.linalg.slogdet(z.real)
    turned, _ = np.linalg.slogdet(z)
    return sign, array.like(join(size, np.angle(turned * sign)), moved=False)


def cholesky(array: Any, a: Any, **options: Any) -> Any:
    """The factor with ``L L^T = A``, column by column; LAPACK's would have ``L L^H = A``."""
    if options.pop("upper", False):
        raise Refused("numpy.linalg.cholesky with upper=True")
    z = np.tril(array.watch.shake(array.payload, ELIMINATION_ULPS))
    np.linalg.cholesky(array.values)
    factor = np.zeros_like(z)
    for j in range(z.shape[-1]):
        rest = z[..., j:, j] - np.einsum("...ik,...k->...i", factor[..., j:, :j], factor[..., j, :j])
        factor[..., j:, j] = rest / np.sqrt(rest[..., :1])
    return array.like(factor, moved=False)


def piecewise(array: Any, x: Any, condlist: Any, funclist: Any, *args: Any, **kwargs: Any) -> Any:
    """`numpy.piecewise` with a list of conditions: every function sees its own entries."""
    conditions = [np.asarray(c, bool) for c in condlist]
    default = ~np.any(conditions, axis=0)
    result = np.zeros_like(x)
    for mask, func in zip([*conditions, default], funclist, strict=False):
        result[mask] = func(x[mask], *args, **kwargs) if callable(func) else func
    return result


def _refused(func: Function, why: str) -> Callable[..., Any]:
    def row(array: Any, *args: Any, **kwargs: Any) -> Any:
        raise Refused(f"{func.__name__}: {why}")

    return row


def compare_zero(watch: Watch, z: Any) -> Any:
    """Where z is not zero, a little way along its tangent."""
    return ~order(watch, z, np.zeros(()))[1]


FUNCTIONS: dict[Any, Function] = {
    **{func: linear(func) for func in LINEAR},
    **{func: product(func) for func in PRODUCTS},
    **{func: eliminated(func) for func in ELIMINATIONS},
    **{func: extremum(1) for func in named("max", "amax")},
    **{func: extremum(-1) for func in named("min", "amin")},
    **dict.fromkeys(named("round", "around", "round_"), rounded),
    np.where: where, np.sort: sort, np.argsort: argsort, np.copyto: copyto, np.piecewise: piecewise,
    np.argmax: arg_extremum(1), np.argmin: arg_extremum(-1),
    np.linalg.slogdet: slogdet, np.linalg.cholesky: cholesky,
    np.imag: _refused(np.imag, "the imaginary part carries the derivative"),
}
