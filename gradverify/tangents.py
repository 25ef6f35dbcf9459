"""The other claims: pushforwards (forward mode) and Hessian products (order 2), judged by probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from gradverify.arrays import Arrays, dot, magnitude, one_ulp, to_float64
from gradverify.judging import Finding, finds, stand
from gradverify.noise import Gradient
from gradverify.oracles.higher import confirm_higher, consult_higher
from gradverify.oracles.opinion import Opinion
from gradverify.probes import draw_cotangent, draw_tangent
from gradverify.records import NOISE_FACTOR, Verdict
from gradverify.targets.gradients import NotClaimed, WrongClaim
from gradverify.trial import Trial
from gradverify.verdict import Decision, Scales, decide, default_require

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
    gradient = Gradient({}, {}, (), frozenset(), {})
    return Finding(trial, leaf, decision, opinion, u, v, gradient, opinion.name)


def judge_hessian(trial: Trial, seed: int) -> list[Finding]:
    """``<w, H v>`` of a scalar output, from the forward alone; v moves all leaves, w asks for each."""
    rng = np.random.default_rng((seed, 19))
    (name, y), *more = trial.base.items()
    if more or y.size != 1:
        raise WrongClaim(
            "shape", trial.leaves[0], f"a Hessian needs a scalar forward; {name} has shape {y.shape}"
        )
    asked = [_hessian_rows(trial, trial.leaves, rng) for _ in range(_PROBES)]
    return [_worst(list(same)) for same in zip(*asked, strict=True)]


def _hessian_rows(trial: Trial, leaves: Sequence[str], rng: np.random.Generator) -> list[Finding]:
    """All leaves asked at once, by halves where that does not settle every one of them."""
    together = _hessian_probe(trial, leaves, rng)
    if len(leaves) == 1 or all(f.decision.verdict is Verdict.PASS for f in together):
        return together
    half = len(leaves) // 2
    return [f for part in (leaves[:half], leaves[half:]) for f in _hessian_rows(trial, part, rng)]


def _hessian_probe(trial: Trial, leaves: Sequence[str], rng: np.random.Generator) -> list[Finding]:
    product = trial.target.hessian_product
    if product is None:
        raise TypeError(f"{trial.target.name}: claims no second derivative")
    u = {n: np.ones(y.shape) for n, y in trial.base.items()}
    v = trial.admissible(draw_tangent(rng, trial.point, trial.leaves, trial.target.dtype))
    some = trial.admissible(draw_tangent(rng, trial.point, leaves, trial.target.dtype))
    w = {n: some[n] if n in some else np.zeros(x.shape) for n, x in v.items()}
    computed, noise = _with_noise(trial, lambda x: dot(product(x, v), w), rng)
    found = product(trial.point, v)
    rows = {n: np.zeros(v[n].shape) if found.get(n) is None else to_float64(found[n]) for n in leaves}
    noise = max(noise, trial.target.eps / 2 * magnitude(rows, some))
    scales = {n: Scales(magnitude({n: rows[n]}, {n: some[n]}), magnitude(trial.base, u)) for n in leaves}
    require = default_require(trial.options.require, trial.target.eps)
    smallest = min((s.leaf for s in scales.values() if s.leaf > 0), default=0.0)
    opinion = second_derivative(trial, u, v, w, require * smallest / 4)
    return [_second_finding(trial, n, (u, v, w), computed, noise, scales[n], opinion) for n in leaves]


def _second_finding(
    trial: Trial, leaf: str, question: tuple[Arrays, Arrays, Arrays], computed: float, noise: float,
    scales: Scales, opinion: Opinion,
) -> Finding:  # fmt: skip
    """The decision for one leaf; a failure stands if the other family, or other differences, find it too."""
    u, v, w = question
    require = default_require(trial.options.require, trial.target.eps)
    decision = decide(computed, opinion.best, noise, scales, require, trial.options.tolerate)
    if decision.verdict is Verdict.FAIL and decision.reason != "nonfinite":
        believed = opinion.best is opinion.foreign
        witness = opinion.native if believed else confirm_higher(
            lambda d: trial.phi(u, d), (v, w), trial.eps, trial.options.seed
        )  # fmt: skip
        if not finds(computed, witness, noise):
            decision = replace(decision, verdict=Verdict.INCONCLUSIVE, reason=witness.reason or "unconfirmed")
    return Finding(trial, leaf, decision, opinion, u, v, Gradient({}, {}, (), frozenset(), {}), opinion.name)


def second_derivative(trial: Trial, u: Arrays, v: Arrays, w: Arrays, need: float) -> Opinion:
    """``<w, H v>`` of ``<u, f>``: by differences, and by differences of complex steps that agree with them."""
    return consult_higher(
        along=lambda d: trial.phi(u, d), forward=trial.forward if trial.target.foreign else None, point=trial.point,
        u=u, directions=(v, w), eps=trial.eps, need=need, seed=trial.options.seed,
    )  # fmt: skip
