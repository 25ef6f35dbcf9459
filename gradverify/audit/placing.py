"""Where a backward of any convention leaves its gradients: a place for every parameter and input, or none."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.guesses import roles_of
from gradverify.targets.gradients import flat, names_gradient_of, plain
from gradverify.targets.graph import floating_of
from gradverify.targets.parameters import find_parameters

_INPUT_GRADIENTS = ("dinputs", "dinput", "dx", "inputgrad", "inputgradient", "gradinput", "gradinputs", "ingrad",
                    "daprev", "dlossdin", "gradx", "delta", "dz", "da", "error", "grad", "gradient", "d", "dh",
                    "inputdelta",
                    "downgrad", "backpropgrad", "dprev", "gradientin")  # fmt: skip


def places_of_params(
    layer: Any, kept: frozenset[str], returned: Any, before: Mapping[str, np.ndarray], inputs: Sequence[str]
) -> dict[str, tuple[str, Any]]:
    """Parameter -> place, among the arrays `kept` by the forward of an object that has run forward and backward."""
    after = floating_of(layer)
    moved = {p for p in kept if p in after and not np.array_equal(after[p], before[p])}
    slots = find_parameters(layer, layer, kept, returned, inputs)
    places: dict[str, tuple[str, Any]] = {p: ("held", s) for p, s in slots.items() if s is not None}
    stored = {s for s in slots.values() if s}
    handed = [g for g in flat(returned) if is_floating(g)] if isinstance(returned, (tuple, list)) else [returned]
    # What a backward hands back has not stepped.
    moved = {p for p in moved if not any(after[p] is g or np.array_equal(after[p], g) for g in handed)}
    stepped = {p for p in moved if p not in places and p not in stored and not _is_gradient_name(p)}
    if any(plain(p.rsplit(".", maxsplit=1)[-1]) in _WEIGHTS or "[" in p for p in stepped) or not places:
        places |= {p: ("moved", p) for p in stepped}
    rest = {p: a for p, a in before.items()  # in the order of the object, which returned lists follow
            if p in kept and p not in places and p not in stored and not _is_gradient_name(p)}  # fmt: skip
    return places | _returned_params(returned, rest, inputs)


_WEIGHTS = ("w", "b", "weight", "weights", "bias", "biases", "gamma", "beta", "kernel", "filters", "scale", "shift")


def _is_gradient_name(path: str) -> bool:
    last = plain(re.split(r"[./]", path)[-1])
    return last.startswith(("d", "grad", "delta", "v", "m", "cache", "running", "velocity")) or "grad" in last


def _returned_params(
    returned: Any, rest: Mapping[str, np.ndarray], inputs: Sequence[str]
) -> dict[str, tuple[str, Any]]:
    """By key, or by a shape that fits one parameter and one returned array only."""
    if isinstance(returned, Mapping):
        keys = {k: np.shape(g) for k, g in returned.items() if g is not None}
        return {p: ("key", k) for p, a in rest.items() for k, s in keys.items()
                if s == a.shape and names_gradient_of(str(k), p.rsplit(".", maxsplit=1)[-1])}  # fmt: skip
    if not isinstance(returned, (tuple, list)):
        return {}
    parts = flat(returned)
    shapes = [np.shape(g) for g in parts]
    places: dict[str, tuple[str, Any]] = {}
    for path, array in rest.items():
        same = [i for i, shape in enumerate(shapes) if shape == array.shape]
        rivals = [p for p, other in rest.items() if other.shape == array.shape]
        if len(same) == len(rivals):  # in the order of the parameters
            places[path] = ("returned", same[rivals.index(path)])
    return places


def place_of_input(
    name: str, x: Any, returned: Any, fresh: Mapping[str, np.ndarray], wanted: Sequence[str], words: Sequence[str] = (),
    taken: Collection[Any] = ()
) -> tuple[str, Any] | None:
    """Where a backward put the gradient of an input; None where it put none.

    It returns its parts as `words`; those that are `taken` are of parameters.
    """
    if not is_floating(x):
        return None
    position = wanted.index(name)
    if isinstance(returned, Mapping):
        key = next((k for k in returned if names_gradient_of(str(k), name)), None)
        return ("key", key) if key is not None else None
    if isinstance(returned, (tuple, list)) and returned:
        parts = flat(returned)
        others = {*taken, *_in_longer_lists(returned, len(wanted))}
        same = [i for i, g in enumerate(parts) if g is not None and np.shape(g) == np.shape(x) and i not in others]
        called = [i for i in same if len(words) == len(parts) and is_called_for(words[i], name)]
        if len(same) > 1 == len(called):
            return ("returned", called[0])
        return ("returned", position if position in same else same[0]) if same else None
    if returned is not None and is_floating(returned) and position == _first_data(wanted):
        return ("whole", 0)
    return _left_gradient(name, x, fresh) if returned is None else None


def _in_longer_lists(returned: Sequence[Any], most: int) -> set[int]:
    """Which parts are in a list of more than `most`: gradients of parameters, one list for each kind, whatever fits."""
    groups = [flat(part) if isinstance(part, (tuple, list)) else None for part in returned]
    long = [group is not None and len(group) > most for group in groups for _ in (group if group is not None else [0])]
    return {i for i, is_long in enumerate(long) if is_long}


def _first_data(wanted: Sequence[str]) -> int:
    """The place of the first input that is no label: of ``backward(y_true, y_pred)`` the second is meant."""
    roles = roles_of(wanted) if wanted else ()
    return next((i for i, role in enumerate(roles) if role != "label"), 0)


def is_called_for(word: str, name: str) -> bool:
    """Whether ``dLogVar`` is by its name the gradient of ``t_log_var``: its own, or one that ends in the same words."""
    bare = re.sub(r"^(d|grad(ient)?)|grad(ient)?$", "", plain(word))
    return names_gradient_of(word, name) or (len(bare) > 2 and plain(name).endswith(bare))


def _left_gradient(name: str, x: Any, fresh: Mapping[str, np.ndarray]) -> tuple[str, Any] | None:
    fitting = [p for p, a in fresh.items() if a.shape == np.shape(x)]
    named = [p for p in fitting if names_gradient_of(p.rsplit(".", maxsplit=1)[-1], name) and plain(p) != plain(name)]
    usual = [p for word in _INPUT_GRADIENTS for p in fitting if plain(p.rsplit(".", maxsplit=1)[-1]) == word]
    found = named or usual
    return ("held", found[0]) if found else None
