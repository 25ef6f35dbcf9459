"""What an audit reads out of the engine's findings: conventions and habits are told from plain bugs."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from gradverify.audit.guesses import BATCH
from gradverify.records import Check, Report, Verdict
from gradverify.regimes import LARGE

_ROUNDING = 1e-6  # of the printed worst entry; a sample more or less changes the factor by far more
_SLIGHT = 1e-3  # relative, at points nobody asked for: an epsilon guards the value and not the gradient
_NOTHING = 1e-8  # of an upstream gradient of size one
IN_PLACE = ("mutated-upstream", "mutated-saved", "mutated-input")


def in_conventions(
    report: Report, *, is_loss: bool, leaves: Sequence[str] = (), guarded: Collection[str] = (),
    batches: Collection[int] = ()
) -> tuple[Report, str]:
    """The report as an audit sees it, and the name of the convention that it found.

    Loss functions return the mean over the samples next to the gradient of every sample's own loss,
    and layers divide the gradients of all parameters by the batch. Whoever wrote both may divide
    elsewhere, so the factor is named and nothing is failed. An array changed in place is a hazard
    for its other readers and no wrong gradient.
    """
    checks = tuple(c for c in report.checks if not (_is_slight(c) or _is_guarded(c, guarded)))
    if is_loss:
        checks = tuple(_negligible(c) if is_epsilon(c) else c for c in checks if is_epsilon(c) or not _is_clipped(c))
    if not checks:  # nothing but what is left out: as good as right
        checks = tuple(replace(c, verdict=Verdict.PASS, reason="", causes=()) for c in report.checks)
    checks = tuple(_stability(c) if c.reason == "nonfinite" and c.regime in LARGE else c for c in checks)
    checks = tuple(_in_place(c) if c.reason in IN_PLACE else c for c in checks)
    report = replace(report, checks=checks)
    factor = _common_factor(report, is_loss, leaves, batches)
    if factor is None:
        return (report, "") if report.verdict is Verdict.FAIL else (replace(report, again=""), "")
    text, suffix = _words(factor, is_loss)
    undecided = tuple(as_convention(c, text) if c.verdict is Verdict.FAIL else c for c in checks)
    return replace(report, checks=undecided, again=""), suffix


def _is_slight(check: Check) -> bool:
    """A failure at a special point, or of a tie, by less than one in a thousand; of what is zero, by 1e-8."""
    singular = check.regime not in ("given", "implementation") or check.reason in ("tie", "kink")
    failed = check.verdict is Verdict.FAIL and math.isfinite(check.discrepancy)
    if failed and _stands_still(check):
        # Where a softmax takes a constant away, the epsilon in its denominator leaves 1e-9 of it.
        return all(abs(entry.computed) <= _NOTHING for entry in check.entries)
    if not (failed and singular):
        return False
    pairs = [(e.computed, e.expected) for e in check.entries]  # along a direction of 1e4 nothing becomes something
    told = bool(pairs) and all(abs(a - b) <= max(_SLIGHT * abs(b), _NOTHING) for a, b in pairs)
    return told or check.discrepancy <= max(_SLIGHT * max(abs(check.expected), abs(check.computed)), _NOTHING)


def _is_guarded(check: Check, leaves: Collection[str]) -> bool:
    """A failure at values nobody asked for, where the forward stands still: a clip guards it.

    Only values of 1e4 count, unless the leaf is one of those whose clip is seen in the code.
    """
    outside = check.regime in LARGE or (check.wrt in leaves and check.regime not in ("given", "implementation"))
    return check.verdict is Verdict.FAIL and outside and _stands_still(check)


def _stands_still(check: Check) -> bool:
    return bool(check.entries) and all(entry.expected == 0 for entry in check.entries)


def is_epsilon(check: Check) -> bool:
    """A failure by less than one in ten thousand in every entry: the epsilon in the logarithm of a loss.

    At other settings, where probabilities may be tiny, by less than one in a hundred.
    """
    least = _EPSILON_ELSEWHERE if "=" in check.regime else _EPSILON
    size = max((abs(entry.expected) for entry in check.entries), default=0.0)
    small = all(abs(entry.computed - entry.expected) <= least * size for entry in check.entries)
    return check.verdict is Verdict.FAIL and bool(check.entries) and small


_EPSILON, _EPSILON_ELSEWHERE = 1e-4, 1e-2


def _negligible(check: Check) -> Check:
    """What is known of it stays in the report: how far the gradient is off, and from what."""
    return replace(check, verdict=Verdict.PASS, reason="negligible", causes=())


def _is_clipped(check: Check) -> bool:
    """A loss at values that nobody asked for: it clips its probabilities, and its gradient need not."""
    return check.verdict is Verdict.FAIL and check.regime not in ("given", "implementation") and "=" not in check.regime


def _stability(check: Check) -> Check:
    """An overflow at values of 1e4 is a matter of stability, not of the formula."""
    return replace(check, verdict=Verdict.INCONCLUSIVE)


def _in_place(check: Check) -> Check:
    return replace(check, verdict=Verdict.INCONCLUSIVE)


def _common_factor(report: Report, is_loss: bool, leaves: Sequence[str], batches: Collection[int]) -> float | None:
    """The one factor by which all failures, and among the parameters no pass, are off: a size, or one over it."""
    failed = [c for c in report.checks if c.verdict is Verdict.FAIL and c.regime == "given"]
    if not failed or any(c.verdict is Verdict.FAIL and c.regime != "given" for c in report.checks):
        return None
    passed = {c.wrt for c in report.checks if c.verdict is Verdict.PASS}
    about_inputs = all(c.wrt in leaves for c in failed)
    if passed - (set() if about_inputs else set(leaves)):
        return None  # one parameter off and another right: a bug in that one
    if about_inputs and not is_loss:
        return None
    least = _EPSILON if is_loss else _ROUNDING  # a loss has an epsilon in its logarithm, its gradient another
    factors = [f for c in failed if (f := _factor(c, least)) is not None or c.entries]
    first = factors[0] if factors else None
    if first is None or any(f is None or abs(f / first - 1) > least for f in factors):
        return None
    if not all(_is_off_by(c, first) for c in failed if not c.entries):
        return None
    if not about_inputs and not is_loss:  # averaged over the batch, which the inputs show: never more than the sum
        sizes = _batches(report, leaves) or set(batches) or {BATCH}
        return first if first < 1 and any(abs(first * n - 1) < _ROUNDING for n in sizes) else None
    sizes = _sizes(report)
    return first if any(abs(abs(f) / n - 1) < least for n in sizes for f in (first, 1 / first)) else None


def _is_off_by(check: Check, factor: float) -> bool:
    """Whether a failure of which only the whole is known, as where a budget ended, is off by a factor too."""
    return abs(check.computed - factor * check.expected) <= check.bar


def _factor(check: Check, least: float) -> float | None:
    """The one factor by which the entries shown are off, to within `least`; None for none, or a negative one."""
    factors = [entry.computed / entry.expected for entry in check.entries if entry.expected]
    if not check.shape or len(factors) < min(math.prod(check.shape), _ENTRIES) or len(factors) != len(check.entries):
        return None
    same = all(abs(f / factors[0] - 1) < least for f in factors) if factors[0] > 0 else False
    return factors[0] if same else None


_ENTRIES = 2


def _sizes(report: Report) -> set[int]:
    """The sizes that a mean may have been taken over: of the first axis, of everything."""
    shapes = [c.shape for c in report.checks if c.shape]
    return {n for shape in shapes for n in (shape[0], math.prod(shape), math.prod(shape[:2]), shape[-1]) if n > 1} | {5}


def _batches(report: Report, leaves: Sequence[str]) -> set[int]:
    """What a batch may be in the inputs that are judged: the first axis, the last, the first two."""
    shapes = [c.shape for c in report.checks if c.shape and c.wrt in leaves]
    return {n for shape in shapes for n in (shape[0], shape[-1], math.prod(shape[:2])) if n > 1}


def _words(factor: float, is_loss: bool) -> tuple[str, str]:
    number = f"{round(factor)}" if factor > 1 else f"1/{round(1 / factor)}"
    if is_loss and factor > 1:
        text = f"the gradient is that of the sum, the forward returns the mean: right up to the factor {number}"
        return text, f" of the sum (factor {number})"
    if is_loss:
        text = f"the gradient is that of the mean, the forward returns the sum: right up to the factor {number}"
        return text, f" of the mean (factor {number})"
    text = f"every parameter's gradient is averaged over the batch, the input's is not: right up to the factor {number}"
    return text, f", gradients averaged (factor {number})"


def as_convention(check: Check, text: str) -> Check:
    """The check left undecided: what it shows may be meant, and `text` says as what."""
    return replace(check, verdict=Verdict.INCONCLUSIVE, reason="convention", detail=text, causes=())
