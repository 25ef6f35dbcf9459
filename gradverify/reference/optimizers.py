"""How parameters follow their gradients: ``step(params, grads, state) -> (params, state)``, nothing in place.

An optimizer is a record of its constants; what it remembers from step to step travels in `state`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from gradverify.arrays import flatten
from gradverify.reference.layer import Array, Params

State: TypeAlias = Any
Schedule: TypeAlias = Callable[[int], float]


class Optimizer(Protocol):
    """What an optimizer answers to."""

    def init(self, params: Params) -> State: ...

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]: ...


@dataclass(frozen=True)
class SGD:
    """w <- w - eta dL/dw, with eta a number or a function of the number of steps already taken.

    It is called *stochastic* gradient descent when the gradient comes from a part of the data; see `train`.
    Source: Robbins and Monro (1951); Rumelhart, Hinton and Williams (1986), eq. 8.

    >>> params, steps_taken = SGD(0.1).step({"w": 0.5}, {"w": -12.0}, 0)
    >>> print(f"{params['w']:.15g}")
    1.7
    """

    learning_rate: float | Schedule

    def __post_init__(self) -> None:
        eta = self.learning_rate
        if not callable(eta) and not (math.isfinite(eta) and eta > 0):
            raise ValueError(f"learning_rate={eta!r}: must be a finite number > 0, or a function of the step")

    def init(self, params: Params) -> State:  # noqa: ARG002 - an optimizer's signature
        return 0

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        eta = self.learning_rate(state) if callable(self.learning_rate) else self.learning_rate
        return updated(params, grads, lambda w, g: w - eta * g), state + 1


def updated(params: Params, grads: Params, rule: Callable[[Array, Array], Array]) -> Params:
    """The tree of ``rule(w, g)`` over the leaves; a gradient of None leaves its parameter as it is."""
    weights, rebuild = flatten(params, "params")
    slopes, _ = flatten(grads, "params")
    if set(slopes) != set(weights):
        odd = ", ".join(sorted(set(slopes) ^ set(weights)))
        raise ValueError(f"grads: must have the leaves of params; only in one of the two: {odd}")
    new = {name: w if slopes[name] is None else rule(w, slopes[name]) for name, w in weights.items()}
    return rebuild(new)
