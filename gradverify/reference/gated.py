"""Activations with parameters, or that join several entries into one: PReLU, maxout, gated linear units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradverify.reference.activations import FUNCTIONS
from gradverify.reference.elementary import largest_first
from gradverify.reference.layer import Array, Params, Pullback, require_size, shape_of


@dataclass(frozen=True)
class PReLU:
    """y = x for x > 0, else a_c x, with a learned slope for each channel c, the second axis of x (n, c, ...).

    dx = dy or a_c dy;  da_c = sum of x dy over all x <= 0 of the channel. With ``channels=1`` all share one.
    Source: He, Zhang, Ren and Sun (2015), section 2.1; the start 0.25 is theirs.
    """

    channels: int = 1
    start: float = 0.25

    def __post_init__(self) -> None:
        require_size("channels", self.channels)

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002 - a layer's signature
        return {"a": np.full(self.channels, self.start)}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        a = self._spread(params["a"], x)

        def pullback(dy: Array) -> tuple[Params, Array]:
            left = np.where(x > 0, 0, x * dy)
            axes = (0, *range(2, len(shape_of(x)))) if self.channels > 1 else None
            return {"a": np.reshape(np.sum(left, axis=axes), (self.channels,))}, np.where(x > 0, dy, a * dy)

        return np.where(x > 0, x, a * x), pullback

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        a, da = self._spread(params["a"], x), self._spread(dparams["a"], x)
        return np.where(x > 0, x, a * x), np.where(x > 0, dx, a * dx + da * x)

    def _spread(self, a: Array, x: Array) -> Array:
        shape = shape_of(x)
        if self.channels > 1 and shape[1:2] != (self.channels,):
            raise ValueError(f"x of shape {shape}: its second axis must be {self.channels} for {self}")
        return np.reshape(a, (self.channels,) + (1,) * (len(shape) - 2)) if self.channels > 1 else a


@dataclass(frozen=True)
class Maxout:
    """y_u = max over `pieces` entries of x: (..., units pieces) to (..., units), after a `Dense` of that width.

    dy goes to the largest of each group, to the first of tied ones. A maximum of linear pieces can be any
    convex function. Source: Goodfellow et al., *Maxout networks* (2013), section 3.
    """

    pieces: int

    def __post_init__(self) -> None:
        require_size("pieces", self.pieces)

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        groups = self._groups(x)
        first = largest_first(groups)
        y = np.sum(np.where(first, groups, 0), axis=-1)
        return y, lambda dy: ({}, np.reshape(np.where(first, dy[..., None], 0), shape_of(x)))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        first = largest_first(self._groups(x))
        return self.forward({}, x)[0], np.sum(np.where(first, self._groups(dx), 0), axis=-1)

    def _groups(self, x: Array) -> Array:
        *rest, width = shape_of(x) or (0,)
        if width % self.pieces or not width:
            raise ValueError(f"x of shape {shape_of(x)}: its last axis must be a multiple of {self.pieces}")
        return np.reshape(x, (*rest, width // self.pieces, self.pieces))


@dataclass(frozen=True)
class GLU:
    """y = a f(b), where a and b are the two halves of the last axis of x: b opens and closes the way for a.

    da = f(b) dy,  db = f'(b) a dy. With f = sigmoid it is the gated linear unit (Dauphin et al. 2017), with
    relu ReGLU, gelu GEGLU, silu SwiGLU, identity the bilinear unit (Shazeer 2020), with tanh a gated tanh unit.

    >>> GLU("identity").forward({}, np.array([2.0, 3.0, 10.0, 100.0]))[0]
    array([ 20., 300.])
    """

    gate: str = "sigmoid"

    def __post_init__(self) -> None:
        if self.gate not in FUNCTIONS:
            raise ValueError(f"gate={self.gate!r}: must be one of {', '.join(FUNCTIONS)}")

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        a, b = _halves(x)
        gate, times_slope = FUNCTIONS[self.gate](b)
        return a * gate, lambda dy: ({}, np.concatenate([gate * dy, times_slope(a * dy)], axis=-1))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        (a, b), (da, db) = _halves(x), _halves(dx)
        gate, times_slope = FUNCTIONS[self.gate](b)
        return a * gate, da * gate + a * times_slope(db)


def _halves(x: Array) -> tuple[Array, Array]:
    width = shape_of(x)[-1] if shape_of(x) else 1
    if width % 2:
        raise ValueError(f"x of shape {shape_of(x)}: its last axis must be even")
    return x[..., : width // 2], x[..., width // 2 :]
