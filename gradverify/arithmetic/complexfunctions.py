"""NumPy's functions of several entries, as analytic functions of a + ib on the branch of a.

Rows are called with the wrapper array first and then NumPy's own arguments, wrappers among them.
`LINEAR` functions act on complex numbers as they are: they neither conjugate nor compare. Products
get the real part of the real product where h^2 could show. The rest is written out.
"""



from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradverify.arithmetic.complextable import Watch, exact_real, imag, join, order, real
from gradverify.arithmetic.functions import Function, Refused, is_wrapper, named, payloads, values, var

SUMS = named("sum", "mean", "cumsum", "trace", "linalg.trace", "cumulative_sum")
LINEAR = named("diff", "ediff1d", "gradient")
MULTILINEAR = named(
    "dot", "inner", "outer", "tensordot", "einsum", "kron", "cross", "convolve",
    "linalg.outer", "linalg.matmul", "linalg.tensordot", "linalg.cross")
PRODUCTS = named("prod", "cumprod", "sinc", "linalg.multi_dot", "linalg.matrix_power", "cumulative_prod", "polyval")

ELIMINATIONS = named("linalg.solve", "linalg.inv", "linalg.det")
ELIMINATION_ULPS = 4.0


def linear(func: Function) -> Function:
    """The function of the complex numbers themselves, its sums rounded once more in a jittered run."""
    return lambda array, *args, **kwargs: array.like(func(*payloads(args), **payloads(kwargs)), moved=False)


def summed(func: Function) -> Function:
    """The same of both parts apart, where nothing is added that only one of them has."""
    slow = linear(func)

    def row(array: Any, a: Any, *args: Any, **kwargs: Any) -> Any:
        if a is not array or not kwargs.keys() <= {"axis", "keepdims"}:
            return slow(array, a, *args, **kwargs)
        z = array.planes
        return array.made(func(z.real, *args, **kwargs), func(z.imag, *args, **kwargs), 1.0)

    return row


def variance(array: Any, a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, **options: Any) -> Any:
    """``mean (a - mean a)^2 + 2i mean (a - mean a)(b - mean b)``; by single operations where noise is measured."""
    if options or a is not array or array.watch.rng is not None:
        return var(a, axis=axis, ddof=ddof, keepdims=keepdims, **options)
    centred, turn = (part - np.mean(part, axis=axis, keepdims=True) for part in (a.planes.real, a.planes.imag))
    turn *= centred
    centred *= centred
    re, im = (np.sum(part, axis=axis, keepdims=keepdims) for part in (centred, turn))
    count = a.size / max(np.size(re), 1) - ddof
    return array.made(re / count, im * (2.0 / count), 1.0)


def multilinear(func: Function) -> Function:
    """``f(a, c) + i (f(b, c) + f(a, d))``: the rule of products, for any number of factors."""

    def row(array: Any, *args: Any, **kwargs: Any) -> Any:
        moving = [k for k, arg in enumerate(args) if is_wrapper(arg)]
        still = [real(arg.planes) if is_wrapper(arg) else arg for arg in args]
        turns = [func(*still[:k], args[k].planes.imag, *still[k + 1:], **kwargs) for k in moving]
        return array.made(func(*still, **kwargs), sum(turns[1:], turns[0]), 1.0)

    return row


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


def _planes(a: Any) -> Any:
    return a.planes if is_wrapper(a) else np.asarray(a)


def where(array: Any, condition: Any, *branches: Any) -> Any:
    """`numpy.where`; a condition with a derivative is taken as ``condition != 0``."""
    mask = condition != 0 if is_wrapper(condition) else condition
    if not branches:
        return np.nonzero(mask)
    parts = [[part(_planes(branch)) for branch in branches] for part in (real, imag)]
    re, im = (np.where(mask, *pair) for pair in parts)
    return array.made(re, np.broadcast_to(im, re.shape).copy() if im.shape != re.shape else im, 0.0)


def extremum(side: int) -> Function:
    """The max (side 1) or min (side -1): of tied entries, the one moving furthest out."""

    def row(array: Any, a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        z, out = array.planes, side * array.watch.side
        x = z.real
        best = np.max(x, axis=axis, keepdims=True) if side > 0 else np.min(x, axis=axis, keepdims=True)
        tied = x == best
        if np.count_nonzero(tied) == best.size and np.all(np.isfinite(best)):
            parts = (best, np.sum(np.where(tied, z.imag, 0.0), axis=axis, keepdims=True))
        else:
            furthest = np.max(np.where(tied, out * z.imag, -np.inf), axis=axis, keepdims=True)
            nearest = np.min(np.where(tied, out * z.imag, np.inf), axis=axis, keepdims=True)
            array.watch.ties += int(np.any(furthest > nearest))
            parts = (best, out * furthest)
        return array.made(*(parts if keepdims else (np.squeeze(part, axis) for part in parts)), 0.0)

    return row


def _keys(array: Any, axis: int) -> np.ndarray:
    # NumPy orders complex numbers by real, then by imaginary part.
    keys = join(array.planes.real, array.watch.side * array.planes.imag)
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
        z = array.planes
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
    if not is_wrapper(dst):
        raise Refused("numpy.copyto into a plain array")
    dst.assign(..., src, where)


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
    **{func: summed(func) for func in SUMS},
    **{func: multilinear(func) for func in MULTILINEAR},
    **{func: product(func) for func in PRODUCTS},
    **{func: eliminated(func) for func in ELIMINATIONS},
    **{func: extremum(1) for func in named("max", "amax")},
    **{func: extremum(-1) for func in named("min", "amin")},
    **dict.fromkeys(named("round", "around", "round_"), rounded),
    np.var: variance, np.where: where, np.sort: sort, np.argsort: argsort, np.copyto: copyto, np.piecewise: piecewise,
    np.argmax: arg_extremum(1), np.argmin: arg_extremum(-1),
    np.linalg.slogdet: slogdet, np.linalg.cholesky: cholesky,
    np.imag: _refused(np.imag, "the imaginary part carries the derivative"),
}
