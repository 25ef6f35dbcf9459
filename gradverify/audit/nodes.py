"""The nodes of a static graph: what a layer is given when it is made, which holds an array next to its gradient.

``Variable(shape, name)``, ``Input(batch, size).top``, ``Placeholder()``: which class of a project it is, and where its
objects keep the two, is found out by making one. Runs in a worker only.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from gradverify.audit import boxes
from gradverify.audit.boxes import box_of, classes_in, is_foreign
from gradverify.audit.guesses import settings_for
from gradverify.audit.load import beside
from gradverify.audit.search import silence

VALUES = (*boxes.VALUES, "output", "out", "activation", "result")
GRADIENTS = (*boxes.GRADIENTS, "gradients", "dvalue", "error")
_MOST = 4  # kinds of nodes that are tried
_PROBE = (3, 2)
_COUNT = itertools.count()
_LIKELY = re.compile(r"input|placeholder|variable|param|tensor|blob|const|leaf|data|value", re.IGNORECASE)


@dataclass(frozen=True)
class Kind:
    """A class of nodes: how one is made for an array, and where it, or what it holds, keeps array and gradient.

    `inside` is the attribute of that which a layer takes from it; empty where the node has both itself.
    """

    made: Callable[[tuple[int, ...]], Any]
    value: str
    gradient: str
    inside: str = ""
    takes_array: Callable[[Any], Any] | None = None

    def make(self, x: Any) -> tuple[Any, Any]:
        """A node that has the array, and the part of it that holds that."""
        node = self.takes_array(x) if self.takes_array is not None else self.made(np.shape(x))
        held = getattr(node, self.inside) if self.inside else node
        setattr(held, self.value, x)
        return node, held


def kinds_in(module: ModuleType, but: type, named: tuple[type, ...] = ()) -> Iterator[Kind]:
    """The kinds of nodes that a project has, those first that a constructor itself names as its defaults."""
    known = [c for c in classes_in(module, *beside(module)) if _is_own(c) and not issubclass(c, but)]
    ranked = sorted(known, key=lambda c: (c not in named, _LIKELY.search(c.__name__) is None))
    yield from itertools.islice((k for c in ranked for k in _kinds_of(c)), _MOST)


def _is_own(cls: type) -> bool:
    return cls.__module__ != "builtins" and not is_foreign(cls)


def fresh_name() -> str:
    """A name that no other node of a registry has."""
    return f"node{next(_COUNT)}"


def _kinds_of(cls: type) -> Iterator[Kind]:
    box = box_of(cls)
    if box is not None:
        yield Kind(_Maker(cls, _with_shape), box.value, box.gradient, takes_array=box.make)
        return
    for made in (_with_shape, _with_list, _with_sizes, _with_nothing):
        maker = _Maker(cls, made)
        try:
            with silence():
                node = maker(_PROBE)
        except Exception:  # noqa: S112 - another way may do
            continue
        found = next(_places(node, _PROBE), None)
        if found is not None:
            yield Kind(maker, *found)
            return


@dataclass(frozen=True)
class _Maker:
    cls: type
    way: Callable[[type, tuple[int, ...]], Any]

    def __call__(self, shape: tuple[int, ...]) -> Any:
        return self.way(self.cls, shape)


def _with_shape(cls: type, shape: tuple[int, ...]) -> Any:
    return cls(shape, **_others(cls, 1))


def _with_list(cls: type, shape: tuple[int, ...]) -> Any:
    return cls(list(shape), **_others(cls, 1))


def _with_sizes(cls: type, shape: tuple[int, ...]) -> Any:
    return cls(*shape, **_others(cls, len(shape)))


def _with_nothing(cls: type, _: tuple[int, ...]) -> Any:
    return cls(**_others(cls, 0))


def _others(cls: type, taken: int) -> Mapping[str, Any]:
    """Values for what a constructor must be given behind its shape, also where its default is only a type."""
    parameters = list(inspect.signature(cls).parameters.values())[taken:]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [p for p in named if p.default is p.empty or has_type(p)]
    return {p.name: setting_of(p) for p in needed}


def has_type(parameter: inspect.Parameter) -> bool:
    """Whether a type stands in the place of a default, ``input_variable=Variable``: what is to be given, in truth."""
    return parameter.default is not parameter.empty and isinstance(parameter.default, type)


def setting_of(parameter: inspect.Parameter) -> Any:
    """A value for a setting; a name of its own for every node."""
    if parameter.name.strip("_").lower() in ("name", "scope", "id", "label") or parameter.default is str:
        return fresh_name()
    return settings_of(parameter)[0]


def settings_of(parameter: inspect.Parameter) -> list[Any]:
    """Values to try for a setting, of the type that stands in place of its default where one does: ``shape=list``."""
    values = settings_for(parameter, np.random.default_rng(0))
    kind = parameter.default
    if kind not in (list, tuple):
        return values
    return [kind(v) for v in values if isinstance(v, (list, tuple))][::-1] or [kind((3, 2))]


def _places(node: Any, shape: tuple[int, ...]) -> Iterator[tuple[str, str, str]]:
    """Where a node keeps array and gradient, and in which of its attributes."""
    yield from ((*found, "") for found in _pair(node, shape))
    for name, held in list(getattr(node, "__dict__", {}).items()):
        if hasattr(held, "__dict__") and not callable(held) and not isinstance(held, type):
            yield from ((*found, name) for found in _pair(held, shape))


def _pair(thing: Any, shape: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    held = getattr(thing, "__dict__", {})
    values = [n for n in VALUES if n in held and _may_hold(held[n], shape)]
    gradients = [n for n in GRADIENTS if n in held and (_may_hold(held[n], shape) or _is_zero(held[n]))]
    keyed = [n for n, v in held.items() if isinstance(v, dict) and n in GRADIENTS]
    yield from ((v, g) for v in values for g in (*gradients, *keyed) if v != g)


def _is_zero(held: Any) -> bool:
    return type(held) in (int, float) and held == 0


def _may_hold(held: Any, shape: tuple[int, ...]) -> bool:
    return held is None or (isinstance(held, np.ndarray) and held.shape == shape)
