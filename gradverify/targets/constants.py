"""Numbers written in the code under trial: where it branches, clips or saturates, its gradient may be wrong."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import CellType
from typing import Any

_DEPTH = 3  # calls from function to function that are followed
_MOST = 16


def constants_in(obj: Any) -> tuple[float, ...]:
    """The numbers in a target's functions, their defaults, closures and globals, and in its own attributes.

    Only code of the target's own package is read, and nothing is run. Sizes of zero and one say nothing.
    """
    found = dict.fromkeys(abs(float(c)) for c in _of(obj, _DEPTH, set()))
    return tuple(c for c in found if math.isfinite(c) and c not in (0.0, 1.0))[:_MOST]


def _of(obj: Any, depth: int, seen: set[int]) -> Iterator[float]:
    if isinstance(obj, (int, float)) and not isinstance(obj, bool):
        yield obj
    if depth == 0 or id(obj) in seen:
        return
    seen.add(id(obj))
    function = inspect.unwrap(getattr(obj, "__func__", obj)) if callable(obj) else obj
    if inspect.isfunction(function):
        yield from _of_function(function, depth, seen)
    elif is_dataclass(obj) and not isinstance(obj, type):
        for part in fields(obj):
            yield from _of_value(getattr(obj, part.name), depth, seen)
    elif type(obj).__module__ != "builtins" and not inspect.ismodule(obj):
        kind = obj if isinstance(obj, type) else type(obj)
        for part in (*vars(kind).values(), *getattr(obj, "__dict__", {}).values()):
            yield from _of_value(getattr(part, "__func__", part), depth, seen)


def _of_value(value: Any, depth: int, seen: set[int]) -> Iterator[float]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _of_value(part, depth, seen)
    elif inspect.isfunction(value) or isinstance(value, (int, float)):
        yield from _of(value, depth, seen)


_EMPTY = CellType()


def closure_of(function: Any) -> Iterator[tuple[str, CellType]]:
    """The names and cells that a function closes over, without those that are bound later."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return ((name, cell) for name, cell in cells if cell != _EMPTY)


def _of_function(function: Any, depth: int, seen: set[int]) -> Iterator[float]:
    codes = [function.__code__]
    names: list[str] = []
    while codes:
        code = codes.pop()
        codes += [c for c in code.co_consts if inspect.iscode(c)]
        names += code.co_names
        yield from (c for c in code.co_consts if isinstance(c, (int, float)) and not isinstance(c, bool))
    yield from (c for c in function.__defaults__ or () if isinstance(c, (int, float)))
    package = function.__globals__.get("__name__", "").split(".")[0]
    for name in names:
        used = function.__globals__.get(name)
        if isinstance(used, (int, float)) or getattr(used, "__module__", "").split(".")[0] == package:
            yield from _of_value(used, depth - 1, seen)
    for _, cell in closure_of(function):
        yield from _of_value(cell.cell_contents, depth - 1, seen)
