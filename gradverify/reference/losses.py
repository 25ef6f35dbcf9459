"""How wrong a prediction is, as one number, and how that number changes with the prediction.

A loss follows the same convention as a layer, with the truth where a layer has parameters:
``forward(y_true, y_pred) -> (L, pullback)`` and ``pullback(dL) -> (dL/dy_true, dL/dy_pred)``.
Backpropagation starts with ``pullback(1.0)``, since dL/dL = 1. Each loss here is a sum of terms; what
`reduction` makes of them, and weights, is in `reductions`. Losses of probabilities are in `entropies`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradverify.reference.duals import push_forward
from gradverify.reference.layer import Array, Pullback
from gradverify.reference.reductions import Terms, reduced, require_reduction, require_same, truth_of


def require_positive(keyword: str, value: float) -> None:
    """Raise unless `value` is a finite number above zero."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{keyword}={value!r}: must be a finite number > 0")


def _error(y_true: Array, y_pred: Array) -> Array:
    require_same(truth_of(y_true), y_pred)
    return y_pred - truth_of(y_true)


def _size(e: Array) -> Array:
    return np.where(e > 0, e, -e)


@dataclass(frozen=True)
class MSE:
    """Mean squared error, L = 1/n sum_i (y_true_i - y_pred_i)^2, over all n entries.

    dL/dy_pred_i = 2 (y_pred_i - y_true_i) / n, and dL/dy_true_i is its opposite: the factor 2 is the
    square's, the 1/n the mean's.

    >>> L, pullback = MSE().forward(np.array([4.0]), np.array([1.0]))
    >>> float(L), pullback(1.0)[1]
    (9.0, array([-6.]))
    """

    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        error = _error(y_true, y_pred)

        def pull(dl: Array) -> tuple[Array, Array]:
            dy_pred = dl * (2 * error)
            return -dy_pred, dy_pred

        return reduced((error * error, pull), self.reduction, y_true)

    pushforward = push_forward


@dataclass(frozen=True)
class MAE:
    """Mean absolute error, l = |y_pred - y_true|: its slope is the sign of the error, and 0 at the kink.

    Every error pulls equally hard, so outliers do not rule; the minimum is the median.
    """

    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        error = _error(y_true, y_pred)

        def pull(dl: Array) -> tuple[Array, Array]:
            dy_pred = np.where(error > 0, dl, np.where(error < 0, -dl, 0))
            return -dy_pred, dy_pred

        return reduced((_size(error), pull), self.reduction, y_true)

    pushforward = push_forward


@dataclass(frozen=True)
class Huber:
    """l = e^2 / 2 for |e| <= delta, else delta (|e| - delta / 2), with slope e held within +-delta.

    Source: Huber (1964), eq. 1.3: squared near the truth, absolute far from it, with a continuous slope.
    """

    delta: float = 1.0
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_positive("delta", self.delta)
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        error, delta = _error(y_true, y_pred), self.delta
        size = _size(error)
        near = size <= delta

        def pull(dl: Array) -> tuple[Array, Array]:
            dy_pred = np.where(near, dl * error, np.where(error > 0, delta * dl, -delta * dl))
            return -dy_pred, dy_pred

        values = np.where(near, error * error / 2, delta * (size - delta / 2))
        return reduced((values, pull), self.reduction, y_true)

    pushforward = push_forward


@dataclass(frozen=True)
class Poisson:
    """-log of the Poisson probability of a count t, but for log t!: l = e^y - t y, with slope e^y - t.

    y_pred is the logarithm of the expected count; with ``log_input=False`` the count itself, l = y - t log y
    with slope 1 - t / y, for y > 0.
    """

    log_input: bool = True
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        t = truth_of(y_true)
        require_same(t, y_pred)
        return reduced(self._terms(t, y_pred), self.reduction, y_true)

    pushforward = push_forward

    def _terms(self, t: Array, y: Array) -> Terms:
        if self.log_input:
            rate = np.exp(y)
            return rate - t * y, lambda dl: (-dl * y, dl * (rate - t))
        log_y = np.log(y)
        return y - t * log_y, lambda dl: (-dl * log_y, dl * (1 - t / y))


@dataclass(frozen=True)
class Hinge:
    """l = max(0, margin - t y) for a side t = +-1: zero where y is on the right side by the margin.

    Slope -t while l > 0, else 0, at the kink too. Source: Cortes and Vapnik (1995).
    """

    margin: float = 1.0
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_positive("margin", self.margin)
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        t = truth_of(y_true)
        require_same(t, y_pred)
        slack = self.margin - t * y_pred

        def pull(dl: Array) -> tuple[Array, Array]:
            active = np.where(slack > 0, dl, 0)
            return -active * y_pred, -active * t

        return reduced((np.maximum(slack, 0), pull), self.reduction, y_true)

    pushforward = push_forward


@dataclass(frozen=True)
class Cosine:
    """l = 1 - <t', y'> for each row, with a' = a / max(|a|, eps): how far two directions are apart.

    For rows longer than eps this is |t' - y'|^2 / 2, which keeps its digits where they are nearly parallel.
    dl/dy' = y' - t', and a' moves by (da - a' <a', da>) / |a|: only what is across a turns it. A row shorter
    than eps, zero among them, is only divided by eps.
    """

    eps: float = 1e-8
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_positive("eps", self.eps)
        require_reduction(self.reduction)

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]:
        require_same(truth_of(y_true), y_pred)
        t, t_long, t_norm = self._unit(truth_of(y_true))
        y, y_long, y_norm = self._unit(y_pred)
        gap = y - t
        short = 1 - (_dot(t, t) + _dot(y, y)) / 2
        values = np.where(t_long & y_long, 0, short) + _dot(gap, gap) / 2

        def pull(dl: Array) -> tuple[Array, Array]:
            dt = _across(np.where(t_long, -gap, -y), t, t_long) / t_norm
            dy = _across(np.where(y_long, gap, -t), y, y_long) / y_norm
            return dt * dl[..., None], dy * dl[..., None]

        return reduced((values[..., 0], pull), self.reduction, y_true)

    pushforward = push_forward

    def _unit(self, a: Array) -> tuple[Array, Array, Array]:
        square = _dot(a, a)
        long = square > self.eps * self.eps
        norm = np.sqrt(np.where(long, square, self.eps * self.eps))
        return a / norm, long, norm


def _dot(a: Array, b: Array) -> Array:
    return np.sum(a * b, axis=-1, keepdims=True)


def _across(d: Array, unit: Array, long: Array) -> Array:
    return d - np.where(long, unit * _dot(unit, d), 0)
