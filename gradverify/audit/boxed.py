"""Layers that hand each other objects in place of arrays, with no graph: ``x.value`` in, ``following.D`` back.

Such a layer is wrapped so that arrays go in and out: inputs become objects of the project's own class, the upstream
gradient an object that has it under every name, and gradients are read where those objects keep them.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from types import MethodType, ModuleType
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.boxes import Box, box_of, classes_in
from gradverify.audit.load import beside
from gradverify.audit.mined import assignments, tree_of

Function = Callable[..., Any]


class Following:
    """The next layer, or its input: whatever it is asked for is the upstream gradient."""

    def __init__(self, u: Any) -> None:
        self._u = u

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return vars(self)["_u"]


class Unboxed:
    """A layer with arrays in place of its objects; its methods keep their names and arguments."""

    def __init__(self, layer: Any, forward: str, backward: str, box: Box) -> None:
        self.layer, self.box = layer, box
        self.given: list[Any] = []
        self.names, self.asked = (forward, backward), attributes_of(getattr(layer, backward))
        for name, method in ((forward, _forward), (backward, _backward)):
            setattr(self, name, bound(self, method, inspect.signature(getattr(layer, name))))


def bound(owner: Any, method: Function, signature: inspect.Signature) -> Any:
    """A method of an object that says it takes what a signature says, beside the object itself."""

    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        return method(self, *arguments, **named)

    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = inspect.Signature([first, *signature.parameters.values()])  # type: ignore[attr-defined]
    return MethodType(call, owner)


def _forward(self: Unboxed, *arguments: Any, **named: Any) -> Any:
    self.given = [self.box.make(np.array(a)) if isinstance(a, np.ndarray) else a for a in arguments]
    out = getattr(self.layer, self.names[0])(*self.given, **named)
    return self.box.value_of(out) if self.box.holds(out) else out


def _backward(self: Unboxed, *arguments: Any, **named: Any) -> Any:
    method = getattr(self.layer, self.names[1])
    names = list(inspect.signature(method).parameters)
    values = [Following(a) if n in self.asked else a for n, a in zip(names, arguments, strict=False)]
    result = method(*values, **named)
    if result is not None and is_floating(result):
        return result
    found = [self.box.gradient_of(thing) for thing in self.given if self.box.holds(thing)]
    return found[0] if len(found) == 1 else tuple(found)


def attributes_of(method: Function) -> dict[str, set[str]]:
    """What a method asks its arguments for that no array has; ``data`` of an array is a buffer nobody means."""
    names = [n for n in inspect.signature(method).parameters if n not in ("self", "cls")]
    found: dict[str, set[str]] = {n: set() for n in names}
    held: dict[str, str] = {}  # attributes of the object that are arguments
    tree = tree_of(getattr(method, "__func__", method))
    for node in ast.walk(tree):
        for target, value in assignments(node):
            if isinstance(value, ast.Name) and value.id in found:
                held[ast.unparse(target)] = value.id
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (node.attr == "data" or not hasattr(np.ndarray, node.attr)):
            owner = ast.unparse(node.value)
            name = owner if owner in found else held.get(owner, "")
            if name:
                found[name].add(node.attr)
    return {name: attributes for name, attributes in found.items() if attributes}


def unboxed(obj: Any, forward: str, backward: str, module: ModuleType) -> Unboxed | None:
    """The layer on arrays, where its forward asks its inputs for what a class of the project keeps; else None."""
    asked = {name for names in attributes_of(getattr(obj, forward)).values() for name in names}
    if not asked or not callable(getattr(obj, backward, None)):
        return None
    classes = (c for c in classes_in(module, *beside(module)) if c.__module__ != "builtins")
    boxes = (box_of(c) for c in classes if not hasattr(c, "forward"))
    box = next((b for b in boxes if b is not None and b.value in asked), None)
    return Unboxed(obj, forward, backward, box) if box is not None else None
