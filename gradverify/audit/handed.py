"""Layers that are handed where to write: ``forward(ins, outs)`` and ``backward(outs, ins)``, on objects of the project.

Such an object keeps an array in one attribute and its gradient in another; a layer is given one, or a list with one for
each sample. A loss is given predictions and truth, returns a number, and leaves the gradient in the predictions.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.boxes import Box, box_of, classes_in, is_foreign
from gradverify.audit.holding import NoGradient
from gradverify.audit.load import beside
from gradverify.audit.mined import hands_back, tree_of
from gradverify.audit.readings import Trial
from gradverify.audit.roles import required_parameters
from gradverify.audit.shapes import Whole
from gradverify.audit.wired import trial_of
from gradverify.audit.wires import arrivals_at, kept_gradient

_PAIR = 2
_OF_PARAMETERS = re.compile(r"(?!\w*(updat|optimi|step|appl|old))\w*(grad|delta|deriv|backw|backp)\w*", re.IGNORECASE)


@dataclass(frozen=True)
class Handing:
    """How a layer is called: on which objects, whether in lists, and which argument is there to be written to."""

    obj: Any
    box: Box
    methods: tuple[str, str]
    taken: tuple[str, ...]  # by the forward, in its order
    in_lists: bool
    written: str  # the argument that takes the output; empty where the forward returns it
    alike: bool = False  # whether all inputs must have one shape, as predictions and truth beside them

    @property
    def name(self) -> str:
        """What the layer is called."""
        return type(self.obj).__name__

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arguments that are inputs."""
        return tuple(n for n in self.taken if n != self.written)

    def run(self, arrays: Sequence[Any], params: Mapping[str, Any]) -> Handed:
        """The layer after a forward; raises `NoGradient` where the output was not written, or not all of it."""
        if self.alike and len({np.shape(x) for x in arrays}) > 1:
            raise ValueError("its truth has not the shape of its predictions")
        if not self.written:
            return self._ran(arrays, params, None)
        for shape in dict.fromkeys((*_shapes(self.obj, "out"), np.shape(arrays[0]))):
            try:
                found = np.shape(self._ran(arrays, params, shape).y)
                return self._ran(arrays, params, found)  # what the object was made for is its shape from the start
            except Exception as error:  # another shape may do
                problem = error
        raise problem

    def _ran(self, arrays: Sequence[Any], params: Mapping[str, Any], shape: tuple[int, ...] | None) -> Handed:
        made = deepcopy(self.obj)
        for name, value in params.items():
            setattr(getattr(made, name), self.box.value, value)
        given = dict(zip(self.arrays, map(self.box.make, arrays), strict=True))
        if shape is not None:
            given[self.written] = self.box.make(np.full(shape, np.nan))
        result = getattr(made, self.methods[0])(**self.passed(given))
        y = result if shape is None else self.box.value_of(given[self.written])
        if not is_floating(y):
            raise NoGradient("its forward leaves no array")
        if shape is not None and np.any(np.isnan(y)):
            raise NoGradient("its forward does not write all of its output")
        return Handed(self, made, given, np.asarray(y) if np.ndim(y) == 0 else y)

    def passed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Objects as the methods of the layer take them."""
        return {name: [thing] if self.in_lists else thing for name, thing in given.items()}


@dataclass(frozen=True)
class Handed:
    """A layer that has run forward, with the objects that it was handed."""

    how: Handing
    made: Any
    given: Mapping[str, Any]
    y: Any

    def _held(self) -> dict[str, Any]:
        return {n: v for n, v in vars(self.made).items() if isinstance(v, self.how.box.cls)}

    def parameters(self) -> dict[str, Any]:
        """The values of the parameters that are such objects themselves."""
        return {n: self.how.box.value_of(v) for n, v in self._held().items()}

    def pull(self, backward: str, u: np.ndarray) -> tuple[list[Any], dict[str, Any]]:
        """The gradients of inputs and parameters; None where there is none."""
        if self.how.written:
            setattr(self.given[self.how.written], self.how.box.gradient, np.reshape(u, np.shape(self.y)))
        passed = self.how.passed(self.given)
        held = self._held()
        before = {n: _copied(self._gradient(v)) for n, v in held.items()}
        getattr(self.made, backward)(**passed)
        if held and all(_same(before[n], self._gradient(v)) for n, v in held.items()):
            for name in _of_parameters(self.made, self.how):
                getattr(self.made, name)(**passed)
        inputs = [self._gradient(self.given[n]) for n in self.how.arrays]
        return inputs, {n: self._gradient(v) for n, v in held.items()}

    def arrivals(self, backward: str) -> tuple[list[bool], dict[str, bool]]:
        """Whether a backward gives each input and parameter a gradient."""
        things = [*(self.given[n] for n in self.how.arrays), *self._held().values()]
        return arrivals_at([self._gradient(thing) for thing in things], partial(self.pull, backward), self.y)

    def _gradient(self, thing: Any) -> Any:
        return kept_gradient(thing, self.how.box.gradient)


def _copied(g: Any) -> Any:
    return None if g is None else np.array(g)


def _same(before: Any, now: Any) -> bool:
    return before is now or (before is not None and now is not None and np.array_equal(before, now))


def _of_parameters(made: Any, how: Handing) -> list[str]:
    """The one further method with the same arguments that is called as if it left the gradients of the parameters."""
    named = [n for cls in type(made).__mro__ for n in vars(cls) if n not in how.methods and _OF_PARAMETERS.fullmatch(n)]
    return [n for n in dict.fromkeys(named) if _takes(getattr(made, n), how.taken)][:1]


def _takes(method: Any, names: Sequence[str]) -> bool:
    return callable(method) and set(required_parameters(method)) == set(names)


def _shapes(obj: Any, word: str) -> list[tuple[int, ...]]:
    """Shapes that an object, or one that it holds, keeps as an attribute with a word in its name."""
    found: list[tuple[int, ...]] = []
    for name, value in getattr(obj, "__dict__", {}).items():
        parts = [value, *getattr(value, "__dict__", {}).values()] if word in name.lower() else []
        found += [tuple(p) for p in parts if _is_shape(p)]
    return found


def _is_shape(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and bool(value) and all(type(n) is int and n > 0 for n in value)


def handed(obj: Any, forward: str, backward: str, module: ModuleType) -> list[Trial]:
    """The trials of a layer that reads and writes objects that it is handed both ways; none for any other."""
    ways = [getattr(obj, name) for name in (forward, backward)]
    taken = tuple(required_parameters(ways[0]))
    if len(taken) != _PAIR or not _takes(ways[1], taken):
        return []
    read, left = ({n.attr for n in ast.walk(tree_of(getattr(way, "__func__", way))) if isinstance(n, ast.Attribute)}
                  for way in ways)  # fmt: skip
    known = (c for c in classes_in(module, *beside(module)) if not is_foreign(c) and not hasattr(c, forward))
    boxes = (box_of(c) for c in known)
    box = next((b for b in boxes if b is not None and b.value in read and b.gradient in left), None)
    return [] if box is None else list(_trials(obj, box, (forward, backward), taken))


def _trials(obj: Any, box: Box, methods: tuple[str, str], taken: tuple[str, ...]) -> Iterator[Trial]:
    forward = getattr(obj, methods[0])
    returns = hands_back(getattr(forward, "__func__", forward))
    samples = [Whole(s) for s in (*_shapes(obj, "in"), (4,))]
    kinds = (("", True), ("", False)) if returns else tuple((name, False) for name in reversed(taken))
    for in_lists, (written, alike) in product((True, False), kinds):
        handing = Handing(obj, box, methods, taken, in_lists, written, alike)
        yield trial_of(handing, samples if in_lists else samples[:-1])
