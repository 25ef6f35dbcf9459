"""An array that a real forward takes for float64 while it carries the two parts of f(x + ihv).

NumPy's own complex arrays will not do: `abs`, `var`, `std`, `norm` and `vdot` conjugate, ordering
compares imaginary parts, and a cast to float drops the derivative with a warning at most. Here all
of that follows the branch of the real part, and whatever would lose the imaginary part raises
`Refused`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradverify.arithmetic import complexspecial, complextable, planes
from gradverify.arithmetic.complexfunctions import FUNCTIONS, compare_zero
from gradverify.arithmetic.complextable import Watch
from gradverify.arithmetic.functions import FLOAT64, LIKE, STRUCTURE, VALUES, Refused, call, describe
from gradverify.arithmetic.planes import Planes, parted, whole
from gradverify.arithmetic.surface import answer, with_methods

EXACT_INTEGERS = 2**53
OPERATORS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "matmul": np.matmul}
PASSING = {*STRUCTURE, *VALUES, *LIKE}  # no operation of its own: entries are moved, or not looked at


def with_operators(cls: type[ComplexArray]) -> type[ComplexArray]:
    """The class with its commonest operators past NumPy's dispatch, which costs as much as a small operation."""
    for name, ufunc in OPERATORS.items():
        for full, turned in ((f"__{name}__", False), (f"__r{name}__", True)):
            setattr(cls, full, _operator(planes.ROUNDED[ufunc], getattr(cls, full), turned=turned))
    return cls


def _operator(rule: planes.Rule, general: Callable[..., Any], *, turned: bool) -> Callable[..., Any]:
    def operate(self: ComplexArray, other: Any) -> Any:
        kind = type(other)
        fits = kind is ComplexArray or kind is float or kind is int
        if not fits or self.watch.altering is not None:
            return general(self, other)
        operands = (_operand(other), self.planes) if turned else (self.planes, _operand(other))
        return self.made(*rule(self.watch, *operands), 1.0)

    return operate


@with_operators
@with_methods
class ComplexArray(np.lib.mixins.NDArrayOperatorsMixin):
    """``z = f + i h f'`` behind the interface of a float64 ndarray; `watch` is shared by a whole run."""

    __slots__ = ("planes", "watch")
    __array_priority__ = 1000
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, z: Any, watch: Watch | None = None) -> None:
        self.planes = z if type(z) is Planes else parted(z)
        self.watch = Watch() if watch is None else watch

    @property
    def payload(self) -> np.ndarray:
        """The complex numbers: a copy, for functions that want them whole."""
        return self.planes.joined()

    @property
    def values(self) -> np.ndarray:
        """The real parts: what the forward believes it computes with."""
        return self.planes.real

    @property
    def cells(self) -> np.ndarray:
        """An array of the same shape and strides."""
        return self.planes.real

    def like(self, result: Any, *, moved: bool) -> Any:
        """Complex results as wrappers of the same run; `moved` ones were copied, hence are exact."""
        if isinstance(result, (list, tuple)):
            return type(result)(self.like(item, moved=moved) for item in result)
        if getattr(result, "dtype", None) != np.complex128:
            return result
        z = result if type(result) is Planes else parted(result)
        return self.made(z.real, z.imag, 0.0 if moved else 1.0)

    def made(self, re: Any, im: Any, ulps: float) -> ComplexArray:
        """The array of two parts that are uncertain by so many ulps."""
        watch = self.watch
        if watch.examines:
            watch.examine(re, im)
        if watch.rng is not None and ulps:
            re, im = watch.jitter(re, ulps), watch.jitter(im, ulps)
        if type(re) is not np.ndarray or type(im) is not np.ndarray:  # NumPy unwraps what has no axes
            re, im = np.asarray(re), np.asarray(im)
        return ComplexArray(Planes(re, im), watch)

    def moving(self, move: Callable[[np.ndarray], Any]) -> Any:
        """Both parts by a function that only moves entries; a view where it gives one."""
        re, im = move(self.planes.real), move(self.planes.imag)
        if isinstance(re, (list, tuple)):
            return type(re)(self.made(*parts, 0.0) for parts in zip(re, im, strict=True))
        return self.made(re, im, 0.0)

    def add_at(self, index: Any, values: Any, sign: float) -> None:
        """Values added to entries, one after another."""
        z = _operand(values)
        np.add.at(self.planes.real, index, sign * complextable.real(z))
        np.add.at(self.planes.imag, index, sign * complextable.imag(z))

    def assign(self, index: Any, value: Any, where: Any = True) -> None:
        """Entries replaced, in this array and all its views."""
        z = _operand(value)
        for part, new in ((self.planes.real, complextable.real(z)), (self.planes.imag, complextable.imag(z))):
            if index is ...:
                np.copyto(part, new, where=where)
            else:
                part[index] = new

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs:
            return self.evaluate(ufunc, inputs)
        return answer(self, ufunc, method, inputs, kwargs)

    def evaluate(self, ufunc: np.ufunc, inputs: Any) -> Any:
        """One call of a ufunc by the tables; refused if it stands in none."""
        altering = self.watch.altering
        if altering is not None and not altering.inside:
            return altering.call(ufunc, inputs, lambda operands: self.evaluate(ufunc, operands))
        operands = [_operand(value) for value in inputs]
        rule = planes.ROUNDED.get(ufunc)
        if rule is not None:
            return self.made(*rule(self.watch, *operands), 1.0)
        if ufunc in planes.EXACT:
            return self.made(*planes.EXACT[ufunc](self.watch, *operands), 0.0)
        if ufunc in planes.PLAIN:
            return planes.PLAIN[ufunc](self.watch, *operands)
        for rules, ulps in ((complextable.EXACT, 0.0), (complextable.ROUNDED, 1.0),
                            (complexspecial.UFUNCS, complexspecial.ULPS)):
            if ufunc in rules:
                z = parted(rules[ufunc](self.watch, *map(whole, operands)))
                return self.made(z.real, z.imag, ulps)
        raise Refused(f"{describe(ufunc)} is not carried by ComplexArray")

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        altering = self.watch.altering
        if altering is not None and not altering.inside and func not in PASSING:
            return altering.call(func, args, lambda operands: call(self, func, operands, kwargs, FUNCTIONS))
        return call(self, func, args, kwargs, FUNCTIONS)

    def __bool__(self) -> bool:
        return bool(compare_zero(self.watch, self.planes))


def _operand(value: Any) -> Any:
    """What may be combined with or assigned to such an array: its like, or plain numbers."""
    if type(value) is ComplexArray:
        return value.planes
    if type(value) is float or (type(value) is int and -EXACT_INTEGERS <= value <= EXACT_INTEGERS):
        return np.array(value, FLOAT64)
    plain = np.asarray(value)
    if plain.dtype.kind not in "fiub" or plain.dtype.itemsize > FLOAT64.itemsize:
        raise Refused(f"a {plain.dtype} operand beside a ComplexArray")
    return plain
