"""Penalties on the size of the weights: a preference for small ones, against overfitting.

They are added to the loss (`Objective`, `train`). Biases and scales are left alone: only leaves of the given
names count, by default the weights ``W`` of layers and ``U`` of recurrences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gradverify.arrays import flatten
from gradverify.reference.layer import Array, Params, Pullback


class Penalty(Protocol):
    """``forward(params) -> (value, pullback)`` and ``pullback(dL) -> dparams``."""

    def forward(self, params: Params) -> tuple[Array, Pullback]: ...


def _require_strength(strength: float) -> None:
    if not (math.isfinite(strength) and strength >= 0):
        raise ValueError(f"strength={strength!r}: must be a finite number >= 0")


def _chosen(params: Params, names: tuple[str, ...]) -> dict[str, Array]:
    return {path: w for path, w in flatten(params, "p")[0].items() if path.rpartition(".")[2] in names}


@dataclass(frozen=True)
class L2:
    """strength / 2 sum w^2, with slope strength w: under plain descent the same as decaying every weight.

    Source: Krogh and Hertz, *A simple weight decay can improve generalization* (1992).

    >>> value, pullback = L2(0.1).forward({"W": np.array([3.0]), "b": np.array([5.0])})
    >>> print(f"{value:.2f}", pullback(1.0)["W"], pullback(1.0)["b"])
    0.45 [0.3] None
    """

    strength: float
    names: tuple[str, ...] = ("W", "U")

    def __post_init__(self) -> None:
        _require_strength(self.strength)

    def forward(self, params: Params) -> tuple[Array, Pullback]:
        weights = _chosen(params, self.names)
        total = sum(np.sum(w * w) for w in weights.values())
        return self.strength * total / 2, lambda dL: _spread(
            params, {path: dL * self.strength * w for path, w in weights.items()})


@dataclass(frozen=True)
class L1:
    """strength sum |w|, with slope strength sign(w), 0 at 0: it drives weights to zero, not only towards it.

    Source: Tibshirani (1996).
    """

    strength: float
    names: tuple[str, ...] = ("W", "U")

    def __post_init__(self) -> None:
        _require_strength(self.strength)

    def forward(self, params: Params) -> tuple[Array, Pullback]:
        weights = _chosen(params, self.names)
        total = sum(np.sum(np.where(w > 0, w, -w)) for w in weights.values())
        return self.strength * total, lambda dL: _spread(
            params, {path: _signed(w, dL * self.strength) for path, w in weights.items()})


def _signed(w: Array, size: Array) -> Array:
    # 1 + 0 w rather than 1, so that the dtype is that of the weights.
    one = 1 + 0 * w
    return size * np.where(w > 0, one, np.where(w < 0, -one, 0 * w))


def _spread(params: Params, slopes: dict[str, Array]) -> Params:
    leaves, rebuild = flatten(params, "p")
    return rebuild({path: slopes.get(path) for path in leaves})
