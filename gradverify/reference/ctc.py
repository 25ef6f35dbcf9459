"""Connectionist temporal classification: a sequence of labels read off a longer sequence of scores.

A path names one class for each step, a label or the *blank*; leaving out repetitions and then blanks turns it into
labels. The loss is -log of the total probability of all paths that give the right labels. With the labels written
as l' = blank, l_1, blank, l_2, ..., blank, and a_t(s) the log-probability of having reached place s of l' at step t,

    a_t(s) = log p_t(l'_s) + log(e^a_(t-1)(s) + e^a_(t-1)(s-1) + e^a_(t-1)(s-2))

where the last term counts only if l'_s is a label other than l'_(s-2). The slope of a log-sum of exponentials is
the softmax of its terms, so going back a step divides da_t(s) among the three places it came from; what arrives
at (t, s) in the end is the probability that a right path passes there.
Source: Graves, Fernández, Gomez and Schmidhuber (2006), section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.reference.duals import push_forward
from gradverify.reference.elementary import largest_first
from gradverify.reference.layer import Array, Pullback, shape_of
from gradverify.reference.reductions import Terms, reduced, require_reduction, truth_of
from gradverify.reference.softmax import LogSoftmax

NEVER = -1e30  # log 0 that can be subtracted from itself


@dataclass(frozen=True)
class _Paths:
    """The places l' of every example (n, places), and where a path may go and end."""

    places: np.ndarray  # (n, places) classes
    skips: np.ndarray  # (n, places) whether s may be reached from s - 2
    ends: np.ndarray  # (n, places) the last label and the blank after it
    steps: np.ndarray  # (n,) how many steps each example has

    def scores(self, log_p: Array, t: int) -> Array:
        """What step t gives each place, log p_t(l'_s)."""
        return np.take_along_axis(log_p[:, t], self.places, axis=1)

    def first(self, log_p: Array) -> Array:
        """The first a: a path begins at the first blank or the first label."""
        scores = self.scores(log_p, 0)
        begins = np.arange(self.places.shape[1]) < 2
        return np.where(begins, scores, 0 * scores + NEVER)

    def came_from(self, a: Array) -> Array:
        """The three terms (n, places, 3) of each sum."""
        never = 0 * a + NEVER
        one = np.concatenate([never[:, :1], a[:, :-1]], axis=1)
        two = np.concatenate([never[:, :2], a[:, :-2]], axis=1)[:, : shape_of(a)[1]]
        return np.stack([a, one, np.where(self.skips, two, never)], axis=-1)

    def back(self, d: Array) -> Array:
        """The adjoint of `came_from`."""
        stay, one, two = d[..., 0], d[..., 1], np.where(self.skips, d[..., 2], 0)
        none = 0 * stay
        one = np.concatenate([one[:, 1:], none[:, :1]], axis=1)
        return stay + one + np.concatenate([two[:, 2:], none[:, :2]], axis=1)[:, : shape_of(stay)[1]]

    def lasts(self, t: int) -> np.ndarray:
        """Which examples have a step t."""
        return (t < self.steps)[:, None]


def _log_sum(a: Array) -> tuple[Array, Array]:
    """The log of the sum of exponentials over the last axis, and the softmax that is its slope."""
    m = np.sum(np.where(largest_first(a), a, 0), axis=-1, keepdims=True)
    e = np.exp(a - m)
    total = np.sum(e, axis=-1, keepdims=True)
    return (m + np.log(total))[..., 0], e / total


