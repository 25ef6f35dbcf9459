"""Which arrays of an object are its parameters, and where a backward leaves the gradient of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.arrays import Arrays
from gradverify.targets.gradients import USUAL_PARAMETERS, flat, names_gradient_of, plain, spellings
from gradverify.targets.graph import floating_of, paths_of

_CONTAINERS = ("params", "parameters", "weights", "p", "theta")
_GRADIENT_BOXES = ("grads", "gradients", "grad", "dparams", "paramgrads", "paramsgrads", "dweights", "g", "dtheta")
_OF_THE_WHOLE = ("gradient", "gradients", "grad", "grads")  # of parameters that are one array, the first there is
_VALUES = ("value", "data", "val", "v", "w", "array")
_GRADIENTS = ("grad", "gradient", "g", "d", "dvalue", "derivative")

Slots = dict[str, str | None]


def find_parameters(obj: Any, trial: Any, kept: frozenset[str], returned: Any, inputs: Sequence[str]) -> Slots:
    """Parameter -> where its gradient is: an attribute or item, or None for one that is returned or missing.

    `kept` are the arrays that a forward leaves alone; `trial` has run forward and backward once, and
    `returned` is what its backward returned. A gradient is a sibling (``dW``), an entry of a
    container (``grads["W"]``, ``grads[0]``), or returned by name or by place. Declared parameters
    (``params[...]``), and a bias whose weight has a gradient, are parameters even without one.
    """
    before = {path: array for path, array in floating_of(obj).items() if path in kept}
    after, aliases = places(paths_with_aliases(trial)), paths_of(obj)
    names = {path: sorted(aliases[id(array)], key=len) for path, array in before.items()}
    slots: Slots = {path: slot for path in before if (slot := _first_slot(names[path], after)) is not None}
    slots |= _of_the_whole({path: array for path, array in before.items() if path not in slots}, floating_of(trial))
    slots |= {path: slot for path, slot in _from_methods(trial).items() if path in before and path not in slots}
    taken = set(slots.values())
    free = {path: array for path, array in before.items() if path not in slots and path not in taken}
    declared = {path for path in free if any(_in_container(alias) for alias in names[path])}
    named = _named_in(returned, free)
    if slots or named:
        declared |= {path for path in free if plain(_split(path)[1]) in USUAL_PARAMETERS}
    chosen = declared | named | _placed_in(returned, free, inputs)
    return {path: slots.get(path) for path in before if (path in slots and path not in taken) or path in chosen}


def _of_the_whole(free: Arrays, after: Arrays) -> Slots:
    """Where all parameters are one array, the array of its shape beside it that is called their gradient."""
    found: Slots = {}
    for path, array in free.items():
        head, name = _split(path)
        beside = (f"{head}.{word}" if head else word for word in _OF_THE_WHOLE if plain(name) in _CONTAINERS[:2])
        fitting = [other for other in beside if other in after and after[other].shape == array.shape]
        if fitting:
            found[path] = fitting[0]
    return found


def _named_in(returned: Any, free: Arrays) -> set[str]:
    keys = [str(key) for key in returned] if isinstance(returned, Mapping) else []
    return {path for path in free if any(names_gradient_of(key, _split(path)[1]) for key in keys)}


def _placed_in(returned: Any, free: Arrays, inputs: Sequence[str]) -> set[str]:
    """``return dx, dW, db`` or ``dW, db, dx``: as many more gradients as there are arrays, of the same shapes."""
    if not isinstance(returned, (tuple, list)) or len(returned) <= len(inputs):
        return set()
    shapes = [array.shape for array in free.values()]
    parts = flat(returned)
    fits = shapes in ([np.shape(g) for g in rest] for rest in (parts[len(inputs) :], parts[: -len(inputs) or None]))
    return set(free) if fits else set()


# Methods that hand out the parameters, and after a backward their gradients in the same order or under the same keys.
_GETTERS = (
    ("params", "grads"), ("parameters", "gradients"), ("parameters", "grads"), ("params", "gradients"),
    ("get_params", "get_grads"), ("get_parameters", "get_gradients"), ("get_weights", "get_gradients"),
    ("get_weights", "get_grads"), ("trainable_params", "grads"),
)  # fmt: skip


def _from_methods(trial: Any) -> dict[str, str]:
    """Parameter -> ``grads()[0]``, by the methods of an object that has run forward and backward."""
    for of_params, of_grads in _GETTERS:
        if all(callable(getattr(type(trial), name, None)) for name in (of_params, of_grads)):
            try:
                params, grads = (_listed(getattr(trial, name)()) for name in (of_params, of_grads))
            except Exception:  # a getter that wants arguments, or more than one backward
                return {}
            paths = {id(array): path for path, array in floating_of(trial).items()}
            return {paths[id(p)]: f"{of_grads}(){key}" for key, p in params.items() if key in grads and id(p) in paths}
    return {}


def _listed(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {f".{key}": item for key, item in value.items()}
    return {f"[{i}]": item for i, item in enumerate(value)}


def paths_with_aliases(obj: Any) -> tuple[str, ...]:
    """Every path to every array."""
    return tuple(path for paths in paths_of(obj).values() for path in paths)


Named = dict[str, list[str]]  # the plain last name of a path -> the paths that end in it


@dataclass(frozen=True)
class Places:
    """Where gradients may be: every path with its rank, by head, and by its way with a box of gradients left open."""

    rank: dict[str, int]
    beside: dict[str, Named]
    boxed: dict[tuple[str | None, ...], Named]

    def first(self, named: Named, names: Iterable[str], but: str = "") -> str | None:
        """The first path that ends in one of these; not `but`, which is the array itself."""
        found = (path for name in names for path in named.get(name, ()) if path != but)
        return min(found, key=self.rank.__getitem__, default=None)


def places(paths: Iterable[str]) -> Places:
    """An index of paths, so that two hundred parameters are not each compared with every array there is."""
    made = Places({path: i for i, path in enumerate(paths)}, {}, {})
    for path in made.rank:
        head, last = _split(path)
        made.beside.setdefault(head, {}).setdefault(plain(last), []).append(path)
        *way, name = _tokens(path) or [""]
        for i, token in enumerate(way):
            if plain(token) in _GRADIENT_BOXES:
                opened = (*way[:i], None, *way[i + 1 :])
                made.boxed.setdefault(opened, {}).setdefault(plain(name), []).append(path)
    return made


def _first_slot(names: list[str], where: Places) -> str | None:
    return next((slot for name in names if (slot := slot_of(name, where)) is not None), None)


def _in_container(path: str) -> bool:
    return any(token.lower() in _CONTAINERS for token in _tokens(path)[:-1])


def _split(path: str) -> tuple[str, str]:
    """``layers[0].params.W`` -> (``layers[0].params``, ``W``); ``params[1]`` -> (``params``, ``[1]``)."""
    if path.endswith("]"):
        cut = path.rindex("[")
        return path[:cut], path[cut:]
    head, _, name = path.rpartition(".")
    return head, name


def slot_of(path: str, where: Places) -> str | None:
    """The path of the gradient: a sibling ``dW``, ``grads.W`` beside ``params.W``, ``grads[0]`` for ``params[0]``."""
    head, name = _split(path)
    sibling = where.first(where.beside.get(head, {}), _siblings(name))
    if sibling is not None:
        return sibling
    return _mirror(path, where) or (f"{path}.grad" if f"{path}.grad" in where.rank else None)


def _tokens(path: str) -> list[str]:
    return re.findall(r"[^.\[\]]+|\[\d+\]", path)


def _mirror(path: str, where: Places) -> str | None:
    """``grads.W[0]`` mirrors ``params.W[0]``: the same way through a box of gradients; or ``grads.W`` mirrors ``W``."""
    *way, name = _tokens(path) or [""]
    index = name.startswith("[")
    inside = [i for i, token in enumerate(way) if token.lower() in _CONTAINERS]
    ways = [(*way[:i], None, *way[i + 1 :]) for i in inside] + ([] if index else [(*way, None)])
    names = (plain(name),) if index else (plain(name), *spellings(name))
    found = (where.first(where.boxed.get(opened, {}), names, but=path) for opened in ways)
    return min((p for p in found if p), key=where.rank.__getitem__, default=None)


def _siblings(name: str) -> tuple[str, ...]:
    if name.startswith("["):
        return ()
    return (*spellings(name), *(_GRADIENTS if plain(name) in _VALUES else ()))
