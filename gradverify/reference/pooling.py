"""Pooling: the largest or the mean of each window, or of the whole of space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradverify.reference.elementary import largest_first
from gradverify.reference.layer import Array, Params, Pullback, shape_of
from gradverify.reference.windows import Axes, Windows, fold, make_windows, patches, require_space


@dataclass(frozen=True)
class MaxPool:
    """y_ncp = max_j x_nc,(p s - pad + j d): each channel on its own; the padding never wins.

    y takes its value from one entry and dy goes back to that one: dx = fold(dy where x is the maximum). Of
    tied entries the first gets all of it, which is one of the subgradients and the choice of the frameworks.
    `stride` is `size` where none is given.
    Source: Goodfellow, Bengio and Courville, *Deep Learning*, section 9.3.

    >>> y, pullback = MaxPool((2,)).forward({}, np.array([[[1.0, 3.0, 2.0, 2.0]]]))
    >>> y, pullback(np.array([[[5.0, 7.0]]]))[1]
    (array([[[3., 2.]]]), array([[[0., 5., 7., 0.]]]))
    """

    size: Axes
    stride: int | Axes | None = None
    padding: int | Axes = 0
    dilation: int | Axes = 1

    def __post_init__(self) -> None:
        if any(2 * p > k for p, k in zip(self.windows.padding, self.windows.size, strict=True)):
            raise ValueError(f"padding={self.padding!r}: at most half of size={self.size!r}, or a window is empty")

    @property
    def windows(self) -> Windows:
        """How the window slides."""
        return make_windows(self.size, self.size if self.stride is None else self.stride, self.padding,
                            self.dilation)

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002 - a layer's signature
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        y, first = self._chosen(x)
        lengths = shape_of(x)[2:]
        return y, lambda dy: ({}, fold(np.where(first, dy[..., None], 0), self.windows, lengths))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        y, first = self._chosen(x)
        return y, np.sum(np.where(first, patches(dx, self.windows), 0), axis=-1)

    def _chosen(self, x: Array) -> tuple[Array, Array]:
        require_space(x, None, self.windows, self)
        p = patches(x, self.windows, fill=-math.inf)
        first = largest_first(p)
        return np.sum(np.where(first, p, 0), axis=-1), first


@dataclass(frozen=True)
class AveragePool:
    """y_ncp = 1/k sum_j x_nc,(p s - pad + j): linear; zeros of the padding count as entries.

    dx = fold(dy / k): each of the k entries of a window gets an equal share.

    >>> AveragePool((2,)).forward({}, np.array([[[1.0, 3.0, 2.0, 6.0]]]))[0]
    array([[[2., 4.]]])
    """

    size: Axes
    stride: int | Axes | None = None
    padding: int | Axes = 0

    def __post_init__(self) -> None:
        make_windows(self.size, self.size if self.stride is None else self.stride, self.padding, 1)

    @property
    def windows(self) -> Windows:
        """How the window slides."""
        return make_windows(self.size, self.size if self.stride is None else self.stride, self.padding, 1)

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        lengths, entries = require_space(x, None, self.windows, self), self.windows.entries

        def pullback(dy: Array) -> tuple[Params, Array]:
            shares = np.broadcast_to((dy / entries)[..., None], (*shape_of(dy), entries))
            return {}, fold(shares, self.windows, lengths)

        return np.sum(patches(x, self.windows), axis=-1) / entries, pullback

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        return self.forward({}, x)[0], self.forward({}, dx)[0]


@dataclass(frozen=True)
class GlobalPool:
    """The mean or the maximum over all of space: (n, c, *space) to (n, c).

    >>> GlobalPool("max").forward({}, np.array([[[1.0, 3.0], [2.0, 0.0]]]))[0]
    array([[3., 2.]])
    """

    kind: str = "mean"

    def __post_init__(self) -> None:
        if self.kind not in {"mean", "max"}:
            raise ValueError(f"kind={self.kind!r}: must be mean or max")

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        share = self._shares(x)
        return _weighed(x, share), lambda dy: ({}, np.reshape(share * dy[..., None], shape_of(x)))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        share = self._shares(x)
        return _weighed(x, share), _weighed(dx, share)

    def _shares(self, x: Array) -> Array:
        flat = _flat(x)
        if shape_of(flat)[-1] == 0:
            raise ValueError(f"x of shape {shape_of(x)}: must have space to pool over")
        return largest_first(flat) if self.kind == "max" else np.ones_like(flat) / shape_of(flat)[-1]


def _flat(x: Array) -> Array:
    return np.reshape(x, (*shape_of(x)[:2], math.prod(shape_of(x)[2:])))


def _weighed(x: Array, share: Array) -> Array:
    # np.where keeps an infinite entry that was not chosen from turning into 0 x inf.
    return np.sum(np.where(share != 0, share * _flat(x), 0), axis=-1)
