"""Parameters that are Python numbers become arrays without axes; backwards that change the parameters are told."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gradverify.targets.gradients import USUAL_PARAMETERS, plain
from gradverify.targets.graph import fetch, floating_of, members_of
from gradverify.targets.methods import RATES
from gradverify.targets.parameters import paths_with_aliases, places, slot_of


def with_arrays_for_numbers(obj: Any, trial: Any) -> tuple[Any, dict[str, str]]:
    """A copy in which every float that `trial` holds a fresh gradient of is an array, and where those gradients are.

    ``alpha = 0.25`` is a parameter if a backward leaves ``dalpha``, or ``grads["alpha"]``, behind.
    Without any the object is returned as it is.
    """
    own, after = dict(_numbers(obj)), dict(_numbers(trial))
    lone = {p: a for p, a in floating_of(trial).items() if a.size == 1}
    where = places((*after, *(p for p in paths_with_aliases(trial) if p in lone)))
    slots = {path: slot for path in own if (slot := slot_of(path, where)) is not None}
    fresh = {path: slot for path, slot in slots.items() if own.get(slot) != after.get(slot, np.nan)}
    found = {path: slot for path, slot in fresh.items() if path not in fresh.values()}
    if not found:
        return obj, {}
    twin = copy.deepcopy(obj)
    for path in found:
        _put(twin, path, np.array(float(own[path])))
    return twin, found


def _numbers(obj: Any, path: str = "", depth: int = 4) -> Iterator[tuple[str, Any]]:
    if isinstance(obj, (float, np.floating)):
        yield path, obj
    elif depth and not isinstance(obj, (np.ndarray, str, bytes, int, type)):
        for child_path, child in members_of(obj, path):
            yield from _numbers(child, child_path, depth - 1)


def _put(obj: Any, path: str, value: Any) -> None:
    head, _, name = path.rpartition(".")
    owner = fetch(obj, head) if head else obj
    if isinstance(owner, dict):
        owner[name] = value
    elif not name.endswith("]"):
        object.__setattr__(owner, name, value)


def steps_itself(layer: Any, before: Mapping[str, Any], params: Mapping[str, str | None]) -> bool:
    """Whether a backward has changed parameters: those known, what is called a weight, or what a rate stands beside."""
    after, slots = floating_of(layer), set(params.values())
    moved = [p for p, old in before.items() if p not in slots and p in after and not np.array_equal(after[p], old)]
    return any(p in params or _is_weight(p) for p in moved) or (bool(moved) and _has_rate(layer))


def _is_weight(path: str) -> bool:
    return plain(path.rpartition(".")[2]).rstrip("0123456789[]") in USUAL_PARAMETERS


def _has_rate(layer: Any) -> bool:
    return any(name.strip("_") in RATES or "optim" in name for name in getattr(layer, "__dict__", {}))
