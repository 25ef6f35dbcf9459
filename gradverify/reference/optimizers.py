"""How parameters follow their gradients: ``step(params, grads, state) -> (params, state)``, nothing in place.

An optimizer is a record of its constants; what it remembers from step to step travels in `state`: the number
of steps taken, and for each leaf a tuple of arrays. Those that adapt to each parameter are in `adaptive`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from gradverify.arrays import flatten
from gradverify.reference.layer import Array, Params
from gradverify.reference.schedules import Schedule, rate_at, require_rate

State: TypeAlias = Any
Slots: TypeAlias = tuple[Array, ...]
Rule: TypeAlias = Callable[..., tuple[Array, Slots]]


class Optimizer(Protocol):
    """What an optimizer answers to."""

    def init(self, params: Params) -> State: ...

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]: ...


def require_share(keyword: str, value: float) -> None:
    """Raise unless 0 <= value < 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{keyword}={value!r}: must be at least 0 and less than 1")


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
        require_rate("learning_rate", self.learning_rate)

    def init(self, params: Params) -> State:  # noqa: ARG002 - an optimizer's signature
        return 0

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        eta = rate_at(self.learning_rate, state)
        return updated(params, grads, lambda w, g: w - eta * g), state + 1


@dataclass(frozen=True)
class Momentum:
    """v <- mu v + dL/dw, then w <- w - eta v: a ball that rolls, remembering about 1 / (1 - mu) steps.

    Source: Polyak (1964); Sutskever et al. (2013), eq. 1-2 with the rate outside, as in the frameworks.
    """

    learning_rate: float | Schedule
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require_rate("learning_rate", self.learning_rate)
        require_share("momentum", self.momentum)

    def init(self, params: Params) -> State:
        return 0, zeros(params, 1)

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        eta = rate_at(self.learning_rate, state[0])

        def rule(w: Array, g: Array, v: Array) -> tuple[Array, Slots]:
            v = self.momentum * v + g
            return w - eta * v, (v,)

        return stepped(params, grads, state, rule)


@dataclass(frozen=True)
class Nesterov:
    """v <- mu v + dL/dw, then w <- w - eta (dL/dw + mu v): momentum that looks one step ahead.

    Source: Nesterov (1983) in the form of Sutskever et al. (2013), written at the point looked ahead to.
    """

    learning_rate: float | Schedule
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require_rate("learning_rate", self.learning_rate)
        require_share("momentum", self.momentum)

    def init(self, params: Params) -> State:
        return 0, zeros(params, 1)

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        eta = rate_at(self.learning_rate, state[0])

        def rule(w: Array, g: Array, v: Array) -> tuple[Array, Slots]:
            v = self.momentum * v + g
            return w - eta * (g + self.momentum * v), (v,)

        return stepped(params, grads, state, rule)


def zeros(params: Params, slots: int) -> dict[str, Slots]:
    """So many arrays of zeros for each leaf."""
    return {name: (0 * w,) * slots for name, w in flatten(params, "params")[0].items()}


def updated(params: Params, grads: Params, rule: Callable[[Array, Array], Array]) -> Params:
    """The tree of ``rule(w, g)`` over the leaves; a gradient of None leaves its parameter as it is."""
    weights, rebuild = flatten(params, "params")
    slopes = slopes_of(grads, weights)
    return rebuild({name: w if slopes[name] is None else rule(w, slopes[name]) for name, w in weights.items()})


def stepped(params: Params, grads: Params, state: State, rule: Rule) -> tuple[Params, State]:
    """The tree of ``rule(w, g, *slots) -> (w, slots)``, and the state after it."""
    weights, rebuild = flatten(params, "params")
    slopes, (steps, slots) = slopes_of(grads, weights), state
    new = {name: (w, slots[name]) if slopes[name] is None else rule(w, slopes[name], *slots[name])
           for name, w in weights.items()}
    moved = rebuild({name: w for name, (w, _) in new.items()})
    return moved, (steps + 1, {name: its_slots for name, (_, its_slots) in new.items()})


def slopes_of(grads: Params, weights: dict[str, Array]) -> dict[str, Array]:
    """The leaves of the gradients, which must be those of the weights."""
    slopes, _ = flatten(grads, "params")
    if set(slopes) != set(weights):
        odd = ", ".join(sorted(set(slopes) ^ set(weights)))
        raise ValueError(f"grads: must have the leaves of params; only in one of the two: {odd}")
    return slopes
