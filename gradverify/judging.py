"""Every leaf of a trial judged: joint probes first, single leaves where those do not settle it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradverify.arrays import Arrays, axpy, dot, draw_signs, magnitude, norm, to_float64
from gradverify.domains import entries_are_free
from gradverify.localize import Located, locate
from gradverify.noise import Gradient
from gradverify.oracles.finite import finite
from gradverify.oracles.opinion import FOREIGN, Opinion, climb, confirm
from gradverify.probes import draw_cotangent, draw_tangent, entry_sizes, equalised, unit
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Estimate, Verdict
from gradverify.trial import Trial
from gradverify.verdict import (
    Decision,
    Scales,
    as_flat,
    as_rounding_permits,
    as_zero,
    decide,
    default_require,
)

_DROWNED = 1024.0  # an entry whose term is so many bars or less could be wrong by 0.4 % unseen
_MANY = 2**14
_QUESTIONS = 24
_CUTS = 3  # one cut of five equal numbers in two may add up by chance
_ALL_BITS = 32  # more than float32 holds
_PROBES = 2  # independent cotangents; each is a full backward with its noise


@dataclass(frozen=True)
class Finding:
    """What one leaf came to: the decision, who was asked, and the question itself."""

    trial: Trial
    leaf: str
    decision: Decision
    opinion: Opinion
    u: Arrays
    v: Arrays
    gradient: Gradient
    oracle: str
    entrywise: float | None = None
    located: Located | None = None


def judge(trial: Trial, seed: int, probes: int = _PROBES) -> list[Finding]:
    """One finding for each leaf, the worst over the probes, then all their entries on equal terms."""
    rng = np.random.default_rng(seed)
    worst: dict[str, Finding] = {}
    for k in range(probes):
        # Few bits for a quiet oracle first; then all of them, so that a cotangent rounded on the way shows.
        u = draw_cotangent(rng, trial.base, bits=_ALL_BITS if k and trial.target.dtype == "float64" else 10)
        gradient = trial.gradient(u)
        for finding in judge_leaves(trial, u, gradient, trial.leaves, rng):
            known = worst.get(finding.leaf)
            worst[finding.leaf] = finding if known is None else _worse(known, finding)
        if trial.large and all(f.decision.verdict is Verdict.PASS and f.opinion.corroborated for f in worst.values()):
            break  # an exact estimate leaves no room for a second cotangent to find something in
    resolved = [worst[leaf] for leaf in trial.leaves if _entries_can_be_asked(trial, worst[leaf])]
    together = [replace(f, u=u, gradient=gradient) for f in resolved if f.opinion.corroborated]
    refined = {f.leaf: f for f in entry_by_entry(trial, together, rng)}
    refined |= {f.leaf: _small_entries(trial, f, rng) for f in resolved if f.opinion.by == "finite"}
    return [refined.get(leaf, worst[leaf]) for leaf in trial.leaves]


def _entries_can_be_asked(trial: Trial, finding: Finding) -> bool:
    return finding.decision.verdict is Verdict.PASS and entries_are_free(trial.regions.get(finding.leaf))


def _worse(a: Finding, b: Finding) -> Finding:
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    key = [(order.index(f.decision.verdict), f.decision.resolution) for f in (a, b)]
    return b if key[1] > key[0] else a


def judge_leaves(
    trial: Trial, u: Arrays, gradient: Gradient, leaves: Sequence[str], rng: np.random.Generator
) -> list[Finding]:
    """Ask all leaves at once; a joint answer that settles every one of them is enough."""
    together = ask(trial, u, gradient, leaves, rng)
    passed = all(f.decision.verdict is Verdict.PASS for f in together)
    if passed and len(leaves) == len(trial.leaves):
        trial.settled.append(together)
    if passed or len(leaves) == 1:
        return together
    half = len(leaves) // 2
    return [f for part in (leaves[:half], leaves[half:]) for f in judge_leaves(trial, u, gradient, part, rng)]


def ask(
    trial: Trial, u: Arrays, gradient: Gradient, leaves: Sequence[str], rng: np.random.Generator
) -> list[Finding]:
    """One probe over some leaves, decided for each of them on its own scale."""
    return ask_along(trial, u, gradient, trial.admissible(draw_tangent(rng, trial.point, leaves, trial.target.dtype)))


def ask_along(trial: Trial, u: Arrays, gradient: Gradient, v: Arrays) -> list[Finding]:
    """The probe ``<u, J v>``, decided for each leaf of v on its own scale."""
    leaves = tuple(v)
    computed, noise = gradient.probe(v)
    require = default_require(trial.options.require, trial.target.eps)
    scales = {leaf: _scales(trial, u, gradient, v, leaf) for leaf in leaves}
    values = next(iter(scales.values())).values
    need = require * min((s.leaf for s in scales.values() if s.leaf > 0), default=values) / 4
    opinion = trial.expected(u, v, max(need, trial.eps * values / 8))
    if len(leaves) == 1:
        (leaf,) = leaves
        settled = decide(computed, opinion.best, noise, scales[leaf], require).verdict is not Verdict.INCONCLUSIVE
        if not settled and trial.target.foreign and trial.options.oracle == "auto":
            opinion = climb(opinion, trial.phi(u, v), trial.forward, trial.point, u, v)
    found = []
    for leaf in leaves:
        decision = decide(computed, opinion.best, noise, scales[leaf], require, trial.options.tolerate)
        if decision.verdict is Verdict.FAIL and len(leaves) == 1:
            decision = stand(trial, u, v, noise, decision, opinion)
            numbers_differ = decision.verdict is Verdict.FAIL and decision.reason != "nonfinite"
            if numbers_differ and not _additive(trial, u, v, opinion.best, decision.discrepancy):
                decision = replace(decision, verdict=Verdict.INCONCLUSIVE, reason="kink")
        if decision.verdict is Verdict.INCONCLUSIVE and len(leaves) == 1:
            decision = _near_zero(trial, u, v, noise, scales[leaf], decision, opinion)
        found.append(Finding(trial, leaf, decision, opinion, u, v, gradient, opinion.name))
    return found


def _near_zero(
    trial: Trial, u: Arrays, v: Arrays, noise: float, scales: Scales, decision: Decision, opinion: Opinion
) -> Decision:
    """What is left undecided because hardly any gradient is there, held against the size of the values."""
    if decision.reason == "zero":
        return _certified_zero(trial, u, v, scales, decision)
    if decision.reason == "noise" and trial.options.require is None:
        return as_rounding_permits(decision, opinion.best, noise, scales)
    foreign = opinion.foreign
    if decision.reason == "staircase" and foreign is not None and math.isfinite(foreign.error):
        return as_flat(decision, foreign, noise, _trend(trial, u, v), scales)
    return decision


def _certified_zero(trial: Trial, u: Arrays, v: Arrays, scales: Scales, decision: Decision) -> Decision:
    """A zero that differences alone see: right if the output never moves, or if it is a stationary point.

    Small steps cannot tell a true zero from a small slope. Over a range of several times the leaf's
    size a slope above the rounding of the values would show; and beside a stationary point the
    gradient has a size that the bar can be held against.
    """
    phi = trial.phi(u, v)
    start = phi(0.0)
    if all(abs(phi(t) - start) <= 32 * trial.eps * scales.values for t in (-4.0, -1.0, 1.0, 4.0, 16.0)):
        return as_zero(decision, scales)
    beside = trial.at(axpy(2.0**-4, v, trial.point))
    nearby = magnitude(beside.gradient(u).value, v)
    require = default_require(trial.options.require, trial.target.eps)
    return as_zero(decision, Scales(0.0, nearby)) if decision.bar <= require * nearby else decision


def _scales(trial: Trial, u: Arrays, gradient: Gradient, v: Arrays, leaf: str) -> Scales:
    values = {name: y * u[name] for name, y in trial.base.items()}
    return Scales(magnitude({leaf: gradient.value[leaf]}, {leaf: v[leaf]}), norm(values))


def stand(trial: Trial, u: Arrays, v: Arrays, noise: float, decision: Decision, opinion: Opinion) -> Decision:
    """A candidate failure stands if an oracle of the other family, or a second native one, finds it too."""
    if decision.reason == "nonfinite":
        apart = _stands_apart(trial, u, v)
        return replace(decision, verdict=Verdict.INCONCLUSIVE, reason="jump") if apart else decision
    if opinion.best is opinion.foreign:
        witness = opinion.native
    else:
        witness = confirm(trial.phi(u, v), trial.eps, trial.options.seed)
        if _trend_agrees(trial, u, v, decision):
            return replace(decision, verdict=Verdict.INCONCLUSIVE, reason="disagreement")
    if finds(decision.computed, witness, noise):
        return decision
    free = all(entries_are_free(trial.regions.get(leaf)) for leaf in v)
    if free and opinion.by == "complex" and _entry_confirms(trial, u, v, decision):
        return decision
    return replace(decision, verdict=Verdict.INCONCLUSIVE, reason=witness.reason or "unconfirmed")


def _stands_apart(trial: Trial, u: Arrays, v: Arrays) -> bool:
    """Whether the value at the point itself is no limit of those beside it: differences from side to side miss that."""
    phi = trial.phi(u, v)
    start, steps = phi(0.0), (2.0**-12, 2.0**-16)
    far, near = (abs(phi(t) + phi(-t) - 2 * start) for t in steps)
    return near > far / 2 and near > math.sqrt(trial.eps) * norm({n: y * u[n] for n, y in trial.base.items() if n in u})


def _trend_agrees(trial: Trial, u: Arrays, v: Arrays, decision: Decision) -> bool:
    """Whether over a hundredth of the point's size the forward moves as computed, not as expected.

    A forward that cancels is a staircase of roundings, smooth on each step with another slope.
    """
    wide = _trend(trial, u, v)
    return abs(wide - decision.computed) < abs(wide - decision.expected) / 4


def _trend(trial: Trial, u: Arrays, v: Arrays) -> float:
    """The slope over a hundredth of the point's size."""
    phi = trial.phi(u, v)
    return (phi(2.0**-6) - phi(-(2.0**-6))) * 2.0**5


