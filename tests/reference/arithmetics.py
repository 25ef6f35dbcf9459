"""Two arithmetics of the tests' own: numbers of fifty digits as objects, and an array that only wraps another."""

from __future__ import annotations

import operator

import mpmath
import numpy as np

from gradverify.arrays import flatten


class Digits:
    """A number of fifty digits with the methods that NumPy calls on objects, and no others."""

    def __init__(self, value):
        plain = value.item() if isinstance(value, np.generic) else value  # mpmath knows Python's numbers
        self.value = mpmath.mpf(getattr(plain, "value", plain))


def _binary(function):
    return lambda self, other: Digits(function(self.value, Digits(other).value))


def _comparison(function):
    return lambda self, other: bool(function(self.value, Digits(other).value))


def _unary(function):
    return lambda self: Digits(function(self.value))


def _mirrored(function):
    return lambda self, other: Digits(function(Digits(other).value, self.value))


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(Digits, f"__{_name}__", _binary(getattr(operator, _name)))
    setattr(Digits, f"__r{_name}__", _mirrored(getattr(operator, _name)))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Digits, f"__{_name}__", _comparison(getattr(operator, _name)))
for _name in ("exp", "log", "tanh", "erfc", "erf", "sqrt", "log1p", "expm1"):
    setattr(Digits, _name, _unary(getattr(mpmath, _name)))
Digits.__neg__ = lambda self: Digits(-self.value)


class Wrapped(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that answers NumPy's two protocols and can be indexed; it has nothing else but a shape."""

    def __init__(self, inside):
        self.inside = inside
        self.shape = np.shape(inside)

    def __array_ufunc__(self, ufunc, method, *args, **kwargs):
        return Wrapped(getattr(ufunc, method)(*map(unwrapped, args), **kwargs))

    def __array_function__(self, function, types, args, kwargs):
        result = function(*map(unwrapped, args), **{name: unwrapped(arg) for name, arg in kwargs.items()})
        return [Wrapped(part) for part in result] if isinstance(result, list) else Wrapped(result)

    def __getitem__(self, index):
        return Wrapped(self.inside[unwrapped(index)])

    def __setitem__(self, index, new):
        self.inside[index] = unwrapped(new)


def unwrapped(arg):
    """The array inside, of an array or a list of them."""
    if isinstance(arg, (list, tuple)):
        return type(arg)(map(unwrapped, arg))
    return arg.inside if isinstance(arg, Wrapped) else arg


def converted(tree, convert):
    """The tree with its floating leaves in another arithmetic."""
    leaves, rebuild = flatten(tree, "t")
    return rebuild({name: convert(leaf) if np.asarray(leaf).dtype.kind == "f" else leaf
                    for name, leaf in leaves.items()})
