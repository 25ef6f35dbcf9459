"""From sizes to a verdict: how many decades the optimizer forgives, and what shrank the gradient.

The decades are those of rms dL/dz between the first and the last layer, so no verdict depends on the scale of the
loss. The limits were read off 89 networks of four families that were trained (`benchmarks/flow_truth.py`), and are
tested on others (`reports/flow.md`). Plain gradient descent has one rate for all layers: a layer whose gradient is
10^-4 of another's stands still. One that divides each gradient by its own size forgives until rounding or its eps
ends it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradverify.flow.record import Declared, FlowVerdict, LayerFlow

COLLAPSED = 1e-5  # outputs of all examples that differ by less than this are one number to float32
MOST = 0.5  # more than half of a layer's units dead, or of its entries flat, is what the layer suffers from


@dataclass(frozen=True)
class Limits:
    """Decades that may be lost on the way back, and gained."""

    lost: float
    gained: float


PLAIN, ADAPTIVE = Limits(3.4, 4.1), Limits(15.0, 17.5)

OPTIMIZERS = {
    "sgd": Declared("sgd"),
    "momentum": Declared("momentum"),
    "nesterov": Declared("nesterov"),
    "adam": Declared("adam", 1e-8, adaptive=True),
    "adamw": Declared("adamw", 1e-8, adaptive=True),
    "rmsprop": Declared("rmsprop", 1e-8, adaptive=True),
}
_PLAIN = ("sgd", "momentum", "nesterov")


def declared(optimizer: Any) -> Declared:
    """The optimizer by its name, or an instance of it by the name of its class, its rate and its eps.

    >>> declared("adam")
    Declared(name='adam', eps=1e-08, rate=nan, adaptive=True)
    """
    if isinstance(optimizer, str):
        if optimizer.lower() not in OPTIMIZERS:
            raise ValueError(f"optimizer={optimizer!r}: must be one of {', '.join(OPTIMIZERS)}, or an optimizer")
        return OPTIMIZERS[optimizer.lower()]
    if optimizer is None or isinstance(optimizer, (int, float, bool)):
        raise TypeError(f"optimizer={optimizer!r}: must be a name or an optimizer")
    settings = {**getattr(optimizer, "defaults", {}), **getattr(optimizer, "__dict__", {})}
    name = type(optimizer).__name__.lower()
    eps = _number(settings, "eps", "epsilon", "_epsilon", default=0.0)
    rate = _number(settings, "lr", "learning_rate", "_learning_rate", default=math.nan)
    return Declared(name, eps, rate, adaptive=name not in _PLAIN and eps > 0)


def _number(settings: Any, *names: str, default: float) -> float:
    for name in names:
        if isinstance(settings.get(name), (int, float)):
            return float(settings[name])
    return default


def limits_of(optimizer: Declared) -> Limits:
    """What this optimizer forgives."""
    return ADAPTIVE if optimizer.adaptive else PLAIN


def decide(
    optimizer: Declared, decades: float, layers: Sequence[LayerFlow], *, finite: bool, spread: float
) -> FlowVerdict:
    """The verdict; `spread` is how much the outputs differ between examples, relative to their size."""
    if not finite:
        return FlowVerdict.NONFINITE
    limits = limits_of(optimizer)
    if max((layer.dead for layer in layers if layer.dead == layer.dead), default=0.0) == 1.0:
        return FlowVerdict.DEAD
    if decades > limits.gained:
        return FlowVerdict.EXPLODING
    if decades < -limits.lost or spread < COLLAPSED or math.isnan(decades):
        return _why_it_vanishes(layers)
    return FlowVerdict.HEALTHY


def _why_it_vanishes(layers: Sequence[LayerFlow]) -> FlowVerdict:
    flat = [layer.saturated for layer in layers if layer.saturated == layer.saturated]
    if flat and sum(share > MOST for share in flat) > len(flat) / 2:
        return FlowVerdict.SATURATED
    dead = [layer.dead for layer in layers if layer.dead == layer.dead]
    return FlowVerdict.DEAD if dead and max(dead) > 0.95 else FlowVerdict.VANISHING
