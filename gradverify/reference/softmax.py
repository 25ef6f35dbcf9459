"""Softmax and log-softmax over the last axis: the two activations whose entries depend on one another.

With z_c the scores, m their maximum, e_c = exp(z_c - m), S = sum_c e_c and p_c = e_c / S:

    softmax      y_c = p_c                  dy_c/dz_k = p_c (delta_ck - p_k)
    log-softmax  y_c = z_c - m - log S      dy_c/dz_k = delta_ck - p_k

Products with these Jacobians contain 1 - p_c. Where one class is certain, p_c rounds to 1 and the difference
to 0, though the truth may be 1e-18. So 1 - p_c is summed from the other classes, which needs no subtraction:
1 - p_c = others_c / S with others_c = sum_{k != c} e_k. For the same reason log S = log1p(S - 1), where S - 1
is summed over all classes but the largest.

Source of the second: Blanchard, Higham and Higham, *Accurately computing the log-sum-exp and softmax
functions*, 2021, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradverify.reference.elementary import largest_first, log1p
from gradverify.reference.layer import Array, Params, Pullback, shape_of


def _without_own(a: Array) -> Array:
    # sum_{k != c} a_k for every c; a product with a boolean matrix keeps the dtype of `a`.
    return a @ ~np.eye(shape_of(a)[-1], dtype=bool)


def _scores(z: Array) -> tuple[Array, Array, Array]:
    """The shifted scores z - m, their exponentials, and log S."""
    first = largest_first(z)
    shifted = z - np.sum(np.where(first, z, 0), axis=-1, keepdims=True)
    e = np.exp(shifted)
    return shifted, e, log1p(np.sum(np.where(first, 0, e), axis=-1, keepdims=True))


def _probabilities(e: Array) -> tuple[Array, Array]:
    """p_c and 1 - p_c, each with all its digits."""
    return _shares(e, np.sum(e, axis=-1, keepdims=True))


def _shares(e: Array, total: Array) -> tuple[Array, Array]:
    # Of the two forms of 1 - p that one which keeps its digits, and those of its derivative.
    p = e / total
    return p, np.where(p < 0.5, 1 - p, _without_own(e) / total)


def masked_softmax(z: Array, allowed: np.ndarray) -> tuple[Array, Callable[[Array], Array]]:
    """Softmax over the allowed entries of each row, zero elsewhere, and its symmetric product.

    A row in which nothing is allowed is zero altogether. The scores of what is not allowed have no effect.
    """
    first = largest_first(np.where(allowed, z, -math.inf))
    shifted = z - np.sum(np.where(first, z, 0), axis=-1, keepdims=True)
    e = np.where(allowed, np.exp(np.where(allowed, shifted, 0 * shifted)), 0)
    total = np.where(np.any(allowed, axis=-1, keepdims=True), np.sum(e, axis=-1, keepdims=True), 1)
    p, q = _shares(e, total)
    return p, lambda d: p * (d * q - _without_own(p * d))


@dataclass(frozen=True)
class Softmax:
    """y_bc = exp(z_bc) / sum_k exp(z_bk): the entries of each row are positive and sum to 1.

    Its Jacobian is symmetric, so pullback and pushforward are the same product:
    (J d)_c = p_c (d_c - sum_k p_k d_k) = p_c (d_c (1 - p_c) - sum_{k != c} p_k d_k).
    """

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002 - a layer's signature
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        p, q = _probabilities(_scores(x)[1])
        return p, lambda dy: ({}, p * (dy * q - _without_own(p * dy)))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        y, pullback = self.forward(params, x)
        return y, pullback(dx)[1]


@dataclass(frozen=True)
class LogSoftmax:
    """y_bc = z_bc - log sum_k exp(z_bk), without overflow and with digits left where one class is certain.

    Pullback:    dz_c = dy_c - p_c sum_k dy_k = dy_c (1 - p_c) - p_c sum_{k != c} dy_k.
    Pushforward: dy_c = dz_c - sum_k p_k dz_k = dz_c (1 - p_c) - sum_{k != c} p_k dz_k.

    >>> LogSoftmax().forward({}, np.array([40.0, 0.0]))[0]
    array([-4.24835426e-18, -4.00000000e+01])
    """

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        shifted, e, log_total = _scores(x)

        def pullback(dy: Array) -> tuple[Params, Array]:
            p, q = _probabilities(e)
            return {}, dy * q - p * _without_own(dy)

        return shifted - log_total, pullback

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        shifted, e, log_total = _scores(x)
        p, q = _probabilities(e)
        return shifted - log_total, dx * q - _without_own(p * dx)
