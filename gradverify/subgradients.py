"""At a kink: what can and what cannot be called wrong.

A joint random probe proves nothing there: for ``relu(zeros(n))`` the right gradient 0 lies outside
the interval of one-sided slopes in half of all probes. Judged instead are smooth points nearby,
directions along which the forward stays smooth (tied entries moved together), and single
coordinates, whose one-sided slopes the computed value must not leave.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from gradverify.arrays import Arrays, draw_signs, magnitude, to_float64
from gradverify.judging import Finding, judge, moved_outputs, stand
from gradverify.noise import Gradient
from gradverify.oracles.finite import finite
from gradverify.oracles.kinks import classify
from gradverify.oracles.opinion import Opinion
from gradverify.probes import entry_sizes, tied, unit
from gradverify.records import NOISE_FACTOR, Estimate, Verdict
from gradverify.trial import Trial
from gradverify.verdict import Decision, Scales, decide

_PAIRS = 6  # nudges and their mirror images: both sides of every kink are seen
_ALONE = 8  # leaves moved by themselves
_SUSPECTS = 6  # entries outside everything seen nearby, judged one by one
_NEAR = 2.0**-12


def judge_at_point(trial: Trial, probes: int = 2) -> list[Finding]:
    """One finding for each leaf; where the probe met a kink, by what can be decided there."""
    seed, kinked = trial.options.seed, ("kink", "jump")
    findings = judge(trial, seed, probes)
    return [at_kink(trial, f, seed) if f.decision.reason in kinked else f for f in findings]


def at_kink(trial: Trial, finding: Finding, seed: int) -> Finding:
    """The finding of one leaf whose joint probe met a kink, decided by what can be decided there."""
    rng, slopes = np.random.default_rng((seed, 7)), finding.opinion.native.slopes
    sloped = slopes is not None and bool(np.all(np.isfinite(slopes)))
    if not np.all(np.isfinite(finding.gradient.value[finding.leaf])):
        if not sloped or finding.decision.reason == "jump":  # NaN is an honest answer where the forward jumps
            return finding
        # NaN lies between no two slopes.
        return replace(finding, decision=replace(finding.decision, verdict=Verdict.FAIL, reason="nonfinite"))
    nearby = _judge_nearby(trial, finding, rng)
    if nearby.decision.verdict is not Verdict.PASS:
        return nearby
    along_ties = _along_ties(trial, finding, rng)
    if along_ties is not None:
        return along_ties
    wrong = _wrong_coordinate(trial, finding, rng)
    if wrong is not None:
        return wrong
    decision = replace(nearby.decision, reason="kink", computed=finding.decision.computed)
    return replace(nearby, decision=replace(decision, expected=decision.computed), gradient=finding.gradient)


def _judge_nearby(trial: Trial, finding: Finding, rng: np.random.Generator) -> Finding:
    result = finding
    for size in (2.0**-5, 2.0**-8, 2.0**-3):
        shift = {n: draw_signs(rng, np.shape(trial.point[n])) * entry_sizes(trial.point[n]) for n in trial.leaves}
        near = trial.at(trial.moved(size, trial.admissible(shift)))
        only = replace(near.options, wrt=(finding.leaf,))
        result = judge(Trial(near.target, only, near.point, near.counts), int(rng.integers(2**31)))[0]
        if result.decision.verdict is not Verdict.INCONCLUSIVE:
            return result
    return replace(result, decision=replace(result.decision, reason="kink"))


def _along_ties(trial: Trial, finding: Finding, rng: np.random.Generator) -> Finding | None:
    """A failure along a direction that moves equal entries together, if the forward is smooth along it."""
    leaf = finding.leaf
    for hold_zeros in (False, True) if np.any(trial.point[leaf] == 0) else (False,):
        v = trial.admissible({leaf: tied(rng, trial.point[leaf], hold_zeros=hold_zeros)})
        if not np.any(v[leaf]):
            continue
        computed, noise = finding.gradient.probe(v)
        opinion = trial.expected(finding.u, v, 1e-6 * magnitude(trial.base, finding.u))
        if opinion.best.reason or not np.isfinite(opinion.best.error):
            continue
        terms = magnitude({leaf: finding.gradient.value[leaf]}, v)
        scales = Scales(max(abs(opinion.best.value), terms), 0.0)
        decision = decide(computed, opinion.best, noise, scales, 1.0, trial.options.tolerate)
        if decision.verdict is Verdict.FAIL:
            decision = stand(trial, finding.u, v, noise, decision, opinion)
        if decision.verdict is Verdict.FAIL:
            decision = decision if decision.reason == "nonfinite" else replace(decision, reason="tie")
            return replace(finding, decision=decision, v=v, opinion=opinion, oracle=opinion.name)
    return None


def _wrong_coordinate(trial: Trial, finding: Finding, rng: np.random.Generator) -> Finding | None:
    """A failure along one coordinate, for one output: outside the one-sided slopes of a single kink."""
    leaf = finding.leaf
    for index in _suspects(trial, finding, rng):
        step = {leaf: unit(trial.point[leaf], index)}
        u = _one_output(trial, step, finding.u)
        gradient = trial.gradient(u)
        computed, noise = gradient.probe(step)[0], _gradient_beside(trial, u, rng).probe(step)[1]
        side = classify(trial.phi(u, step), trial.eps)
        if side.kind == "smooth":
            found = ask_direction(trial, u, step, computed, noise)
            slope = (side.left, side.right)
            slack = max(side.left_error, side.right_error) + NOISE_FACTOR * noise
            # The median of equal numbers stands still along each of them, and moves with all of them:
            # one coordinate decides only where the points around say the same.
            if found is not None and _is_single_kink(trial, u, step, slope, slack, rng):
                return replace(
                    finding, decision=found, u=u, v=step, gradient=gradient, oracle="finite differences"
                )
        if side.kind != "kink":
            continue
        slack = max(side.left_error, side.right_error) + NOISE_FACTOR * noise
        low, high = sorted((side.left, side.right))
        room = 4 * slack + trial.options.tolerate * max(abs(low), abs(high))
        if low - room <= computed <= high + room:
            continue
        estimate = Estimate(
            high if computed > high else low,
            slack,
            side.evaluations,
            "finite",
            "kink",
            (side.left, side.right),
        )
        single = _is_single_kink(trial, u, step, (side.left, side.right), slack, rng)
        verdict = Verdict.FAIL if single else Verdict.INCONCLUSIVE
        decision = Decision(
            verdict, "kink", computed, estimate.value, slack, slack / max(abs(low), abs(high), slack)
        )
        opinion = Opinion(estimate, estimate)
        return replace(
            finding,
            decision=decision,
            u=u,
            v=step,
            gradient=gradient,
            opinion=opinion,
            oracle="one-sided differences",
        )
    return None


def ask_direction(trial: Trial, u: Arrays, v: Arrays, computed: float, noise: float) -> Decision | None:
    """A confirmed failure along one smooth direction, or None."""
    estimate = finite(trial.phi(u, v), trial.eps, seed=trial.options.seed)
    decision = decide(computed, estimate, noise, Scales(abs(estimate.value), 0.0), 1.0)
    if decision.verdict is not Verdict.FAIL:
        return None
    witness = trial.expected(u, v, None)
    stood = stand(trial, u, v, noise, decision, witness)
    return stood if stood.verdict is Verdict.FAIL else None


def _suspects(trial: Trial, finding: Finding, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Entries whose value at the kink lies outside everything computed on either side of it."""
    leaf, at = finding.leaf, finding.gradient.value[finding.leaf]
    far, near = [], []
    for _ in range(_PAIRS):
        shift = {
            n: draw_signs(rng, np.shape(trial.point[n])) * entry_sizes(trial.point[n]) for n in trial.leaves
        }
        for sign in (1.0, -1.0):
            far.append(_gradient_at(trial, finding.u, shift, sign * _NEAR, leaf))
            near.append(_gradient_at(trial, finding.u, shift, sign * _NEAR / 8, leaf))
    everything = np.stack([*far, *near])
    # Over so short a way only a smooth change separates the two radii of one nudge.
    noise = _gradient_beside(trial, finding.u, rng).noise[leaf]
    slack = np.max(np.abs(np.stack(far) - np.stack(near)), axis=0) + NOISE_FACTOR * noise
    outside = np.maximum(everything.min(axis=0) - slack - at, at - everything.max(axis=0) - slack)
    worst = np.argsort(-np.ravel(outside), kind="stable")[:_SUSPECTS]
    return [tuple(int(k) for k in np.unravel_index(i, at.shape)) for i in worst if np.ravel(outside)[i] > 0]


