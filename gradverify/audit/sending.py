"""Which of its arguments an operator sends a gradient to: the others are constants to it, as a mask or the truth is.

An argument counts where the result recorded it as one of those it was made of, where a gradient arrives at it, or
where the rule writes one. Where it is none of the three nothing is claimed of it. Runs in a worker only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gradverify.audit.boxes import Box
from gradverify.audit.mined import tree_of
from gradverify.targets.graph import members_of

_MADE_OF = re.compile(
    r"_*(prev\w*|child\w*|parents?|inputs?|args|operands?|dep\w*|creators?|sources?|src|ctx|grad_fn|creation_op|node|op)_*",
    re.IGNORECASE,
)
_DEPTH = 3  # containers and contexts between a result and what it was made of


def unsent(box: Box, out: Any, boxes: Mapping[str, Any]) -> list[str]:
    """The names of the boxes that are not among those that a result recorded; none where it recorded none of them.

    A leaf of the same size that is none of the boxes may be a copy of one, cut off by mistake: that one is not named.
    """
    found = list(_recorded(box, out, list(boxes.values())))
    if not any(f is b for f in found for b in boxes.values()):
        return []
    others = [np.size(box.value_of(f)) for f in found if not any(f is b for b in boxes.values())]
    missing = {name: b for name, b in boxes.items() if not any(f is b for f in found)}
    return [name for name, b in missing.items() if np.size(box.value_of(b)) not in others]


def _recorded(box: Box, out: Any, arguments: Sequence[Any]) -> Iterator[Any]:
    """The arguments that a result was made of, and the other leaves of its graph."""
    seen: set[int] = set()
    stack = [out]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        parents = [] if any(node is a for a in arguments) else _parents(box, node)
        stack += parents
        if not parents:
            yield node


def _parents(box: Box, node: Any) -> list[Any]:
    """What a node was made of, from the attributes that are called so; from any, where none is."""
    held = [(name, value) for name, value in members_of(node, "") if name not in (box.value, box.gradient)]
    named = [found for name, value in held if _MADE_OF.fullmatch(name) and (found := list(_boxes(box, value, _DEPTH)))]
    every = named or [list(_boxes(box, value, _DEPTH)) for _, value in held]
    return [b for found in every for b in found if b is not node]


def _boxes(box: Box, value: Any, depth: int) -> Iterator[Any]:
    if isinstance(value, (np.ndarray, str, bytes, int, float, type)) or value is None:
        return
    if box.holds(value):
        yield value
    elif depth and not callable(value):
        inside = list(value) if isinstance(value, (set, frozenset)) else [v for _, v in members_of(value, "")]
        for part in inside:
            yield from _boxes(box, part, depth - 1)


def writes(operator: Callable[..., Any], name: str, gradient: str) -> bool:
    """Whether a rule inside an operator writes the gradient of an argument, or hands the argument on to be written.

    >>> from gradverify.audit.sending import _writes
    >>> rule = ast.parse("def rule(): a.grad += g; accumulate(b, g); c.add(g); h = d.data * g")
    >>> [name for name in "abcd" if _writes(rule, name, "grad")]
    ['a', 'b', 'c']
    """
    return _writes(tree_of(operator), name, gradient)


def _writes(tree: ast.AST, name: str, gradient: str) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is(node.value, name) and node.attr == gradient:
            return True
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            own = isinstance(call.func, ast.Attribute) and _is(call.func.value, name)
            if own or any(_is(argument, name) for argument in call.args):
                return True
    return False


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
