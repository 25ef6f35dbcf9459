"""Layers that only move entries, and the table look-up: their pullbacks move the gradient back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradverify.reference.initialisers import draw, require_initialiser
from gradverify.reference.layer import Array, Params, Pullback, require_size, shape_of


@dataclass(frozen=True)
class Reshape:
    """(n, ...) to (n, *shape): the same entries in the same order; dx is dy in the shape of x.

    >>> Reshape((2, 2)).forward({}, np.arange(4.0)[None])[0]
    array([[[0., 1.], [2., 3.]]])
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        for length in self.shape:
            require_size("shape", length)

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002 - a layer's signature
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        if math.prod(shape_of(x)[1:]) != math.prod(self.shape):
            raise ValueError(f"x of shape {shape_of(x)}: each example must have the entries of {self.shape}")
        return self._reshaped(x), lambda dy: ({}, np.reshape(dy, shape_of(x)))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        return self._reshaped(x), self._reshaped(dx)

    def _reshaped(self, x: Array) -> Array:
        return np.reshape(x, (shape_of(x)[0], *self.shape))


@dataclass(frozen=True)
class Flatten:
    """(n, ...) to (n, the product of the rest)."""

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        return _flat(x), lambda dy: ({}, np.reshape(dy, shape_of(x)))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        return _flat(x), _flat(dx)


def _flat(x: Array) -> Array:
    return np.reshape(x, (shape_of(x)[0], math.prod(shape_of(x)[1:])))


@dataclass(frozen=True)
class Embedding:
    """y_k = W_(x_k): row x_k of a table W (rows, units), for integers x (...) in 0..rows-1; y (..., units).

    dW_i = sum_(k: x_k = i) dy_k: a row that is used several times is a shared weight, its gradients add up.
    x has no derivative. The row `padding`, if any, is a constant: its gradient is zero.

    >>> _, pullback = Embedding(3, 1).forward({"W": np.zeros((3, 1))}, np.array([2, 0, 2]))
    >>> dparams, dx = pullback(np.array([[1.0], [2.0], [3.0]]))
    >>> dparams["W"].ravel(), dx
    (array([2., 0., 4.]), None)
    """

    rows: int
    units: int
    padding: int | None = None
    initialiser: str = "lecun_normal"

    def __post_init__(self) -> None:
        require_size("rows", self.rows)
        require_size("units", self.units)
        require_initialiser(self.initialiser)
        if self.padding is not None and not 0 <= self.padding < self.rows:
            raise ValueError(f"padding={self.padding!r}: must be a row, 0..{self.rows - 1}")

    def init(self, rng: np.random.Generator) -> Params:
        return {"W": draw(self.initialiser, rng, (self.rows, self.units), self.units, self.units)}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        return np.take(params["W"], self._rows(x), axis=0), lambda dy: ({"W": self._summed(x, dy)}, None)

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        moved = np.where(self._is_free(x)[..., None], np.take(dparams["W"], x, axis=0), 0)
        return np.take(params["W"], self._rows(x), axis=0), moved

    def _rows(self, x: Array) -> Array:
        rows = np.asarray(x)
        if rows.dtype.kind not in "iu" or np.any((rows < 0) | (rows >= self.rows)):
            raise ValueError(f"x={x!r}: must be integers in 0..{self.rows - 1}")
        return rows

    def _is_free(self, x: Array) -> Array:
        return x != (-1 if self.padding is None else self.padding)

    def _summed(self, x: Array, dy: Array) -> Array:
        # A product with a boolean matrix adds up repeated rows in the arithmetic of dy, whatever that is.
        uses = (np.arange(self.rows)[:, None] == np.ravel(x)) & np.ravel(self._is_free(x))
        return uses @ np.reshape(dy, (uses.shape[1], self.units))
