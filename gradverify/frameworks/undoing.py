"""What any framework's code may leave behind in plain Python, and how to put it back."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

Undo = Callable[[], None]


def undo_attributes(
    thing: Any, machinery: frozenset[str] = frozenset(), undo_value: Callable[[Any], Undo | None] | None = None
) -> Undo:
    """How to put back the attributes of an object: those set anew, added, deleted or written into."""
    if not isinstance(getattr(thing, "__dict__", None), dict):  # a class, or slots
        return lambda: None
    kept = {name: value for name, value in vars(thing).items() if name not in machinery}
    undos = [undo for value in kept.values() if (undo := undo_written(value, undo_value or undo_generator))]

    def put_back() -> None:
        now = vars(thing)
        for name in now.keys() - kept.keys() - machinery:
            del now[name]
        now.update(kept)
        for undo in undos:
            undo()

    return put_back


def undo_written(value: Any, undo_value: Callable[[Any], Undo | None]) -> Undo | None:
    """How to put back what is written into an array or a container, or what `undo_value` knows of anything else."""
    if isinstance(value, np.ndarray) and value.flags.writeable:
        kept = value.copy()
        return lambda: np.copyto(value, kept)
    return _undo_container(value) if isinstance(value, (list, dict, set)) else undo_value(value)


def _undo_container(value: Any) -> Undo:
    """How to put back what a list, a dict or a set holds."""
    if isinstance(value, list):
        items = list(value)
        return lambda: list.__setitem__(value, slice(None), items)  # a list that watches itself is not told
    kept = value.copy()
    members = _members(kept)

    def put_back() -> None:
        if _members(value) != members:  # by identity: arrays have no truth value to compare by
            value.clear()
            value.update(kept)

    return put_back


def _members(container: Any) -> set[tuple[int, ...]]:
    """What a dict or a set holds, as identities."""
    if isinstance(container, dict):
        return {(id(key), id(value)) for key, value in container.items()}
    return {(id(value),) for value in container}


def undo_generator(value: Any) -> Undo | None:
    """How to put a random generator of NumPy or Python back, or None for anything else."""
    if isinstance(value, np.random.Generator):
        bits, kept = value.bit_generator, value.bit_generator.state
        return lambda: setattr(bits, "state", kept)
    if isinstance(value, np.random.RandomState):
        legacy = value.get_state()
        return lambda: value.set_state(legacy)
    if isinstance(value, random.Random):
        own = value.getstate()
        return lambda: value.setstate(own)
    return None
