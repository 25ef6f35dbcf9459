"""Layers that behave differently while training: which mode they are in, and what they remember.

A layer stores nothing between calls, so what batch normalisation and dropout remember lives among the
parameters, as leaves without a gradient: running statistics, and the key that the next mask is drawn from.

    evaluating(network)             the same network with dropout off and running statistics in use
    advanced(network, params, x)    the parameters after a training step saw x: statistics moved, next key

`forward` stays a pure function of (params, x); it may be called twice and gives the same mask twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gradverify.reference.layer import Array, Layer, Params


def evaluating(layer: Any) -> Any:
    """The same layer, and all within it, as it is used after training.

    >>> from gradverify.reference import Dense, Dropout, sequential
    >>> evaluating(sequential(Dense(1, 1), Dropout(0.5))).layers[1]
    Dropout(rate=0.5, training=False)
    """
    if isinstance(layer, (list, tuple)) and not hasattr(layer, "_fields"):
        return type(layer)(evaluating(part) for part in layer)
    if isinstance(layer, Mapping):
        return {name: evaluating(part) for name, part in layer.items()}
    if not dataclasses.is_dataclass(layer) or isinstance(layer, type) or not _has_modes(layer):
        return layer
    changed = {f.name: evaluating(getattr(layer, f.name)) for f in dataclasses.fields(layer) if f.init}
    if "training" in changed:
        changed["training"] = False
    return dataclasses.replace(layer, **changed)


def _has_modes(tree: Any) -> bool:
    if isinstance(tree, (list, tuple)):
        return any(_has_modes(part) for part in tree)
    if isinstance(tree, Mapping):
        return _has_modes(list(tree.values()))
    if not dataclasses.is_dataclass(tree) or isinstance(tree, type):
        return False
    return hasattr(tree, "training") or _has_modes([getattr(tree, f.name) for f in dataclasses.fields(tree)])


def advanced(layer: Layer, params: Params, x: Array) -> Params:
    """`params` after a training pass over x; itself where nothing in the layer remembers anything."""
    advance = getattr(layer, "advance", None)
    return params if advance is None or not _has_modes(layer) else advance(params, x)