@dataclass(frozen=True)
class CTC:
    """-log P(labels | scores) of each example, from scores y_pred (n, steps, classes), normalised here.

    y_true is an array (n, labels) of classes, negative where an example has no more; or a dict of that, "labels",
    and "steps" (n,), how many steps of y_pred each example has. Labels that no path of so few steps can give have
    an infinite loss and no gradient. The mean is over the examples.

    >>> certain = np.log(np.array([[[0.1, 0.9], [0.6, 0.4]]]))       # the paths 11, 10 and 01 all read as 1
    >>> print(f"{np.exp(-CTC().forward(np.array([[1]]), certain)[0]):.2f}")      # 0.36 + 0.54 + 0.04
    0.94
    """

    blank: int = 0
    reduction: str = "mean"

    def __post_init__(self) -> None:
        require_reduction(self.reduction)
        if self.blank < 0:
            raise ValueError(f"blank={self.blank!r}: must be a class, >= 0")

    def forward(self, y_true: Any, y_pred: Array) -> tuple[Array, Pullback]:
        paths = self._paths(truth_of(y_true), shape_of(y_pred))
        log_p, log_pullback = LogSoftmax().forward({}, y_pred)
        values, pull = _surprise(paths, log_p)
        return reduced((values, lambda dl: (None, log_pullback(pull(dl)[1])[1])), self.reduction, y_true)

    pushforward = push_forward

    def _paths(self, truth: Any, shape: tuple[int, ...]) -> _Paths:
        labels, steps = (truth["labels"], truth["steps"]) if isinstance(truth, Mapping) else (truth, None)
        labels = np.asarray(labels)
        steps = np.full(shape[:1], shape[1]) if steps is None else np.asarray(steps)
        self._require(labels, steps, shape)
        n, longest = labels.shape
        places = np.full((n, 2 * longest + 1), self.blank)
        places[:, 1::2] = np.where(labels < 0, self.blank, labels)
        skips = np.zeros(places.shape, bool)
        skips[:, 2:] = (places[:, 2:] != self.blank) & (places[:, 2:] != places[:, :-2])
        last = 2 * np.sum(labels >= 0, axis=1)[:, None]
        where = np.arange(places.shape[1])
        return _Paths(places, skips, (where == last) | (where == last - 1), steps)

    def _require(self, labels: np.ndarray, steps: np.ndarray, shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or shape[1] == 0 or labels.ndim != 2 or steps.shape != shape[:1]:
            raise ValueError(f"y_pred of shape {shape}: must be (n, steps, classes), y_true (n, labels)")
        if len(labels) != shape[0] or labels.dtype.kind not in "iu" or np.any(labels >= shape[2]):
            raise ValueError(f"y_true of shape {labels.shape}: must be {shape[0]} rows of integers < {shape[2]}")
        there = labels >= 0
        if np.any(labels == self.blank) or np.any(there[:, 1:] & ~there[:, :-1]):
            raise ValueError(f"y_true: must not hold the blank, {self.blank}, nor a label after a negative one")
        if np.any((steps < 1) | (steps > shape[1])):
            raise ValueError(f"steps={steps}: must lie in 1..{shape[1]}")


def _surprise(paths: _Paths, log_p: Array) -> Terms:
    """The loss -log P of each example, and its pullback to log p."""
    a, shares = paths.first(log_p), list[Array]()
    for t in range(1, shape_of(log_p)[1]):
        summed, share = _log_sum(paths.came_from(a))
        a = np.where(paths.lasts(t), paths.scores(log_p, t) + summed, a)
        shares.append(share)
    total, of_ends = _log_sum(np.where(paths.ends, a, 0 * a + NEVER))
    possible = total > NEVER / 2

    def pull(dl: Array) -> tuple[Array, Array]:
        da = np.where(possible, -dl, 0)[:, None] * np.where(paths.ends, of_ends, 0)
        return None, _passed(paths, shares, da, shape_of(log_p))

    return np.where(possible, -total, math.inf), pull


def _passed(paths: _Paths, shares: list[Array], da: Array, shape: tuple[int, ...]) -> Array:
    """What each class of each step receives, last step to first."""
    classes = paths.places[..., None] == np.arange(shape[2])
    received: list[Array] = []
    for t in reversed(range(1, shape[1])):
        here = np.where(paths.lasts(t), da, 0)
        received.append(here)
        da = np.where(paths.lasts(t), paths.back(shares[t - 1] * here[..., None]), da)
    return np.stack([(d[:, None, :] @ classes)[:, 0] for d in (da, *received[::-1])], axis=1)
