"""The other claims: pushforwards (forward mode) and derivatives of order 2 and 3, judged by probes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from gradverify.arrays import Arrays, dot, magnitude, one_ulp, to_float64
from gradverify.judging import Finding, finds, stand
from gradverify.noise import Gradient
from gradverify.oracles.higher import BROKEN, confirm_higher, consult_higher
from gradverify.oracles.opinion import Opinion
from gradverify.probes import draw_cotangent, draw_tangent
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Verdict
from gradverify.targets.gradients import NotClaimed, WrongClaim
from gradverify.trial import Trial
from gradverify.verdict import Decision, Scales, as_zero, decide, default_require

_RUNS = 3
_PROBES = 2


def judge_forward(trial: Trial, seed: int) -> list[Finding]:
    """``<u, J v>`` from the pushforward: the questions that settled all leaves in reverse, else leaf by leaf."""
    rng = np.random.default_rng((seed, 17))
    try:
        together = [_together(trial, joint, rng) for joint in trial.settled]
    except NotClaimed:
        return []
    if together and all(f.decision.verdict is Verdict.PASS for joint in together for f in joint):
        return [_worst(list(same)) for same in zip(*together, strict=True)]
    return [_worst([_forward_probe(trial, leaf, rng) for _ in range(_PROBES)]) for leaf in trial.leaves]


def _worst(findings: list[Finding]) -> Finding:
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    return max(findings, key=lambda f: (order.index(f.decision.verdict), f.decision.resolution))


def _together(trial: Trial, joint: list[Finding], rng: np.random.Generator) -> list[Finding]:
    """One question to the pushforward that the pullback has answered: oracle and scales are known from there."""
    u, v, opinion = joint[0].u, joint[0].v, joint[0].opinion
    # The pullback's roundings over a million numbers are those of the pushforward, and need no second run.
    known = joint[0].gradient.probe(v)[1] if trial.large else None
    computed, noise, _ = _pushed(trial, joint[0].leaf, u, v, rng, known)
    require, values = default_require(trial.options.require, trial.target.eps), magnitude(trial.base, u)
    found = []
    for reverse in joint:
        scales = Scales(magnitude(reverse.gradient.value, {reverse.leaf: v[reverse.leaf]}), values)
        decision = decide(computed, opinion.best, noise, scales, require, trial.options.tolerate)
        found.append(replace(reverse, decision=decision, entrywise=None, located=None))
    return found


def _forward_probe(trial: Trial, leaf: str, rng: np.random.Generator) -> Finding:
    u = draw_cotangent(rng, trial.base)
    v = trial.admissible(draw_tangent(rng, trial.point, [leaf], trial.target.dtype))
    computed, noise, terms = _pushed(trial, leaf, u, v, rng)
    scales = Scales(magnitude(terms, u), magnitude(trial.base, u))
    require = default_require(trial.options.require, trial.target.eps)
    opinion = trial.expected(u, v, require * scales.leaf / 4)
    found = _finding(trial, leaf, u, v, computed, noise, scales, opinion)
    return _adjoint(trial, found, noise) if found.decision.verdict is Verdict.INCONCLUSIVE else found


def _pushed(
    trial: Trial, leaf: str, u: Arrays, v: Arrays, rng: np.random.Generator, noise: float | None = None
) -> tuple[float, float, Arrays]:
    """``<u, J v>`` as claimed, its noise, and what it is the sum of."""
    push = trial.target.pushforward
    if push is None:
        raise NotClaimed
    pushed = push(trial.point, v)
    for name, y in trial.base.items():
        shape = np.shape(pushed[name]) if name in pushed else None
        if shape != y.shape:
            raise WrongClaim("shape", leaf, f"the pushforward returned shape {shape} for {name} of shape {y.shape}")
    terms = {n: to_float64(pushed[n]) for n in u}
    computed = dot(terms, u)
    if noise is None:
        _, noise = _with_noise(trial, lambda x: dot(push(x, v), u), rng, computed)
    return computed, max(noise, trial.target.eps / 2 * magnitude(terms, u)), terms


def _adjoint(trial: Trial, finding: Finding, noise: float) -> Finding:
    """Where no oracle decides (at a kink), ``<u, J v> = <J^T u, v>`` with the pullback judged on its own."""
    if trial.target.linearize is None:
        return finding
    gradient = trial.gradient(finding.u)
    value, own = gradient.probe(finding.v)
    bar = NOISE_FACTOR * (noise + own)
    if abs(value - finding.decision.computed) > bar:
        return finding
    values = magnitude(trial.base, finding.u)
    scale = max(magnitude(gradient.value, finding.v), default_require(None, trial.eps) * values)
    resolution = bar / scale if scale > 0 else 0.0
    decision = Decision(Verdict.PASS, "adjoint", finding.decision.computed, value, bar, resolution)
    return replace(finding, decision=decision, oracle="pullback")


def _with_noise(
    trial: Trial, value: Callable[[Arrays], float], rng: np.random.Generator, computed: float | None = None
) -> tuple[float, float]:
    eps = trial.target.eps / 2
    computed = value(trial.point) if computed is None else computed
    keys = [int(key) for key in rng.integers(2**62, size=1 if trial.large else _RUNS)]
    near = [{n: one_ulp(x, key, eps) for n, x in trial.point.items()} for key in keys]
    return computed, max(abs(value(x) - computed) for x in near)


def _finding(
    trial: Trial,
    leaf: str,
    u: Arrays,
    v: Arrays,
    computed: float,
    noise: float,
    scales: Scales,
    opinion: Opinion,
) -> Finding:
    require = default_require(trial.options.require, trial.target.eps)
    decision = decide(computed, opinion.best, noise, scales, require, trial.options.tolerate)
    if decision.verdict is Verdict.FAIL:
        decision = stand(trial, u, v, noise, decision, opinion)
    return Finding(trial, leaf, decision, opinion, u, v, _NONE, opinion.name)


def judge_higher(trial: Trial, order: int, seed: int) -> list[Finding]:
    """``<w, H v>`` of ``<u, f>``, or ``T[v, v', w]`` of order 3: v moves all leaves, w asks for each."""
    rng = np.random.default_rng((seed, 19, order) if order > 2 else (seed, 19))
    asked = [_rows(trial, order, trial.leaves, rng) for _ in range(_PROBES)]
    return [_worst(list(same)) for same in zip(*asked, strict=True)]


def _rows(trial: Trial, order: int, leaves: Sequence[str], rng: np.random.Generator) -> list[Finding]:
    """All leaves asked at once, by halves where that does not settle every one of them."""
    together = _higher_probe(trial, order, leaves, rng)
    if len(leaves) == 1 or all(f.decision.verdict is Verdict.PASS for f in together):
        return together
    half = len(leaves) // 2
    return [f for part in (leaves[:half], leaves[half:]) for f in _rows(trial, order, part, rng)]


def _higher_probe(trial: Trial, order: int, leaves: Sequence[str], rng: np.random.Generator) -> list[Finding]:
    u = draw_cotangent(rng, trial.base)
    def moving(names: Sequence[str]) -> Arrays:
        return trial.admissible(draw_tangent(rng, trial.point, names, trial.target.dtype))

    directions, some = [moving(trial.leaves) for _ in range(order - 1)], moving(leaves)
    w = {n: some[n] if n in some else np.zeros(np.shape(x)) for n, x in directions[0].items()}
    claim = _Claim(trial, u, directions, w)
    rows = claim.rows(trial.point)
    computed, noise = _with_noise(trial, claim.value, rng, dot(rows, w))
    noise = max(noise, trial.target.eps / 2 * magnitude(rows, w))
    scales = {n: Scales(magnitude({n: rows[n]}, {n: w[n]}), magnitude(trial.base, u)) for n in leaves}
    require = default_require(trial.options.require, trial.target.eps)
    smallest = min((s.leaf for s in scales.values() if s.leaf > 0), default=0.0)
    opinion = higher_derivative(trial, u, (*directions, w), require * smallest / 4)
    lopsided = claim.swapped() if opinion.best.reason not in BROKEN else None
    return [_higher_finding(claim, n, (computed, noise), scales[n], opinion, lopsided) for n in leaves]


@dataclass(frozen=True)
class _Claim:
    """The question ``D^n <u, f>[directions, w]`` and what the target claims of it."""

    trial: Trial
    u: Arrays
    directions: list[Arrays]
    w: Arrays

    def rows(self, point: Arrays) -> Arrays:
        """``D^n <u, f>[directions, .]`` as leaves."""
        if self.trial.target.higher is None:
            raise NotClaimed
        found = self.trial.target.higher(point, self.u, self.directions)
        return {n: np.zeros(np.shape(x)) if found.get(n) is None else to_float64(found[n]) for n, x in self.w.items()}

    def value(self, point: Arrays) -> float:
        return dot(self.rows(point), self.w)

    def swapped(self) -> float:
        """The same number with the last direction in the first one's place: derivatives do not mind."""
        first, *others = self.directions
        return replace(self, directions=[self.w, *others], w=first).value(self.trial.point)


def _higher_finding(
    claim: _Claim, leaf: str, known: tuple[float, float], scales: Scales, opinion: Opinion, swapped: float | None
) -> Finding:
    """The decision for one leaf; a failure stands if the other family, or other differences, find it too."""
    trial, u, directions, (computed, noise) = claim.trial, claim.u, (*claim.directions, claim.w), known
    require = default_require(trial.options.require, trial.target.eps)
    decision = decide(computed, opinion.best, noise, scales, require, trial.options.tolerate)
    if decision.verdict is Verdict.FAIL and decision.reason != "nonfinite":
        believed = opinion.best is opinion.foreign
        witness = opinion.native if believed else confirm_higher(
            lambda d: trial.phi(u, d), directions, trial.eps, trial.options.seed
        )  # fmt: skip
        if not finds(computed, witness, noise):
            decision = replace(decision, verdict=Verdict.INCONCLUSIVE, reason=witness.reason or "unconfirmed")
    alone = all(not np.any(x) for n, x in claim.w.items() if n != leaf)
    if decision.reason == "zero" and decision.verdict is Verdict.INCONCLUSIVE and alone and _is_flat(claim, scales):
        decision = as_zero(decision, scales)
    # Both numbers are computed ones, in another order: they may differ by more than their noise, but not by this.
    room = FAIL_FACTOR * NOISE_FACTOR * noise + math.sqrt(trial.target.eps) * scales.leaf
    if decision.verdict is not Verdict.FAIL and swapped is not None and math.inf > abs(computed - swapped) > room:
        decision = replace(decision, verdict=Verdict.FAIL, reason="asymmetric", expected=swapped, bar=room)
    return Finding(trial, leaf, decision, opinion, u, directions[0], _NONE, opinion.name)


def _is_flat(claim: _Claim, scales: Scales) -> bool:
    """Whether the mixed difference along all directions is a rounding, over steps as large as the point itself.

    Small steps cannot tell a zero from a small number. But what is linear along one of the directions, as every
    network is in its last bias, is so over any step; and a piece of a ReLU is as wide as its input is large.
    """
    directions = (*claim.directions, claim.w)
    room = 2 ** len(directions) * 16 * claim.trial.eps

    def vanishes(t: float) -> bool:
        difference, size = _mixed_difference(claim, (t, -0.75 * t, 0.5 * t), directions)
        return bool(abs(difference) <= room * max(size, scales.values))

    return any(all(map(vanishes, steps)) for steps in ((-2.0, 0.5, 4.0), (2.0**-3, -(2.0**-4))))


def _mixed_difference(claim: _Claim, steps: Sequence[float], directions: Sequence[Arrays]) -> tuple[float, float]:
    """``sum over subsets of (-1)^(n - size) <u, f(x + the directions in it)>`` and its largest term."""
    values = []
    for chosen in product((False, True), repeat=len(directions)):
        along = [{n: t * x for n, x in d.items()} for t, d, on in zip(steps, directions, chosen, strict=False) if on]
        total = {n: sum((d[n] for d in along), np.zeros(np.shape(x))) for n, x in directions[0].items()}
        values.append((-1) ** (len(directions) - sum(chosen)) * claim.trial.phi(claim.u, total)(1.0))
    return float(sum(values)), max(map(abs, values))


_NONE = Gradient({}, {}, (), frozenset(), {})


def higher_derivative(trial: Trial, u: Arrays, directions: Sequence[Arrays], need: float) -> Opinion:
    """``D^n <u, f>`` along n directions: by differences, and by differences of complex steps that agree with them."""
    return consult_higher(
        along=lambda d: trial.phi(u, d), forward=trial.forward if trial.target.foreign else None, point=trial.point,
        u=u, directions=directions, eps=trial.eps, need=need, oracle=trial.options.oracle, seed=trial.options.seed,
    )  # fmt: skip
