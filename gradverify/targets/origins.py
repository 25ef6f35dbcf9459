"""Which framework a plain function is written for, where its inputs do not tell."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from gradverify.targets.constants import closure_of

_DEPTH = 3  # calls from function to function that are followed


def written_for(obj: Any) -> str | None:
    """``"autograd"`` for code that runs on plain arrays and that HIPS/autograd can differentiate.

    That is a primitive, and a function or method that uses one, or any part of the package, under a
    global name or in its closure, itself or in a function it uses. Nothing is imported.
    """
    if "autograd" not in sys.modules:
        return None
    return "autograd" if _uses_autograd(obj, _DEPTH) else None


def _uses_autograd(obj: Any, depth: int) -> bool:
    if getattr(obj, "_is_autograd_primitive", False) is True:
        return True
    if inspect.ismodule(obj):
        return obj.__name__.split(".")[0] == "autograd"
    while isinstance(obj, partial):
        obj = obj.func
    function = getattr(obj, "__func__", obj)
    if not inspect.isfunction(function):
        return False
    own = function.__globals__.get("__name__", "").split(".")[0]
    return own == "autograd" or (depth > 0 and any(_uses_autograd(x, depth - 1) for x in _used(function)))


def _used(function: Any) -> Iterator[Any]:
    """The values behind the global and the captured names in a function's code."""
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        yield from (function.__globals__[name] for name in code.co_names if name in function.__globals__)
        codes += [constant for constant in code.co_consts if inspect.iscode(constant)]
    yield from (cell.cell_contents for _, cell in closure_of(function))
