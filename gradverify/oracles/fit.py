"""A polynomial fitted to samples of a line, and what its high coefficients say about the error.

Samples y_i = phi(H t_i) at nodes t_i of [-1, 1] are expanded in the polynomials p_k orthonormal on
those nodes: z_k = sum_i p_k(t_i) y_i. White noise of size sigma in y is white noise of size sigma in
every z_k, while the z_k of a smooth phi decay geometrically. So the last few z_k measure noise and
truncation at once, whatever their origin: rounding, a kink (z_k ~ 1/k^2), an oscillation too fast for
the nodes. With w_k the wanted derivative of p_k at 0, the derivative is sum_k w_k z_k and

    |error| <= quantile(df) |w| sigma + sum_{k > K} |w_k| tail r^(k - K),   r the measured decay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev

Array = np.ndarray

COUNT = 13
JITTER = 0.2  # of the angle between two nodes
NODE_BITS = 2.0**16
TAIL = 4  # coefficients in which noise is read
DEGREES = (8, 6, 4, 2)  # of the part taken for signal; TAIL more coefficients enter the value
STRUCTURE = 4.0  # standard deviations that a feature hidden in the noise of an average may shift it
LEVEL = 0.5  # of one half of the tail to the other: a decay of 0.7 a degree
SLOWEST = 0.8  # decay assumed where noise hides the measured one


@dataclass(frozen=True)
class Design:
    """Nodes in [-1, 1], the orthonormal polynomials on them, and their derivatives at `at`."""

    nodes: Array
    basis: Array
    weights: Array
    growth: float  # |w_k| grows as k**growth


@dataclass(frozen=True)
class Fit:
    """A derivative in units of the radius: |value - truth| <= error for a phi that is smooth there.

    `noise` is the standard deviation of one sample as the tail shows it, `head` the size of the
    signal, `decay` the ratio of successive coefficients, `reach` the degree from which on only noise is
    left, `ends` the sizes of the last two coefficients and of the two before, the latter first.
    """

    value: float
    error: float
    noise: float
    head: float
    decay: float
    reach: int
    ends: tuple[float, float]


@lru_cache(maxsize=256)
def make_nodes(seed: int = 0, count: int = COUNT) -> tuple[float, ...]:
    """Chebyshev-Lobatto points, jittered and lopsided, with 0 among them where their number is odd.

    On a regular grid the roundings of x + t v, and of every linear step of the forward, may be linear
    in t themselves: a slope that is wrong and a tail that is clean (measured: 1 draw in 100 of a
    steep sine). Nodes with random last bits make rounding look like the noise it is.
    """
    rng = np.random.default_rng(seed)
    angle = np.pi * (np.arange(count) + JITTER * rng.uniform(-1.0, 1.0, count)) / (count - 1)
    t = np.round(np.cos(angle)[::-1] * NODE_BITS) / NODE_BITS
    if count % 2:
        t[count // 2] = 0.0
    return tuple(t.tolist())


@lru_cache(maxsize=1024)
def make_design(nodes: tuple[float, ...], order: int, at: int = 0) -> Design:
    """The orthonormal polynomials on the nodes up to degree 12, and their derivatives at `at`."""
    t = np.array(nodes)
    degree = min(len(nodes) - 1, DEGREES[0] + TAIL)
    q, r = np.linalg.qr(chebyshev.chebvander(t, degree))
    slopes = [chebyshev.chebval(at, chebyshev.chebder([0.0] * k + [1.0], order)) for k in range(degree + 1)]
    return Design(t, q, np.linalg.solve(r.T, np.array(slopes)), order * (2.0 if at else 1.0))


def quantile(freedom: int) -> float:
    """How many standard deviations, themselves measured with so many degrees of freedom, are enough.

    Student's t at 1e-4 is 13 for 4 degrees, 6.4 for 8, 4.2 for 50; rounding errors are not normal,
    and the degree is chosen by the outcome, hence a third more.
    """
    return 4.5 + 46.0 / freedom


def fit(design: Design, values: Array, floor: float) -> Fit:
    """The derivative with the smallest bound over the degrees; noise is at least `floor`."""
    z = design.basis.T @ values
    rest = values - design.basis @ z
    degrees = [d for d in DEGREES if d + TAIL < len(z)]
    fits = [_fit_degree(design, z, rest, d, floor) for d in degrees]
    best = min(fits, key=lambda f: f.error)
    # The highest degree alone tells noise from truncation; a low one may take one for the other.
    return Fit(best.value, best.error, fits[0].noise, fits[0].head, fits[0].decay, fits[0].reach,
               fits[0].ends)


def _fit_degree(design: Design, z: Array, rest: Array, degree: int, floor: float) -> Fit:
    top = degree + TAIL
    tail = float(np.linalg.norm(z[degree + 1 : top + 1])) / math.sqrt(TAIL)
    beyond = math.hypot(float(np.linalg.norm(z[top + 1 :])), float(np.linalg.norm(rest)))
    spare = len(design.nodes) - top - 1
    noise = max(tail, beyond / math.sqrt(spare) if spare else 0.0, floor)
    head = float(np.max(np.abs(z[1:5])))
    decay = (noise / head) ** (1.0 / degree) if head > noise else 1.0
    last = degree if _level(z[degree + 1 : top + 1]) else top
    w = design.weights[: top + 1]
    spread = (quantile(TAIL + spare) * noise + _hidden(spare) * tail) * float(np.linalg.norm(w))
    return Fit(float(w[: last + 1] @ z[: last + 1]), spread + _truncation(design, top, min(decay, SLOWEST)) * noise,
               noise, head, decay, _reach(z, noise), _ends(z[: top + 1]))


def _level(tail: Array) -> bool:
    """Whether the tail has stopped falling: noise, of which the value is better off without."""
    half = len(tail) // 2
    return bool(np.linalg.norm(tail[half:]) >= LEVEL * np.linalg.norm(tail[:half]))


def _hidden(spare: int) -> float:
    # Many samples average noise but not a kink as small as the noise, which shows only in the tail:
    # without this, 3 standard deviations of a kink among 100 nodes are twice the bound.
    return STRUCTURE * (1.0 - TAIL / spare) if spare > TAIL else 0.0


def _truncation(design: Design, top: int, decay: float) -> float:
    """``sum_{k > top} |w_k| decay^(k - top)``, twice: what is cut off is also folded back."""
    k = np.arange(1, 60)
    scale = float(np.max(np.abs(design.weights[1:]) / np.arange(1, len(design.weights)) ** design.growth))
    return 2.0 * scale * float(np.sum((top + k) ** design.growth * decay**k))


def _ends(z: Array) -> tuple[float, float]:
    return float(np.hypot(z[-4], z[-3])), float(np.hypot(z[-2], z[-1]))


def _reach(z: Array, noise: float) -> int:
    above = np.nonzero(np.abs(z[1:]) > 4.0 * noise)[0]
    return int(above[-1]) + 2 if len(above) else 1
