"""The arrays an object holds, by path, and a copy of the object in which some are replaced."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, is_floating

_SIMPLE = (str, bytes, int, float, bool, complex, type(None), np.generic, type, type(np))


def arrays_of(obj: Any) -> Arrays:
    """Every NumPy array reachable through attributes, dicts and sequences, once each, by path."""
    return {path: value for path, value in _walk(obj, "", set()) if isinstance(value, np.ndarray)}


def paths_of(obj: Any) -> dict[int, list[str]]:
    """Every path under which each array is held: ``W`` may also be ``params[0]``."""
    found: dict[int, list[str]] = {}
    stack: list[tuple[str, Any, int]] = [("", obj, 6)]
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, np.ndarray):
            found.setdefault(id(value), []).append(path)
        elif depth and not isinstance(value, _SIMPLE):
            stack += [(child_path, child, depth - 1) for child_path, child in members_of(value, path)]
    return found


def floating_of(obj: Any) -> Arrays:
    """The floating ones among them."""
    return {path: value for path, value in arrays_of(obj).items() if is_floating(value)}


def _walk(value: Any, path: str, seen: set[int], depth: int = 8) -> Iterator[tuple[str, Any]]:
    if isinstance(value, _SIMPLE) or id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        yield path, value
        return
    for child_path, child in members_of(value, path):
        yield from _walk(child, child_path, seen, depth - 1)


def members_of(value: Any, path: str) -> list[tuple[str, Any]]:
    """What a mapping, a sequence or an object holds, each under the path that `fetch` takes."""
    dot = f"{path}." if path else ""
    if isinstance(value, Mapping):
        return [(f"{dot}{key}", child) for key, child in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"{path}[{i}]", child) for i, child in enumerate(value)]
    slots = [n for c in type(value).__mro__ for n in _slots(c) if hasattr(value, n)]
    attributes = {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots}}
    return [(f"{dot}{name}", child) for name, child in attributes.items()]


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(s for s in slots if not s.startswith("__"))


def fetch(obj: Any, path: str) -> Any:
    """The member at a path such as ``layers[0].params.W`` or ``grads()[1]``; KeyError if there is none."""
    value = obj
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        if index:
            value = list(value)[int(index)] if callable(getattr(value, "__next__", None)) else value[int(index)]
        elif name.endswith("()"):
            value = _attribute(value, name[:-2], path)()
        else:
            value = value[name] if isinstance(value, Mapping) else _attribute(value, name, path)
    return value


def _attribute(value: Any, name: str, path: str) -> Any:
    try:
        return getattr(value, name)
    except AttributeError:
        raise KeyError(path) from None


def forget_appended(obj: Any, later: Any, depth: int = 6) -> None:
    """Cut off what one forward appended to the lists of `obj`: as much as the next one appended to those of `later`.

    A cache that a forward appends to (``self.X.append(x)``) would else answer for the first call for ever.
    """
    if depth == 0 or isinstance(obj, (*_SIMPLE, np.ndarray)):
        return
    theirs = dict(members_of(later, ""))
    if isinstance(obj, list) and isinstance(later, list) and len(later) > len(obj):
        del obj[max(2 * len(obj) - len(later), 0) :]
    for name, value in members_of(obj, ""):
        if name in theirs:
            forget_appended(value, theirs[name], depth - 1)


def clone(obj: Any, replaced: Mapping[int, Any]) -> Any:
    """A deep copy in which the array with ``id`` k is ``replaced[k]``, at every place that refers to it.

    The memo of `copy.deepcopy` does the replacing, so aliases stay aliases.
    """
    memo = dict(replaced)
    try:
        return copy.deepcopy(obj, memo)
    except Exception as error:
        raise TypeError(f"{type(obj).__name__} cannot be copied ({error}), so its state cannot be put back") from error
