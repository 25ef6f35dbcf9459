"""Try one candidate: import it, make it, find inputs, and hand it to the engine. Runs in a worker only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from traceback import format_exception
from typing import Any

import numpy as np

from gradverify.audit.advising import advice
from gradverify.audit.answers import ERRORS, Answer
from gradverify.audit.asking import OWN_LOSS, ask, at_flags, at_point, budget_of
from gradverify.audit.broken import never_runs
from gradverify.audit.claims import symmetrized
from gradverify.audit.conventions import as_convention, in_conventions, is_epsilon
from gradverify.audit.customtrials import custom_trials
from gradverify.audit.examples import Example, examples_for
from gradverify.audit.graphtrials import graph_trials
from gradverify.audit.guesses import roles_of
from gradverify.audit.inputs import Arguments, required_names
from gradverify.audit.load import NotTriable, load
from gradverify.audit.logits import of_logits, undecided
from gradverify.audit.optimizing import ADDED
from gradverify.audit.readings import ADDS_OWN, Trial, adds_own
from gradverify.audit.record import AuditEntry, Candidate
from gradverify.audit.search import Search, silence
from gradverify.audit.seeding import reproducible
from gradverify.audit.trials import DECAYING, OF_LOGITS, trials
from gradverify.audit.unfinished import line_that_never_runs, unfinished_report
from gradverify.audit.variations import variations
from gradverify.records import Check, Report, Verdict
from gradverify.targets.calling import argument_names

_INSTANCES = 16  # instances of a class that the search for inputs looks at
_POINTS = 10  # accepted inputs at which a backward may raise before that is the result
_PARTIAL = 4  # shapes of inputs at which a parameter has no gradient, before another instance is looked at
_PATIENCE = 15.0  # processor seconds of looking for inputs: a busy machine finds the same; what hangs has a timeout


def attempt(candidate: Candidate, seed: int) -> AuditEntry:
    """The entry of a candidate; whatever stands in the way becomes its reason."""
    entry = AuditEntry(
        candidate.symbol, candidate.convention, path=candidate.source.path, line=candidate.line
    )
    try:
        with reproducible(seed):  # in whatever process, and after whatever else, it is tried
            tried = _judge(candidate, seed)
    except NotTriable as why:
        unfinished = unfinished_report(candidate, "".join(format_exception(why.__cause__))) if why.__cause__ else None
        if unfinished is not None:
            return replace(entry, report=unfinished)
        return replace(entry, reason=why.reason, remedy=why.remedy or advice(candidate))
    except Exception as error:
        return replace(entry, reason=f"{type(error).__name__}: {error}")
    return replace(entry, report=tried.report, convention=candidate.convention + tried.suffix)


def _judge(candidate: Candidate, seed: int) -> Answer:
    load(candidate.source)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    given = examples_for(candidate)
    if given:
        return min((_at_example(candidate, e, seed) for e in given), key=lambda t: (t.rank != 1, -t.rank))
    search, until = Search(), time.process_time() + _PATIENCE
    found: list[Answer] = []
    for trial in islice(_trials(candidate, seed), _INSTANCES):
        settled = _settle(trial, search, seed, found)
        if settled is not None:
            return _concluded(candidate, trial, settled, seed)
        if time.process_time() > until:
            break
    if found:
        best = min(found, key=lambda tried: (tried.rank >= ERRORS - 1, not tried.is_whole, tried.rank))
        _raise_if_unread(best, candidate)
        assert best.trial is not None
        return _concluded(candidate, best.trial, best, seed)
    complaint = f"no inputs found that {candidate.forward} accepts ({search.complaint})"
    if search.backward:
        complaint = f"the forward runs and its derivative cannot be asked: {search.backward}"
    raise NotTriable(complaint, advice(candidate)) from search.error


def _concluded(candidate: Candidate, trial: Trial, tried: Answer, seed: int) -> Answer:
    """The answer at other settings too, its failure explained or told as a convention."""
    settled = _at_other_settings(trial, _explained(trial, tried, seed), seed)
    return _as_convention(candidate, trial, settled, seed)


def _explained(trial: Trial, tried: Answer, seed: int) -> Answer:
    """The answer with every means of finding a cause, of which the search for a reading takes the cheap ones."""
    if not tried.lacks_explanation or tried.arguments is None:
        return tried
    spent = budget_of(trial, tried.arguments)
    again = ask(trial, tried.reading, tried.arguments, seed, Search(), budget=_EXPLAINING * spent)
    return again if again is not None and (again.rank, again.suffix) == (tried.rank, tried.suffix) else tried


_EXPLAINING = 5  # times the forwards of a search, for the cause of one failure


def _at_example(candidate: Candidate, example: Example, seed: int) -> Answer:
    """The answer at inputs that the project gives: nothing is searched for, and what does not work is said."""
    heard = Search()
    for trial in islice(_trials(candidate, seed, example), _INSTANCES):
        try:
            arguments = trial.extend(example.arguments(seed))[0]
            with silence():
                trial.run(arguments)
        except Exception as error:
            heard.complaint = f"{type(error).__name__}: {error}"
            continue
        tried = at_point(trial, arguments, seed, heard)
        if tried is not None:
            _raise_if_unread(tried, candidate)
            return _concluded(candidate, trial, tried, seed)
    raise NotTriable(f"the example that is given for it does not run: {heard.backward or heard.complaint}")


def _raise_if_unread(tried: Answer, candidate: Candidate) -> None:
    """What only ever raised, or returned something else than gradients of its leaves, was not tried."""
    if tried.rank < ERRORS - 1:
        return
    check = next((c for c in tried.report.checks if c.verdict is not Verdict.PASS), tried.report.checks[0])
    if tried.rank == ERRORS:
        code = tried.trial.code if tried.trial is not None else None
        if never_runs(check.detail, code, candidate) or line_that_never_runs(check.detail, candidate):
            return
        last = next((line for line in reversed(check.detail.splitlines()) if line.strip()), check.detail).strip()
        raise NotTriable(f"the forward runs and its derivative raises: {last[:160]}", advice(candidate))
    cause = check.causes[0]
    text = cause.text or check.detail
    if check.reason == "dtype" or "gradients were returned for" in text:
        raise NotTriable(f"it could not be told whose gradients it returns: {text}", advice(candidate))


def _trials(candidate: Candidate, seed: int, example: Example | None = None) -> Iterator[Trial]:
    make = example.object_of if example is not None and example.make is not None else None
    if candidate.kind == "graph":
        return graph_trials(candidate)
    return custom_trials(candidate, seed, make) if "." in candidate.kind else trials(candidate, seed, make)


def _settle(trial: Trial, search: Search, seed: int, found: list[Answer]) -> Answer | None:
    """The first answer about a whole derivative; whatever else is seen on the way is appended to `found`."""
    for tried in _at_points(trial, search, seed):
        # Where other inputs raised, those that fail may not be the right ones either.
        astray = tried.rank > 0 and any(other.rank >= ERRORS - 1 for other in found)
        found.append(tried)
        unknown = tried.suffix == OWN_LOSS and len(found) < _LABELLINGS
        if (astray and len(found) < _POINTS) or unknown or _may_be_the_labels(tried, found):
            continue
        if tried.rank < ERRORS - 1 and (tried.is_whole or len(found) >= _POINTS):
            return tried if tried.is_settled else _first_labelled(found) or tried
    return None


def _may_be_the_labels(tried: Answer, found: list[Answer]) -> bool:
    """Whether a failure came with one kind of labels (classes, one-hot ...), and the next inputs may hold another."""
    if tried.is_settled or tried.arguments is None or not tried.arguments.label:
        return False
    kinds = [a.arguments.shapes for a in found if a.rank < ERRORS - 1 and a.arguments is not None]
    return len(kinds) < _LABELLINGS and len(set(kinds)) == len(kinds)


_LABELLINGS = 6  # kinds and shapes of labels with which a loss may fail before that is the result


def _first_labelled(found: list[Answer]) -> Answer | None:
    """No kind of labels passes: the likeliest kind speaks."""
    return next((t for t in found if t.rank < ERRORS - 1 and t.arguments is not None and t.arguments.label), None)


def _as_convention(candidate: Candidate, trial: Trial, tried: Answer, seed: int) -> Answer:
    """A failure that is right for the logits before a softmax, or that leaves the softmax to the loss."""
    failed = [c for c in tried.report.checks if c.verdict is Verdict.FAIL]
    if OF_LOGITS in tried.suffix:
        return tried if failed else replace(tried, report=undecided(tried.report, OF_LOGITS, also=Verdict.PASS))
    if tried.arguments is None:
        return tried
    if ADDED in tried.suffix:
        inputs = argument_names(trial.forward, len(tried.arguments.inputs))
        return replace(tried, report=_steps_undecided(tried.report, inputs))
    if not failed:
        return tried
    named_softmax = "softmax" in candidate.symbol.lower()
    if named_softmax and all(c.causes and c.causes[0].name == "passed-through" for c in failed):
        return replace(tried, report=undecided(tried.report, OF_LOGITS), suffix=tried.suffix + OF_LOGITS)
    if all(c.causes and c.causes[0].name == "nonlinear" for c in failed) and adds_own(
        trial, tried.reading, tried.arguments
    ):
        return replace(tried, report=undecided(tried.report, ADDS_OWN), suffix=tried.suffix + ADDS_OWN)
    alike = symmetrized(trial, tried.arguments) if trial.returns_number(tried.arguments) else None
    if alike is not None:
        again = ask(trial, tried.reading, alike[0], seed, Search(), search="none")
        if again is not None and again.rank == 0:
            return replace(tried, report=undecided(tried.report, alike[1]), suffix=tried.suffix + alike[1])
    if "label" not in roles_of(required_names(trial.forward)):
        return tried
    spec = trial.readings[tried.reading].build(tried.arguments)
    suffix = of_logits(spec, tried.arguments, failed[0].wrt, seed, _accepted_factor)
    return replace(tried, report=undecided(tried.report, suffix), suffix=tried.suffix + suffix) if suffix else tried


def _steps_undecided(report: Report, inputs: Sequence[str]) -> Report:
    """Nobody knows the sign of the step of an optimizer that is None: what is right with one sign is not wrong."""
    text = "the gradient is right if its optimizer, which is None here, returns the step that is to be added"
    checks = tuple(as_convention(c, text) if c.verdict is Verdict.PASS and c.wrt not in inputs else c
                   for c in report.checks)  # fmt: skip
    return replace(report, checks=checks)


def _accepted_factor(report: Report) -> str | None:
    if report.verdict is Verdict.PASS:
        return ""
    report, suffix = in_conventions(report, is_loss=True, leaves=[c.wrt for c in report.checks])
    return suffix or None


def _at_other_settings(trial: Trial, tried: Answer, seed: int) -> Answer:
    """What passed, with the failures that it shows at other values of its settings added."""
    if tried.report.verdict is not Verdict.PASS:
        return tried
    is_loss = "label" in roles_of(required_names(trial.forward))
    until = time.process_time() + _PATIENCE / 2
    report = tried.report
    for name, value in variations(trial.settings, trial.code, is_loss=is_loss):
        for other in islice(trial.varied(name, value), 1):
            checks = _failures_at(other, tried, seed, f"{name}={value!r}")
            report = replace(report, checks=(*report.checks, *checks))
        if time.process_time() > until or report.verdict is Verdict.FAIL:
            break
    return replace(tried, report=report)


def _failures_at(trial: Trial, passed: Answer, seed: int, regime: str) -> list[Check]:
    """What fails at other settings, at the inputs that passed where they are still taken."""
    search = Search()
    if passed.reading >= len(trial.readings):
        return []
    for arguments in _points_like(trial, passed, search, seed):
        tried = ask(trial, passed.reading, arguments, seed, search, search="none")
        if tried is None or tried.rank >= ERRORS - 1:
            continue
        decaying = [n for n, reading in enumerate(trial.readings) if reading.suffix == DECAYING]
        others = [ask(trial, n, arguments, seed, search, search="none") for n in decaying if tried.rank == 1]
        if any(other is not None and other.rank == 0 for other in others):
            return []
        failed = [replace(c, regime=regime) for c in tried.report.checks if c.verdict is Verdict.FAIL]
        is_loss = "label" in roles_of(required_names(trial.forward))
        rounded = [c for c in failed if c.causes and c.causes[0].name == "dtype"]  # it computes in float32, here too
        return [c for c in failed if c not in rounded and not (is_loss and is_epsilon(c))]
    return []


def _points_like(trial: Trial, passed: Answer, search: Search, seed: int) -> Iterator[Arguments]:
    """The inputs that passed, where the forward takes them; then a few that are found anew, and square ones."""
    if passed.arguments is not None and search.takes(trial.run, passed.arguments):
        yield passed.arguments
    accepted = search.accepted(trial.forward, trial.held, seed, trial.run, trial.stated)
    yield from islice((a for found in accepted for a in trial.extend(found)), 3)
    square = _squared(passed.arguments) if passed.arguments is not None else None
    if square is not None and search.takes(trial.run, square):
        yield square


def _squared(arguments: Arguments) -> Arguments | None:
    """Matrices of one shape cut to square ones: one axis taken for another raises at the others, and is wrong here."""
    shapes = {np.shape(x) for x in arguments.inputs}
    if len(shapes) != 1 or len(min(shapes)) != _MATRIX:
        return None
    n = min(min(shapes))
    return replace(arguments, inputs=tuple(x[:n, :n] for x in arguments.inputs))


_MATRIX = 2


def _at_points(trial: Trial, search: Search, seed: int) -> Iterator[Answer]:
    accepted = search.accepted(trial.forward, trial.held, seed, trial.run, trial.stated)
    most = _POINTS * (3 if trial.own_loss else 1)
    until = time.process_time() + _PATIENCE
    mute, partial = set[Any](), set[Any]()
    points = (a for found in accepted for a in trial.extend(found) if a.shapes not in mute)
    for arguments in islice(points, most):
        if time.process_time() > until:
            return
        best = at_point(trial, arguments, seed, search)
        if best is None or best.rank == ERRORS:
            best = at_flags(trial, arguments, seed, search) or best
        if best is not None:
            yield best
            if best.rank < ERRORS - 1 and not best.is_whole:
                partial.add(tuple(map(np.shape, arguments.inputs)))
            if len(partial) == _PARTIAL:
                return
        else:
            mute.add(arguments.shapes)


