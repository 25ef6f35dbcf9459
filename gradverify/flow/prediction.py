"""Measured against expected: how far one layer's factor may lie from theory, and how far it does.

The expected factor of the gradient's mean square takes what arrives to be independent of the layer. The measured one
then differs from it by chance, because the layer is finite.

Weights: dx_i = sum_j W_ij dy_j. With C = sum_b dy_b dy_b^T, the sum of squares that unit i sends is w_i^T C w_i. For
independent normal weights it differs from its expectation |w_i|^2 tr C / m, m units above, by a relative variance of
2 (1/d - 1/m), where d = (tr C)^2 / tr C^2 says in how many directions dy points; over n units, that divided by n.

Slopes: the measured factor is the mean of f'^2 weighted with the share p_k of each entry in |dy|^2, the expected one
the plain mean. Entries of one unit share its weights, those of one example its length: the variance is that of units,
of examples and of the rest, each times sum (p - 1/N)^2 over units, over examples, over entries.

Residual blocks: x + B(x) sends dy + J^T dy. The cross term 2 <dy, J^T dy> has mean 0 and, for J of factor k, the
relative variance 4 k / (1 + k)^2 / (n d); the branch's own is (k / (1 + k))^2 times that of its parts.

To all comes what theory leaves out, since the layer has shaped what arrives through the forward pass:
LEFT_OUT / n. That constant was fixed on other networks than those the benchmark tests (`benchmarks/flow.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradverify.arrays import to_float64
from gradverify.flow.measuring import by_unit, ln
from gradverify.flow.sites import PROBES, Backward, Site

LEFT_OUT = 1.0
UNLIKELY = 4.0  # deviations: of 10 000 right layers less than one lies further out by chance alone


@dataclass(frozen=True)
class Prediction:
    """ln of the expected factor of the gradient's mean square, its standard error, and how many of them it is off.

    Of an activation `fits` says whether every entry was multiplied by its own slope: a factor that is right on average
    may belong to another function.
    """

    log_ratio: float
    error: float
    z: float
    fits: bool | None = None

    @property
    def explained(self) -> bool | None:
        """Whether chance explains the difference; None where theory has no say."""
        if self.fits is False or math.isnan(self.z):
            return self.fits
        return abs(self.z) <= UNLIKELY


NOTHING = Prediction(math.nan, math.nan, math.nan)


def predict(site: Site, backward: Backward, measured: float, parts: Sequence[Prediction] = ()) -> Prediction:
    """The prediction of one site under a cotangent that was drawn without knowledge of the network.

    `parts` are those of the sites inside it.
    """
    received = backward.received.get(site.name)
    if site.rule is None or received is None or not 0 < site.rule.factor < math.inf:
        return NOTHING
    expected, fits = ln(site.rule.factor), _fits(site, received, backward.sent.get(site.name))
    if site.rule.tied or not math.isfinite(measured):
        return Prediction(expected, math.nan, math.nan, fits)
    variance = (LEFT_OUT / _units(site, site.x)) ** 2
    if site.rule.slopes is not None:
        variance += _variance_of_slopes(site.rule.slopes, site, received)
    else:
        rows, k = by_unit(site, received), site.rule.branch
        apart = 4 * k / (1 + k) ** 2 / directions(rows) if k else 2 / directions(rows) - 2 / rows.shape[1]
        apart += 2 / PROBES * site.rule.probed
        variance += apart / _units(site, site.x) + (k / (1 + k)) ** 2 * sum(part.error**2 for part in parts)
    return Prediction(expected, math.sqrt(variance), (measured - expected) / math.sqrt(variance), fits)


def _fits(site: Site, received: np.ndarray, sent: np.ndarray | None) -> bool | None:
    """Whether an activation sent each entry back times its own slope, to a percent of the whole."""
    if site.rule is None or site.rule.slopes is None or site.rule.weights or sent is None:
        return None
    largest = float(np.max(np.abs(to_float64(received)), initial=0.0)) or 1.0
    expected = site.rule.slopes * np.square(to_float64(received) / largest)
    off = np.square(to_float64(sent) / largest) - expected
    return float(np.linalg.norm(off)) <= 0.01 * float(np.linalg.norm(expected))


def _units(site: Site, a: np.ndarray) -> int:
    return int(by_unit(site, a).shape[-1])


def directions(rows: np.ndarray) -> float:
    """(tr C)^2 / tr C^2 of C = rows^T rows: 1 if all rows are parallel, n if they point everywhere alike.

    >>> directions(np.eye(5)), directions(np.ones((5, 3)))
    (5.0, 1.0)
    """
    largest = float(np.max(np.abs(rows), initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return 1.0
    rows = rows / largest
    small = rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows
    return max(float(np.trace(small)) ** 2 / float(np.sum(np.square(small))), 1.0)


def _variance_of_slopes(squares: np.ndarray, site: Site, received: np.ndarray) -> float:
    """Relative variance of sum_k p_k s_k, p_k the share of entry k in |dy|^2 and s_k = f'^2."""
    slopes, dy = by_unit(site, squares), by_unit(site, received)
    largest = float(np.max(np.abs(dy), initial=0.0))
    mean = float(np.mean(slopes))
    if largest == 0.0 or mean == 0.0:
        return math.inf
    p = np.square(dy / largest)
    p /= np.sum(p)
    units, examples = np.mean(slopes, axis=0), np.mean(slopes, axis=1)
    rest = np.var(slopes - units - examples[:, None] + mean)
    variance = (_unevenness(np.sum(p, axis=0)) * np.var(units) + _unevenness(np.sum(p, axis=1)) * np.var(examples)
                + _unevenness(p) * rest)
    return float(variance) / mean**2


def _unevenness(shares: np.ndarray) -> float:
    return float(np.sum(np.square(shares - 1 / shares.size)))


def draw_cotangent(rng: np.random.Generator, like: np.ndarray) -> np.ndarray:
    """A cotangent that knows nothing of the network: independent and normal, of the output's shape and dtype."""
    return rng.normal(size=like.shape).astype(like.dtype if like.dtype.kind == "f" else np.float64)


def is_finite(a: np.ndarray) -> bool:
    """Whether every entry is a number."""
    return bool(np.all(np.isfinite(to_float64(a))))
