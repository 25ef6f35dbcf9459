"""From one loss for each entry to one number: mean, sum or none, with weights.

A loss is written as its terms: ``l_i`` and the pullback of the terms. What follows is the same for all,

    none   L_i = w_i l_i          sum   L = sum_i w_i l_i          mean   L = sum_i w_i l_i / sum_i w_i

with w_i = 1 where nothing is said. Weights come with the truth, ``Weighted(y_true, weights)``, because they
belong to the examples: a mini-batch takes its own. They are constants. A weight of 0 leaves a term out, which
is how padding is masked; the mean is then over the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gradverify.reference.elementary import constants_like
from gradverify.reference.layer import Array, Params, Pullback, shape_of

Terms: TypeAlias = tuple[Array, Callable[[Array], tuple[Array, Array]]]
REDUCTIONS = ("mean", "sum", "none")


class Weighted(NamedTuple):
    """A truth and how much each of its entries, or examples, counts."""

    truth: Array
    weights: Array


def require_reduction(name: str) -> None:
    """Raise unless there is a reduction of this name."""
    if name not in REDUCTIONS:
        raise ValueError(f"reduction={name!r}: must be one of {', '.join(REDUCTIONS)}")


def truth_of(y_true: Any) -> Array:
    """The truth without its weights."""
    return y_true.truth if isinstance(y_true, Weighted) else y_true


def reduced(terms: Terms, reduction: str, y_true: Any, total: Any = None) -> tuple[Array, Pullback]:
    """The reduced loss and its pullback; `total` is what the mean divides by where that is no number of terms."""
    values, pull = terms
    weights = _spread(y_true.weights, values) if isinstance(y_true, Weighted) else None
    weighed = values if weights is None else values * weights
    total = _require_total(total, weights, values) if reduction == "mean" else 1

    def pullback(dL: Array) -> tuple[Params, Array]:
        each = dL * (np.ones_like(values) / total)
        dtruth, dy_pred = pull(each if weights is None else each * weights)
        return (Weighted(dtruth, None) if isinstance(y_true, Weighted) else dtruth), dy_pred

    return (weighed if reduction == "none" else np.sum(weighed) / total), pullback


def _spread(weights: Array, values: Array) -> Array:
    own, shape = shape_of(weights), shape_of(values)
    if own != shape[: len(own)]:
        raise ValueError(f"weights of shape {own}: must be {shape}, that of the terms, or its beginning")
    return np.reshape(constants_like(weights, values), own + (1,) * (len(shape) - len(own)))


def _require_total(total: Any, weights: Array, values: Array) -> Any:
    n = math.prod(shape_of(values))
    if weights is not None:
        total = float(np.sum(np.broadcast_to(weights if total is None else weights * total, shape_of(values))))
    elif total is not None:
        total = float(np.sum(total))
    if n == 0 or (total is not None and not total > 0):
        raise ValueError(f"a mean over {n} terms of weight {total or 0}: the mean over nothing is undefined")
    return n if total is None else total


def require_same(y_true: Array, y_pred: Array) -> None:
    """Raise unless both have one shape.

    (n,) against (n, 1) would broadcast to n x n differences: a loss that trains to the mean of the targets.
    """
    if shape_of(y_true) != shape_of(y_pred):
        raise ValueError(f"y_true of shape {shape_of(y_true)}: must be that of y_pred, {shape_of(y_pred)}")


def has_slope(y_true: Array) -> bool:
    """Whether a truth can move at all: labels, integers and booleans cannot."""
    return getattr(getattr(y_true, "dtype", None), "kind", "f") not in "iub"
