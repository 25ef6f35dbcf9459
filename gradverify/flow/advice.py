"""What a report says in words: the headline, the findings, and what to do, each tried before it is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradverify.arrays import EPS, dtype_name, to_float64
from gradverify.deriving import derivative
from gradverify.flow.prediction import UNLIKELY
from gradverify.flow.record import FlowReport, FlowVerdict, Signal
from gradverify.flow.verdict import has_pace, is_chaotic, is_lost, is_perceptron, is_too_large, is_too_small
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Cause

EXPLAINED, UNEXPLAINED = "explained-by-initialisation", "not-explained"
CHAOS, FORGOTTEN, PERCEPTRON, DROWNED = "chaotic", "inputs-forgotten", "few-directions", "differences-drowned"
JUDGED_AT_MOST = 8  # layers whose own backward pass is checked, the most suspicious first


def advised(report: FlowReport, measured: Sequence[Any]) -> FlowReport:
    """The report with its findings in words."""
    findings = (*_unexplained(measured), *_explained(report), *_of_signal(report), *_helped(report),
                *_underflows(report))
    report = replace(report, findings=findings)
    wrong = f"wrong backward pass in {', '.join(report.wrong)}; " if report.wrong else ""
    return replace(report, headline=wrong + _headline(report))


def _headline(report: FlowReport) -> str:
    lost = f"the gradient's size changes by {report.decades:+.1f} decades from the last layer to the first"
    if not math.isnan(report.predicted):
        error = "" if math.isnan(report.error) else f" +- {report.error:.1f}"
        lost += f" (theory {report.predicted:+.1f}{error})"
    if report.verdict is FlowVerdict.NONFINITE:
        return "the output or the loss is not finite: nothing can be said of its gradient"
    limits, seen = report.limits, report.signal
    if seen is not None and has_pace(limits, seen) and report.verdict is not FlowVerdict.DEAD:
        return f"{lost}; {_pace(report, seen)}"
    within = -limits.lost <= report.decades <= limits.gained
    if report.verdict is FlowVerdict.HEALTHY:
        return f"{lost}; {report.optimizer.name} trains from -{limits.lost:.3g} to +{limits.gained:.3g}"
    if within and seen is not None and is_chaotic(seen):
        return f"{lost}, and by {seen.sensitivity:+.1f} relative to the outputs: steps that small are of no use"
    if within and seen is not None and is_perceptron(limits, report.decades, seen):
        return f"{lost}: outputs that large must tell all examples apart, and steps move them {seen.reach:.1f} ways"
    if within and seen is not None and is_lost(seen):
        return f"{lost}, but hardly anything of the inputs reaches the output: no gradient can tell them apart"
    return f"{lost}; {_CONSEQUENCE[report.verdict]} under {report.optimizer.name}"


def _pace(report: FlowReport, seen: Signal) -> str:
    """What one rate for all layers does, in words."""
    name, limits = report.optimizer.name, report.limits
    if is_too_large(limits, report.decades, seen):
        return f"one step of {name} changes the weights of a layer 10^{seen.stride:.1f} times over, at a rate of 1e-4"
    if is_chaotic(seen):
        return "small steps make unrelated outputs: what one has learnt the next one loses"
    slow = "not at all" if math.isinf(seen.conditioning) else f"10^{seen.conditioning:.1f} times more slowly"
    says = f"what tells examples apart is learnt {slow}" + ("" if slow == "not at all" else " than what moves fastest")
    if is_too_small(limits, report.decades, seen):
        return f"{says}; {name} forgives 10^{limits.slow:.3g}"
    return f"{says}, and {name} forgives 10^{limits.slow:.3g}"


_CONSEQUENCE = {
    FlowVerdict.VANISHING: "the first layers stand still",
    FlowVerdict.SATURATED: "most units are on a flat end and the first layers stand still",
    FlowVerdict.EXPLODING: "no learning rate suits both ends",
    FlowVerdict.DEAD: "a layer passes nothing on",
}


def _unexplained(measured: Sequence[Any]) -> tuple[Cause, ...]:
    odd = sorted((m for m in measured if m.prediction.explained is False), key=_suspicion, reverse=True)
    return tuple(_judged(m) for m in odd[:JUDGED_AT_MOST])


def _suspicion(m: Any) -> float:
    return math.inf if m.prediction.fits is False else abs(m.prediction.z)


def _judged(m: Any) -> Cause:
    p, kind = m.prediction, m.site.kind
    seen = (f"{m.site.name}: ln ratio {m.sizes.log_ratio:+.2f}, theory {p.log_ratio:+.2f}"
            + ("" if math.isnan(p.z) else f" +- {p.error:.2f} (z {p.z:+.1f})"))
    right = own_backward_is_right(m)
    if right is False:
        return Cause("wrong-backward", f"the backward pass of {kind} is not that of its forward pass, by finite "
                     "differences", seen, f"gradverify.check on this {kind} says which entries are wrong and why", 1.0)
    if right:
        return Cause(UNEXPLAINED, f"{kind} has a right backward pass, by finite differences: what arrives must depend "
                     "on its weights, as in trained, tied or orthogonal ones", seen, "nothing, if that is meant", 0.3)
    return Cause(UNEXPLAINED, f"{kind} does to the gradient what its forward pass does not explain", seen,
                 "look for a wrong backward pass: gradverify.check", 0.6)


def own_backward_is_right(m: Any) -> bool | None:
    """Whether <sent, v> is <received, J v>, J v by differences of the layer's forward; None where they cannot say."""
    if m.site.again is None or m.received is None or m.sent is None:
        return None
    answers = (_asked(m, np.random.default_rng(seed).normal(size=m.site.x.shape)) for seed in range(3))
    return next((answer for answer in answers if answer is not None), None)


