"""Code traced once and then run operation by operation, as JAX itself would run it without jit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import tree_util

try:
    from jax.extend.core import jaxpr_as_fun
except ImportError:  # before jax 0.4.36
    from jax.core import jaxpr_as_fun

Function = Callable[..., Any]


def traced(function: Function) -> Function:
    """The same function of pytrees, its Python run at the first call only.

    A check calls a forward hundreds of times. Tracing a derivative anew costs ten times what it
    computes, and a loop made anew (`lax.scan` of a lambda) is compiled anew. Compiling the whole would
    be faster still, but fuses operations and so rounds otherwise than the user's code does.
    Functions that read the values they compute on cannot be traced, and are called as they are.
    """
    kept: list[tuple[Any, Function]] = []

    def run(*arguments: Any) -> Any:
        structure = tree_util.tree_structure(arguments)
        if not kept:
            kept.append((structure, _trace(function, arguments)))
        return (kept[0][1] if structure == kept[0][0] else function)(*arguments)

    return run


def _trace(function: Function, arguments: tuple[Any, ...]) -> Function:
    structures: list[Any] = []

    def flat(*given: Any) -> list[Any]:
        leaves, structure = tree_util.tree_flatten(function(*given))
        structures.append(structure)
        return leaves

    try:
        operations = jaxpr_as_fun(jax.make_jaxpr(flat)(*arguments))
    except Exception:  # if it is the function's own error, calling it raises it again
        return function
    return lambda *given: tree_util.tree_unflatten(structures[-1], operations(*tree_util.tree_leaves(given)))
