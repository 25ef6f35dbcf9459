"""Sizes of what flowed through one site: activations, deltas, gradients, units that pass nothing on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.arrays import norm, to_float64
from gradverify.flow.sites import Backward, Site

FLAT = 1e-3  # a slope below this share of the steepest one of its layer passes nothing on
HALF = 2.0**-24  # the smallest positive number of float16; what lies below half of it becomes zero
BOUNDED = ("sigmoid", "tanh", "softsign", "hard_sigmoid", "hard_tanh", "Sigmoid", "Tanh", "Softsign", "Hardsigmoid",
           "Hardtanh")


@dataclass(frozen=True)
class Sizes:
    """Root mean squares at one site, and shares of its units and entries.

    `received` and `sent` are those of dL/dy and dL/dx; `log_ratio` is ln(ms sent / ms received). A unit is `dead` if it
    passes no gradient for any example; an entry `saturated` if its slope is less than 1/1000 of the steepest.
    """

    activation: float
    received: float
    sent: float
    weight: float
    gradient: float
    dead: float
    saturated: float
    below_eps: float
    below_half: float

    @property
    def log_ratio(self) -> float:
        """What the layer did to the gradient's mean square, as a natural logarithm; NaN where there is nothing."""
        return 2 * (ln(self.sent) - ln(self.received))


def ln(x: float) -> float:
    """The logarithm, -inf of zero and NaN of what is no size."""
    return -math.inf if x == 0 else math.log(x) if math.isfinite(x) and x > 0 else math.nan


def rms(x: Any) -> float:
    """The root mean square, safe against overflow and underflow of the squares; NaN of nothing.

    >>> print(f"{rms(np.array([3e-200, 4e-200])):.3g}")
    3.54e-200
    """
    return norm({"x": to_float64(x)}) / math.sqrt(np.size(x)) if x is not None and np.size(x) else math.nan


def sizes(site: Site, backward: Backward, eps: float, unit: float) -> Sizes:
    """Everything at one site; `unit` is what the cotangent was divided by before it was pulled back."""
    grads = backward.grads.get(site.name, {})
    weights = {name: w for name, w in site.weights.items() if name in grads}
    return Sizes(
        activation=rms(site.y), received=unit * rms(backward.received.get(site.name)),
        sent=unit * rms(backward.sent.get(site.name)), weight=_joint(weights), gradient=unit * _joint(grads),
        dead=_dead(site), saturated=_saturated(site),
        below_eps=_share_below(grads, eps / unit), below_half=_share_below(grads, HALF / 2 / unit))


def _joint(arrays: Mapping[str, Any]) -> float:
    count = sum(np.size(a) for a in arrays.values())
    return norm({n: to_float64(a) for n, a in arrays.items()}) / math.sqrt(count) if count else math.nan


def _share_below(grads: Mapping[str, Any], limit: float) -> float:
    """Among the entries that are not exactly zero: those belong to dead units, and no scale would help them."""
    entries = np.concatenate([np.abs(to_float64(g)).ravel() for g in grads.values()] or [np.zeros(0)])
    entries = entries[entries > 0]
    return float(np.mean(entries < limit)) if entries.size and math.isfinite(limit) else math.nan


def by_unit(site: Site, a: np.ndarray) -> np.ndarray:
    """All examples, places and steps against the units: a matrix."""
    axis = site.axis if -a.ndim <= site.axis < a.ndim else -1
    return np.moveaxis(to_float64(a), axis, -1).reshape(-1, a.shape[axis]) if a.ndim else a.reshape(1, 1)


def _dead(site: Site) -> float:
    if site.rule is None or site.rule.slopes is None:
        return math.nan
    slopes = by_unit(site, site.rule.slopes)
    return float(np.mean(np.max(slopes, axis=0) == 0.0))


def _saturated(site: Site) -> float:
    """Share of flat entries of an activation with two flat ends; elsewhere flatness is how it works."""
    if site.kind not in BOUNDED or site.rule is None or site.rule.slopes is None:
        return math.nan
    slopes = np.sqrt(site.rule.slopes)
    steepest = 0.25 if "igmoid" in site.kind else 1.0
    return float(np.mean(slopes < FLAT * steepest))
