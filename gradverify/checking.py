"""`check` and `assert_gradients`: the one place that knows targets, oracles, verdicts and causes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from gradverify import events, limits
from gradverify.arrays import Arrays, all_finite, dtype_name, to_float64
from gradverify.contracts import Breach, breaches
from gradverify.diagnosis import at_singular_point, diagnose
from gradverify.domains import entries_are_free
from gradverify.elsewhere import is_blurred, look_elsewhere
from gradverify.explaining import explain_forward, explain_hessian
from gradverify.judging import Finding, judge, locate_in
from gradverify.limits import BudgetSpent
from gradverify.localize import Located
from gradverify.precision import judge_implementation, judge_tiles, wide_twin
from gradverify.questions import make_case
from gradverify.records import (
    Cause,
    Check,
    GradientInconclusive,
    GradientMismatch,
    Options,
    Report,
    Verdict,
    worst_verdict,
)
from gradverify.regimes import AT_ZERO, LARGE, special_points
from gradverify.saved import save
from gradverify.subgradients import at_kink, has_kink
from gradverify.surrogates import compare_values, with_reference, with_surrogate
from gradverify.sweeps import sweep
from gradverify.tangents import judge_forward, judge_hessian
from gradverify.targets import Target, make_targets
from gradverify.targets.calling import quiet
from gradverify.targets.gradients import WrongClaim
from gradverify.trial import Counts, Trial

_EVERYTHING = frozenset(Options.__dataclass_fields__)


def check(target: Any, *inputs: Any, **options: Any) -> Report:
    """Judge whether the derivatives that `target` claims are right at these inputs.

    See the README for the options; an unknown one is a TypeError. What the user's plain forward
    raises is raised; whatever fails later is an inconclusive check with reason ``error``.

    >>> import numpy as np
    >>> from gradverify import function
    >>> check(function(np.exp, derivative=lambda x: 1.0009 * np.exp(x)), 0.3).verdict.value
    'fail'
    """
    started = time.perf_counter()
    options = events.with_defaults(options)
    chosen = make_options(options)
    counts = Counts()
    with quiet() as printed, limits.one_check():
        targets = make_targets(target, inputs, chosen)
        checks = [c for each in targets for c in _check_target(each, chosen, counts)]
        failed = worst_verdict([c.verdict for c in checks]) is Verdict.FAIL
        there = partial(_rows_at, target, chosen, counts), partial(_fails_at, target, chosen, counts)
        found = None if failed else look_elsewhere(*there, inputs, chosen)
    report = Report(
        target=targets[0].name, checks=(*checks, *(found.checks if found else ())), skipped=tuple(counts.skipped),
        notes=_notes(targets, printed.getvalue()),
        forwards=counts.forwards, backwards=counts.backwards, seconds=time.perf_counter() - started,
    )  # fmt: skip
    if found is not None:
        inputs, options = found.inputs, {**options, "search": "none", "draw": None}
    if report.verdict is Verdict.FAIL:
        report = replace(report, again=save(target, inputs, options, report))
    events.publish(report)
    return report


def _rows_at(target: Any, options: Options, counts: Counts, inputs: tuple[Any, ...]) -> list[Check]:
    """The checks at other inputs, and only at these."""
    plain = replace(options, search="none", draw=None)
    return [c for each in make_targets(target, inputs, plain) for c in _check_target(each, plain, counts)]


def _fails_at(target: Any, options: Options, counts: Counts, inputs: tuple[Any, ...]) -> bool:
    """Whether the first derivative is wrong at other inputs; raises what the code raises there."""
    for each in make_targets(target, inputs, replace(options, search="none", draw=None)):
        trial = Trial(wide_twin(each) or each, replace(options, search="none"), dict(each.point), counts)
        try:
            findings = _at_point(trial, probes=1) if all_finite(trial.base) else []
        except WrongClaim:
            return True
        if any(f.decision.verdict is Verdict.FAIL and not is_blurred(f.decision, each.dtype) for f in findings):
            return True
    return False


def _notes(targets: tuple[Target, ...], printed: str) -> tuple[str, ...]:
    found = tuple(note for target in targets for note in target.findings())
    return (*found, "the target prints while it runs; kept quiet here") if printed else found


def assert_gradients(target: Any, *inputs: Any, **options: Any) -> Report:
    """`check`, raising GradientMismatch on a failure and GradientInconclusive where it cannot decide."""
    __tracebackhide__ = True
    report = check(target, *inputs, **options)
    if report.ok or events.excused(report):
        return report
    raise (GradientMismatch if report.verdict is Verdict.FAIL else GradientInconclusive)(report)


def make_options(keywords: dict[str, Any]) -> Options:
    """The options as one record; a keyword that does not exist is named."""
    unknown = sorted(set(keywords) - _EVERYTHING)
    if unknown:
        raise TypeError(f"{unknown[0]}=: no such option; there are {', '.join(sorted(_EVERYTHING))}")
    return Options(**keywords)


def _check_target(target: Target, options: Options, counts: Counts) -> list[Check]:
    if not target.point:
        raise TypeError(
            f"nothing to check: {target.name} has no floating input or parameter (integers are constants)"
        )
    if options.surrogate is not None:
        target = with_surrogate(target, options.surrogate)
    judged = target if options.reference is None else with_reference(target, options.reference)
    trial = Trial(judged, options, dict(target.point), counts)
    _require_finite(trial)
    if options.order > 1 and target.hessian_product is None:
        raise ValueError(f"order={options.order}: {target.name} claims no second derivative")
    if options.order > 2:
        raise ValueError(f"order={options.order}: {target.name} claims no third derivative")
    if not all_finite(trial.base):
        return [_outside(trial)]
    checks = compare_values(target, judged, trial) if judged is not target else []
    checks += _first_order(trial)
    if judged.trusted is not None and all(c.verdict is not Verdict.FAIL for c in checks):
        tiles = _judged(trial, lambda: judge_tiles(trial, options.seed), regime="implementation")
        # Every entry was compared: what rounding hid from a probe along the leaf is settled.
        settled = {c.wrt for c in tiles if c.verdict is Verdict.PASS}
        checks = [c for c in checks if not (c.reason in ("noise", "resolution") and c.wrt in settled)] + tiles
    if target.hessian_product is not None and options.mode != "forward":
        checks += _judged(trial, lambda: judge_hessian(trial, options.seed), order=2)
    if not checks:
        raise ValueError(f"mode={options.mode!r}: {target.name} claims no derivative in this mode")
    return checks


def _require_finite(trial: Trial) -> None:
    if not all_finite(trial.point):
        name = next(n for n, x in trial.point.items() if not np.all(np.isfinite(to_float64(x))))
        raise ValueError(f"{name}: holds NaN or infinity; a derivative is checked at finite points only")


def _outside(trial: Trial) -> Check:
    name = next(n for n, y in trial.base.items() if not np.all(np.isfinite(y)))
    detail = f"{name} is not finite at the point given: there is no derivative to check"
    return _blank(
        trial, ", ".join(trial.leaves), Verdict.INCONCLUSIVE, _Row(), reason="domain", detail=detail
    )


def _first_order(trial: Trial) -> Iterator[Check]:
    mode, twin = trial.options.mode, wide_twin(trial.target)
    wide = trial if twin is None else Trial(twin, trial.options, dict(twin.point), trial.counts)
    if mode in ("auto", "reverse", "both") and trial.target.linearize is not None:
        yield from _reverse(trial, wide)
    if mode in ("auto", "forward", "both") and wide.target.pushforward is not None:
        yield from _judged(wide, lambda: judge_forward(wide, trial.options.seed), mode="forward")


def _reverse(trial: Trial, wide: Trial) -> Iterator[Check]:
    """The formula where it can be resolved best, the implementation in its own dtype, then what may hide."""
    given = _judged(wide, lambda: _at_point(wide))
    if wide is not trial:
        run = lambda: judge_implementation(trial, wide, trial.options.seed)  # noqa: E731
        given += _judged(trial, run, regime="implementation")
    yield from given
    settled = all(c.verdict is not Verdict.FAIL and c.reason not in ("error", "budget", "timeout") for c in given)
    if trial.options.search == "none" or not settled:
        return
    try:
        yield from _contract_checks(trial)
        yield from _special_checks(wide)
    except BudgetSpent:
        trial.counts.skipped.append("the rest: budget spent")


def _at_point(trial: Trial, probes: int = 2) -> list[Finding]:
    findings = judge(trial, trial.options.seed, probes)
    if not has_kink(findings):
        return findings
    kinked = ("kink", "jump")
    return [at_kink(trial, f, trial.options.seed) if f.decision.reason in kinked else f for f in findings]


@dataclass(frozen=True)
class _Row:
    """How a row of the report differs from the default: its regime, mode and order."""

    regime: str = "given"
    mode: str = "reverse"
    order: int = 1


def _judged(trial: Trial, run: Callable[[], list[Finding]], **row: Any) -> list[Check]:
    """The findings as checks; a broken contract is a failure, any other exception an ``error``."""
    where, started = _Row(**row), time.perf_counter()
    spent = trial.counts.forwards
    try:
        findings = run()
    except WrongClaim as claim:
        return [_claim_check(trial, claim, where)]
    except BudgetSpent as end:
        return [_blank(trial, ", ".join(trial.leaves), Verdict.INCONCLUSIVE, where, reason=end.reason)]
    except Exception:
        text = traceback.format_exc()
        return [
            _blank(trial, ", ".join(trial.leaves), Verdict.INCONCLUSIVE, where, reason="error", detail=text)
        ]
    seconds = (time.perf_counter() - started) / max(len(findings), 1)
    evaluations = (trial.counts.forwards - spent) // max(len(findings), 1)
    return [replace(_check_of(trial, f, where), seconds=seconds, evaluations=evaluations) for f in findings]


def _check_of(trial: Trial, finding: Finding, where: _Row) -> Check:
    d, leaf = finding.decision, finding.leaf
    known = _blank(
        trial, leaf, d.verdict, where, reason=d.reason, oracle=finding.oracle, computed=d.computed, expected=d.expected,
        discrepancy=d.discrepancy, bar=d.bar, resolution=d.resolution, entrywise=finding.entrywise,
    )  # fmt: skip
    return known if d.verdict is not Verdict.FAIL else _explained(finding, known)


def _explained(finding: Finding, known: Check) -> Check:
    if known.order > 1:
        return _with_entries(known, *explain_hessian(finding))
    if known.reason in ("tie", "kink"):
        slopes = finding.opinion.native.slopes
        return replace(
            known, causes=(at_singular_point(known.reason, known.computed, known.expected, slopes),)
        )
    leaf, known = finding.leaf, replace(known, sweep=sweep(finding))
    if known.mode == "forward":
        return _with_entries(known, *explain_forward(finding))
    if not entries_are_free(finding.trial.regions.get(leaf)):
        return known
    located = finding.located or locate_in(finding.trial, finding.u, finding.gradient, leaf, by=finding.opinion.by)
    return _with_entries(known, located, diagnose(make_case(finding, located)))


def _with_entries(known: Check, located: Located, causes: tuple[Cause, ...]) -> Check:
    entries = located.entries()
    return replace(
        known, causes=causes, entries=entries, worst=entries[0] if entries else None,
        wrong_entries=int(located.wrong.sum()), sampled_entries=len(located.indices), sampled=located.sampled,
    )  # fmt: skip


def _blank(trial: Trial, leaf: str, verdict: Verdict, where: _Row, **fields: Any) -> Check:
    x = trial.point.get(leaf)
    return Check(
        target=trial.target.name, wrt=leaf, output=", ".join(trial.outputs), verdict=verdict, regime=where.regime,
        mode=where.mode, order=where.order, shape=np.shape(x) if x is not None else (), seed=trial.options.seed,
        dtype=dtype_name(x) if x is not None else trial.target.dtype, **fields,
    )  # fmt: skip


_CLAIM_TEXT = {"not-summed": "the gradient is not summed over the axes along which the leaf was broadcast"}
_CLAIM_ADVICE = {
    "shape": "return one array of the leaf's own shape: sum over broadcast axes, transpose or reshape the result",
    "dtype": "return real floating numbers",
    "not-summed": "sum it over the axes along which the leaf was broadcast: db = dout.sum(axis=0)",
    "missing": "store the gradient in the backward where the parameter is",
}


def _claim_cause(trial: Trial, claim: WrongClaim) -> str:
    """A gradient with an axis too many was not summed over what was broadcast."""
    if claim.cause != "shape" or claim.leaf not in trial.point or claim.shape is None:
        return claim.cause
    own = np.shape(trial.point[claim.leaf])
    more = len(claim.shape) > len(own) and claim.shape[len(claim.shape) - len(own) :] == own
    ones = len(claim.shape) == len(own) and all(
        b in (a, 1) for a, b in zip(claim.shape, own, strict=True)
    )
    return "not-summed" if more or ones else claim.cause


def _claim_check(trial: Trial, claim: WrongClaim, where: _Row) -> Check:
    name = _claim_cause(trial, claim)
    cause = Cause(name, _CLAIM_TEXT.get(name, claim.text), claim.text, _CLAIM_ADVICE[name], 1.0)
    leaf = claim.leaf or trial.leaves[0]
    return _blank(trial, leaf, Verdict.FAIL, where, reason=claim.cause, detail=claim.text, causes=(cause,))


_BREACH_ADVICE = {
    "mutated-input": "work on a copy: the caller's array is changed, and a backward that reads it reads the new values",
    "mutated-upstream": "work on a copy: other users of the same array see the change",
    "mutated-saved": "copy what was saved before working on it: a second backward, or another reader, sees the change",
    "stale-cache": "keep what the backward needs in this call's own cache, context or closure, not where all share",
    "nondeterministic": "initialise every buffer, fix the random state, or synchronise",
    "upstream-ignored": "multiply by the upstream gradient",
    "nonlinear": "a pullback is linear in its upstream gradient: nothing may be squared, clipped or added to it",
    "input-layout": "index through the array's axes, not through its memory: no order='K', no raw strides",
    "subset": "compute each gradient that needs_input_grad asks for, whatever else it asks for",
    "upstream-layout": "read the upstream gradient through its strides, or make it contiguous first",
}


def _contract_checks(trial: Trial) -> list[Check]:
    from gradverify.probes import draw_cotangent

    rng = np.random.default_rng((trial.options.seed, 3))
    u = draw_cotangent(rng, trial.base)
    found: dict[tuple[str, str], Breach] = {}
    for breach in breaches(trial, u, trial.gradient(u), trial.options.seed):
        found.setdefault((breach.cause, breach.leaf), breach)
    return [_breach_check(trial, breach) for breach in found.values()]


def _breach_check(trial: Trial, breach: Breach) -> Check:
    cause = Cause(
        breach.cause,
        breach.text,
        f"{breach.computed:.6g} against {breach.expected:.6g}",
        _BREACH_ADVICE[breach.cause],
        1.0,
    )
    return _blank(
        trial, breach.leaf, Verdict.FAIL, _Row(), reason=breach.cause, detail=breach.text, causes=(cause,),
    )  # fmt: skip


def _special_checks(trial: Trial) -> Iterator[Check]:
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
        run = partial(_special_findings, there, name)
        checks = _judged(there, run, regime=name) if all_finite(there.base) else []
    except Exception:
        trial.counts.skipped.append(name)
        return []
    failed = [c for c in checks if c.verdict is Verdict.FAIL and not _proves_nothing(trial, name, c)]
    if not checks or len(failed) < sum(c.verdict is not Verdict.PASS for c in checks):
        trial.counts.skipped.append(name)
    return failed


def _special_findings(there: Trial, regime: str) -> list[Finding]:
    """Without the NaN of a derivative that does not exist where all is zero: nobody guards x / |x| there."""
    found = _at_point(there, probes=1)
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