def _additive(trial: Trial, u: Arrays, v: Arrays, whole: Estimate, off: float) -> bool:
    """Whether the slopes along two parts of v add up to that along v, as those of a derivative do, however it is cut.

    The median of equal numbers is linear along every line, and yet has no derivative there.
    """
    rng = np.random.default_rng((trial.options.seed, 31))
    return all(_adds_up(trial, u, v, whole, off, rng) for _ in range(_CUTS))


def _adds_up(
    trial: Trial, u: Arrays, v: Arrays, whole: Estimate, off: float, rng: np.random.Generator
) -> bool:
    masks = {n: rng.random(np.shape(x)) < 1 / 2 for n, x in v.items()}
    parts = [{n: np.where(masks[n] == side, x, 0.0) for n, x in v.items()} for side in (True, False)]
    if any(not any(np.any(x) for x in part.values()) for part in parts):
        return True
    asked = [trial.expected(u, part, 1e-3 * max(abs(whole.value), off)).best for part in parts]
    if any(e.reason in ("kink", "jump") for e in asked):
        return False
    gap, room = abs(asked[0].value + asked[1].value - whole.value), asked[0].error + asked[1].error + whole.error
    # Beside a slope of zero what counts is that the parts are known better than the claim is off.
    return gap <= FAIL_FACTOR * room and room <= max(abs(whole.value), off) / 2


