"""Arguments that a forward keeps away from where it is not defined: clipped by an epsilon or far out, before all else.

Within the guard the formula holds and its derivative is meant; outside, where the clip makes the forward constant,
nobody asks for one. ``np.clip(x, 0, 6)``, and a clip whose result is returned, is an operation and no guard.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from gradverify.audit.mined import tree_of

_CLIPS = ("clip", "maximum", "minimum", "fmax", "fmin")
_EPSILON = re.compile(r"eps|tiny|finfo|small", re.IGNORECASE)
_TINY, _FAR = 1e-3, 20.0


@cache
def guarded_arguments(function: Callable[..., Any]) -> frozenset[str]:
    """The arguments that the code of a function, or a method of its object, clips at bounds that only guard."""
    owner = getattr(function, "__self__", None)
    tree = tree_of(function)
    arguments = {a.arg for node in ast.walk(tree) if isinstance(node, ast.arguments) for a in node.args}
    returned = {ast.unparse(n.value) for n in ast.walk(tree) if isinstance(n, ast.Return) and n.value is not None}
    guards = [
        (ast.unparse(n.targets[0]), name)
        for n in ast.walk(tree)
        if isinstance(n, ast.Assign) and isinstance(n.value, ast.Call) and _is_guard(n.value, owner)
        for name in _names(n.value.args[0])
    ]
    return frozenset(name for target, name in guards if name in arguments and target not in returned)


def _names(node: ast.expr) -> Iterator[str]:
    return (n.id for n in ast.walk(node) if isinstance(n, ast.Name))


def _is_guard(call: ast.Call, owner: Any) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if not call.args:
        return False
    if name in _CLIPS:
        bounds = [*call.args[1:], *(k.value for k in call.keywords if k.arg and "m" in k.arg)]
        return bool(bounds) and all(map(_only_guards, bounds))
    method = getattr(type(owner), name, None) if ast.unparse(call.func) == f"self.{name}" else None
    if method is None or len(call.args) != 1:
        return False
    values = [n.value for n in ast.walk(tree_of(method)) if isinstance(n, ast.Return)]
    return len(values) == 1 and isinstance(values[0], ast.Call) and _is_guard(values[0], None)


def _only_guards(bound: ast.expr) -> bool:
    """An epsilon, one less an epsilon, infinity, or a number far out."""
    text = ast.unparse(bound)
    if _EPSILON.search(text) or text in ("None", "np.inf", "-np.inf", "inf"):
        return True
    try:
        value = _number(bound)
    except ValueError:  # not a number that is written out
        return False
    return 0 < abs(value) <= _TINY or 0 < 1 - value <= _TINY or abs(value) >= _FAR


def _number(node: ast.expr) -> float:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        return _number(node.left) - _number(node.right)
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    raise ValueError(ast.unparse(node))
