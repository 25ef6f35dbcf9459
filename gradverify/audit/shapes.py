"""Shapes that an object was told when it was made, and whether they are those of one sample or of all that it takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gradverify.targets.gradients import plain
from gradverify.targets.graph import floating_of

_DATA = ("x", "y", "z", "a", "dx", "gradx", "input", "output", "inputs", "outputs", "gradinput", "gradoutput", "delta")


class Whole(tuple[int, ...]):
    """A shape of the data itself: the object keeps data of it, no axis for samples comes before."""

    __slots__ = ()


class Sized(tuple[int, ...]):
    """A shape of data with a size that an object was told: one of many that may be meant."""

    __slots__ = ()


def stated_shapes(obj: Any, told: Iterable[Any]) -> tuple[tuple[int, ...], ...]:
    """The shapes among what an object was told, likeliest first; `Whole` where it made room for data of that shape.

    Then shapes with the sizes that it was told, which are only guessed.
    """
    known = [*told, getattr(obj, "input_shape", None)]
    shapes = dict.fromkeys(value for value in known if _is_shape(value))
    kept = {a.shape for path, a in floating_of(obj).items() if plain(path.rsplit(".", maxsplit=1)[-1]) in _DATA}
    whole = [Whole(shape) for shape in shapes if shape in kept]
    sizes = dict.fromkeys(n for n in known if type(n) is int and 1 < n <= _LARGEST)
    sized = [Sized(shape) for n in sizes for shape in ((5, n), (2, 3, n), (2, n, 6, 4), (2, 6, 4, n), (n,), (n, 5))]
    return (*whole, *(shape for shape in shapes if shape not in kept and len(shape) > 1), *sized)


_LARGEST = 32


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(n, int) and n > 0 for n in value)
