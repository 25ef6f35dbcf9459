"""The losses that a network's ``backprop(x, y)`` may differentiate without ever computing one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Loss = Callable[[Any, Any], Any]


def _batch(y: Any) -> int:
    return int(np.shape(y)[0]) if np.ndim(y) else 1


def _cross_entropy(p: Any, t: Any) -> Any:
    return -np.sum(t * np.log(p))


def _binary_cross_entropy(p: Any, t: Any) -> Any:
    return -np.sum(t * np.log(p) + (1 - t) * np.log(1 - p))


def _of_softmax(axis: int) -> Loss:
    def cross_entropy(z: Any, t: Any) -> Any:
        shifted = z - np.max(z, axis=axis, keepdims=True)
        return -np.sum(t * (shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))))

    return cross_entropy


def _of_sigmoid(z: Any, t: Any) -> Any:
    return np.sum(np.log(1 + np.exp(z)) - t * z)


def _per_sample(loss: Loss) -> Loss:
    return lambda y, t: loss(y, t) / _batch(y)


def _per_column(loss: Loss) -> Loss:
    return lambda y, t: loss(y, t) / (np.shape(y)[-1] if np.ndim(y) else 1)


def _per_entry(loss: Loss) -> Loss:
    return lambda y, t: loss(y, t) / np.size(y)


def _squares(y: Any, t: Any) -> Any:
    return np.sum((y - t) * (y - t))


def _half_squares(y: Any, t: Any) -> Any:
    return np.sum((y - t) * (y - t)) / 2


_SUMS: Mapping[str, Loss] = {
    "half the squared error": _half_squares,
    "the squared error": _squares,
    "the cross entropy": _cross_entropy,
    "the binary cross entropy": _binary_cross_entropy,
    "the cross entropy of its softmax": _of_softmax(-1),
    "the cross entropy of its softmax by columns": _of_softmax(0),
    "the binary cross entropy of its sigmoid": _of_sigmoid,
}

_UPHILL: Mapping[str, Loss] = {
    **_SUMS,
    **{f"the mean over samples of {name}": _per_sample(loss) for name, loss in _SUMS.items()},
    **{f"the mean over columns of {name}": _per_column(loss) for name, loss in _SUMS.items()},
    **{f"the mean over entries of {name}": _per_entry(loss) for name, loss in _SUMS.items()},
}

DOWNHILL = ", pointing downhill"


def _negative(loss: Loss) -> Loss:
    return lambda y, t: -loss(y, t)


LOSSES: Mapping[str, Loss] = {**_UPHILL, **{name + DOWNHILL: _negative(loss) for name, loss in _UPHILL.items()}}


def labels_for(output: Any, seed: int) -> list[np.ndarray]:
    """Targets for an output: one-hot along the last axis or the first, zeros and ones, the number of a class."""
    rng, shape = np.random.default_rng(seed), np.shape(output)
    binary = rng.integers(0, 2, shape)
    if not shape or shape[-1] == 1 == shape[0]:
        return [binary]
    rows = np.eye(shape[-1], dtype=np.int64)[rng.integers(0, shape[-1], shape[:-1])]
    columns = np.eye(shape[0], dtype=np.int64)[:, rng.integers(0, shape[0], shape[1:])]
    classes = [rng.integers(0, shape[-1], shape[:-1])] if len(shape) > 1 else []
    return [*(a for a in (rows, columns, binary) if a.shape == shape), *classes]


def compared(loss: str, y: Any, t: Any) -> Any:
    """The value of a loss; the number of a class stands for its one-hot row."""
    if np.ndim(t) == np.ndim(y) - 1 and np.asarray(t).dtype.kind in "iu":
        t = np.eye(np.shape(y)[-1])[t]
    return LOSSES[loss](y, t)
