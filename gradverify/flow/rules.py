"""The factor by which each kind of layer multiplies the gradient's mean square, from its forward pass alone.

All rest on one assumption, the field's own: what arrives from above is independent of the layer it arrives at (Yang,
*Tensor programs II*, 2020, proves it for wide networks at initialisation). Then E|J^T u|^2 = |J|_F^2 E[u_i^2].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradverify.arrays import EPS, dtype_name, to_float64
from gradverify.flow.sites import Rule, Site
from gradverify.reference.activations import FUNCTIONS, Activation


def linear_rule(W: Any, inputs: int) -> Rule:
    """A matrix W between `inputs` entries of x and the units: |W|_F^2 / inputs.

    >>> linear_rule(np.full((4, 8), 0.5), inputs=4).factor        # 8 units sum 8 squares of 1/2
    2.0
    """
    return Rule(float(np.sum(np.square(to_float64(W)))) / inputs, weights=True)


def convolution_rule(
    W: Any, channels: int, space: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Rule:
    """Kernels W (units, channels of a group, *size): every tap counts as often as it meets the input.

    >>> convolution_rule(np.ones((1, 1, 3)), 1, (4,), (1,), (1,), (1,)).factor     # 3 + 4 + 3 places of 4
    2.5
    """
    W = to_float64(W)
    counts = np.ones(())
    for n, k, s, p, d in zip(space, W.shape[2:], stride, padding, dilation, strict=True):
        counts = np.multiply.outer(counts, _meetings(n, k, s, p, d))
    energy = float(np.sum(np.square(W) * counts))
    return Rule(energy / (channels * math.prod(space)), weights=True)


def _meetings(n: int, size: int, stride: int, padding: int, dilation: int) -> np.ndarray:
    places = np.arange((n + 2 * padding - dilation * (size - 1) - 1) // stride + 1) * stride - padding
    reached = places[:, None] + dilation * np.arange(size)
    return np.asarray(np.sum((reached >= 0) & (reached < n), axis=0))


def elementwise_rule(f: Activation, x: Any) -> Rule:
    """An activation at the pre-activations it met: the mean of f'(x)^2.

    >>> elementwise_rule(Activation("relu"), np.array([-1.0, 2.0, 3.0, -4.0])).factor
    0.5
    """
    x = to_float64(x)
    slopes = np.square(f.value(x)[1](np.ones_like(x)))
    return Rule(float(np.mean(slopes)), slopes=slopes)


LOOKED_AT = 4096


def recognised(x: Any, y: Any) -> Activation | None:
    """The activation whose values these are, if it is one of the reference's, whoever wrote it.

    >>> recognised(np.array([-1.0, 2.0]), np.array([0.0, 2.0]))
    Activation(name='relu', setting=None)
    """
    if np.shape(x) != np.shape(y) or not np.size(x):
        return None
    tolerance = 64 * EPS.get(dtype_name(y), 1e-6)
    x, y = to_float64(x).ravel()[:LOOKED_AT], to_float64(y).ravel()[:LOOKED_AT]
    for name in FUNCTIONS:
        if np.allclose(Activation(name).value(x)[0], y, rtol=tolerance, atol=tolerance * float(np.max(np.abs(y)))):
            return Activation(name)
    return None


def function_site(name: str, f: Activation, x: np.ndarray, y: np.ndarray, axis: int = -1) -> Site:
    """The site of a function that was recognised by its values."""
    return Site(name, f.name, x, y, rule=elementwise_rule(f, x), axis=axis, again=lambda z: np.asarray(f.value(z)[0]))


def normal_rule(x: Any, axes: tuple[int, ...], scale: Any, eps: float, *, centred: bool = True) -> Rule:
    """A normalisation over these axes: scale^2 / variance, less the directions it projects out (mean, length)."""
    x = to_float64(x)
    size = math.prod(x.shape[a] for a in axes)
    variance = np.var(x, axis=axes) if centred else np.mean(np.square(x), axis=axes)
    kept = max(1 - (2 if centred else 1) / size, 0.0)
    return Rule(float(np.mean(np.square(to_float64(scale))) * np.mean(1 / (variance + eps)) * kept))


def pool_rule(x: Any, y: Any, *, entries: int) -> Rule:
    """A mean over `entries` entries (1 for a maximum): |J|_F^2 = outputs / entries."""
    return Rule(np.size(y) / entries / np.size(x), selects=entries == 1)


def dropout_rule(rate: float) -> Rule:
    """Kept entries are divided by the share kept: E[(m / (1 - p))^2] = 1 / (1 - p)."""
    return Rule(1 / (1 - rate) if rate < 1 else 0.0)


def identity_rule() -> Rule:
    """What only moves entries leaves their mean square as it is."""
    return Rule(1.0)