def finds(computed: float, witness: Estimate, noise: float) -> bool:
    """Whether a witness, by its own error, calls the computed value wrong."""
    return abs(computed - witness.value) > FAIL_FACTOR * (witness.error + NOISE_FACTOR * noise)


def _entry_confirms(trial: Trial, u: Arrays, v: Arrays, decision: Decision) -> bool:
    """Whether differences along the single worst entry, and one output, see what the joint probe could not."""
    (leaf,) = v
    gradient = trial.gradient(u)
    located = locate_in(trial, u, gradient, leaf, by="complex")
    for entry in located.entries(3):
        step = {leaf: unit(trial.point[leaf], entry.index)}
        for only in _single_outputs(trial, u, step):
            single = trial.gradient(only)
            computed, noise = single.probe(step)
            if finds(computed, finite(trial.phi(only, step), trial.eps, seed=trial.options.seed), noise):
                return True
    return False


def _single_outputs(trial: Trial, u: Arrays, step: Arrays) -> list[Arrays]:
    """The cotangent itself, and the one that looks only at the output entry that the step moves most."""
    moved = moved_outputs(trial, step)
    if not moved:
        return [u]
    name = max(moved, key=lambda n: float(np.max(np.abs(moved[n]), initial=0.0)))
    only = {n: np.zeros_like(to_float64(x)) for n, x in u.items()}
    index = np.unravel_index(int(np.argmax(np.abs(moved[name]))), moved[name].shape)
    only[name][index] = 1.0
    return [u, only]


