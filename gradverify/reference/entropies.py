"""Losses of probabilities: how surprising the truth is to a prediction, -log p(truth).

Which to take depends on what the network puts out:

    scores z, one of c classes     CrossEntropy             scores z, yes or no        BinaryCrossEntropy
    log-probabilities              NLL, KL                  a probability p            BinaryCrossEntropy(logits=False)
    probabilities of c classes     CategoricalCrossEntropy

From scores is best: softmax and logarithm taken together keep their digits where one of them would under- or
overflow. The truth is a row of probabilities, or the number of the right class, a row with a single 1.

*Class weights* w_c multiply the terms of class c; the mean then divides by the weights of the right classes if
they are given by number, and by the number of rows otherwise. *Smoothing* mixes the truth with the uniform
distribution, t' = (1 - eps) t + eps / c (Szegedy et al. 2016, section 7). Both follow PyTorch's conventions.
Sources: Bridle (1990); Goodfellow, Bengio and Courville, *Deep Learning*, section 6.2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from gradverify.reference.activations import identity, softplus
from gradverify.reference.duals import push_forward
from gradverify.reference.elementary import constants_like, expit, log1p
from gradverify.reference.layer import Array, Pullback, shape_of
from gradverify.reference.reductions import Terms, has_slope, reduced, require_reduction, require_same, truth_of
from gradverify.reference.softmax import LogSoftmax

Slope: TypeAlias = Callable[[Array], Array]  # a product with the slope of log p


def require_smoothing(eps: float) -> None:
    """Raise unless `eps` is a share of the truth."""
    if not 0 <= eps < 1:
        raise ValueError(f"smoothing={eps!r}: must be at least 0 and less than 1")


@dataclass(frozen=True)
class CrossEntropy:
    """L = -1/n sum_b sum_c t_bc log softmax(z_b)_c, of scores ("logits") z (n, c), not of probabilities.

    dL/dz_bc = (p_bc sum_k t_bk - t_bc) / n, which is (p - t) / n for rows that sum to 1.
    dL/dt_bc = -log p_bc / n.

    >>> L, pullback = CrossEntropy().forward(np.array([1]), np.array([[0.0, 0.0]]))
    >>> round(float(L), 6), pullback(1.0)[1]
    (0.693147, array([[ 0.5, -0.5]]))
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_smoothing(self.smoothing)
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        return _of_classes(self, y_true, y_pred, self._log_p)

    pushforward = push_forward

    def _log_p(self, t: Array, z: Array) -> tuple[Array, Slope]:  # noqa: ARG002 - the truth changes nothing here
        log_p, pullback = LogSoftmax().forward({}, z)
        return log_p, lambda dlog_p: pullback(dlog_p)[1]


@dataclass(frozen=True)
class NLL:
    """L = -1/n sum_b sum_c t_bc y_bc, of log-probabilities y, such as those of `LogSoftmax`; slope -t / n."""

    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_smoothing(self.smoothing)
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        return _of_classes(self, y_true, y_pred, lambda _, y: identity(y))

    pushforward = push_forward


