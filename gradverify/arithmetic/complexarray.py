"""An array that a real forward takes for float64 while it carries f(x + ihv) in complex128.

NumPy's own complex arrays will not do: `abs`, `var`, `std`, `norm` and `vdot` conjugate, ordering
compares imaginary parts, and a cast to float drops the derivative with a warning at most. Here all
of that follows the branch of the real part, and whatever would lose the imaginary part raises
`Refused`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradverify.arithmetic import complexspecial
from gradverify.arithmetic.complexfunctions import FUNCTIONS, compare_zero
from gradverify.arithmetic.complextable import EXACT, ROUNDED, Watch
from gradverify.arithmetic.functions import (
    FLOAT64,
    Refused,
    call,
    describe,
    is_wrapper,
)
from gradverify.arithmetic.surface import answer, with_methods


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
        self.watch.examine(result)
        return ComplexArray(result if moved else self.watch.jitter(result), self.watch)

    def operand(self, value: Any) -> np.ndarray:
        """What may be combined with or assigned to this array: its like, or plain numbers."""
        return _operand(value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return answer(self, ufunc, method, inputs, kwargs)

    def evaluate(self, ufunc: np.ufunc, inputs: Any) -> Any:
        """One call of a ufunc by the tables; refused if it stands in none."""
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

    def __bool__(self) -> bool:
        return bool(compare_zero(self.watch, self.z))


def _operand(value: Any) -> np.ndarray:
    if is_wrapper(value):
        return np.asarray(value.payload)
    plain = np.asarray(value)
    if plain.dtype.kind not in "fiub" or plain.dtype.itemsize > FLOAT64.itemsize:
        raise Refused(f"a {plain.dtype} operand beside a ComplexArray")
    return plain
