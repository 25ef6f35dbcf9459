"""Mean-field theory: what a wide random network does to signals and gradients, before any of it is measured.

With h^l = W^l f(h^(l-1)) + b, W ~ N(0, sw2 / fan_in), b ~ N(0, sb2), every pre-activation of a wide layer is normal
with variance q, and the gradient's mean square is multiplied by chi on its way through the layer:

    q'     = sw2 E[f(sqrt(q) z)^2] + sb2             z ~ N(0, 1)        Poole et al. (2016), eq. 3
    chi(q) = sw2 E[f'(sqrt(q) z)^2]                                     Schoenholz et al. (2017), eq. 7

chi < 1: gradients vanish exponentially with depth; chi > 1: they explode; chi = 1 is the *edge of chaos*.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from gradverify.reference.activations import Activation

WIDEST = 12.0  # E[...] beyond twelve deviations is below 1e-30
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
KNEES = (0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 40.0)  # kinks of f, and where it bends, in its own units


@dataclass(frozen=True)
class Moments:
    """E[f(sqrt(q) z)^2] and E[f'(sqrt(q) z)^2]."""

    value: float
    slope: float


CLOSED: dict[str, Callable[[float, float], Moments]] = {
    "identity": lambda q, _: Moments(q, 1.0),
    "relu": lambda q, _: Moments(q / 2, 0.5),
    "leaky_relu": lambda q, a: Moments(q * (1 + a * a) / 2, (1 + a * a) / 2),
}


@cache
def moments(f: Activation, q: float) -> Moments:
    """Both moments, in closed form where there is one, else by quadrature on panels that end at the kinks.

    Gauss-Hermite nodes would straddle a kink, and an odd number puts one on it: E[relu'^2] = 0.478.

    >>> moments(Activation("relu"), 3.0)
    Moments(value=1.5, slope=0.5)
    >>> tanh = moments(Activation("tanh"), 1.0)
    >>> f"{tanh.value:.6f} {tanh.slope:.6f}"
    '0.394294 0.464403'
    """
    if f.name in CLOSED:
        return CLOSED[f.name](q, 0.01 if f.setting is None else f.setting)
    z, density = _panels(math.sqrt(q))
    x = math.sqrt(q) * z
    y, times_slope = f.value(x)
    return Moments(float(density @ np.square(y)), float(density @ np.square(times_slope(np.ones_like(x)))))


def _panels(deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in units of the deviation, and weights times the normal density."""
    knees = {side * k / deviation for k in KNEES for side in (-1, 1)} if deviation else {0.0}
    edges = np.unique([*np.linspace(-WIDEST, WIDEST, 13), *(k for k in knees if abs(k) < WIDEST)])
    middle, half = (edges[1:] + edges[:-1])[:, None] / 2, np.diff(edges)[:, None] / 2
    z = (middle + half * NODES).ravel()
    return z, (half * WEIGHTS).ravel() * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def next_length(f: Activation, q: float, sw2: float, sb2: float = 0.0) -> float:
    """The variance q' of the next pre-activations."""
    return sw2 * moments(f, q).value + sb2


def gradient_factor(f: Activation, q: float, sw2: float) -> float:
    """chi(q), the factor of the gradient's mean square in one layer.

    >>> gradient_factor(Activation("relu"), 1.0, 2.0)                         # He's initialisation
    1.0
    >>> round(gradient_factor(Activation("relu"), 1.0, 1 / 3), 4)             # PyTorch's default for Linear
    0.1667
    """
    return sw2 * moments(f, q).slope


def lengths(f: Activation, q: float, sw2: float, sb2: float, depth: int) -> list[float]:
    """The variances of so many layers, from that of the first."""
    found = [q]
    for _ in range(depth - 1):
        found.append(next_length(f, found[-1], sw2, sb2))
    return found


def settled_length(f: Activation, sw2: float, sb2: float = 0.0) -> float:
    """The q that a layer leaves as it is, by bisection; 0 or inf where lengths shrink or grow for ever."""
    low, high = -27.0, 27.0
    for _ in range(45):
        middle = (low + high) / 2
        q = math.exp(middle)
        low, high = (middle, high) if next_length(f, q, sw2, sb2) > q else (low, middle)
    return 0.0 if high < -26.9 else math.inf if low > 26.9 else math.exp(low)


def critical_variance(f: Activation) -> float:
    """The sw2 at which chi is 1 where lengths have settled (sb2 = 0); by bisection.

    >>> print(f"{critical_variance(Activation('tanh')):.4f} {critical_variance(Activation('relu')):.4f}")
    1.0000 2.0000
    """
    if f.name in CLOSED:
        return 1 / moments(f, 1.0).slope
    low, high = math.log(0.05), math.log(400.0)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if _settled_factor(f, math.exp(middle)) > 1 else (middle, high)
    return math.exp((low + high) / 2)


def _settled_factor(f: Activation, sw2: float) -> float:
    q = settled_length(f, sw2)
    return gradient_factor(f, min(max(q, 1e-12), 1e12), sw2)
