"""An array that a real forward takes for float64 while it carries numbers of another arithmetic.

`Numbers` says which: their dtype, how float64 becomes one of them exactly, and what each ufunc is.
An array never turns into float64 behind the forward's back: a conversion raises `Refused`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.arithmetic.composed import COMPOSED
from gradverify.arithmetic.functions import (
    FLOAT64,
    Refused,
    call,
    describe,
    named,
    replace,
)
from gradverify.arithmetic.reductions import FUNCTIONS
from gradverify.arithmetic.surface import answer, with_methods

Row = Callable[..., Any]


@dataclass(frozen=True)
class Numbers:
    """An arithmetic of one precision.

    lift(array) -> the same numbers as a payload, exactly; payloads are left as they are.
    lower(payload) -> the nearest float64 numbers.
    ufuncs: ufunc -> function of payloads.
    constant(name) -> ``pi`` or ``ln2`` as a payload without axes.
    shake(payload, rng) -> the payload with its last places moved at random, by many different amounts: of
        two results moved by one ulp up or down half are moved alike, and seem to have no noise.
    moved(payload) -> the payload shaken, in a run that measures noise.
    """

    name: str
    dtype: np.dtype
    lift: Row
    lower: Row
    ufuncs: Mapping[Any, Row]
    constant: Callable[[str], Any]
    shake: Row | None = None
    moved: Row | None = None

    def jittered(self, rng: np.random.Generator) -> Numbers:
        """The same with every inexact result shaken, so that cancellation and saturation anywhere show."""
        shake = self.shake
        assert shake is not None
        return dataclasses.replace(self, moved=lambda payload: shake(payload, rng))

    def wrap(self, plain: Any) -> NumberArray:
        """A plain array as numbers of this arithmetic."""
        return NumberArray(self.lift(np.asarray(plain)), self)

    def box(self, value: Any) -> np.ndarray:
        """A payload as an array: NumPy unwraps those without axes."""
        if isinstance(value, np.ndarray):
            return value
        boxed = np.empty((), self.dtype)
        boxed[()] = value
        return boxed


EXACT = frozenset((np.negative, np.positive, np.absolute, np.fabs, np.maximum, np.minimum, np.fmax, np.fmin,
                   np.sign, np.floor, np.ceil, np.trunc, np.rint, np.copysign, np.heaviside, np.conjugate))


@with_methods
class NumberArray(np.lib.mixins.NDArrayOperatorsMixin):
    """`payload` holds numbers of the arithmetic `numbers`, behind the interface of a float64 ndarray."""

    __slots__ = ("numbers", "payload")
    __array_priority__ = 1000
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, payload: Any, numbers: Numbers) -> None:
        self.payload = numbers.box(payload)
        self.numbers = numbers

    @property
    def values(self) -> np.ndarray:
        """The nearest float64 numbers."""
        return np.asarray(self.numbers.lower(self.payload))

    def like(self, result: Any, *, moved: bool) -> Any:
        """Payloads as wrappers of the same run; indices and masks as they are; floats are a loss."""
        if isinstance(result, (list, tuple)):
            return type(result)(self.like(item, moved=moved) for item in result)
        kind = getattr(result, "dtype", self.numbers.dtype)
        if kind != self.numbers.dtype:
            if kind.kind not in "biu":
                raise Refused(f"a {self.numbers.name} array became {kind}")
            return result
        if isinstance(result, (bool, int)):
            return result
        shaken = self.numbers.moved
        return NumberArray(result if moved or shaken is None else shaken(result), self.numbers)

    @property
    def cells(self) -> np.ndarray:
        """An array of the same shape and strides."""
        return self.payload

    def moving(self, move: Callable[[np.ndarray], Any]) -> Any:
        """The payload by a function that only moves entries."""
        return self.like(move(self.payload), moved=True)

    def assign(self, index: Any, value: Any, where: Any = True) -> None:
        """Entries replaced, in this array and all its views."""
        new = self.operand(value)
        if index is ...:
            np.copyto(self.payload, new, where=where)
        else:  # an object array would hold an array without axes as it is
            self.payload[index] = new if new.ndim else new[()]

    def add_at(self, index: Any, values: Any, sign: float) -> None:
        """Values added to entries, one after another."""
        new = self.operand(values)
        np.add.at(self.payload, index, new if sign > 0 else -new)

    def operand(self, value: Any) -> np.ndarray:
        """What may be combined with or assigned to this array, as a payload."""
        if isinstance(value, NumberArray):
            return value.payload
        plain = np.asarray(value)
        if plain.dtype.kind not in "fiub" or plain.dtype.itemsize > FLOAT64.itemsize:
            raise Refused(f"a {plain.dtype} operand beside {self.numbers.name} numbers")
        return np.asarray(self.numbers.lift(plain))

    def wrap(self, value: Any) -> NumberArray:
        """Anything that may be combined with this array, as one like it."""
        return value if isinstance(value, NumberArray) else NumberArray(self.operand(value), self.numbers)

    def constant(self, name: str) -> NumberArray:
        """``pi`` or ``ln2`` to all digits."""
        return NumberArray(self.numbers.constant(name), self.numbers)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return answer(self, ufunc, method, inputs, kwargs)

    def evaluate(self, ufunc: np.ufunc, inputs: Any) -> Any:
        """One call of a ufunc: a row of this arithmetic, or composed of others."""
        if ufunc in self.numbers.ufuncs:
            result = self.numbers.ufuncs[ufunc](*(self.operand(value) for value in inputs))
            return self.like(result, moved=ufunc in EXACT)
        if ufunc in COMPOSED:
            return COMPOSED[ufunc](self, *(self.wrap(value) for value in inputs))
        raise Refused(f"{describe(ufunc)} is not carried by {self.numbers.name} numbers")

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        result = call(self, func, args, kwargs, FUNCTIONS)
        # NumPy fills object arrays with Python's 0, and stacks them with plain floats as they are.
        mixed = self.numbers.dtype.hasobject and func in FILLING
        return replace(result, self._cleaned) if mixed else result

    def _cleaned(self, array: NumberArray) -> NumberArray:
        return NumberArray(self.numbers.lift(array.payload), self.numbers)


FILLING = frozenset(named(
    "concatenate", "concat", "stack", "vstack", "hstack", "dstack", "column_stack", "block", "diag", "diagflat", "tril",
    "triu", "insert", "append", "resize", "select", "pad"))
