"""A static graph of one layer after its forward: where its output is, and how an upstream gradient gets in and back."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.holding import NoGradient
from gradverify.audit.nodes import GRADIENTS, Kind
from gradverify.targets.gradients import plain

Pull = Callable[[np.ndarray], tuple[list[Any], dict[str, Any]]]
Nodes = Sequence[tuple[Any, Any]]  # what was given for each input, and the part of it that holds array and gradient
_UPSTREAM = re.compile(r"(dlossd|d)out(put)?|out(put)?\w*(grad|gradient|delta|error)s?|(grad|delta|error)out(put)?")


@dataclass(frozen=True)
class Graph:
    """A layer that has run forward, between the nodes of its inputs and the thing that holds its output."""

    made: Any
    nodes: Nodes
    kind: Kind
    y: Any
    out: Any
    held: Mapping[str, Any]  # its parameters, by where it keeps them

    def parameters(self) -> dict[str, Any]:
        """The values of the parameters that are nodes themselves."""
        return {path: getattr(thing, self.kind.value) for path, thing in self.held.items()}

    def pull(self, backward: str, u: np.ndarray) -> tuple[list[Any], dict[str, Any]]:
        """The gradients of inputs and parameters; None where there is no place for one."""
        self._send(np.reshape(u, np.shape(self.y)))
        returned = getattr(self.made, backward)()
        found = [self._found(node, held) for node, held in self.nodes]
        if not any(g is not None for g in found):
            found = _returned(returned, self.nodes)
        return found, {path: self._kept(thing) for path, thing in self.held.items()}

    def arrivals(self, backward: str) -> tuple[list[bool], dict[str, bool]]:
        """Whether a backward gives each input and parameter a gradient."""
        things = [*(held for _, held in self.nodes), *self.held.values()]
        return arrivals_at([self._kept(thing) for thing in things], partial(self.pull, backward), self.y)

    def _send(self, u: np.ndarray) -> None:
        """Give the output its upstream gradient: where it keeps one, or in a node that comes after it."""
        name = _slot(self.out, self.kind)
        after = None if name else _after(self.made, self.nodes)
        if name:
            setattr(self.out, name, u)
        elif after is not None:
            follower = copy.copy(self.made)
            setattr(follower, _keyed(follower)[0], {self.made: u})
            after.append(follower)

    def _found(self, node: Any, held: Any) -> Any:
        stores = [getattr(self.made, name) for name in _keyed(self.made)]
        keyed = (store[key] for store in stores for key in (node, held) if _is_key(key, store))
        return next((np.asarray(g) for g in keyed if is_floating(g)), None) if stores else self._kept(held)

    def _kept(self, thing: Any) -> Any:
        return kept_gradient(thing, self.kind.gradient)


def kept_gradient(thing: Any, name: str) -> Any:
    """The array that a thing keeps under the name of its gradient; None for anything else."""
    g = getattr(thing, name, None)
    return g if is_floating(g) else None


def arrivals_at(before: Sequence[Any], pull: Pull, y: Any) -> tuple[list[bool], dict[str, bool]]:
    """Which inputs and parameters get a gradient for an output y: an array of their own, or something but zeros.

    `before` are their gradients before that, None for none.
    """
    old = [id(g) for g in before]
    of_inputs, of_params = pull(np.cos(np.arange(np.size(y), dtype=float)))
    found = [*of_inputs, *of_params.values()]
    came = [g is not None and (id(g) != o or bool(np.any(g))) for g, o in zip(found, old, strict=True)]
    return came[: len(of_inputs)], dict(zip(of_params, came[len(of_inputs) :], strict=True))


def _keyed(made: Any) -> list[str]:
    """The dictionaries in which a layer keeps a gradient for each of its nodes."""
    return [n for n, v in vars(made).items() if n in GRADIENTS and isinstance(v, dict)]


def _is_key(key: Any, store: Mapping[Any, Any]) -> bool:
    return any(key is k for k in store)


def graph_of(made: Any, nodes: Nodes, kind: Kind, forward: str, params: Mapping[str, Any]) -> Graph:
    """Run a layer forward, its parameters set to `params`; raises `NoGradient` where no output is to be found."""
    inputs = [thing for pair in nodes for thing in pair]
    before = dict(_holders(made, kind, inputs))
    for path, value in params.items():
        setattr(before[path], kind.value, value)
    old = {path: _value(thing, kind) for path, thing in before.items()}
    copies = {path: np.array(v) for path, v in old.items() if is_floating(v)}
    own = getattr(made, kind.value, None)
    result = getattr(made, forward)()
    after = dict(_holders(made, kind, inputs))
    moved = {p: t for p, t in after.items() if _moved(_value(t, kind), old.get(p), copies.get(p))}
    held = {p: t for p, t in before.items() if p not in moved and p in copies}
    out = _output(made, list(moved.values()), result, own, kind)
    y = _value(out, kind) if out is not result or not is_floating(result) else result
    if not is_floating(y):
        raise NoGradient("its forward leaves no array in a node")
    return Graph(made, nodes, kind, np.asarray(y) if np.ndim(y) == 0 else y, out, held)


def _output(made: Any, moved: list[Any], result: Any, own: Any, kind: Kind) -> Any:
    """What holds the output: a number before all else, which a loss is; a node of its own, itself, what it returned."""
    numbers = [t for t in moved if np.size(_value(t, kind)) == 1]
    if numbers or moved:
        return (numbers or moved)[0]
    if is_floating(getattr(made, kind.value, None)) and getattr(made, kind.value) is not own:
        return made
    if hasattr(result, kind.value) or is_floating(result):
        return result
    raise NoGradient("its forward leaves no array in a node")


def _value(thing: Any, kind: Kind) -> Any:
    return getattr(thing, kind.value, None) if not isinstance(thing, np.ndarray) else thing


def _moved(now: Any, old: Any, copied: Any) -> bool:
    if not is_floating(now):
        return False
    return now is not old or (copied is not None and not np.array_equal(now, copied))


def _holders(made: Any, kind: Kind, inputs: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """What a layer holds that keeps an array as nodes do, other than its inputs, by attribute."""
    seen = {id(thing) for thing in (made, *inputs)}
    for name, value in list(vars(made).items()):
        parts = enumerate(value) if isinstance(value, (list, tuple)) else [("", value)]
        for i, thing in parts:
            if id(thing) not in seen and _keeps(thing, kind):
                seen.add(id(thing))
                yield (name if i == "" else f"{name}[{i}]"), thing


def _keeps(thing: Any, kind: Kind) -> bool:
    held = getattr(thing, "__dict__", {})
    return kind.value in held and kind.gradient in held


def _slot(out: Any, kind: Kind) -> str:
    """The attribute in which a thing expects its upstream gradient; empty for none."""
    held = getattr(out, "__dict__", {})
    if kind.gradient in held:  # a node as the others: its ``diff`` beside that is a difference
        return "" if isinstance(held[kind.gradient], dict) else kind.gradient
    usual = [n for n in GRADIENTS if n in held and not isinstance(held[n], dict)]
    return next(iter([*usual, *(n for n in held if _UPSTREAM.fullmatch(plain(n)))]), "")


def _after(made: Any, nodes: Nodes) -> list[Any] | None:
    """The list of what comes after a layer, which is called as that in which its inputs have it; None for none."""
    kept = (pair for given in nodes for thing in given for pair in getattr(thing, "__dict__", {}).items())
    names = [name for name, value in kept if isinstance(value, list) and any(v is made for v in value)]
    return next((after for name in names if isinstance(after := getattr(made, name, None), list)), None)


def _returned(returned: Any, nodes: Nodes) -> list[Any]:
    parts = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    fits = len(parts) == len(nodes) and all(is_floating(p) for p in parts)
    return parts if fits else [None] * len(nodes)