def moved_outputs(trial: Trial, step: Arrays) -> Arrays:
    """How far a small step moves every output entry, by one native difference."""
    (leaf,) = step
    moved = {**trial.point, leaf: to_float64(trial.point[leaf]) + 2.0**-10 * step[leaf]}
    after = trial.forward(moved)
    return {n: to_float64(after[n]) - y for n, y in trial.base.items()}


def locate_in(trial: Trial, u: Arrays, gradient: Gradient, leaf: str, *, by: str) -> Located:
    """The wrong entries of one leaf, by the oracle that was believed for it."""
    ask_entry = estimator(trial, u, leaf, by=by)
    sizes = entry_sizes(trial.point[leaf])
    return locate(leaf, gradient.value[leaf], gradient.noise[leaf], sizes, ask_entry, trial.options.seed)


def estimator(trial: Trial, u: Arrays, leaf: str, *, by: str) -> Callable[[np.ndarray], Estimate]:
    """What one oracle alone expects along directions within one leaf."""
    if by == "complex":
        return lambda v: trial.complex_step(u, {leaf: v})
    if by in FOREIGN:
        return lambda v: FOREIGN[by](trial.forward, trial.point, u, {leaf: v})
    return lambda v: finite(trial.phi(u, {leaf: v}), trial.eps, seed=trial.options.seed)


def entry_by_entry(trial: Trial, findings: list[Finding], rng: np.random.Generator) -> list[Finding]:
    """Passing leaves asked again with all entries' terms made equal: together, by halves where that disagrees."""
    if not findings:
        return []
    gradient, leaves = findings[0].gradient, [f.leaf for f in findings]
    trial.forget()
    v = equalised(rng, {n: gradient.value[n] for n in leaves}, gradient.noise)
    estimate = trial.complex_step(findings[0].u, v, runs=0 if trial.large else 1)
    if estimate.reason or not math.isfinite(estimate.error):
        return findings
    value = dot(gradient.value, v)
    noise = magnitude(gradient.noise, v)
    bar = estimate.error + NOISE_FACTOR * noise
    if abs(value - estimate.value) <= FAIL_FACTOR * bar:
        return [replace(f, entrywise=2 * bar) for f in findings]
    if len(findings) > 1:
        half = len(findings) // 2
        return [f for part in (findings[:half], findings[half:]) for f in entry_by_entry(trial, part, rng)]
    return [_single_entries(trial, findings[0], v, estimate, noise)]


