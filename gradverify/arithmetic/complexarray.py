"""An array that a real forward takes for float64 while it carries f(x + ihv) in complex128.

NumPy's own complex arrays will not do: `abs`, `var`, `std`, `norm` and `vdot` conjugate, ordering
compares imaginary parts, and a cast to float drops the derivative with a warning at most. Here all
of that follows the branch of the real part, and whatever would lose the imaginary part raises
`Refused`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradverify.arithmetic import complexspecial
from gradverify.arithmetic.complexfunctions import FUNCTIONS, compare_zero
from gradverify.arithmetic.complextable import EXACT, ROUNDED, Watch, step
from gradverify.arithmetic.functions import (
    FLOAT64,
    Refused,
    call,
    describe,
    is_wrapper,
    payloads,
    with_methods,
    write,
)

REDUCTIONS: dict[Any, Any] = {
    np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min,
    np.logical_and: np.all, np.logical_or: np.any,
}
ACCUMULATIONS: dict[Any, Any] = {np.add: np.cumsum, np.multiply: np.cumprod}
IN_PLACE = (np.add, np.subtract)


@with_methods
class ComplexArray(np.lib.mixins.NDArrayOperatorsMixin):
    """``z = f + i h f'`` behind the interface of a float64 ndarray; `watch` is shared by a whole run."""

    __slots__ = ("watch", "z")
    __array_priority__ = 1000
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, z: Any, watch: Watch | None = None) -> None:
        self.z = np.asarray(z, dtype=np.complex128)
        self.watch = Watch() if watch is None else watch

    @property
    def payload(self) -> np.ndarray:
        """The complex numbers."""
        return self.z

    @property
    def values(self) -> np.ndarray:
        """The real parts: what the forward believes it computes with."""
        return self.z.real

    def like(self, result: Any, *, moved: bool) -> Any:
        """Complex results as wrappers of the same run; `moved` ones were copied, hence are exact."""
        if isinstance(result, (list, tuple)):
            return type(result)(self.like(item, moved=moved) for item in result)
        if getattr(result, "dtype", None) != np.complex128:
            return result
        return ComplexArray(result if moved else self.watch.jitter(result), self.watch)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out, mask, dtype = kwargs.pop("out", None), kwargs.pop("where", True), kwargs.pop("dtype", None)
        if dtype is not None and np.dtype(dtype) != FLOAT64:
            raise Refused(f"{describe(ufunc)} with dtype={dtype}")
        if method == "at":
            return _add_at(ufunc, *inputs)
        result = self._apply(ufunc, method, inputs, kwargs)
        if mask is not True:
            if out is None:
                raise Refused(f"{describe(ufunc)} with where= and no out=")
            result = np.where(mask, result, out[0])
        return result if out is None else write(out, result)

    def _apply(self, ufunc: np.ufunc, method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
        if method == "reduce" and ufunc in REDUCTIONS:
            return _on(REDUCTIONS[ufunc], inputs, kwargs)
        if method == "accumulate" and ufunc in ACCUMULATIONS:
            return _on(ACCUMULATIONS[ufunc], inputs, kwargs)
        if method == "outer":
            left, right = inputs
            return ufunc(np.reshape(left, np.shape(left) + (1,) * np.ndim(right)), right)
        if method != "__call__" or kwargs:
            raise Refused(f"{describe(ufunc)}.{method} with {sorted(kwargs)}")
        return self._call(ufunc, inputs)

    def _call(self, ufunc: np.ufunc, inputs: Any) -> Any:
        operands = [_operand(value) for value in inputs]
        if ufunc in EXACT:
            return self.like(EXACT[ufunc](self.watch, *operands), moved=True)
        if ufunc in ROUNDED:
            return self.like(ROUNDED[ufunc](self.watch, *operands), moved=False)
        if ufunc in complexspecial.UFUNCS:
            result = complexspecial.UFUNCS[ufunc](self.watch, *operands)
            return self.like(self.watch.jitter(result, complexspecial.ULPS), moved=True)
        raise Refused(f"{describe(ufunc)} is not carried by ComplexArray")

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return call(self, func, args, kwargs, FUNCTIONS)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise Refused("a conversion to a plain array (np.asarray, np.array, assignment) loses the derivative")

    def __float__(self) -> float:
        raise Refused("a conversion to a Python float loses the derivative")

    __complex__ = __int__ = __index__ = __round__ = __float__

    def __reduce__(self) -> Any:
        raise Refused("pickling separates an array from its run")

    def __deepcopy__(self, memo: Any) -> ComplexArray:
        return self.copy()

    def __copy__(self) -> ComplexArray:
        return self.copy()

    def __bool__(self) -> bool:
        return bool(compare_zero(self.watch, self.z))

    def __len__(self) -> int:
        return len(self.z)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> ComplexArray:
        return ComplexArray(self.z[_index(index)], self.watch)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.z[_index(index)] = _operand(value)

    def __repr__(self) -> str:
        return f"ComplexArray({self.z!r})"

    shape = property(lambda self: self.z.shape)
    ndim = property(lambda self: self.z.ndim)
    size = property(lambda self: self.z.size)
    dtype = property(lambda _: FLOAT64)
    itemsize = property(lambda _: FLOAT64.itemsize)
    nbytes = property(lambda self: self.z.size * FLOAT64.itemsize)
    flags = property(lambda self: self.z.flags)
    real = property(lambda self: self)
    T = property(lambda self: ComplexArray(self.z.T, self.watch))
    mT = property(lambda self: ComplexArray(self.z.swapaxes(-1, -2), self.watch))  # noqa: N815 - NumPy's name

    def reshape(self, *shape: Any, **options: Any) -> ComplexArray:
        """The same entries in another shape; a view where ndarray's is one."""
        return ComplexArray(self.z.reshape(*shape, **options), self.watch)

    def transpose(self, *axes: Any) -> ComplexArray:
        """The axes permuted."""
        return ComplexArray(self.z.transpose(*axes), self.watch)

    def flatten(self, order: Any = "C") -> ComplexArray:
        """A copy in one axis."""
        return ComplexArray(self.z.flatten(order), self.watch)

    def copy(self, order: Any = "C") -> ComplexArray:
        """A copy in the same run."""
        return ComplexArray(self.z.copy(order), self.watch)

    def view(self) -> ComplexArray:
        """Another wrapper of the same memory; no reinterpretation."""
        return ComplexArray(self.z, self.watch)

    def conj(self) -> ComplexArray:
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
            return step(np.trunc)(self.watch, self.z).real.astype(kind)
        raise Refused(f"astype({kind}): the rounding of the cast is not carried")

    def clip(self, min: Any = None, max: Any = None) -> Any:  # noqa: A002 - ndarray's names
        """``minimum(maximum(self, min), max)``."""
        return np.clip(self, min, max)

    def round(self, decimals: int = 0) -> Any:
        """A staircase."""
        return np.round(self, decimals)

    def item(self, *index: Any) -> ComplexArray:
        """One entry, still carrying its derivative."""
        return ComplexArray(self.z.item(*index), self.watch)

    def fill(self, value: Any) -> None:
        """Every entry becomes `value`."""
        self[...] = value

    def sort(self, axis: int = -1, **_: Any) -> None:
        """Sorted in place."""
        self[...] = np.sort(self, axis=axis)


def _on(func: Callable[..., Any], inputs: Any, kwargs: dict[str, Any]) -> Any:
    # ufunc.reduce takes axis 0 where the function of the same name takes them all.
    return func(*inputs, **{"axis": 0, **kwargs})


def _operand(value: Any) -> np.ndarray:
    if is_wrapper(value):
        return np.asarray(value.payload)
    plain = np.asarray(value)
    if plain.dtype.kind not in "fiub" or plain.dtype.itemsize > FLOAT64.itemsize:
        raise Refused(f"a {plain.dtype} operand beside a ComplexArray")
    return plain


def _index(index: Any) -> Any:
    if any(is_wrapper(part) for part in (index if isinstance(index, tuple) else (index,))):
        raise Refused("an index with a derivative")
    return index


def _add_at(ufunc: np.ufunc, target: Any, index: Any, values: Any) -> None:
    if ufunc not in IN_PLACE or not is_wrapper(target):
        raise Refused(f"{describe(ufunc)}.at into {type(target).__name__}")
    ufunc.at(target.payload, _index(index), payloads(values))
