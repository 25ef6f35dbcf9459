"""Layers for what is made of layers: objects of the same project, two for a list, one for a wrapper."""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from gradverify.audit.guesses import IN
from gradverify.audit.names import LAYER_METHODS
from gradverify.audit.roles import required_parameters, roles_of_backward
from gradverify.audit.search import silence

_SEVERAL = re.compile(r"(layers?|modules?|blocks?|stages?|children|sequence|network|net)(_?list)?", re.IGNORECASE)
_ONE = re.compile(r"(\w+_)?(layer|module|block|net|network|model|branch|cell)", re.IGNORECASE)
_MOST = 2


def layers_for(name: str, cls: type) -> list[Any]:
    """What to give a class for a parameter that by its name holds layers: a list of them, one of them; nothing else.

    The layers are instances of classes of the same project with the same pair of methods, which are made with two
    sizes or with nothing, and return an array of the shape that they are given.
    """
    several, one = _SEVERAL.fullmatch(name), _ONE.fullmatch(name)
    if not (several or one):
        return []
    found = _layers_beside(cls)
    if not found:
        return []
    either = [v for v, fits in ((found, several), (found[0], one)) if fits]
    return either if name.endswith(("s", "list", "sequence")) else either[::-1]


def filled(obj: Any) -> Any:
    """A copy of a network to which layers of its project were added, ``network.add(layer)``; None for all else.

    One without layers hands its input on, and its derivative says nothing of the order in which it goes through them.
    """
    adders = [n for n in dir(type(obj)) if _ADDS.fullmatch(n) and inspect.isfunction(getattr(type(obj), n))]
    empty = [n for n, value in getattr(obj, "__dict__", {}).items() if isinstance(value, list) and not value]
    if not adders or not empty:
        return None
    twin = copy.deepcopy(obj)
    try:
        with silence():
            for layer in _layers_beside(type(obj)):
                getattr(twin, adders[0])(layer)
    except Exception:  # it adds something else than layers
        return None
    return twin if any(len(vars(twin)[n]) > 1 for n in empty) else None


_ADDS = re.compile(r"(add|append|push)(_?(layer|module|block))?", re.IGNORECASE)


def _layers_beside(cls: type) -> list[Any]:
    """One layer that mixes its inputs, where there is one, so that their order shows; then others."""
    pairs = [pair for pair in LAYER_METHODS if all(callable(getattr(cls, n, None)) for n in pair)] or [LAYER_METHODS[0]]
    others = [c for c in _classes_beside(cls) if c is not cls and not issubclass(c, cls)]
    mixing = (_made(c, pairs[0], IN, IN) for c in others)
    simple = (_made(c, pairs[0]) for c in others)
    first = list(islice(filter(None, mixing), 1))
    return [*first, *islice(filter(None, simple), _MOST - len(first))]


def _classes_beside(cls: type) -> list[type]:
    """The classes of the project of a class, those of its own module first."""
    own = sys.modules.get(cls.__module__)
    folder = Path(getattr(own, "__file__", "") or "").parent
    near = [m for m in list(sys.modules.values()) if folder in Path(getattr(m, "__file__", "") or "").parents]
    top = cls.__module__.split(".")[0]
    near += [m for n, m in list(sys.modules.items()) if n.startswith(f"{top}.")]
    found = [c for m in (own, *near) for c in vars(m).values() if isinstance(c, type)] if own is not None else []
    return [c for c in dict.fromkeys(found) if c.__module__.split(".")[0] not in sys.stdlib_module_names]


_ASKED: dict[str, Callable[[np.ndarray], Any]] = {"cotangent": lambda u: u, "rate": lambda _: 0.0}
_STEP, _ALIKE = 1e-3, 1e-3  # of a central difference, in float32 too; a wrong derivative is further off


def _made(cls: type, pair: tuple[str, str], *sizes: int) -> Any:
    """An instance that runs on an array and back, changes it and keeps its shape, and is right; None for any other.

    A layer with a wrong derivative would have what is made of it fail.
    """
    if not all(inspect.isfunction(getattr(cls, name, None)) for name in pair):
        return None
    x = np.linspace(0.1, 0.9, 2 * IN).reshape(2, IN)
    u, v = np.cos(x * 7), np.sin(x * 5)
    try:
        with silence():
            layer = cls(*sizes)
            y, dx = _back_and_forth(layer, pair, x, u)
            ahead, behind = (_back_and_forth(layer, pair, x + h * v, u)[0] for h in (_STEP, -_STEP))
            keeps = isinstance(y, np.ndarray) and y.shape == x.shape == np.shape(dx) and not np.array_equal(x, y)
            slope, claimed = np.sum(u * (ahead - behind)) / (2 * _STEP), np.sum(dx * v)
    except Exception:  # a layer that wants more than data
        return None
    return layer if keeps and abs(slope - claimed) <= _ALIKE * max(abs(slope), 1.0) else None


def _back_and_forth(layer: Any, pair: tuple[str, str], x: np.ndarray, u: np.ndarray) -> tuple[Any, Any]:
    """The output of a copy of a layer and the gradient of its input."""
    twin = copy.deepcopy(layer)
    y, backward = getattr(twin, pair[0])(x.copy()), getattr(twin, pair[1])
    roles = roles_of_backward(required_parameters(backward), ())
    return y, backward(*[_ASKED[role](u.copy()) for role in roles])
