"""Layers that hold their upstream gradient, ``self.delta``, and write their input's to an array that they are given.

The network makes ``delta`` zeros in the forward, adds to it what comes back, and hands ``backward`` the array to fill.
"""

from __future__ import annotations

import ast
import inspect
from typing import Any

import numpy as np

from gradverify.audit.mined import tree_of
from gradverify.audit.roles import required_parameters


class NoGradient(Exception):  # noqa: N818 - a finding about the object
    """The backward ran and left nothing that could be a gradient of an input or parameter."""


def filled(layer: Any, method: Any, u: Any, x: Any) -> np.ndarray:
    """What a backward adds to the array that it is given, the layer's own ``delta`` being u; raises `NoGradient`.

    The array comes alone, or behind the input as an argument of which None is the default.
    """
    if np.ndim(getattr(layer, "delta", 0)) != np.ndim(u) or len(required_parameters(method)) != 1:
        raise NoGradient("the layer holds no upstream gradient of its own")
    layer.delta = np.array(u)
    gradient: np.ndarray = np.zeros_like(x)
    buffer = inspect.signature(method).parameters.get("delta")
    if buffer is not None and buffer.default is None and required_parameters(method) != ["delta"]:
        method(x, delta=gradient)
    else:
        method(gradient)
    return gradient


def waits_in_delta(layer: Any, method: Any) -> bool:
    """Whether a layer that has run forward has zeros as its ``delta``, which its backward reads before it sets it."""
    held = getattr(layer, "delta", None)
    if not isinstance(held, np.ndarray) or held.ndim == 0 or np.any(held):
        return False
    tree = tree_of(getattr(method, "__func__", method))
    named = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n) == "self.delta"]
    changed = {id(n.target) for n in ast.walk(tree) if isinstance(n, ast.AugAssign)}
    read = [n.lineno for n in named if isinstance(n.ctx, ast.Load) or id(n) in changed]
    written = [n.lineno for n in named if isinstance(n.ctx, ast.Store) and id(n) not in changed]
    return bool(read) and min(read) <= min(written, default=min(read))
