"""What every wrapper array has in common with ndarray: its ufunc protocol, attributes and methods.

A wrapper brings `payload` (an ndarray of its own numbers), `values` (the same as float64), `cells` (an array of
the same shape and strides), `like(result, moved=)`, `moving(function)`, `assign(index, value)`, `add_at` and
`evaluate(ufunc, inputs)`. The rest is the same for all of them and stands here, so that what is
refused is refused by all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from gradverify.arithmetic.functions import FLOAT64, METHODS, Refused, describe, is_wrapper, write

T = TypeVar("T")

REDUCTIONS: dict[Any, Any] = {
    np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min,
    np.logical_and: np.all, np.logical_or: np.any,
}
ACCUMULATIONS: dict[Any, Any] = {np.add: np.cumsum, np.multiply: np.cumprod}
IN_PLACE = (np.add, np.subtract)


def answer(array: Any, ufunc: np.ufunc, method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
    """The body of `__array_ufunc__`: every method of a ufunc by way of ``array.evaluate(ufunc, inputs)``."""
    out, mask, dtype = kwargs.pop("out", None), kwargs.pop("where", True), kwargs.pop("dtype", None)
    if dtype is not None and np.dtype(dtype) != FLOAT64:
        raise Refused(f"{describe(ufunc)} with dtype={dtype}")
    if method == "at":
        return _add_at(ufunc, *inputs)
    result = _apply(array, ufunc, method, inputs, kwargs)
    if mask is not True:
        if out is None:
            raise Refused(f"{describe(ufunc)} with where= and no out=")
        result = np.where(mask, result, out[0])
    return result if out is None else write(out, result)


def _apply(array: Any, ufunc: np.ufunc, method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
    if method == "reduce" and ufunc in REDUCTIONS:
        return _on(REDUCTIONS[ufunc], inputs, kwargs)
    if method == "accumulate" and ufunc in ACCUMULATIONS:
        return _on(ACCUMULATIONS[ufunc], inputs, kwargs)
    if method == "outer":
        left, right = inputs
        return ufunc(np.reshape(left, np.shape(left) + (1,) * np.ndim(right)), right)
    if method != "__call__" or kwargs:
        raise Refused(f"{describe(ufunc)}.{method} with {sorted(kwargs)}")
    return array.evaluate(ufunc, inputs)


def _on(func: Callable[..., Any], inputs: Any, kwargs: dict[str, Any]) -> Any:
    # ufunc.reduce takes axis 0 where the function of the same name takes them all.
    return func(*inputs, **{"axis": 0, **kwargs})


def _add_at(ufunc: np.ufunc, target: Any, index: Any, values: Any) -> None:
    if ufunc not in IN_PLACE or not is_wrapper(target):
        raise Refused(f"{describe(ufunc)}.at into {type(target).__name__}")
    target.add_at(index_of(index), values, 1.0 if ufunc is np.add else -1.0)


def index_of(index: Any) -> Any:
    """The index itself, if no part of it carries a derivative."""
    if any(is_wrapper(part) for part in (index if isinstance(index, tuple) else (index,))):
        raise Refused("an index with a derivative")
    return index


def with_methods(cls: type[T]) -> type[T]:
    """The class with ndarray's attributes and methods, most of them the NumPy function of that name."""
    own = vars(cls)
    for func, name in METHODS.items():
        setattr(cls, name, _method(func))
    for name, member in vars(_Surface).items():
        if name not in ("__dict__", "__weakref__", "__module__", "__doc__") and name not in own:
            setattr(cls, name, member)
    return cls


def _method(func: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return func(self, *args, **kwargs)

    return method


class _Surface:
    """ndarray's attributes and methods in terms of `payload` and `like`; copied, never inherited."""

    cells: np.ndarray
    values: np.ndarray
    moving: Any
    assign: Any

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise Refused("a conversion to a plain array (np.asarray, np.array, assignment) loses the derivative")

    def __float__(self) -> float:
        raise Refused("a conversion to a Python float loses the derivative")

    __complex__ = __int__ = __index__ = __round__ = __float__

    def __reduce__(self) -> Any:
        raise Refused("pickling separates an array from its run")

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __copy__(self) -> Any:
        return self.copy()

    def __bool__(self) -> bool:
        return bool(np.not_equal(self, 0))

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        plain = index_of(index)
        return self.moving(lambda a: a[plain])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.assign(index_of(index), value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.values!r})"

    shape = property(lambda self: self.cells.shape)
    ndim = property(lambda self: self.cells.ndim)
    size = property(lambda self: self.cells.size)
    dtype = property(lambda _: FLOAT64)
    itemsize = property(lambda _: FLOAT64.itemsize)
    nbytes = property(lambda self: self.cells.size * FLOAT64.itemsize)
    flags = property(lambda self: self.cells.flags)
    real = property(lambda self: self)
    T = property(lambda self: self.moving(lambda a: a.T))
    mT = property(lambda self: self.moving(lambda a: a.swapaxes(-1, -2)))  # noqa: N815 - NumPy's name

    def reshape(self, *shape: Any, **options: Any) -> Any:
        """The same entries in another shape; a view where ndarray's is one."""
        return self.moving(lambda a: a.reshape(*shape, **options))

    def transpose(self, *axes: Any) -> Any:
        """The axes permuted."""
        return self.moving(lambda a: a.transpose(*axes))

    def flatten(self, order: Any = "C") -> Any:
        """A copy in one axis."""
        return self.moving(lambda a: a.flatten(order))

    def copy(self, order: Any = "C") -> Any:
        """A copy in the same run."""
        return self.moving(lambda a: a.copy(order))

    def view(self) -> Any:
        """Another wrapper of the same memory; no reinterpretation."""
        return self.moving(lambda a: a)

    def conj(self) -> Any:
        """Itself: a real number is its own conjugate."""
        return self

    conjugate = conj

    def astype(self, dtype: Any, copy: bool = True, **_: Any) -> Any:
        """float64 is a copy, integers and booleans are plain staircases, narrower floats are refused."""
        kind = np.dtype(dtype)
        if kind == FLOAT64:
            return self.copy() if copy else self
        if kind.kind == "b":
            return np.not_equal(self, 0)
        if kind.kind in "iu":
            whole: Any = np.trunc(self)
            return whole.values.astype(kind)
        raise Refused(f"astype({kind}): the rounding of the cast is not carried")

    def clip(self, min: Any = None, max: Any = None) -> Any:  # noqa: A002 - ndarray's names
        """``minimum(maximum(self, min), max)``."""
        return np.clip(self, min, max)

    def round(self, decimals: int = 0) -> Any:
        """A staircase."""
        return np.round(self, decimals)

    def item(self, *index: Any) -> Any:
        """One entry, still carrying its derivative."""
        if len(index) == 1 and isinstance(index[0], tuple):
            return self[index[0]]
        return self.reshape(-1)[index[0] if index else 0] if len(index) < 2 else self[index]

    def tolist(self) -> Any:
        """Nested lists of entries that still carry their derivatives."""
        return [entry.tolist() for entry in self] if self.cells.ndim else self

    def fill(self, value: Any) -> None:
        """Every entry becomes `value`."""
        self[...] = value

    def sort(self, axis: int = -1, **_: Any) -> None:
        """Sorted in place."""
        self[...] = np.sort(self, axis=axis)