def _small_entries(trial: Trial, finding: Finding, rng: np.random.Generator) -> Finding:
    """A failure among entries whose terms drown in the joint probe: asked by their size, of outputs they move.

    A difference cannot stretch its step beyond an entry's own size. But the outputs that a group of
    small entries does not move can be left out of the question, and what drowned it with them.
    """
    leaf = finding.leaf
    terms = np.abs(finding.gradient.value[leaf]) * entry_sizes(trial.point[leaf])
    if trial.options.search == "none" and trial.size > _MANY:
        return finding
    groups = _by_size(terms, _DROWNED * finding.decision.bar)
    for _ in range(_QUESTIONS):
        if not groups:
            break
        group = groups.pop(0)
        v = draw_tangent(rng, trial.point, [leaf], trial.target.dtype)
        v = {leaf: np.where(group, v[leaf], 0.0)}
        u = _of_moved(trial, v, rng)
        if u is None:
            continue
        (found,) = ask_along(trial, u, trial.gradient(u), v)
        if found.decision.verdict is Verdict.FAIL:
            return found
        if found.decision.verdict is Verdict.INCONCLUSIVE and 1 < np.sum(group) <= 64:
            groups += _halves(group)
    return finding


def _halves(group: np.ndarray) -> list[np.ndarray]:
    first = group & (np.cumsum(group).reshape(group.shape) <= np.sum(group) // 2)
    return [first, group & ~first]


def _by_size(terms: np.ndarray, limit: float) -> list[np.ndarray]:
    """The entries below `limit` by factors of a thousand, the largest first, exact zeros last; nine groups at most."""
    small = terms < limit
    level = np.full(terms.shape, np.inf)
    np.floor(np.log2(limit / terms, where=small & (terms > 0), out=level) / 10, out=level)
    levels = sorted(set(level[small].tolist()))
    return [small & (level == k) for k in [*levels[:8], *([math.inf] if math.inf in levels[8:] else [])]]


def _of_moved(trial: Trial, v: Arrays, rng: np.random.Generator) -> Arrays | None:
    """A cotangent on the output entries that v moves most, relative to their size, all on equal terms."""
    moved = {n: np.abs(x) for n, x in moved_outputs(trial, v).items()}
    share = {n: x / np.maximum(np.abs(trial.base[n]), x) for n, x in moved.items() if np.any(x)}
    most = max((float(np.max(x)) for x in share.values()), default=0.0)
    if not 0.0 < most < math.inf:
        return None
    u: Arrays = {n: np.zeros(x.shape) for n, x in moved.items()}
    for n, x in share.items():
        chosen = (x >= most / 1024) & (moved[n] > 0)
        size = 2.0 ** np.floor(np.log2(np.where(chosen, moved[n], 1.0)))
        u[n] = np.where(chosen, draw_signs(rng, x.shape, 10) / size, 0.0)
    # By a power of two to about one: half precision knows no cotangent of 1e5.
    exponent = math.frexp(max(float(np.max(np.abs(x), initial=0.0)) for x in u.values()))[1]
    return {n: np.ldexp(x, -exponent) for n, x in u.items()}


def _single_entries(trial: Trial, finding: Finding, v: Arrays, estimate: Estimate, noise: float) -> Finding:
    leaf, gradient = finding.leaf, finding.gradient
    located = locate_in(trial, finding.u, gradient, leaf, by="complex")
    value = dot(gradient.value, v)
    scales = Scales(magnitude({leaf: gradient.value[leaf]}, v), finding.decision.bar)
    decision = decide(value, estimate, noise, scales, 1.0, trial.options.tolerate)
    confirmed = bool(located.wrong.any()) and _entry_confirms(trial, finding.u, v, decision)
    if confirmed and not _additive(trial, finding.u, v, estimate, decision.discrepancy):
        return replace(finding, decision=replace(decision, verdict=Verdict.INCONCLUSIVE, reason="kink"))
    return replace(finding, decision=decision, v=v, located=located) if confirmed else finding
