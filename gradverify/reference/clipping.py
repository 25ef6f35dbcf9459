"""Gradients held to a size before the step: the remedy where they explode.

By value, each entry is cut at +-limit, which changes the direction. By norm, each leaf longer than the limit is
shortened to it. By global norm all leaves are shortened by one factor, which keeps the direction of the whole.
Source: Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural networks* (2013), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradverify.arrays import Arrays, flatten, norm
from gradverify.reference.layer import Params
from gradverify.reference.losses import require_positive
from gradverify.reference.optimizers import Optimizer, State


def clip_value(grads: Params, limit: float) -> Params:
    """Every entry held within +-limit."""
    return _clipped(grads, limit, lambda leaves: {
        name: np.minimum(np.maximum(g, -limit), limit) for name, g in leaves.items()})


def clip_norm(grads: Params, limit: float) -> Params:
    """Every leaf shortened to the limit, if it is longer."""
    return _clipped(grads, limit, lambda leaves: {
        name: g * _factor({name: g}, limit) for name, g in leaves.items()})


def clip_global_norm(grads: Params, limit: float) -> Params:
    """All leaves shortened by one factor, if together they are longer than the limit.

    >>> clip_global_norm({"W": np.array([3.0]), "b": np.array([4.0]), "key": None}, 1.0)
    {'W': array([0.6]), 'b': array([0.8]), 'key': None}
    """
    return _clipped(grads, limit, lambda leaves: {
        name: g * factor for factor in [_factor(leaves, limit)] for name, g in leaves.items()})


def _clipped(grads: Params, limit: float, rule: Callable[[Arrays], Arrays]) -> Params:
    require_positive("limit", limit)
    leaves, rebuild = flatten(grads, "grads")
    clipped = rule({name: g for name, g in leaves.items() if g is not None})
    return rebuild({**leaves, **clipped})


def _factor(leaves: Arrays, limit: float) -> float:
    length = norm(leaves)
    # An infinite gradient has no direction to keep: the factor would be 0 and its product NaN.
    if not math.isfinite(length):
        raise FloatingPointError(f"a gradient of length {length} cannot be clipped to {limit}")
    return limit / length if length > limit else 1.0


CLIPS: dict[str, Callable[[Params, float], Params]] = {
    "value": clip_value, "norm": clip_norm, "global_norm": clip_global_norm}


@dataclass(frozen=True)
class Clipped:
    """Another optimizer, fed with clipped gradients."""

    optimizer: Optimizer
    limit: float
    by: str = "global_norm"

    def __post_init__(self) -> None:
        require_positive("limit", self.limit)
        if self.by not in CLIPS:
            raise ValueError(f"by={self.by!r}: must be one of {', '.join(CLIPS)}")

    def init(self, params: Params) -> State:
        return self.optimizer.init(params)

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        return self.optimizer.step(params, CLIPS[self.by](grads, self.limit), state)