@dataclass(frozen=True)
class CategoricalCrossEntropy:
    """L = -1/n sum_b sum_c t_bc log p_bc, of probabilities p themselves; slope -t / (n p).

    A class of probability 0 that is not meant costs nothing; one that is meant costs infinitely much.
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_smoothing(self.smoothing)
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        return _of_classes(self, y_true, y_pred, self._log_p)

    pushforward = push_forward

    def _log_p(self, t: Array, y_pred: Array) -> tuple[Array, Slope]:
        p = y_pred if self.smoothing else np.where((t != 0) | (y_pred > 0), y_pred, 1)
        return np.log(p), lambda dlog_p: dlog_p / p


def _of_classes(
    loss: CrossEntropy | NLL | CategoricalCrossEntropy, y_true: Array, y_pred: Array,
    log_p_of: Callable[[Array, Array], tuple[Array, Slope]],
) -> tuple[Array, Pullback]:
    """The surprise -sum_c t_c log p_c, whatever the prediction says log p with.

    A truth given as class numbers has no derivative.
    """
    truth = truth_of(y_true)
    t, total = _rows(truth, y_pred, loss.class_weights)
    log_p, through = log_p_of(t, y_pred)
    values, pull = _surprise(t, log_p, loss.smoothing, loss.class_weights)

    def pull_through(dl: Array) -> tuple[Array, Array]:
        dt, dlog_p = pull(dl)
        return dt if t is truth else None, through(dlog_p)

    return reduced((values, pull_through), loss.reduction, y_true, total)


def _surprise(t: Array, log_p: Array, smoothing: float, class_weights: tuple[float, ...] | None) -> Terms:
    """l_b = -sum_c w_c t'_bc log p_bc, linear in t' and in log p."""
    w = 1 if class_weights is None else constants_like(class_weights, log_p)
    uniform = smoothing / shape_of(log_p)[-1]

    def mixed(of_truth: Array, of_all: Callable[[], Array]) -> Array:
        return (1 - smoothing) * of_truth + uniform * of_all() if smoothing else of_truth

    # A class of probability 0 that is not meant contributes 0, not 0 x -inf.
    meant = np.sum(t * np.where((t != 0) | (log_p > -math.inf), w * log_p, 0), axis=-1)

    def pull(dl: Array) -> tuple[Array, Array]:
        d = -dl[..., None] * w
        return (1 - smoothing) * (d * log_p), mixed(t * d, lambda: d + 0 * log_p)

    return -mixed(meant, lambda: np.sum(w * log_p, axis=-1)), pull


def _rows(y_true: Array, z: Array, class_weights: tuple[float, ...] | None) -> tuple[Array, Array]:
    """Rows of class probabilities, and what each counts in a mean if that is not 1."""
    shape = shape_of(z)
    if not shape or (class_weights is not None and len(class_weights) != shape[-1]):
        raise ValueError(f"y_pred of shape {shape}: must be rows of {len(class_weights or ()) or 'c'} classes")
    if shape_of(y_true) == shape:
        return y_true, None
    if shape_of(y_true) != shape[:-1] or np.asarray(y_true).dtype.kind not in "iu":
        raise ValueError(f"y_true of shape {shape_of(y_true)}: must be integers {shape[:-1]} or rows {shape}")
    labels = np.asarray(y_true)
    if np.any((labels < 0) | (labels >= shape[-1])):
        raise ValueError(f"y_true from {labels.min()} to {labels.max()}: must lie in 0..{shape[-1] - 1}")
    # Booleans, because they take the dtype of whatever they multiply: a float32 loss stays float32.
    t = labels[..., None] == np.arange(shape[-1])
    return t, None if class_weights is None else np.asarray(class_weights)[labels]


@dataclass(frozen=True)
class KL:
    """L = 1/n sum_b sum_c t_bc (log t_bc - y_bc): what truth t says beyond the log-probabilities y.

    Slope -t in y and log t + 1 - y in t, which is -inf at t = 0, where the term itself is 0. The mean is over
    the rows (PyTorch calls it "batchmean"). Source: Kullback and Leibler (1951).
    """

    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        t = truth_of(y_true)
        require_same(t, y_pred)
        positive = t > 0
        log_t = np.log(np.where(positive, t, 1))
        values = np.sum(np.where(positive, t * (log_t - y_pred), 0), axis=-1)

        def pull(dl: Array) -> tuple[Array, Array]:
            d = dl[..., None]
            return d * np.where(positive, log_t + 1 - y_pred, -math.inf), np.where(positive, -t * d, 0)

        return reduced((values, pull), self.reduction, y_true)

    pushforward = push_forward


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """l = -w t log p - (1 - t) log(1 - p), entry by entry, with p = sigmoid(z) for scores z = y_pred.

    From scores: l = w t softplus(-z) + (1 - t) softplus(z), slope (1 - t) sigmoid(z) - w t sigmoid(-z), which
    keeps its digits where p rounds to 1. With ``logits=False`` y_pred is p itself, slope (1 - t) / (1 - p) - w t / p;
    a side that is not meant and has probability 0 costs nothing. `positive_weight` w makes misses of t = 1 dearer.
    Smoothing moves t towards 1/2: t' = (1 - eps) t + eps / 2.
    """

    logits: bool = True
    smoothing: float = 0.0
    positive_weight: float = 1.0
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_smoothing(self.smoothing)
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        truth, w, keep = truth_of(y_true), self.positive_weight, 1 - self.smoothing
        require_same(truth, y_pred)
        t = keep * truth + self.smoothing / 2 if self.smoothing else truth
        (yes, dyes), (no, dno) = (_sides if self.logits else _sides_of_probability)(t, y_pred)

        def pull(dl: Array) -> tuple[Array, Array]:
            dt = dl * keep * (w * yes - no) if has_slope(truth) else None
            return dt, dl * (w * t * dyes + (1 - t) * dno)

        return reduced((w * t * yes + (1 - t) * no, pull), self.reduction, y_true)

    pushforward = push_forward


def _sides(t: Array, z: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """-log p and -log(1 - p) of scores, each with its slope."""
    return (softplus(-z)[0], -expit(-z)), (softplus(z)[0], expit(z))


def _sides_of_probability(t: Array, p: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The same of a probability; what is not meant is evaluated away from the edge."""
    q, r = np.where(t == 0, np.where(p > 0, p, 1), p), np.where(t == 1, np.where(p < 1, p, 0), p)
    return (-np.log(q), -1 / q), (-log1p(-r), 1 / (1 - r))
