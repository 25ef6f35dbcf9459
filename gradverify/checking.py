"""`check` and `assert_gradients`: the one place that knows targets, oracles, verdicts and causes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from gradverify import events, limits
from gradverify.arrays import EPS, Arrays, all_finite, to_float64
from gradverify.elsewhere import Elsewhere, is_blurred, look_elsewhere
from gradverify.limits import BudgetSpent
from gradverify.precision import judge_implementation, judge_tiles, wide_twin
from gradverify.records import Check, GradientInconclusive, GradientMismatch, Options, Report, Verdict, worst_verdict
from gradverify.rows import Row, blank, rows_of
from gradverify.saved import save
from gradverify.subgradients import judge_at_point
from gradverify.surrogates import compare_values, with_reference, with_surrogate
from gradverify.tangents import judge_forward, judge_higher
from gradverify.targets import Target, make_targets
from gradverify.targets.calling import quiet
from gradverify.targets.gradients import WrongClaim
from gradverify.trial import Counts, Trial
from gradverify.unasked import contract_checks, special_checks

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
        targets = _targets(target, inputs, chosen)
        checks = [c for each in targets for c in _check_target(each, chosen, counts)]
        failed = worst_verdict([c.verdict for c in checks]) is Verdict.FAIL
        found = None if failed else _elsewhere(target, inputs, chosen, counts)
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


def _targets(target: Any, inputs: tuple[Any, ...], options: Options) -> tuple[Target, ...]:
    """Everything that claims a derivative here, with the forward that is meant."""
    made = make_targets(target, inputs, options)
    if options.surrogate is None:
        return made
    return tuple(with_surrogate(each, options.surrogate) if each.point else each for each in made)


def _elsewhere(target: Any, inputs: tuple[Any, ...], options: Options, counts: Counts) -> Elsewhere | None:
    there = partial(_rows_at, target, options, counts), partial(_fails_at, target, options, counts)
    try:
        return look_elsewhere(*there, inputs, options)
    except BudgetSpent:
        counts.skipped.append("other inputs: budget spent")
        return None


def _rows_at(target: Any, options: Options, counts: Counts, inputs: tuple[Any, ...]) -> list[Check]:
    """The checks at other inputs, and only at these."""
    plain = replace(options, search="none", draw=None)
    return [c for each in _targets(target, inputs, plain) for c in _check_target(each, plain, counts)]


def _fails_at(target: Any, options: Options, counts: Counts, inputs: tuple[Any, ...]) -> bool:
    """Whether the first derivative is wrong at other inputs; raises what the code raises there."""
    for each in _targets(target, inputs, replace(options, search="none", draw=None)):
        trial = Trial(wide_twin(each) or each, replace(options, search="none"), dict(each.point), counts)
        try:
            findings = judge_at_point(trial, probes=1) if all_finite(trial.base) else []
        except WrongClaim as claim:
            if not _is_broadcast(claim, trial):
                return True
            continue
        if any(f.decision.verdict is Verdict.FAIL and not is_blurred(f.decision, each.dtype) for f in findings):
            return True
    return False


def _is_broadcast(claim: WrongClaim, trial: Trial) -> bool:
    """Whether a gradient differs in shape where one of the two is 1: in sizes nobody gave, a leaf may be broadcast."""
    leaf, shape = np.shape(trial.point.get(claim.leaf, 0.0)), claim.shape
    if claim.cause != "shape" or shape is None or len(shape) != len(leaf):
        return False
    return all(a == b or 1 in (a, b) for a, b in zip(leaf, shape, strict=True))


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
    judged = target if options.reference is None else with_reference(target, options.reference)
    trial = Trial(judged, options, dict(target.point), counts)
    _require_finite(trial)
    if options.order > target.highest:
        which = ("second", "third")[target.highest - 1]
        raise ValueError(f"order={options.order}: {target.name} claims no {which} derivative")
    if not all_finite(trial.base):
        return [_outside(trial)]
    checks = compare_values(target, judged, trial) if judged is not target else []
    twin = wide_twin(judged)
    wide = trial if twin is None else Trial(twin, _rounded_constants(options), dict(twin.point), counts)
    checks += _first_order(trial, wide)
    if judged.trusted is not None and all(c.verdict is not Verdict.FAIL for c in checks):
        tiles = rows_of(trial, lambda: judge_tiles(trial, options.seed), regime="implementation")
        # Every entry was compared: what rounding hid from a probe along the leaf is settled.
        settled = {c.wrt for c in tiles if c.verdict is Verdict.PASS}
        checks = [c for c in checks if not (c.reason in ("noise", "resolution") and c.wrt in settled)] + tiles
    if options.mode != "forward":
        checks += _higher_orders(wide)
    if not checks:
        raise ValueError(f"mode={options.mode!r}: {target.name} claims no derivative in this mode")
    return checks


def _higher_orders(trial: Trial) -> list[Check]:
    """Every order that is claimed, by each composition of modes that the framework has."""
    target, seed = trial.target, trial.options.seed
    checks = []
    for order in range(2, target.highest + 1):
        checks += rows_of(trial, partial(judge_higher, trial, order, seed), order=order)
    if target.composed is not None:
        again = replace(trial, target=replace(target, higher=target.composed.higher))
        for order in range(2, target.composed.highest + 1):
            checks += rows_of(again, partial(judge_higher, again, order, seed), order=order, mode=target.composed.modes)
    if target.highest > 1 and target.by_upstream is not None:
        checks += _by_upstream(trial, target.by_upstream)
    return checks


def _by_upstream(trial: Trial, derivative: Callable[[Arrays, Arrays], Arrays]) -> list[Check]:
    """Whether a backward differentiated by its upstream gradient is J: a pass through two layers needs that too."""
    again = replace(trial, target=replace(trial.target, pushforward=derivative))
    again.settled.extend(trial.settled)
    return rows_of(again, lambda: judge_forward(again, trial.options.seed), order=2, mode="upstream")


def _rounded_constants(options: Options) -> Options:
    """The options for the formula of a coarse target: constants rounded to single precision are no mistake there."""
    return replace(options, tolerate=max(options.tolerate, 2 * EPS["float32"]))


def _require_finite(trial: Trial) -> None:
    if not all_finite(trial.point):
        name = next(n for n, x in trial.point.items() if not np.all(np.isfinite(to_float64(x))))
        raise ValueError(f"{name}: holds NaN or infinity; a derivative is checked at finite points only")


def _outside(trial: Trial) -> Check:
    name = next(n for n, y in trial.base.items() if not np.all(np.isfinite(y)))
    detail = f"{name} is not finite at the point given: there is no derivative to check"
    return blank(
        trial, ", ".join(trial.leaves), Verdict.INCONCLUSIVE, Row(), reason="domain", detail=detail
    )


def _first_order(trial: Trial, wide: Trial) -> Iterator[Check]:
    mode = trial.options.mode
    if mode in ("auto", "reverse", "both") and trial.target.linearize is not None:
        yield from _reverse(trial, wide)
    judged = wide if wide.target.pushforward is not None else trial
    if mode in ("auto", "forward", "both") and judged.target.pushforward is not None:
        yield from rows_of(judged, lambda: judge_forward(judged, trial.options.seed), mode="forward")


def _reverse(trial: Trial, wide: Trial) -> Iterator[Check]:
    """The formula where it can be resolved best, the implementation in its own dtype, then what may hide."""
    given = rows_of(wide, lambda: judge_at_point(wide))
    if wide is not trial:
        run = lambda: judge_implementation(trial, wide, trial.options.seed)  # noqa: E731
        given += rows_of(trial, run, regime="implementation")
    yield from given
    settled = all(c.verdict is not Verdict.FAIL and c.reason not in ("error", "budget", "timeout") for c in given)
    if trial.options.search == "none" or not settled:
        return
    try:
        yield from contract_checks(trial)
        yield from special_checks(wide)
    except BudgetSpent:
        trial.counts.skipped.append("the rest: budget spent")
