"""One table of NumPy functions serves every wrapper array, whatever numbers it carries.

A wrapper holds a `payload` (an ndarray of its own numbers) and hands NumPy's calls to `call`. A
function is answered by the wrapper's own table, or by composition of simpler ones (`DERIVED`), or
because it only moves entries (`STRUCTURE`), or because its answer is about the real values
(`VALUES`). Whatever stands in none of them is refused: a guess could lose a derivative silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np

Function = Callable[..., Any]


class Refused(TypeError):  # noqa: N818 - it reports a decision, not a defect of the caller
    """An operation this arithmetic does not carry; the message names it."""


class Wrapper(Protocol):
    """What `call` needs of a wrapper array."""

    @property
    def payload(self) -> np.ndarray: ...
    @property
    def values(self) -> np.ndarray: ...
    def like(self, result: Any, *, moved: bool) -> Any: ...
    def moving(self, move: Callable[[np.ndarray], Any]) -> Any: ...


def named(*names: str) -> dict[Function, str]:
    """The functions of these dotted names that the installed NumPy has."""
    found: dict[Function, str] = {}
    for name in names:
        owner: Any = np
        for part in name.split("."):
            owner = getattr(owner, part, None)
        if owner is not None:
            found[owner] = name
    return found


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


STRUCTURE = named(*_names("""
    reshape ravel transpose matrix_transpose permute_dims swapaxes moveaxis rollaxis squeeze expand_dims
    concatenate concat stack vstack hstack dstack column_stack block split array_split hsplit vsplit dsplit
    unstack roll rot90 flip fliplr flipud repeat tile broadcast_to broadcast_arrays take take_along_axis
    diag diagonal diagflat tril triu atleast_1d atleast_2d atleast_3d delete insert append resize compress
    extract copy meshgrid select zeros_like ones_like empty_like full_like linalg.diagonal
    lib.stride_tricks.sliding_window_view linalg.matrix_transpose"""))
# Of one array alone, with nothing filled in: done to each part of a wrapper, and views stay views.
MOVES = frozenset(named(*_names("""
    reshape ravel transpose matrix_transpose permute_dims swapaxes moveaxis rollaxis squeeze expand_dims
    split array_split hsplit vsplit dsplit unstack roll rot90 flip fliplr flipud repeat tile broadcast_to take
    diag diagonal tril triu copy linalg.diagonal linalg.matrix_transpose lib.stride_tricks.sliding_window_view""")))
VALUES = named(*_names("""
    shape ndim size isclose allclose iscomplexobj isrealobj result_type can_cast min_scalar_type
    common_type iscomplex isreal"""))
LIKE = named("zeros_like", "ones_like", "empty_like", "full_like")
FLOAT64 = np.dtype(np.float64)


def call(array: Wrapper, func: Function, args: Any, kwargs: Any, own: Mapping[Any, Function]) -> Any:
    """The answer of `func` in the arithmetic of `array`; raises `Refused` if there is none."""
    kwargs = dict(kwargs)
    out, dtype = kwargs.pop("out", None), kwargs.pop("dtype", None)
    if dtype is not None and np.dtype(dtype) != FLOAT64:
        if func in LIKE and np.dtype(dtype).kind in "biu":
            return func(array.values, *args[1:], dtype=dtype, **kwargs)
        raise Refused(f"{describe(func)} with dtype={np.dtype(dtype)}: only float64 keeps the derivative")
    result = _answer(array, func, args, kwargs, own)
    return result if out is None else write(out, result)


def _answer(array: Wrapper, func: Function, args: Any, kwargs: Any, own: Mapping[Any, Function]) -> Any:
    if func in own:
        return own[func](array, *args, **kwargs)
    if func in DERIVED:
        return DERIVED[func](*args, **kwargs)
    if func in MOVES and args and args[0] is array and not _any_wrapper(args[1:], kwargs):
        return array.moving(lambda part: func(part, *args[1:], **kwargs))
    if func in STRUCTURE:
        return array.like(func(*payloads(args), **payloads(kwargs)), moved=True)
    if func in VALUES:
        return func(*values(args), **values(kwargs))
    raise Refused(f"{describe(func)} is not carried by {type(array).__name__}")


def describe(func: Any) -> str:
    """``numpy.fft.fft``; a ufunc keeps its own name."""
    module = getattr(func, "__module__", None)
    name = getattr(func, "__name__", repr(func))
    return f"{module}.{name}" if module else f"ufunc {name}"


def is_wrapper(value: Any) -> bool:
    """Whether a value is one of this package's wrapper arrays (or speaks as one)."""
    return hasattr(type(value), "payload") and hasattr(type(value), "like")


