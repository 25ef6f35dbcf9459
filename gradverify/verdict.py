"""Computed against an estimate: pass, fail or inconclusive, from the two error bars alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Estimate, Verdict

_BROKEN = ("kink", "jump", "staircase")  # along the probe there is no derivative to compare with


_FINEST = 2.0**-53  # nobody's gradient is known to less than a rounding


@dataclass(frozen=True)
class Scales:
    """What a discrepancy is measured against, all in units of the probe ``<u, J v>``.

    `leaf` is |u| |J_leaf| |v|, the size of the gradient's own terms; `values` is |u| |f|, the size
    of what was differentiated: a derivative far below its rounding cannot be told from zero.
    """

    leaf: float
    values: float


@dataclass(frozen=True)
class Decision:
    """The outcome of one comparison and the numbers it rests on."""

    verdict: Verdict
    reason: str
    computed: float
    expected: float
    bar: float
    resolution: float

    @property
    def discrepancy(self) -> float:
        """|computed - expected|."""
        return abs(self.computed - self.expected)


def decide(
    computed: float, expected: Estimate, noise: float, scales: Scales, require: float, tolerate: float = 0.0
) -> Decision:
    """Apply the rule: pass within a bar that resolves `require`, fail beyond four bars.

    A derivative that is zero to within the bar passes if the bar is small against the values
    themselves and the estimate does not rest on differences alone, which cannot certify a zero.
    """
    bar = _bar(expected, noise, scales)
    distance = abs(computed - expected.value)
    resolution = max(bar / scales.leaf, _FINEST) if scales.leaf > 0 else math.inf

    def outcome(verdict: Verdict, reason: str = "") -> Decision:
        return Decision(verdict, reason, computed, expected.value, bar, resolution)

    if not math.isfinite(computed):
        sloped = expected.slopes is not None and all(map(math.isfinite, expected.slopes))
        known = sloped or math.isfinite(expected.error)
        absent = expected.reason if expected.reason in ("domain", "jump") else "" if known else "domain"
        return outcome(Verdict.INCONCLUSIVE if absent else Verdict.FAIL, absent or "nonfinite")
    if expected.reason in _BROKEN:
        if expected.reason == "staircase" and abs(computed) <= NOISE_FACTOR * noise:
            # On a flat piece there is nothing to resolve: zero is the derivative.
            return Decision(Verdict.PASS, "staircase", computed, 0.0, NOISE_FACTOR * noise, _FINEST)
        return outcome(Verdict.INCONCLUSIVE, expected.reason)
    if not math.isfinite(bar) or not math.isfinite(distance):
        return outcome(Verdict.INCONCLUSIVE, expected.reason or "resolution")
    if distance > bar:
        negligible = distance <= tolerate * max(scales.leaf, abs(expected.value))
        known = distance > FAIL_FACTOR * bar
        if negligible and (known or bar <= require * scales.leaf):
            return outcome(Verdict.PASS, "negligible")
        return outcome(Verdict.FAIL) if known else outcome(Verdict.INCONCLUSIVE, _what_limits(expected, noise))
    if bar <= require * scales.leaf:
        return outcome(Verdict.PASS)
    zero = max(abs(computed), abs(expected.value)) <= max(bar, math.ulp(0.0))
    certifies = not expected.native or (expected.reason == "flat" and expected.error == 0.0)
    if zero and certifies and bar <= max(require * scales.values, math.ulp(0.0)):
        return as_zero(outcome(Verdict.PASS, "zero"), scales)
    return outcome(Verdict.INCONCLUSIVE, "zero" if zero else _what_limits(expected, noise))


def _bar(expected: Estimate, noise: float, scales: Scales) -> float:
    """What the comparison can resolve; beside a true zero one rounding of the values is no gradient."""
    bar = expected.error + NOISE_FACTOR * noise
    zero = abs(expected.value) <= expected.error < math.inf
    return max(bar, 2.0**-52 * scales.values) if zero else bar


def as_zero(decision: Decision, scales: Scales) -> Decision:
    """A pass because nothing is there: its resolution is in units of the values, not of a gradient."""
    resolution = max(decision.bar / scales.values, _FINEST) if scales.values > 0 else _FINEST
    return replace(decision, verdict=Verdict.PASS, resolution=resolution)


_DIGITS = 1e-3  # what a gradient must be known to of itself, where rounding limits it
_ROUNDING = 1e-10  # of the values: a million roundings, and no coarser dtype's single one


def as_rounding_permits(decision: Decision, expected: Estimate, noise: float, scales: Scales) -> Decision:
    """A pass where nothing but the gradient's own rounding stands in the way, to as many digits as that leaves.

    Behind a norm of two numbers hardly anything of a gradient is left: terms of the size of the values cancel to a
    millionth of them, and their roundings stay. Nobody computes it better in this dtype: if an exact estimate
    agrees within those roundings, the terms are right to a rounding each.
    """
    bar = decision.bar
    limited = not expected.native and expected.error <= NOISE_FACTOR * noise
    agrees = decision.discrepancy <= bar <= min(_DIGITS * scales.leaf, _ROUNDING * scales.values)
    return replace(decision, verdict=Verdict.PASS, reason="") if limited and agrees else decision


def as_flat(decision: Decision, foreign: Estimate, noise: float, trend: float, scales: Scales) -> Decision:
    """A pass where the forward moves by less than its roundings: differences see steps, a foreign estimate a slope.

    `trend` is the slope over a hundredth of the point's size, known to `_ROUNDING` of the values; of a real
    staircase it is that of the flight. What is computed must agree with the foreign estimate, and both must be
    nothing beside the values.
    """
    bar, blur = foreign.error + NOISE_FACTOR * noise, _ROUNDING * scales.values
    found = replace(decision, expected=foreign.value, bar=bar, reason="zero")
    small = max(abs(found.computed), abs(foreign.value), abs(trend), bar) <= blur
    return as_zero(replace(found, bar=blur), scales) if small and found.discrepancy <= bar else decision


def _what_limits(expected: Estimate, noise: float) -> str:
    if NOISE_FACTOR * noise > expected.error:
        return "noise"
    return expected.reason or "resolution"


def default_require(require: float | None, eps: float) -> float:
    """The resolution a pass must reach: 1e-6, or what differences can reach in a coarser dtype.

    A difference of values with spacing eps resolves about sqrt(eps) of a derivative; three of
    these is 1e-3 in float32 and 0.3 in bfloat16.
    """
    if require is not None:
        return require
    return max(1e-6, 3 * math.sqrt(eps)) if eps > 1e-12 else 1e-6