def _gradient_beside(trial: Trial, u: Arrays, rng: np.random.Generator) -> Gradient:
    """The gradient a little way off, for its noise: at the kink a rounding of the input changes the branch."""
    shift = {n: draw_signs(rng, np.shape(trial.point[n])) * entry_sizes(trial.point[n]) for n in trial.leaves}
    return trial.at(trial.moved(_NEAR / 8, trial.admissible(shift))).gradient(u)


def _gradient_at(trial: Trial, u: Arrays, shift: Arrays, t: float, leaf: str) -> np.ndarray:
    moved = {n: to_float64(trial.point[n]) + t * shift[n] for n in shift}
    g = trial.raw_gradient(u, point={**trial.point, **moved}).get(leaf)
    return np.zeros(np.shape(trial.point[leaf])) if g is None else to_float64(g)


def _one_output(trial: Trial, step: Arrays, u: Arrays) -> Arrays:
    moved = moved_outputs(trial, step)
    name = max(moved, key=lambda n: float(np.max(np.abs(moved[n]), initial=0.0)))
    only = {n: np.zeros(np.shape(x)) for n, x in u.items()}
    if not np.any(moved[name]):
        return u
    only[name][np.unravel_index(int(np.argmax(np.abs(moved[name]))), moved[name].shape)] = 1.0
    return only


def _is_single_kink(
    trial: Trial, u: Arrays, step: Arrays, slopes: tuple[float, float], slack: float, rng: np.random.Generator
) -> bool:
    """Whether nearby derivatives take the two one-sided values only: an operator with one kink.

    A composition of several (a ReLU network at zero) shows others, and its automatic derivative
    need not lie between the slopes.
    """
    (leaf,) = step
    # A large move of the input hides the small one of a bias, and with it a branch: each leaf moves alone, too.
    moved = [list(trial.leaves)] * _PAIRS + [[name] for name in list(trial.point)[:_ALONE]]
    for names, sign in itertools.product(moved, (1.0, -1.0)):
        shift = {n: draw_signs(rng, np.shape(trial.point[n])) * entry_sizes(trial.point[n]) for n in names}
        near = _gradient_at(trial, u, shift, sign * _NEAR / 64, leaf)
        value = Gradient({leaf: near}, {leaf: np.zeros_like(step[leaf])}, (), frozenset(), {}).probe(step)[0]
        curvature = abs(slopes[1] - slopes[0]) * 2.0**-8
        if min(abs(value - s) for s in slopes) > slack + curvature:
            return False
    return True


def has_kink(findings: list[Finding]) -> bool:
    """Whether any leaf's probe met a kink."""
    return any(f.decision.reason in ("kink", "jump") for f in findings)
