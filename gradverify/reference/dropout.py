"""Dropout: while training, each entry is left out with probability `rate`, and the rest is scaled up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradverify.reference.layer import Array, Params, Pullback, shape_of

KEYS = 2**31


@dataclass(frozen=True)
class Dropout:
    """y = x m / (1 - rate), with m_i = 0 with probability `rate`, else 1; y = x when not training.

    The division keeps the mean of y at x, so that nothing need change after training. The pullback is the
    same product with the same mask: dx = dy m / (1 - rate).

    The mask is drawn by a generator of its own, ``default_rng(params["key"])``; `init` draws the first key,
    `advance` the next (see `modes`). One key, one mask: forward, pullback and pushforward agree on it.
    Source: Srivastava et al., *Dropout* (2014), section 10, the "inverted" form.

    >>> y, pullback = Dropout(0.5).forward({"key": np.array(3)}, np.ones(6))
    >>> y, pullback(np.ones(6))[1]
    (array([0., 0., 2., 2., 0., 0.]), array([0., 0., 2., 2., 0., 0.]))
    """

    rate: float
    training: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"rate={self.rate!r}: must be at least 0 and less than 1")

    def init(self, rng: np.random.Generator) -> Params:
        return {"key": np.array(rng.integers(KEYS))}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        kept = self.mask(params, shape_of(x))
        return self._scaled(kept, x), lambda dy: ({"key": None}, self._scaled(kept, dy))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        kept = self.mask(params, shape_of(x))
        return self._scaled(kept, x), self._scaled(kept, dx)

    def advance(self, params: Params, x: Array) -> Params:  # noqa: ARG002
        """The next key; the old one's generator draws it."""
        return {"key": np.array(np.random.default_rng(int(params["key"])).integers(KEYS))}

    def mask(self, params: Params, shape: tuple[int, ...]) -> np.ndarray:
        """Which entries stay."""
        if not self.training:
            return np.ones(shape, bool)
        return np.random.default_rng(int(params["key"])).random(shape) >= self.rate

    def _scaled(self, kept: np.ndarray, a: Array) -> Array:
        return np.where(kept, a / (1 - self.rate), 0) if self.training else a