def _any_wrapper(args: Any, kwargs: Any) -> bool:
    found: list[Any] = []
    replace((*args, kwargs), found.append)
    return bool(found)


def replace(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The same nest of lists, tuples and dicts with every wrapper array changed."""
    if is_wrapper(tree):
        return change(tree)
    if isinstance(tree, (list, tuple)) and type(tree) in (list, tuple):
        return type(tree)(replace(item, change) for item in tree)
    if isinstance(tree, dict):
        return {key: replace(item, change) for key, item in tree.items()}
    return tree


def payloads(tree: Any) -> Any:
    """Every wrapper array replaced by the numbers it carries."""
    return replace(tree, lambda array: array.payload)


def values(tree: Any) -> Any:
    """Every wrapper array replaced by its plain float64 values."""
    return replace(tree, lambda array: array.values)


def write(out: Any, result: Any) -> Any:
    """`out` filled with `result`; a plain `out` would drop what the wrapper carries."""
    target = out[0] if isinstance(out, tuple) else out
    if is_wrapper(result) and not is_wrapper(target):
        raise Refused("out= is a plain array: writing into it would lose the derivative")
    target[...] = result
    return target


def var(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, **options: Any) -> Any:
    """The mean square deviation, without the conjugate that NumPy puts into it."""
    _none_of(options, "where", "mean", "correction")
    centred = a - np.mean(a, axis=axis, keepdims=True)
    total = np.sum(np.square(centred), axis=axis, keepdims=keepdims)
    return total / (np.size(a) / max(np.size(total), 1) - ddof)


def std(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, **options: Any) -> Any:
    """The square root of `var`."""
    return np.sqrt(var(a, axis=axis, ddof=ddof, keepdims=keepdims, **options))


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002 - NumPy's name
    """A vector or Frobenius norm by its formula; matrix norms that need eigenvalues are refused."""
    if axis is None and (ord is None or np.ndim(x) == 1):
        flat = np.ravel(x) if ord is None else x
        result = _vector_norm(flat, 2 if ord is None else ord, -1, False)
        return np.reshape(result, (1,) * np.ndim(x)) if keepdims else result
    axes = tuple(range(np.ndim(x))) if axis is None else axis
    if isinstance(axes, tuple) and len(axes) == 2:
        if ord not in (None, "fro"):
            raise Refused(f"numpy.linalg.norm of matrices with ord={ord!r}")
        return np.sqrt(np.sum(np.square(x), axis=axes, keepdims=keepdims))
    return _vector_norm(x, 2 if ord is None else ord, axes, keepdims)


def _vector_norm(x: Any, p: Any, axis: Any, keepdims: bool) -> Any:
    if p == 2:
        return np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims))
    size = np.abs(x)
    if p == np.inf:
        return np.max(size, axis=axis, keepdims=keepdims)
    if p == -np.inf:
        return np.min(size, axis=axis, keepdims=keepdims)
    if p == 1:
        return np.sum(size, axis=axis, keepdims=keepdims)
    if isinstance(p, (int, float)) and p != 0:
        return np.sum(size**p, axis=axis, keepdims=keepdims) ** (1 / p)
    raise Refused(f"numpy.linalg.norm with ord={p!r}")


def median(a: Any, axis: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    """The middle of the sorted entries, or the mean of the middle two."""
    del overwrite_input
    return quantile(a, 0.5, axis=axis, keepdims=keepdims)


def quantile(a: Any, q: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
    """Linear interpolation between sorted entries, for a plain scalar `q`."""
    if options.get("method", "linear") != "linear" or set(options) - {"method"} or np.ndim(q):
        raise Refused("numpy.quantile other than linear, or of several q at once")
    if isinstance(axis, tuple):
        raise Refused("numpy.quantile over several axes")
    ordered = np.sort(np.ravel(a) if axis is None else np.moveaxis(a, axis, -1), axis=-1)
    place = float(q) * (ordered.shape[-1] - 1)
    low = int(np.floor(place))
    high = min(low + 1, ordered.shape[-1] - 1)
    result = ordered[..., low] + (ordered[..., high] - ordered[..., low]) * (place - low)
    if not keepdims:
        return result
    return np.reshape(result, (1,) * np.ndim(a)) if axis is None else np.expand_dims(result, axis)


def clip(a: Any, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Any:
    """``minimum(maximum(a, a_min), a_max)``."""
    low, high = bounds.pop("min", a_min), bounds.pop("max", a_max)
    _none_of(bounds, "where")
    raised = a if low is None else np.maximum(a, low)
    return raised if high is None else np.minimum(raised, high)


def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """Finite entries as they are; the others become constants."""
    if not copy:
        raise Refused("numpy.nan_to_num in place")
    plain = np.nan_to_num(values(x), nan=nan, posinf=posinf, neginf=neginf)
    return np.where(np.isfinite(x), x, plain)


def pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    """`numpy.pad` in the modes that copy entries or constants."""
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap") or "reflect_type" in options:
        raise Refused(f"numpy.pad with mode={mode!r}")
    return array.like(np.pad(array.payload, pad_width, mode, **payloads(options)), moved=True)


def average(a: Any, axis: Any = None, weights: Any = None, keepdims: bool = False) -> Any:
    """The weighted mean ``sum(w a) / sum(w)``; weights of the shape of `a`, or along one axis."""
    if weights is None:
        return np.mean(a, axis=axis, keepdims=keepdims)
    if np.ndim(weights) != np.ndim(a):
        weights = np.reshape(weights, [-1 if i == axis % np.ndim(a) else 1 for i in range(np.ndim(a))])
    spread = weights + np.zeros(np.shape(a))
    return np.sum(a * spread, axis=axis, keepdims=keepdims) / np.sum(spread, axis=axis, keepdims=keepdims)


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """``sum dx_i (y_i + y_(i+1)) / 2``."""
    ends = np.moveaxis(y, axis, -1)
    widths = dx if x is None else np.diff(x if np.ndim(x) == 1 else np.moveaxis(x, axis, -1))
    return np.sum(widths * (ends[..., 1:] + ends[..., :-1]) / 2, axis=-1)


def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    """``fp_0 + sum_i s_i (clip(x, xp_i, xp_(i+1)) - xp_i)`` with s_i the slopes: at a node, a tie."""
    if left is not None or right is not None or period is not None:
        raise Refused("numpy.interp with left=, right= or period=")
    slopes = np.diff(fp) / np.diff(xp)
    spans = np.clip(np.expand_dims(x, -1), xp[:-1], xp[1:]) - xp[:-1]
    return fp[0] + np.sum(spans * slopes, axis=-1)


def _none_of(options: Mapping[str, Any], *known: str) -> None:
    unset = getattr(np, "_NoValue", None)  # what numpy.ma and pandas hand on for "not given"
    given = [name for name, value in options.items() if name not in known or value is not unset]
    if given:
        raise Refused(f"keyword {given[0]} is not carried")


def _truth(reduce: Function) -> Function:
    return lambda a, *args, **kwargs: reduce(a != 0, *args, **kwargs)


def _table(rows: Iterable[tuple[str, Function]]) -> dict[Function, Function]:
    return {func: row for name, row in rows for func in named(name)}


DERIVED = _table([
    ("var", var), ("std", std), ("linalg.norm", norm), ("median", median), ("quantile", quantile),
    ("percentile", lambda a, q, *args, **kwargs: quantile(a, q / 100, *args, **kwargs)),
    ("clip", clip), ("pad", pad), ("nan_to_num", nan_to_num), ("average", average),
    ("interp", interp), ("trapezoid", trapezoid), ("trapz", trapezoid),
    ("linalg.vector_norm", lambda x, axis=None, keepdims=False, **p:
        norm(np.ravel(x) if axis is None else x, p.get("ord", 2), axis, keepdims)),
    ("linalg.matrix_norm", lambda x, keepdims=False, **p: norm(x, p.get("ord"), (-2, -1), keepdims)),
    ("vdot", lambda a, b: np.dot(np.ravel(a), np.ravel(b))),
    ("linalg.vecdot", lambda a, b, axis=-1: np.sum(a * b, axis=axis)),
    ("ptp", lambda a, axis=None, keepdims=False: np.max(a, axis=axis, keepdims=keepdims)
        - np.min(a, axis=axis, keepdims=keepdims)),
    ("nansum", lambda a, *args, **kwargs: np.sum(np.where(np.isnan(a), 0.0, a), *args, **kwargs)),
    ("nanmean", lambda a, axis=None, keepdims=False: np.nansum(a, axis=axis, keepdims=keepdims)
        / np.sum(~np.isnan(a), axis=axis, keepdims=keepdims)),
    ("any", _truth(np.any)), ("all", _truth(np.all)), ("nonzero", _truth(np.nonzero)),
    ("count_nonzero", _truth(np.count_nonzero)), ("flatnonzero", _truth(np.flatnonzero)),
    ("argwhere", _truth(np.argwhere)),
    ("array_equal", lambda a, b: np.shape(a) == np.shape(b) and bool(np.all(a == b))),
    ("real", lambda a: a), ("real_if_close", lambda a: a),
])


METHODS = named(*_names("""
    sum mean var std prod max min argmax argmin argsort cumsum cumprod dot ravel squeeze swapaxes
    repeat take trace diagonal any all nonzero ptp compress"""))
