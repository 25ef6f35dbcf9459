"""What of the inputs reaches the output: in how many directions examples still differ there, and how violently.

Sizes alone do not decide whether a network can learn. In the ordered phase of mean-field theory different inputs
become one output, and no gradient can tell them apart; in the chaotic phase inputs that hardly differ become
unrelated outputs, and the gradient holds for steps too small to be of use (Schoenholz et al., *Deep information
propagation*, 2017). In narrow deep networks one singular value of a product of random matrices outgrows the others by
a factor that is exponential in depth over width, until rounding takes what lies in their directions.

Chaos is forgiven where the last features of examples have little in common: the readout can learn them by heart while
what is below it wanders. An adaptive optimizer forgives an explosion too, but one beyond what rounding can hold beside
1 leaves a perceptron: no bias counts any more, a single example that is wrong costs as much as the outputs are large,
and all must be told apart by few steps, along the directions that a step can move outputs in (`reach`).

All are ratios between what the network itself holds: none depends on the scale of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gradverify.arrays import EPS, dtype_name, to_float64
from gradverify.flow import prediction
from gradverify.flow.measuring import ln, rms
from gradverify.flow.prediction import draw_cotangent
from gradverify.flow.record import Signal
from gradverify.flow.sites import Backward, Passage, Site

EXAMPLES = 64  # as many are looked at: the rank of a layer beyond that is not what a network fails by
STEPS = 64  # cotangents, of which all pairs are compared: their mean is known to about a tenth
ENTRIES = 4096  # of each array of parameters are looked at


def signal(passage: Passage, backward: Backward, u: np.ndarray) -> Signal:
    """The signal of a passage; `backward` answers the cotangent `u`, which knows nothing of the network."""
    linear = [site for site in passage.sites if site.is_linear and not site.inside]
    linear = linear or [site for site in passage.sites if site.is_linear]
    widths = [math.prod(site.x.shape[1:]) for site in linear]
    possible = min([directions(linear[0].x), *widths])
    return Signal(_spread(passage.output), directions(linear[-1].x), possible,
                  _sensitivity(linear, backward, u, passage.output), prediction.directions(by_example(linear[-1].x)),
                  len(linear[-1].x))


def reach(passage: Passage, rng: np.random.Generator) -> float:
    """In how many directions a step of an adaptive optimizer can move the outputs, each counted by its share.

    Its first step is sign(J^T u) for a cotangent u, which moves the outputs along another one by
    K(u', u) = <J^T u', sign(J^T u)>, and by at most K(u', u'), which is |J^T u'|_1. The answer is 1 over the mean of
    (K(u', u) / K(u', u'))^2 over random pairs: 1 where outputs all move together; 2 / pi of their entries where each
    moves on its own. (Were the step J^T u itself, it would be (tr JJ^T)^2 / tr (JJ^T)^2.) NaN where nothing
    moves.
    """
    pulled = [passage.pull(draw_cotangent(rng, passage.output)).leaves for _ in range(STEPS)]
    K = np.zeros((STEPS, STEPS))
    for key in set.intersection(*map(set, pulled)):
        size = pulled[0][key].size
        kept = rng.permutation(size)[:ENTRIES]
        G = np.array([to_float64(grads[key]).ravel()[kept] for grads in pulled])
        K += G @ np.sign(G).T * (size / len(kept))
    own = np.diag(K)[:, None]
    if not np.all(np.isfinite(K)) or not np.all(own > 0):
        return math.nan
    shares = np.square(K / own)[~np.eye(STEPS, dtype=bool)]
    return 1 / max(float(np.mean(shares)), 1 / passage.output.size)


def by_example(a: np.ndarray) -> np.ndarray:
    """A row for each example, divided by the largest entry."""
    rows = to_float64(a).reshape(a.shape[0] if a.ndim > 1 else 1, -1)[:EXAMPLES]
    largest = float(np.max(np.abs(rows), initial=0.0))
    return rows / largest if 0 < largest < math.inf else np.zeros_like(rows)


def directions(a: np.ndarray) -> int:
    """How many independent directions examples differ in, beyond the rounding of their dtype.

    That is the numerical rank of the rows less their mean, with rounding relative to the rows themselves.

    >>> x = np.random.default_rng(0).normal(size=(9, 3))
    >>> directions(x), directions(x * [1, 1e-20, 0]), directions(x * 1e-12 + 1)
    (3, 1, 3)
    """
    rows = by_example(a)
    eps = EPS.get(dtype_name(a), float(np.finfo(np.float64).eps))
    rounding = len(rows) * eps * float(np.linalg.norm(rows, 2)) if rows.size else 0.0
    return int(np.sum(np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) > rounding))


def _spread(output: np.ndarray) -> float:
    if output.ndim < 2 or output.shape[0] < 2 or not np.any(output):
        return math.inf
    rows = by_example(output)
    size = rms(rows)
    return float(np.sqrt(np.mean(np.var(rows, axis=0)))) / size if size else math.nan


def _sensitivity(linear: Sequence[Site], backward: Backward, u: np.ndarray, output: np.ndarray) -> float:
    """log10 of |J^T u| |z - mean| / (|u| |y - mean|) over sqrt(units of z / units of y), what a linear map has."""
    z, delta = linear[0].y, backward.received.get(linear[0].name)
    if delta is None or z.ndim < 2 or output.ndim < 2 or min(len(z), len(output)) < 2:
        return math.nan
    ratio = 2 * (_ln_size(delta) - _ln_size(u)) + ln_variance(z) - ln_variance(output)
    return (ratio + math.log(z.size / len(z)) - math.log(output.size / len(output))) / 2 / math.log(10)


def _ln_size(a: np.ndarray) -> float:
    return ln(rms(a))


def ln_variance(a: np.ndarray) -> float:
    """The logarithm of the mean variance between examples, safe against overflow."""
    largest = float(np.max(np.abs(to_float64(a)), initial=0.0))
    return 2 * ln(largest) + ln(float(np.mean(np.var(to_float64(a) / largest, axis=0)))) if largest else -math.inf
