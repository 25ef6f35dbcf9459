"""A low-precision target judged twice: its formula in float64, its implementation in its own dtype."""

from __future__ import annotations

import numpy as np

from gradverify.arrays import Arrays, magnitude, norm
from gradverify.judging import Finding
from gradverify.noise import Gradient
from gradverify.oracles.opinion import Opinion
from gradverify.probes import draw_cotangent, draw_tangent
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Estimate, Verdict
from gradverify.targets.record import Target
from gradverify.trial import Trial
from gradverify.verdict import Decision


def wide_twin(target: Target) -> Target | None:
    """The target in float64, if it is of a coarser dtype and runs there."""
    if target.eps < 1e-12 or target.cast is None:
        return None
    try:
        twin = target.cast("float64")
        return twin if twin is not None and _runs_wide(twin) else None
    except Exception:
        return None


def _runs_wide(twin: Target) -> bool:
    outputs = twin.forward(twin.point)
    return all(np.asarray(y).dtype.itemsize >= 8 for y in outputs.values())


def judge_implementation(trial: Trial, wide: Trial, seed: int) -> list[Finding]:
    """The gradient in the target's dtype against the verified one in float64, at the same quantised point.

    What its dtype permits is measured: the spread when inputs, cotangent and residuals move by one
    rounding unit, at least a rounding of the values themselves.
    """
    rng = np.random.default_rng((seed, 23))
    u = draw_cotangent(rng, trial.base)
    computed, truth = trial.gradient(u), wide.gradient(u)
    return [_compare(trial, leaf, u, computed, truth, rng) for leaf in trial.leaves]


def _compare(
    trial: Trial, leaf: str, u: Arrays, computed: Gradient, truth: Gradient, rng: np.random.Generator
) -> Finding:
    v = trial.admissible(draw_tangent(rng, trial.point, [leaf], trial.target.dtype))
    value, noise = computed.probe(v)
    expected, own = truth.probe(v)
    rounding = trial.target.eps * norm({n: y * u[n] for n, y in trial.base.items()})
    scale = magnitude({leaf: truth.value[leaf]}, v)
    bar = NOISE_FACTOR * (max(noise, trial.target.eps * scale) + own)
    estimate = Estimate(expected, NOISE_FACTOR * own, 0, "float64 run")
    distance = abs(value - expected)
    if distance <= bar or distance <= NOISE_FACTOR * rounding:
        verdict, reason = Verdict.PASS, "" if distance <= bar else "rounding"
        bar = max(bar, distance)
    elif distance > FAIL_FACTOR * max(bar, NOISE_FACTOR * rounding):
        verdict, reason = Verdict.FAIL, "implementation"
    else:
        verdict, reason = Verdict.INCONCLUSIVE, "noise"
    if not np.isfinite(distance):
        verdict, reason = (
            (Verdict.FAIL, "nonfinite") if np.isfinite(expected) else (Verdict.INCONCLUSIVE, "domain")
        )
    decision = Decision(verdict, reason, value, expected, bar, bar / scale if scale > 0 else np.inf)
    return Finding(trial, leaf, decision, Opinion(estimate, estimate), u, v, computed, "float64 run")
