"""Complex arrays as pairs of real ones: ``z.real`` and ``z.imag``.

The pairs are made whole and taken apart by autograd's own operations, on the tape. So autograd turns its
convention (the cotangent of z is dL/da - i dL/db) into gradients of the parts, and rules are asked in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox


class Parts(NamedTuple):
    """A complex array in two; its leaves are named after the fields."""

    real: Any
    imag: Any


def parted(tree: Any) -> Any:
    """The tree with every complex array, boxed or not, in its parts."""
    return _mapped(_parts, tree)


def joined(tree: Any) -> Any:
    """The tree with every pair of parts made whole."""
    return _mapped(lambda leaf: leaf.real + 1j * leaf.imag if isinstance(leaf, Parts) else leaf, tree)


def on_parts(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the complex arrays of its arguments and of its result in parts."""

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return parted(function(*joined(args), **kwargs))

    return called


def _parts(leaf: Any) -> Any:
    value = leaf._value if isbox(leaf) else leaf  # noqa: SLF001 - the tape
    complex_ = isinstance(value, (np.ndarray, np.complexfloating)) and value.dtype.kind == "c"
    return Parts(anp.real(leaf), anp.imag(leaf)) if complex_ else leaf


def _mapped(change: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, Parts):
        return change(tree)
    if isinstance(tree, Mapping):
        return type(tree)({key: _mapped(change, part) for key, part in tree.items()})  # type: ignore[call-arg]
    if isinstance(tree, (tuple, list)):
        parts = [_mapped(change, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        fields = {f.name: _mapped(change, getattr(tree, f.name)) for f in dataclasses.fields(tree)}
        return dataclasses.replace(tree, **fields)
    return change(tree)
