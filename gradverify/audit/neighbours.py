"""The layers beside one that hands on what it computed: ``self.prev.backward(dx)``, ``for p in self.parents``."""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

from gradverify.arrays import is_floating
from gradverify.audit.mined import tree_of


class _Nought(int):
    """What a neighbour has for any name: a count of none, and a method that takes anything."""

    owner: Neighbour

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The first floating array given, which the neighbour keeps."""
        given = next((x for x in (*arguments, *named.values()) if is_floating(x)), None)
        if given is not None:
            self.owner.dinputs = given
        return given


class Neighbour:
    """Stands where a network would put the next layer; what that would be handed is its ``dinputs``."""

    dinputs: Any

    def __getattr__(self, name: str) -> _Nought:
        if name.startswith("__") or name == "dinputs":
            raise AttributeError(name)
        nought = _Nought(0)
        nought.owner = self
        return nought


def is_linked(obj: Any, method: Any) -> bool:
    """Whether a method hands on to objects that are not there yet."""
    return bool(_open_places(obj, method, lists=True))


def linked(obj: Any, method: Any, *, lists: bool) -> None:
    """Put a neighbour where a method calls itself of what is None, and into empty lists."""
    for name in _open_places(obj, method, lists=lists):
        vars(obj)[name] = Neighbour() if vars(obj)[name] is None else [Neighbour()]


def _open_places(obj: Any, method: Any, *, lists: bool) -> list[str]:
    held = getattr(obj, "__dict__", {})
    names = _handed_to(getattr(method, "__func__", method)) if hasattr(method, "__func__") else ()
    return [n for n in names if n in held and (held[n] is None or (lists and held[n] == []))]


@cache
def _handed_to(function: Any) -> tuple[str, ...]:
    """The attributes, or lists of them, whose method of the same name a method calls with an argument."""
    tree = tree_of(function)
    loops = {ast.unparse(n.target): n.iter for n in ast.walk(tree) if isinstance(n, (ast.For, ast.comprehension))}
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.args]
    holders = [n.func.value for n in calls if n.func.attr == function.__name__]  # type: ignore[attr-defined]
    holders = [loops.get(ast.unparse(h), h) for h in holders]
    holders = [h.value if isinstance(h, ast.Subscript) else h for h in holders]
    own = [h.attr for h in holders if isinstance(h, ast.Attribute) and ast.unparse(h.value) == "self"]
    return tuple(dict.fromkeys(own))