def _asked(m: Any, v: np.ndarray) -> bool | None:
    received, sent = to_float64(m.received), to_float64(m.sent)
    expected = derivative(lambda x: float(np.vdot(received, to_float64(m.site.again(x)))), m.site.x, v, "finite")
    scale = float(np.linalg.norm(sent * v))
    bar = expected.error + NOISE_FACTOR * EPS.get(dtype_name(m.site.x), 2.0**-52) * scale
    off = abs(float(np.vdot(sent, v)) - expected.value)
    if not math.isfinite(off) or bar > 0.1 * max(scale, off):
        return None
    return off <= FAIL_FACTOR * bar


def _explained(report: FlowReport) -> tuple[Cause, ...]:
    if report.verdict not in (FlowVerdict.VANISHING, FlowVerdict.EXPLODING, FlowVerdict.SATURATED):
        return ()
    within = -report.limits.lost <= report.decades <= report.limits.gained
    if within or math.isnan(report.z) or abs(report.z) > UNLIKELY:
        return ()
    return (Cause(EXPLAINED, "the initialisation and the activations alone do this: no backward pass is wrong",
                  f"{report.decades:+.1f} decades measured, {report.predicted:+.1f} +- {report.error:.1f} predicted",
                  "", 0.9),)


def _of_signal(report: FlowReport) -> tuple[Cause, ...]:
    """What became of the inputs, where that alone keeps the network from learning."""
    seen = report.signal
    if seen is None:
        return ()
    found = []
    if is_chaotic(seen):
        found.append(Cause(CHAOS, "inputs that hardly differ become unrelated outputs: no gradient holds for long",
                           f"a relative change of the first layer by 10^-{seen.sensitivity:.1f} changes the outputs as "
                           "much as another example does", "smaller weights, skip connections or normalisation", 0.8))
    if is_perceptron(report.limits, report.decades, seen):
        found.append(Cause(PERCEPTRON, "outputs are so large that each example that is wrong costs as much, and what "
                           "helps one moves the others along", f"one step of {report.optimizer.name} can move the "
                           f"outputs of {seen.examples} examples in {seen.reach:.1f} directions",
                           "smaller weights, wider layers or normalisation", 0.7))
    if not is_too_small(report.limits, report.decades, seen):
        return tuple(found)
    if is_lost(seen):
        found.append(Cause(FORGOTTEN, "different inputs become one output before anything is learnt",
                           f"examples differ in {seen.directions} directions at the last layer, of {seen.possible}; "
                           f"outputs differ by {seen.spread:.1e} of their size",
                           "fewer layers, wider ones, skip connections or normalisation", 0.8))
    elif has_pace(report.limits, seen) and report.decades >= -report.limits.lost:
        found.append(Cause(DROWNED, "what all examples have in common, and biases, set the rate: what tells examples "
                           "apart is too weak to be learnt at it", f"10^{seen.conditioning:.1f} times weaker; "
                           f"{report.optimizer.name} forgives 10^{report.limits.slow:.3g}",
                           "tanh or normalised sums, whose mean is 0, larger weights, or an adaptive optimizer", 0.8))
    return tuple(found)


def _helped(report: FlowReport) -> tuple[Cause, ...]:
    """What helped when it was tried on a copy; if nothing did, that too."""
    if not report.trials:
        return ()
    good = [trial for trial in report.trials if trial.verdict is FlowVerdict.HEALTHY]
    if not good:
        return (Cause("no-remedy", "none of the remedies that were tried on a copy makes it healthy",
                      "; ".join(map(str, report.trials)), "fewer layers, skip connections or normalisation", 0.5),)
    return (Cause("remedy", "tried on a copy and measured again, this makes it healthy",
                  "; ".join(map(str, report.trials)), good[0].remedy, 0.8),)


def _underflows(report: FlowReport) -> tuple[Cause, ...]:
    if math.isnan(report.loss):
        return ()
    found = []
    below = [layer.below_eps for layer in report.layers if layer.below_eps == layer.below_eps]
    if report.optimizer.eps and below and max(below) > 0.5:
        found.append(Cause("below-eps", f"in {sum(b > 0.5 for b in below)} layers most of the gradient is below the "
                           f"eps {report.optimizer.eps:g} of {report.optimizer.name}, which moves them too slowly",
                           f"up to {max(below):.0%} of the entries", "scale the loss up, or take a smaller eps", 0.7))
    half = [layer.below_half for layer in report.layers if layer.below_half == layer.below_half]
    if half and max(half) > 0.5:
        found.append(Cause("below-half", f"in {sum(b > 0.5 for b in half)} layers float16 would round most of the "
                           "gradient to zero", f"up to {max(half):.0%} of the entries",
                           "in float16 scale the loss; bfloat16 holds them", 0.3))
    return tuple(found)
