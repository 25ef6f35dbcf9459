"""Positional encodings: attention alone does not see the order of its inputs, so their places are written in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradverify.reference.elementary import constants_like
from gradverify.reference.layer import Array, Params, Pullback, require_size, shape_of


def _angles(x: Array, base: float) -> np.ndarray:
    """angle_tj = t base^(-2 j / units) for the pairs j of the last axis of x (..., steps, units)."""
    *_, steps, units = shape_of(x)
    if units % 2:
        raise ValueError(f"x of shape {shape_of(x)}: its last axis must be even, a sine and a cosine a pair")
    return np.arange(steps)[:, None] * base ** (-np.arange(0, units, 2) / units)


@dataclass(frozen=True)
class SinusoidalPositions:
    """y_tj = x_tj + sin or cos of t base^(-2 j' / units), even places sine, odd cosine; dx = dy.

    Source: Vaswani et al. (2017), section 3.5.
    """

    base: float = 10000.0

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002 - a layer's signature
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        angles = _angles(x, self.base)
        table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(shape_of(x)[-2:])
        return x + constants_like(table, x), lambda dy: ({}, dy)

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        return self.forward({}, x)[0], dx


@dataclass(frozen=True)
class LearnedPositions:
    """y_t = x_t + P_t, with a learned row P_t for each place t < length; dP_t = sum over the batch of dy_t."""

    length: int
    units: int

    def __post_init__(self) -> None:
        require_size("length", self.length)
        require_size("units", self.units)

    def init(self, rng: np.random.Generator) -> Params:
        return {"P": rng.normal(0.0, 0.02, (self.length, self.units))}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        *batch, steps, units = shape_of(x)
        if steps > self.length or units != self.units:
            raise ValueError(f"x of shape {shape_of(x)}: must be (..., at most {self.length}, {self.units})")

        def pullback(dy: Array) -> tuple[Params, Array]:
            used = np.sum(dy, axis=tuple(range(len(batch)))) if batch else dy
            return {"P": np.pad(used, ((0, self.length - steps), (0, 0)))}, dy

        return x + params["P"][:steps], pullback

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        return self.forward(params, x)[0], self.forward(dparams, dx)[0]


@dataclass(frozen=True)
class RotaryPositions:
    """Each pair (x_2j, x_2j+1) at step t turned by the angle t base^(-2 j / units): for queries and keys.

    A product of a turned query and key depends on the difference of their places alone. A rotation's adjoint
    is the rotation back: dx is dy turned by the opposite angles. Source: Su et al., *RoFormer* (2021), section 3.2.
    """

    base: float = 10000.0

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        angles = _angles(x, self.base)
        return _turned(x, angles), lambda dy: ({}, _turned(dy, -angles))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        angles = _angles(x, self.base)
        return _turned(x, angles), _turned(dx, angles)


def _turned(x: Array, angles: np.ndarray) -> Array:
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = constants_like(np.cos(angles), x), constants_like(np.sin(angles), x)
    turned = np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return np.reshape(turned, shape_of(x))
