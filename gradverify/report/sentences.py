"""What a check says, in the same words for terminal, page and JSON readers.

A reason is a short name; its sentence here says what stood in the way and what to do about it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from gradverify.records import Check, Verdict
from gradverify.report import words

GIVEN = "given"
HERE = (GIVEN, "implementation")  # regimes of the user's own point
ELSEWHERE = "not at your point: "

# Reason -> what was seen, what to do.
REASONS = {
    "resolution": (
        "the oracles cannot resolve it finely enough for a pass",
        "check in float64, pass a reference= in float64, or ask for less with require="),
    "kink": (
        "the forward has a kink here, where only one-sided slopes exist",
        "move the point off the kink; if a certain subgradient is meant, say so: surrogate="),
    "flat": (
        "the forward does not move here as far as differences can see, and they alone cannot certify a zero",
        "check at a point where it moves"),
    "jump": (
        "the forward jumps here: there is no derivative to compare with",
        "move the point off the jump"),
    "staircase": (
        "the forward is a staircase here, the computed gradient is not zero",
        "if a straight-through gradient is meant, say so: surrogate=identity"),
    "noise": (
        "rounding noise hides the derivative",
        "check in float64, or at a point where fewer digits cancel"),
    "nondeterministic": (
        "the same call returned different values",
        "pass the random key or seed as an argument, or choose deterministic kernels"),
    "domain": (
        "the forward leaves its domain beside this point",
        "move the point inside, or say where it is defined: domain={leaf: 'positive'}"),
    "forward-inexact": (
        "the forward is further from its own exact value than rounding explains",
        "tighten the tolerance of its iteration, or pass an exact reference="),
    "unsupported": (
        "no oracle can run this forward",
        "try oracle='finite', or pass a plain version of the computation: reference="),
    "disagreement": (
        "the oracles disagree: the forward does not compute in float64 what it says in exact arithmetic",
        "look for cancellation in the forward, or pass a stable version of it: reference="),
    "zero": (
        "the gradient is zero here as far as differences can see, and they alone cannot certify a zero",
        "check at another point too, or pass a plain NumPy version: reference="),
    "convention": (
        "the gradient is right for something other than its own forward, by the factor named",
        "decide which of the two is meant"),
    "unconfirmed": (
        "one oracle sees a difference that no oracle of another family confirms",
        "compare oracle='finite' with oracle='quad', or pass a reference="),
    "budget": (
        "the forward evaluations it was given were spent first",
        "give it more: budget="),
    "timeout": (
        "it did not finish in the time it was given",
        "check a smaller input, or allow more time"),
    "error": (
        "the target raised an exception",
        "the last lines of its traceback follow"),
    "asymmetric": (
        "the order of differentiation matters, as it does for no derivative",
        "look for a term that one of the two mixed derivatives misses"),
    "nonfinite": (
        "computed is not finite where the forward and the oracle are",
        "look for 0/0, log(0) or an overflow in the backward"),
}
UNKNOWN = ("it could not be decided", "")

ORACLE_NAMES = {"finite": "finite differences", "complex": "complex step", "complexstep": "complex step",
                "quad": "quadruple precision", "mpmath": "multiprecision", "certified": "ball arithmetic",
                "reference": "the reference"}
MODES = {"forward": "forward mode", "upstream": "of the backward by its upstream gradient",
         **{modes: modes for modes in ("forward over reverse", "reverse over reverse")}}
ORDERS = {2: "second order", 3: "third order"}


def reason_words(reason: str) -> tuple[str, str]:
    """The sentence of a reason and its advice; a reason without an entry is its own sentence."""
    return REASONS.get(reason, (words.clean(reason).replace("-", " "), "") if reason else UNKNOWN)


def oracles(checks: Iterable[Check]) -> str:
    """The oracles behind these checks: ``complex step and finite differences``."""
    parts = [part for check in checks for part in re.split(r"\s*(?:[+,;]|\band\b)\s*", check.oracle) if part]
    return words.joined(dict.fromkeys(ORACLE_NAMES.get(part, words.cut(part, 40)) for part in parts))


def leaf_label(check: Check, *, with_output: bool = False, most: int = 40) -> str:
    """The leaf, and of output, order and mode whatever is not the ordinary one."""
    remarks = [words.cut(check.output, most)] if with_output and check.output else []
    remarks += [ORDERS[check.order]] if check.order in ORDERS else []
    remarks += [MODES[check.mode]] if check.mode in MODES else []
    name = words.cut(check.wrt, most)
    return f"{name} ({', '.join(remarks)})" if remarks else name


def failure(check: Check) -> str:
    """What is wrong, in one sentence: how many entries, the worst one, computed and expected."""
    said = f"{reason_words(check.reason)[0]}; " if check.reason else ""
    if check.worst is None:
        return said + _as_a_whole(check) if not _unknown(check) else said.removesuffix("; ") or "wrong"
    computed, expected = words.two_numbers(check.worst.computed, check.worst.expected)
    where = f"worst {words.cut(check.worst.path, 60)}: " if check.worst.index else ""
    return f"{said}{how_many(check)}{where}computed {computed}, expected {expected}"


def how_many(check: Check) -> str:
    """``50 of 50 entries, ``, or nothing where entries were not counted."""
    if not check.wrong_entries or (check.worst is not None and not check.worst.index):
        return ""
    sampled = "" if check.sampled_entries >= math.prod(check.shape) else "sampled "
    return f"{check.wrong_entries:,} of {check.sampled_entries:,} {sampled}entries, "


def _unknown(check: Check) -> bool:
    return math.isnan(check.computed) and math.isnan(check.expected)


def _as_a_whole(check: Check) -> str:
    computed, expected = words.two_numbers(check.computed, check.expected)
    return f"as a whole: computed {computed}, expected {expected}"


def off_by(check: Check) -> str:
    """How far off, and how little would have been seen: ``off by 0.15 %; this check resolves 2e-15``."""
    sizes = [size for size in (_entry_error(check), leaf_error(check)) if math.isfinite(size)]
    parts = []
    if len(sizes) == 2 and words.relative(sizes[0]) != words.relative(sizes[1]):
        entry, leaf = map(words.relative, sizes)
        whole = "of the whole leaf" if _all_are_known(check) else "of the leaf as computed"
        parts.append(f"off by {entry} in that entry, {leaf} {whole}")
    elif sizes:
        parts.append(f"off by {words.relative(sizes[0])} relative")
    elif math.isfinite(check.discrepancy):
        parts.append(f"off by {words.short(check.discrepancy)}")
    if math.isfinite(check.resolution):
        parts.append(f"this check resolves {words.bound(check.resolution)}")
    return "; ".join(parts)


def _all_are_known(check: Check) -> bool:
    """Whether the expected value of every entry is on record."""
    return check.sampled is not None and 0 < math.prod(check.shape) <= len(check.sampled.indices)


def leaf_error(check: Check) -> float:
    """|computed - expected| / |expected| over all entries; where only some were asked the probe's discrepancy.

    That one is in units of the leaf as computed, as `resolution` is the bar in them: what is expected of the
    whole leaf is not known there.
    """
    if check.sampled is not None and _all_are_known(check):
        gaps = [c - e for c, e in zip(check.sampled.computed, check.sampled.expected, strict=True)]
        return math.hypot(*gaps) / size if (size := math.hypot(*check.sampled.expected)) else math.nan
    if check.bar > 0 and check.resolution > 0:
        return check.discrepancy / check.bar * check.resolution
    return abs(check.discrepancy / check.expected) if check.expected else math.nan


def _entry_error(check: Check) -> float:
    if check.worst is None or not check.worst.expected:
        return math.nan
    return abs((check.worst.computed - check.worst.expected) / check.worst.expected)


def precision(checks: Sequence[Check]) -> str:
    """How well the passing checks passed: ``each to 3e-15, any one entry to 2e-13``."""
    known = [check for check in checks if math.isfinite(check.resolution)]
    if not known:
        return ""
    each = "each " if len({check.wrt for check in known}) > 1 else ""
    return f"{each}{_to(max(check.resolution for check in known))}, {_entrywise(known)}"


def _to(size: float) -> str:
    return f"to {words.bound(size)}" if size else "exactly"


def _entrywise(checks: Sequence[Check]) -> str:
    seen = [check.entrywise for check in checks if check.entrywise is not None]
    whole = list(dict.fromkeys(words.cut(check.wrt, 30) for check in checks if check.entrywise is None))
    if not seen:
        return "normwise"
    only_whole = f" ({words.listed(whole, 40)} normwise)" if whole else ""
    return f"any one entry {_to(max(seen))}{only_whole}"


def inconclusive(check: Check) -> tuple[str, str]:
    """What stood in the way, with the first line of the check's own detail, and what to do."""
    sentence, advice = reason_words(check.reason)
    if check.reason == "resolution" and math.isfinite(check.resolution):
        sentence = f"the oracles resolve {words.bound(check.resolution)} here, too little for a pass"
    if check.reason == "domain":
        advice = advice.replace("leaf", repr(words.cut(check.wrt, 30)))
    lines = words.clean_lines(check.detail, 2)
    return (f"{sentence} ({lines[0]})" if len(lines) == 1 else sentence), advice


def result(check: Check) -> str:
    """The outcome of any check in one sentence."""
    where = ELSEWHERE + words.cut(check.regime, 80) + "; " if check.regime not in HERE else ""
    if check.verdict is Verdict.PASS:
        return precision([check]) or "holds"
    return where + (failure(check) if check.verdict is Verdict.FAIL else inconclusive(check)[0])
