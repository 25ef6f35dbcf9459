"""More functions applied entry by entry, in the form of `activations`: value and product with the slope.

Exponential units (ELU, SELU, CELU), smooth ones (Mish, softsign) and their cheap stand-ins made of straight
lines (hard sigmoid, hard tanh, hard swish). At a kink the slope is that of the flat side, as in the frameworks.
"""

from __future__ import annotations

import numpy as np

from gradverify.reference.elementary import Valued, decay, expm1
from gradverify.reference.layer import Array

# Fixed points of mean 0 and variance 1 under SELU: Klambauer et al. (2017), eq. 14.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def elu(x: Array, alpha: float = 1.0) -> Valued:
    """The exponential unit f = x for x > 0, else alpha (e^x - 1);  f' = 1 or alpha e^x (Clevert et al. 2016)."""
    w = np.where(x > 0, -x, x)  # where x > 0 it is not used, and must not overflow
    y = np.where(x > 0, x, alpha * expm1(w))
    return y, lambda d: np.where(x > 0, d, d * (alpha * np.exp(w)))


def selu(x: Array) -> Valued:
    """The self-normalising unit f = lambda elu(x, alpha): one pair of constants keeps mean 0, variance 1."""
    y, times_slope = elu(x, SELU_ALPHA)
    return SELU_SCALE * y, lambda d: SELU_SCALE * times_slope(d)


def celu(x: Array, alpha: float = 1.0) -> Valued:
    """ELU with a continuous slope, f = x for x > 0, else alpha (e^(x/alpha) - 1);  f' = 1 or e^(x/alpha).

    Source: Barron (2017).
    """
    y, times_slope = elu(x / alpha)
    return alpha * y, times_slope


def mish(x: Array) -> Valued:
    """The unit f = x n, n = tanh(softplus(x)),  f' = n + x n' (Misra 2019).

    With e = e^-|x|: n = 1 - 2 e^2 / q for x > 0, e (e + 2) / q for x < 0, where q = 1 + 2 e + 2 e^2 or
    2 + 2 e + e^2, and n' = 4 e^2 (1 + e) / q^2 or 4 e (1 + e) / q^2. (1 + 2 e) / q would be the same on the
    right, but its derivative cancels.
    """
    right, e = decay(x)
    q = np.where(right, 1 + 2 * e + 2 * e * e, 2 + 2 * e + e * e)
    n = np.where(right, 1 - 2 * e * e / q, e * (e + 2) / q)
    rise = np.where(right, e, 1) * (4 * e * (1 + e) / (q * q))
    return x * n, lambda d: d * (n + x * rise)


def softsign(x: Array) -> Valued:
    """The slow sigmoid f = x / (1 + |x|),  f' = 1 / (1 + |x|)^2 (Bergstra et al. 2009)."""
    r = 1 / (1 + np.where(x > 0, x, -x))
    return x * r, lambda d: d * r * r


def hard_sigmoid(x: Array) -> Valued:
    """Straight lines f = 0, (x + 3) / 6, 1 with corners at x = +-3;  f' = 1/6 between them."""
    inside = (x > -3) & (x < 3)
    return np.where(inside, (x + 3) / 6, np.where(x > 0, 1, 0 * x)), lambda d: np.where(inside, d / 6, 0)


def hard_tanh(x: Array) -> Valued:
    """Straight lines f = x held within +-1;  f' = 1 between them."""
    return np.minimum(np.maximum(x, -1), 1), lambda d: np.where((x > -1) & (x < 1), d, 0)


def hard_swish(x: Array) -> Valued:
    """The unit f = x hard_sigmoid(x): 0 for x <= -3, x for x >= 3, x (x + 3) / 6 between;  f' = (2 x + 3) / 6.

    Source: Howard et al. (2019), section 5.2.
    """
    inside = (x > -3) & (x < 3)
    w = np.where(inside, x, 0)
    y = np.where(inside, w * (w + 3) / 6, np.where(x > 0, x, 0))
    return y, lambda d: np.where(inside, d * ((2 * w + 3) / 6), np.where(x > 0, d, 0))
