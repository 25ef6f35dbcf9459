"""Functions applied entry by entry, y_i = f(x_i), each with its derivative on the line below its value.

The Jacobian of such a function is diagonal, so pullback and pushforward are the same product f'(x_i) d_i.
Each function returns the value and that product: ``f(x) -> (y, times_slope)``, ``times_slope(d) = f'(x) d``.
With ``dL/dy = d`` this is one link of the chain rule: ``dL/dx_i = dL/dy_i dy_i/dx_i``.

**Slopes are computed from x, not from y.** Textbooks write ``sigma' = y (1 - y)`` and ``tanh' = 1 - y^2``. In
saturation y rounds towards 1 and the difference loses what it was made of. Worst relative error of tanh'(x)
in float64, of 400 random x each:

    x in                                    0..1      4..6      11..13    19..21
    1 - y y                                 3e-16     7e-12     6e-6      1
    (1 - y)(1 + y)                          3e-16     6e-12     6e-6      1
    (2 e / (1 + e^2))^2 with e = e^-|x|     4e-16     5e-16     5e-16     3e-16

Factoring saves one rounding, but the digits are gone from y already; only the exponential has them. It costs
one exponential more, and in exchange the reference is true to the last digits at every x.

Sources: Goodfellow, Bengio and Courville, *Deep Learning*, section 6.3; others at their functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradverify.reference.curves import celu, elu, hard_sigmoid, hard_swish, hard_tanh, mish, selu, softsign
from gradverify.reference.elementary import Valued, bounded, decay, erfc, expit, log1p
from gradverify.reference.layer import Array, Params, Pullback


def identity(x: Array) -> Valued:
    """The identity f = x,  f' = 1."""
    return x, lambda d: d


def sigmoid(x: Array) -> Valued:
    """The logistic function f = 1 / (1 + e^-x),  f' = f(x) f(-x) = e / (1 + e)^2 with e = e^-|x|.

    >>> y, times_slope = sigmoid(np.array([0.0, 40.0]))
    >>> times_slope(np.ones(2))          # y (1 - y) would give 0 for the second
    array([2.50000000e-01, 4.24835426e-18])
    """
    positive, e = decay(x)
    return np.where(positive, 1, e) / (1 + e), lambda d: d * (e / (1 + e) ** 2)


def tanh(x: Array) -> Valued:
    """The hyperbolic tangent f = tanh x,  f' = 1 / cosh^2 x = (2 e / (1 + e^2))^2 with e = e^-|x|."""
    _, e = decay(x)
    return np.tanh(x), lambda d: d * (2 * e / (1 + e * e)) ** 2


def relu(x: Array) -> Valued:
    """The rectifier f = max(x, 0),  f' = 1 for x > 0, else 0 (Nair and Hinton 2010).

    At the kink x = 0 every number in [0, 1] is a subgradient; the convention here is 0, as in the frameworks.
    """
    return np.maximum(x, 0), lambda d: np.where(x > 0, d, 0)


def leaky_relu(x: Array, slope: float = 0.01) -> Valued:
    """The leaky rectifier f = x for x > 0, else slope x;  f' = 1 or slope (Maas, Hannun and Ng 2013)."""
    return np.where(x > 0, x, slope * x), lambda d: np.where(x > 0, d, slope * d)


def softplus(x: Array) -> Valued:
    """The smooth rectifier f = log(1 + e^x) = max(x, 0) + log1p(e^-|x|),  f' = sigmoid(x).

    Both parts have a kink at 0 that the other undoes, so both must be on the same side of it.
    """
    positive, e = decay(x)
    return np.where(positive, x, 0) + log1p(e), lambda d: d * expit(x)


def log_sigmoid(x: Array) -> Valued:
    """The logarithm of the logistic function f = -softplus(-x) = min(x, 0) - log1p(e^-|x|),  f' = sigmoid(-x)."""
    positive, e = decay(x)
    return np.where(positive, 0, x) - log1p(e), lambda d: d * expit(-x)


def silu(x: Array) -> Valued:
    """The sigmoid-weighted unit f = x s, s = sigmoid(x),  f' = s + x s (1 - s).

    Source: Elfwing, Uchibe and Doya (2017), eq. 4-5.
    """
    s = expit(x)
    return x * s, lambda d: d * (s * (1 + x * expit(-x)))


def gelu(x: Array) -> Valued:
    """The Gaussian error unit f = x Phi(x),  f' = Phi(x) + x phi(x) (Hendrycks and Gimpel 2016).

    Phi and phi are the normal distribution and density. Phi(x) = erfc(-x / sqrt 2) / 2 keeps its digits in
    the left tail, where (1 + erf) / 2 has none.
    """
    cdf = erfc(-math.sqrt(0.5) * x) / 2
    w = bounded(x)
    return x * cdf, lambda d: d * (cdf + w * np.exp(-0.5 * w * w) / math.sqrt(2 * math.pi))


def gelu_tanh(x: Array) -> Valued:
    """The tanh form of GELU f = x (1 + tanh u) / 2 = x s, s = sigmoid(2 u),  f' = s + x s (1 - s) 2 u'.

    u = sqrt(2/pi) (x + 0.044715 x^3); another function than `gelu`, up to 5e-4 away from it
    (Hendrycks and Gimpel 2016, section 2). The sigmoid form keeps its digits in the left tail.
    """
    c = 2 * math.sqrt(2 / math.pi)
    w = bounded(x)
    u2 = c * (w + 0.044715 * w * w * w)
    s = expit(u2)
    return x * s, lambda d: d * (s * (1 + w * expit(-u2) * (c * (1 + 3 * 0.044715 * w * w))))


FUNCTIONS: dict[str, Callable[..., Valued]] = {f.__name__: f for f in (
    identity, sigmoid, tanh, relu, leaky_relu, softplus, log_sigmoid, silu, gelu, gelu_tanh,
    elu, selu, celu, mish, softsign, hard_sigmoid, hard_tanh, hard_swish)}
SETTABLE = ("leaky_relu", "elu", "celu")


@dataclass(frozen=True)
class Activation:
    """y_i = f(x_i) as a layer without parameters; `setting` is the one constant of a function that has one.

    >>> y, pullback = Activation("relu").forward({}, np.array([-1.0, 2.0]))
    >>> y, pullback(np.array([5.0, 5.0]))
    (array([0., 2.]), ({}, array([0., 5.])))
    """

    name: str
    setting: float | None = None

    def __post_init__(self) -> None:
        if self.name not in FUNCTIONS:
            raise ValueError(f"name={self.name!r}: must be one of {', '.join(FUNCTIONS)}")
        if self.setting is not None and self.name not in SETTABLE:
            raise ValueError(f"setting={self.setting!r}: {self.name} has no constant to set")

    def value(self, x: Array) -> Valued:
        """f(x), and the product with f'(x)."""
        function = FUNCTIONS[self.name]
        return function(x) if self.setting is None else function(x, self.setting)

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002 - a layer's signature
        return {}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:  # noqa: ARG002
        y, times_slope = self.value(x)
        return y, lambda dy: ({}, times_slope(dy))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        y, times_slope = self.value(x)
        return y, times_slope(dx)
