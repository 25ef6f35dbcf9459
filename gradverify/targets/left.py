"""What a layer leaves in its attributes where it returns nothing: its output, and the gradients of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, is_floating
from gradverify.targets.gradients import as_gradient, decorated, lone_leaf, plain

_OUTPUTS = ("output", "out", "outputs")
OF_AN_INPUT = ("dinputs", "dinput", "dx", "inputgrad", "inputgradient", "gradinput", "gradinputs", "dprev")
Places = Mapping[str, tuple[str, int | None]]  # by leaf: an attribute, and a number where that holds a list


def left_output(layer: Any, result: Any, inputs: Sequence[Any]) -> Any:
    """What a forward returned, else the array that it left as ``self.output``; None where there is neither."""
    name = "" if result is not None else output_name(layer, inputs)
    return vars(layer)[name] if name else result


def output_name(layer: Any, inputs: Sequence[Any] = ()) -> str:
    """An attribute that is called output, an input itself (``self.output = x``) if there is no other; else empty."""
    held = getattr(layer, "__dict__", {})
    names = [name for name in _OUTPUTS if is_floating(held.get(name))]
    others = (name for name in names if not any(np.array_equal(held[name], x) for x in inputs if is_floating(x)))
    return next(others, names[0] if names else "")


def slots(layer: Any) -> dict[str, tuple[Any, Any]]:
    """The attributes of a layer, each with a copy of what it holds now: what a backward leaves shows beside it."""
    held = getattr(layer, "__dict__", {})
    return {name: (value, np.array(value) if is_floating(value) else value) for name, value in held.items()}


def left_places(layer: Any, before: Mapping[str, tuple[Any, Any]], inputs: Arrays) -> Places:
    """Where a backward left the gradients of inputs, by a usual name: ``self.dinputs``, ``self.dy`` of an input y.

    What was there before and was not set anew is none: another pass may have left the same numbers, which is not told
    by them. A name that says no more than that it is of an input is that of the first one that no truth is passed as;
    a list is of all inputs.
    """
    held = getattr(layer, "__dict__", {})
    fresh = {n: v for n, v in held.items() if n not in before or v is not before[n][0] or not _same(before[n][1], v)}
    arrays = [n for n, v in fresh.items() if is_floating(v)]
    places: dict[str, tuple[str, int | None]] = {}
    for leaf, x in inputs.items():
        own = [n for n in arrays if decorated(n, leaf)]
        fitting = [n for n in own if np.shape(held[n]) == np.shape(x)]
        if own:
            places[leaf] = ((fitting or own)[0], None)
    taken = {name for name, _ in places.values()}
    for name in (n for word in OF_AN_INPUT for n in fresh if plain(n) == word and n not in taken):
        if isinstance(fresh[name], (list, tuple)) and len(fresh[name]) == len(inputs):
            return {leaf: (name, i) for i, leaf in enumerate(inputs)}
        if is_floating(fresh[name]):
            return {lone_leaf(list(inputs), list(inputs)): (name, None), **places}
    return places


def left_gradients(layer: Any, places: Places) -> Arrays:
    """What stands in these places."""
    held = vars(layer)
    return {leaf: as_gradient(held[n] if i is None else held[n][i]) for leaf, (n, i) in places.items() if n in held}


def _same(old: Any, new: Any) -> bool:
    if is_floating(old) and is_floating(new):
        return np.shape(old) == np.shape(new) and np.array_equal(old, new, equal_nan=True)
    return old is new
