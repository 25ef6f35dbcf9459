"""From sizes to a verdict: how many decades the optimizer forgives, what shrank the gradient, what the signal became.

The decades are those of rms dL/dz between the first and the last layer, and whatever else is asked is asked of the
network alone, so no verdict depends on the scale of the loss. The constants were read off networks that were trained
(`benchmarks/flow_truth.py`), and are tested on others (`reports/flow.md`). Plain gradient descent has one rate for all
layers: it fails where that rate, held down by what moves fastest, hardly moves what tells examples apart, where even
the smallest rate replaces weights, or where a small step makes other outputs altogether (`gradverify.flow.pace`). One
that divides each gradient by its own size forgives until its arithmetic ends it, or until outputs are so
large that all hangs on telling every example apart (`gradverify.flow.signal`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradverify.arrays import EPS
from gradverify.flow.record import Declared, FlowVerdict, LayerFlow, Limits, Signal

COLLAPSED = 1e-5  # outputs of all examples that differ by less than this are one number to float32
CHAOTIC = 2.3  # decades: a change of the first layer by 1/200 changes outputs as much as another example does
WILD = 4.8  # the same where the readout can learn alone: features that the smallest steps of use replace altogether
APART = 0.2  # of the possible directions at the last layer, by size: there the readout can learn alone
FEW = 9.0  # directions, or a third of the examples, in which a step must move outputs beyond what rounding holds
MOST = 0.5  # more than half of a layer's units dead, or of its entries flat, is what the layer suffers from
BEGINS = 2.0  # the gradient of a mean loss is about 10^-2 at the output
REPLACED = 0.63  # of the differences between outputs, by a change of weights by a hundredth: what a step learns is lost
PLAIN = Limits(3.4, 3.4, slow=4.9)

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


def limits_of(optimizer: Declared, dtype: str) -> Limits:
    """What this optimizer forgives in this dtype.

    An adaptive one makes up for a small gradient, which begins at 10^-2, until that is below eps; below eps it still
    moves the biases above, and weights grow with them, until the signal is lost in the rounding of what those add. It
    squares gradients, and squares overflow first. Outputs are large once 1 is lost in their rounding.

    >>> print("-{0.lost:.1f} to +{0.gained:.1f} decades".format(limits_of(OPTIMIZERS["adam"], "float32")))
    -12.9 to +21.3 decades
    """
    if not optimizer.adaptive:
        return PLAIN
    digits = -math.log10(EPS.get(dtype, EPS["float32"]))
    return Limits(-math.log10(optimizer.eps) - BEGINS + digits, _largest(dtype) / 2 + BEGINS, digits)


def _largest(dtype: str) -> float:
    """log10 of the largest number; bfloat16 has the exponents of float32."""
    known = dtype if dtype in ("float64", "float16") else "float32"
    return math.log10(float(np.finfo(known).max))


def decide(limits: Limits, decades: float, layers: Sequence[LayerFlow], seen: Signal | None) -> FlowVerdict:
    """The verdict; `seen` is what reaches the output, None where that is not finite."""
    if seen is None:
        return FlowVerdict.NONFINITE
    if max((layer.dead for layer in layers if layer.dead == layer.dead), default=0.0) == 1.0:
        return FlowVerdict.DEAD
    if is_too_large(limits, decades, seen) or is_chaotic(seen) or is_perceptron(limits, decades, seen):
        return FlowVerdict.EXPLODING
    if is_too_small(limits, decades, seen):
        return _why_it_vanishes(layers)
    return FlowVerdict.HEALTHY


def has_pace(limits: Limits, seen: Signal) -> bool:
    """Whether it is known what one rate for all layers can do, and that decides."""
    return math.isfinite(limits.slow) and not math.isnan(seen.conditioning)


def is_too_large(limits: Limits, decades: float, seen: Signal) -> bool:
    """Whether steps replace weights rather than change them, or the gradient grows beyond what is forgiven."""
    return seen.stride > 0 if has_pace(limits, seen) else decades > limits.gained


def is_too_small(limits: Limits, decades: float, seen: Signal) -> bool:
    """Whether what tells examples apart hardly moves, or the gradient shrinks beyond what is forgiven."""
    if has_pace(limits, seen):
        return seen.conditioning > limits.slow or math.isnan(decades) or seen.spread < COLLAPSED
    return decades < -limits.lost or math.isnan(decades) or is_lost(seen)


def is_chaotic(seen: Signal) -> bool:
    """Whether the output changes so wildly that a gradient holds for no step of use; a step itself decides if tried."""
    if not math.isnan(seen.shaken):
        return seen.sensitivity > CHAOTIC and seen.shaken > REPLACED
    return seen.sensitivity > (WILD if seen.apart >= APART * seen.possible else CHAOTIC)


def is_perceptron(limits: Limits, decades: float, seen: Signal) -> bool:
    """Whether every example must be told apart, at outputs that large, and steps move outputs in too few directions."""
    return decades > limits.large and seen.reach < min(FEW, seen.examples / 3)


def is_lost(seen: Signal) -> bool:
    """Whether the inputs are forgotten: outputs all alike, or fewer than half of the directions left."""
    return seen.spread < COLLAPSED or seen.directions < seen.possible / 2


def _why_it_vanishes(layers: Sequence[LayerFlow]) -> FlowVerdict:
    flat = [layer.saturated for layer in layers if layer.saturated == layer.saturated]
    if flat and sum(share > MOST for share in flat) > len(flat) / 2:
        return FlowVerdict.SATURATED
    dead = [layer.dead for layer in layers if layer.dead == layer.dead]
    return FlowVerdict.DEAD if dead and max(dead) > 0.95 else FlowVerdict.VANISHING
