"""A low-precision target judged twice: its formula in float64, its implementation in its own dtype."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradverify.arrays import Arrays, draw_signs, magnitude, norm, to_float64
from gradverify.judging import Finding, judge
from gradverify.localize import Located
from gradverify.noise import Gradient
from gradverify.oracles.opinion import Opinion
from gradverify.probes import draw_cotangent, draw_tangent, power_of_two, typical_size
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Estimate, Verdict
from gradverify.targets.record import Linearize, Target
from gradverify.tiles import MOST, Tile, worst_tile
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


def judge_tiles(trial: Trial, seed: int) -> list[Finding]:
    """The whole gradient against that of the reference, once probes have shown that the reference's is right.

    The unit of every entry is how far the reference's own gradient in the target's dtype is from its float64 one.
    """
    if trial.target.trusted is None:
        return []
    wide, own = trial.target.trusted
    exact = {n: to_float64(x) for n, x in trial.point.items()}
    reference = replace(trial.target, linearize=wide, dtype="float64", trusted=None)
    verified = Trial(reference, trial.options, exact, trial.counts)
    if any(f.decision.verdict is not Verdict.PASS for f in judge(verified, seed, 1)):
        return []
    rng = np.random.default_rng((seed, 29))
    # Few bits: a cotangent that the target's dtype has to round is another question.
    u = {n: draw_signs(rng, y.shape, 4) / power_of_two(typical_size(y)) for n, y in trial.base.items()}
    computed, (truth, narrow) = trial.raw_gradient(u), (_pulled(claim, trial, u) for claim in (wide, own))
    found = [_tile_finding(trial, leaf, u, computed, truth, narrow) for leaf in trial.leaves]
    return [finding for finding in found if finding is not None]


def _pulled(claim: Linearize, trial: Trial, u: Arrays) -> Arrays:
    trial.spend(backwards=1)
    return claim(trial.point, None)[1](u)


def _tile_finding(
    trial: Trial, leaf: str, u: Arrays, computed: Arrays, truth: Arrays, narrow: Arrays
) -> Finding | None:
    if any(g.get(leaf) is None for g in (computed, truth, narrow)):
        return None  # a missing gradient is for the probes to judge
    g, right = to_float64(computed[leaf]), to_float64(truth[leaf])
    if not g.size or not np.all(np.isfinite(g)):
        return None
    unit = np.maximum(np.abs(to_float64(narrow[leaf]) - right), trial.target.eps / 2 * np.abs(right))
    tile = worst_tile(g - right, unit, right, trial.target.eps)
    verdict = Verdict.FAIL if tile.ratio > MOST else Verdict.PASS
    size, most = float(np.sqrt(np.sum(right**2))), float(np.sqrt(np.sum(unit**2)))
    value = float(np.sqrt(np.sum(g**2)))
    decision = Decision(verdict, "" if verdict is Verdict.PASS else "implementation", value, size, MOST * most,
                        MOST * most / size if size else np.inf)
    estimate = Estimate(size, MOST * most, 0, "reference in float64")
    gradient = Gradient({leaf: g}, {leaf: unit}, (), frozenset(), {})
    return Finding(trial, leaf, decision, Opinion(estimate, estimate), u, {}, gradient, "reference in float64",
                   located=_in_tile(leaf, g, right, unit, tile) if verdict is Verdict.FAIL else None)


def _in_tile(leaf: str, g: np.ndarray, right: np.ndarray, unit: np.ndarray, tile: Tile) -> Located:
    """The entries of the tile that are farthest off, in units."""
    matrix = np.arange(g.size).reshape(-1, g.shape[-1] if g.ndim else 1)[tile.rows, tile.columns].ravel()
    error = np.abs(g - right).ravel()[matrix] / np.maximum(unit.ravel()[matrix], np.finfo(float).tiny)
    chosen = matrix[np.argsort(-error)[:_SHOWN]]
    indices = tuple(tuple(int(k) for k in np.unravel_index(i, g.shape)) for i in chosen)
    return Located(leaf, indices, g.ravel()[chosen], right.ravel()[chosen], unit.ravel()[chosen], complete=False)


_SHOWN = 24
