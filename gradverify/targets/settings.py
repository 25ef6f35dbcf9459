"""Numbers that a target's forward reads besides its inputs, and a way to change one for a while.

A forward that smooths its labels by 0.1 under a backward that knows nothing of it has the gradient of
the same forward with 0.0: to see that, the number has to be changed where the forward finds it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from gradverify.targets.constants import closure_of

_DEPTH = 3
_MOST = 24

Put = Callable[[Any], None]


@dataclass(frozen=True)
class Setting:
    """A number or an array of the code's own, by the name it has there; `value` is the one of now."""

    name: str
    value: Any
    put: Put

    @contextmanager
    def replaced(self, value: float) -> Iterator[None]:
        """Another value for a while; of an array, that in every entry."""
        self.put(value if isinstance(self.value, float) else np.full_like(self.value, value))
        try:
            yield
        finally:
            self.put(self.value)


def settings_in(obj: Any) -> tuple[Setting, ...]:
    """The floating numbers and arrays in a target's defaults, closures, globals and attributes."""
    return tuple(islice(_of(obj, _DEPTH, set()), _MOST))


def _of(obj: Any, depth: int, seen: set[int]) -> Iterator[Setting]:
    if depth == 0 or id(obj) in seen or inspect.ismodule(obj):
        return
    seen.add(id(obj))
    function = inspect.unwrap(getattr(obj, "__func__", obj)) if callable(obj) else obj
    if inspect.isfunction(function):
        yield from _of_function(function, depth, seen)
    elif is_dataclass(obj) and not isinstance(obj, type) and type(obj).__module__.startswith("gradverify"):
        for part in fields(obj):
            yield from _of(getattr(obj, part.name), depth, seen)
    elif isinstance(obj, (list, tuple)):
        for part in obj[:_MOST]:
            yield from _of(part, depth - 1, seen)
    elif type(obj).__module__ not in ("builtins", "numpy") and not isinstance(obj, type):
        yield from _of_object(obj, depth, seen)


def _of_object(obj: Any, depth: int, seen: set[int]) -> Iterator[Setting]:
    own = getattr(obj, "__dict__", {})
    for name, value in list(own.items()):
        if _is_setting(value):
            yield Setting(name, value, partial(own.__setitem__, name))
        else:
            yield from _of(value, depth - 1, seen)
    for method in (m for cls in type(obj).__mro__ for m in vars(cls).values()):
        if inspect.isfunction(method):
            yield from _of_function(method, depth, seen)


def _of_function(wrapped: Any, depth: int, seen: set[int]) -> Iterator[Setting]:
    function = inspect.unwrap(wrapped)
    for name, parameter in inspect.signature(function).parameters.items():
        if _is_setting(parameter.default):
            yield Setting(name, parameter.default, partial(_put_default, function, name))
    for name, cell in closure_of(function):
        yield from _value(name, cell.cell_contents, partial(setattr, cell, "cell_contents"), depth, seen)
    names = function.__globals__
    package = str(names.get("__name__", "")).split(".")[0]
    for name in _global_names(function.__code__):
        value = names.get(name)
        if _is_setting(value) or str(getattr(value, "__module__", "")).split(".")[0] == package:
            yield from _value(name, value, partial(names.__setitem__, name), depth, seen)


def _value(name: str, value: Any, put: Put, depth: int, seen: set[int]) -> Iterator[Setting]:
    if _is_setting(value):
        yield Setting(name, value, put)
    else:
        yield from _of(value, depth - 1, seen)


def _global_names(code: Any) -> list[str]:
    inner = [name for part in code.co_consts if inspect.iscode(part) for name in _global_names(part)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _put_default(function: Any, name: str, new: Any) -> None:
    """A default of a parameter changed, positional or by keyword."""
    if name in (function.__kwdefaults__ or {}):
        function.__kwdefaults__[name] = new
        return
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = list(function.__defaults__)
    defaults[names.index(name) - len(names)] = new
    function.__defaults__ = tuple(defaults)


def _is_setting(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype == np.float64 and value.size > 0)
