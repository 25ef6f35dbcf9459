"""How wrong a prediction is, as one number, and how that number changes with the prediction.

A loss follows the same convention as a layer, with the truth where a layer has parameters:
``forward(y_true, y_pred) -> (L, pullback)`` and ``pullback(dL) -> (dL/dy_true, dL/dy_pred)``.
Backpropagation starts with ``pullback(1.0)``, since dL/dL = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradverify.reference.layer import Array, Params, Pullback, shape_of
from gradverify.reference.softmax import LogSoftmax


@dataclass(frozen=True)
class MSE:
    """Mean squared error, L = 1/n sum_i (y_true_i - y_pred_i)^2, over all n entries.

    dL/dy_pred_i = 2 (y_pred_i - y_true_i) / n, and dL/dy_true_i is its opposite: the factor 2 is the
    square's, the 1/n the mean's.

    >>> L, pullback = MSE().forward(np.array([4.0]), np.array([1.0]))
    >>> float(L), pullback(1.0)[1]
    (9.0, array([-6.]))
    """

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        n = _entries(y_true, y_pred)
        error = y_pred - y_true

        def pullback(dL: Array) -> tuple[Params, Array]:
            dy_pred = dL * (2 * error / n)
            return -dy_pred, dy_pred

        return np.sum(error * error) / n, pullback

    def pushforward(
        self, y_true: Array, y_pred: Array, dy_true: Array, dy_pred: Array
    ) -> tuple[Array, Array]:
        n = _entries(y_true, y_pred)
        error = y_pred - y_true
        return np.sum(error * error) / n, np.sum(2 * error * (dy_pred - dy_true)) / n


def _entries(y_true: Array, y_pred: Array) -> int:
    # (n,) against (n, 1) would broadcast to n x n differences: a loss that trains to the mean of the targets.
    if shape_of(y_true) != shape_of(y_pred):
        raise ValueError(f"y_true of shape {shape_of(y_true)}: must be that of y_pred, {shape_of(y_pred)}")
    return _nonempty(math.prod(shape_of(y_pred)), y_pred)


def _nonempty(n: int, y_pred: Array) -> int:
    if n == 0:
        raise ValueError(f"y_pred of shape {shape_of(y_pred)}: the mean over nothing is undefined")
    return n


@dataclass(frozen=True)
class CrossEntropy:
    """L = -1/n sum_b sum_c t_bc log softmax(z_b)_c, of scores ("logits") z (n, c), not of probabilities.

    The truth t is a row of probabilities for each b, or the number of the right class, which stands for a row
    with a single 1. Softmax and logarithm are taken together: apart, the probability of an unlikely class
    underflows and its logarithm is -inf.

    dL/dz_bc = (p_bc sum_k t_bk - t_bc) / n, which is (p - t) / n for rows that sum to 1.
    dL/dt_bc = -log p_bc / n.
    Source: Bridle (1990); Goodfellow, Bengio and Courville, *Deep Learning*, section 6.2.2.3.

    >>> L, pullback = CrossEntropy().forward(np.array([1]), np.array([[0.0, 0.0]]))
    >>> round(float(L), 6), pullback(1.0)[1]
    (0.693147, array([[ 0.5, -0.5]]))
    """

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        t, n = _targets(y_true, y_pred)
        log_p, log_pullback = LogSoftmax().forward({}, y_pred)

        def pullback(dL: Array) -> tuple[Params, Array]:
            dt = log_p * (-dL / n) if t is y_true else None
            return dt, log_pullback(t)[1] * (-dL / n)

        return _surprise(t, log_p) / n, pullback

    def pushforward(
        self, y_true: Array, y_pred: Array, dy_true: Array, dy_pred: Array
    ) -> tuple[Array, Array]:
        t, n = _targets(y_true, y_pred)
        log_p, dlog_p = LogSoftmax().pushforward({}, y_pred, {}, dy_pred)
        of_truth = _surprise(dy_true, log_p) if t is y_true else 0
        return _surprise(t, log_p) / n, (_surprise(t, dlog_p) + of_truth) / n


def _surprise(t: Array, log_p: Array) -> Array:
    # A class of probability 0 that is not meant contributes 0, not 0 x -inf.
    return -np.sum(t * np.where(t != 0, log_p, 0))


def _targets(y_true: Array, z: Array) -> tuple[Array, int]:
    """Rows of class probabilities, and how many rows there are."""
    shape = shape_of(z)
    n = _nonempty(math.prod(shape[:-1]) if shape else 0, z)
    if shape_of(y_true) == shape:
        return y_true, n
    if shape_of(y_true) != shape[:-1] or np.asarray(y_true).dtype.kind not in "iu":
        raise ValueError(f"y_true of shape {shape_of(y_true)}: must be integers {shape[:-1]} or rows {shape}")
    labels = np.asarray(y_true)
    if np.any((labels < 0) | (labels >= shape[-1])):
        raise ValueError(f"y_true from {labels.min()} to {labels.max()}: must lie in 0..{shape[-1] - 1}")
    # Booleans, because they take the dtype of whatever they multiply: a float32 loss stays float32.
    return labels[..., None] == np.arange(shape[-1]), n
