"""Optimizers with a learning rate for each parameter, scaled by the recent size of its gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradverify.reference.layer import Array, Params
from gradverify.reference.losses import require_positive
from gradverify.reference.optimizers import Rule, Slots, State, require_share, stepped, zeros
from gradverify.reference.schedules import Schedule, rate_at, require_rate


@dataclass(frozen=True)
class RMSprop:
    """s <- rho s + (1 - rho) g^2, then w <- w - eta g / (sqrt(s) + eps). Source: Hinton (2012), lecture 6e."""

    learning_rate: float | Schedule
    decay: float = 0.99
    eps: float = 1e-8

    def __post_init__(self) -> None:
        require_rate("learning_rate", self.learning_rate)
        require_share("decay", self.decay)
        require_positive("eps", self.eps)

    def init(self, params: Params) -> State:
        return 0, zeros(params, 1)

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        eta = rate_at(self.learning_rate, state[0])

        def rule(w: Array, g: Array, s: Array) -> tuple[Array, Slots]:
            s = self.decay * s + (1 - self.decay) * g * g
            return w - eta * g / (np.sqrt(s) + self.eps), (s,)

        return stepped(params, grads, state, rule)


@dataclass(frozen=True)
class Adam:
    """Running means of the gradient and of its square, both corrected for having started at zero.

        m <- b1 m + (1 - b1) g        m' = m / (1 - b1^t)
        v <- b2 v + (1 - b2) g^2      v' = v / (1 - b2^t)        w <- w - eta m' / (sqrt(v') + eps)

    Its first step has length eta in every coordinate, whatever the gradient's size.
    Source: Kingma and Ba (2015), algorithm 1.

    >>> params, _ = Adam(0.1).step({"w": np.array(0.5)}, {"w": np.array(-12.0)}, Adam(0.1).init({"w": 0.5}))
    >>> print(f"{params['w']:.6f}")
    0.600000
    """

    learning_rate: float | Schedule = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _require_constants(self.learning_rate, self.betas, self.eps)

    def init(self, params: Params) -> State:
        return 0, zeros(params, 2)

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        eta = rate_at(self.learning_rate, state[0])
        return stepped(params, grads, state, _adam(eta, self.betas, self.eps, state[0] + 1, lambda w: w))


@dataclass(frozen=True)
class AdamW:
    """`Adam` after w <- (1 - eta decay) w: the decay is not scaled by the gradients as an L2 penalty would be.

    Source: Loshchilov and Hutter, *Decoupled weight decay regularization* (2019), algorithm 2.
    """

    learning_rate: float | Schedule = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _require_constants(self.learning_rate, self.betas, self.eps)
        require_share("weight_decay", self.weight_decay)

    def init(self, params: Params) -> State:
        return 0, zeros(params, 2)

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        eta = rate_at(self.learning_rate, state[0])
        keep = 1 - eta * self.weight_decay
        return stepped(params, grads, state, _adam(eta, self.betas, self.eps, state[0] + 1, lambda w: keep * w))


def _require_constants(rate: float | Schedule, betas: tuple[float, float], eps: float) -> None:
    require_rate("learning_rate", rate)
    require_positive("eps", eps)
    for beta in betas:
        require_share("betas", beta)


def _adam(
    eta: float, betas: tuple[float, float], eps: float, t: int, decayed: Callable[[Array], Array]
) -> Rule:
    b1, b2 = betas

    def rule(w: Array, g: Array, m: Array, v: Array) -> tuple[Array, Slots]:
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        size = np.sqrt(v / (1 - b2**t)) + eps
        return decayed(w) - eta * (m / (1 - b1**t)) / size, (m, v)

    return rule
