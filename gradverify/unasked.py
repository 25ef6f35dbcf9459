"""What nobody asked for: the pullback's contracts and special points. Only a failure becomes a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from gradverify.arrays import Arrays, all_finite
from gradverify.contracts import Breach, breaches
from gradverify.elsewhere import is_blurred
from gradverify.judging import Finding
from gradverify.limits import BudgetSpent
from gradverify.probes import draw_cotangent
from gradverify.records import Cause, Check, Options, Verdict
from gradverify.regimes import AT_ZERO, LARGE, special_points
from gradverify.rows import Row, blank, rows_of
from gradverify.subgradients import judge_at_point
from gradverify.trial import Trial

_BREACH_ADVICE = {
    "mutated-input": "work on a copy: the caller's array is changed, and a backward that reads it reads the new values",
    "mutated-upstream": "work on a copy: other users of the same array see the change",
    "mutated-saved": "copy what was saved before working on it: a second backward, or another reader, sees the change",
    "stale-cache": "keep what the backward needs in this call's own cache, context or closure, not where all share",
    "accumulated": "start from zero in each backward, or let the caller add up: dw = ..., not buffer += ...",
    "nondeterministic": "initialise every buffer, fix the random state, or synchronise",
    "upstream-ignored": "multiply by the upstream gradient",
    "nonlinear": "a pullback is linear in its upstream gradient: nothing may be squared, clipped or added to it",
    "input-layout": "index through the array's axes, not through its memory: no order='K', no raw strides",
    "subset": "compute each gradient that needs_input_grad asks for, whatever else it asks for",
    "vmap": "the rule for vmap must move each batched argument by its in_dims, and say where the batch is afterwards",
    "upstream-layout": "read the upstream gradient through its strides, or make it contiguous first",
    "upstream-refused": "make it contiguous first, or reshape it where it is viewed: a sum, a transpose or a "
                        "concatenation behind this function sends such a one, and training stops there",
}


def contract_checks(trial: Trial) -> list[Check]:
    """One failure for each contract that the pullback breaks, and each leaf at which it does."""
    rng = np.random.default_rng((trial.options.seed, 3))
    u = draw_cotangent(rng, trial.base)
    found: dict[tuple[str, str], Breach] = {}
    try:
        for breach in breaches(trial, u, trial.gradient(u), trial.options.seed):
            found.setdefault((breach.cause, breach.leaf), breach)
    except BudgetSpent:
        trial.counts.skipped.append("the other contracts: budget spent")
    return [_breach_check(trial, breach) for breach in found.values()]


def _breach_check(trial: Trial, breach: Breach) -> Check:
    cause = Cause(
        breach.cause,
        breach.text,
        breach.error or f"{breach.computed:.6g} against {breach.expected:.6g}",
        _BREACH_ADVICE[breach.cause],
        1.0,
    )
    return blank(
        trial, breach.leaf, Verdict.FAIL, Row(), reason=breach.cause, detail=breach.text, causes=(cause,),
    )  # fmt: skip


def special_checks(trial: Trial) -> Iterator[Check]:
    """Regimes nobody asked for: only a failure is a row, everything else is counted as skipped or fine."""
    rounds = 8 if trial.options.search == "deep" else 1
    for k in range(rounds):
        for name, point in special_points(trial, trial.options.seed + k):
            found = _special_check(trial, name, point)
            yield from found
            if found:  # one special point explained says more than five
                return


_SPECIAL_BUDGET = 600  # forwards for a point that nobody asked for: a kink takes about 250


def _special_check(trial: Trial, name: str, point: Arrays) -> list[Check]:
    try:
        spent = trial.counts.forwards + _SPECIAL_BUDGET
        limit = replace(trial.options, budget=min(spent, trial.options.budget or spent))
        there = Trial(trial.target, limit, point, trial.counts)
        run = partial(_special_findings, there, name, trial.options)
        checks = rows_of(there, run, regime=name) if all_finite(there.base) else []
    except Exception:
        trial.counts.skipped.append(name)
        return []
    failed = [c for c in checks if c.verdict is Verdict.FAIL and not _proves_nothing(trial, name, c)]
    if not checks or len(failed) < sum(c.verdict is not Verdict.PASS for c in checks):
        trial.counts.skipped.append(name)
    return failed


def _special_findings(there: Trial, regime: str, options: Options) -> list[Finding]:
    """Without the NaN of a derivative that does not exist where all is zero: nobody guards x / |x| there."""
    found = judge_at_point(there, probes=1)
    for finding in found:
        finding.trial.options = options  # what failed is explained within the user's own budget
    if regime != AT_ZERO:
        return found
    return [f for f in found if f.decision.reason != "nonfinite" or f.opinion.native.reason not in ("kink", "jump")]


def _proves_nothing(trial: Trial, regime: str, check: Check) -> bool:
    """A mismatch at values far outside the user's, in something that is not an operator on them.

    Losses clip their probabilities and guard their logarithms: with weights of 40 their forward is
    flat by intention, and a gradient of the unguarded formula is what everybody wants. And a zero at a
    kink is what automatic differentiation makes of two ReLUs that meet there, whatever the slopes.
    """
    if is_blurred(check, trial.target.dtype):
        return True
    operator = any(y.shape == check.shape for y in trial.base.values()) and check.shape != ()
    if operator:
        return False
    return (regime in LARGE and check.reason != "nonfinite") or (check.reason == "kink" and check.computed == 0.0)
