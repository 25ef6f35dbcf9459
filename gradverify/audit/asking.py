"""What the engine says of a derivative at one point: it is asked in every reading, and the best answer is kept."""

from __future__ import annotations

import inspect
import time
from dataclasses import replace
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.answers import ERRORS, Answer
from gradverify.audit.claims import data_of, without_labels
from gradverify.audit.conventions import as_convention, in_conventions
from gradverify.audit.guards import guarded_arguments
from gradverify.audit.guesses import roles_of
from gradverify.audit.inputs import Arguments, required_names
from gradverify.audit.losses import DOWNHILL
from gradverify.audit.readings import Trial
from gradverify.audit.screen import likeliest
from gradverify.audit.search import Search, silence
from gradverify.checking import check
from gradverify.diagnosis import without_last_resorts
from gradverify.records import Options, Verdict
from gradverify.targets import make_targets
from gradverify.targets.calling import argument_names


def at_flags(trial: Trial, arguments: Arguments, seed: int, search: Search) -> Answer | None:
    """The answer where flags that are off by default are on: ``save_input=False`` leaves nothing for a backward."""
    parameters = inspect.signature(trial.forward).parameters.values()
    flags = {p.name: True for p in parameters if p.default is False and p.name not in arguments.kwargs}
    switched = replace(arguments, kwargs={**arguments.kwargs, **flags})
    if not flags or not search.takes(trial.run, switched):
        return None
    tried = at_point(trial, switched, seed, search)
    return tried if tried is not None and tried.rank < ERRORS - 1 else None


def at_point(trial: Trial, arguments: Arguments, seed: int, search: Search) -> Answer | None:
    """The best answer of all readings at one point."""
    with without_last_resorts():
        return _best_of_readings(trial, arguments, seed, search)


def _best_of_readings(trial: Trial, arguments: Arguments, seed: int, search: Search) -> Answer | None:
    best: Answer | None = None
    raised = False
    for number in likeliest(trial, arguments) if trial.own_loss else range(len(trial.readings)):
        tried = ask(trial, number, arguments, seed, search)
        if tried is not None and (best is None or tried.is_better_than(best)):
            best = tried
        if best is not None and best.rank == 0 and best.is_whole:
            break
        if number == 0:
            raised = tried is None or tried.rank == ERRORS
    if best is not None and raised and best.rank == 1 and best.suffix.startswith(" of the output"):
        return None  # the reading that would tell which is meant needs inputs that it takes
    if best is not None and best.rank == ERRORS - 1:
        best = _at_told_shapes(trial, best, seed, search) or best
    return _as_step(_told_apart(best)) if best is not None and trial.own_loss else best


def _at_told_shapes(trial: Trial, tried: Answer, seed: int, search: Search) -> Answer | None:
    """The same reading where arguments have their gradients' shapes: b of (3,) that was given as (3, 3)."""
    arguments = tried.arguments
    if arguments is None:
        return None
    options = Options(kwargs=dict(arguments.kwargs))
    try:
        target = make_targets(trial.readings[tried.reading].build(arguments), arguments.inputs, options)[0]
        y, pullback = target.linearize(target.point, None)  # type: ignore[misc]
        shapes = {n: np.shape(g) for n, g in pullback({n: np.ones(np.shape(v)) for n, v in y.items()}).items()}
        names = argument_names(trial.forward, len(arguments.inputs))
        inputs = tuple(_smaller(x, shapes.get(n, np.shape(x))) for n, x in zip(names, arguments.inputs, strict=True))
        again = ask(trial, tried.reading, replace(arguments, inputs=inputs), seed, search)
    except Exception:  # shapes that the forward does not take
        return None
    return again if again is not None and again.rank < ERRORS - 1 else None


def _smaller(x: Any, shape: tuple[int, ...]) -> Any:
    """The first entries of an array in another shape that does not hold more."""
    fits = is_floating(x) and int(np.prod(shape)) <= np.size(x)
    return np.resize(x, shape) if fits else x


def _told_apart(tried: Answer) -> Answer:
    """Of a loss that nobody computes a failure says something only if part of the gradient is that loss's."""
    verdicts = {c.verdict for c in tried.report.checks if c.reason != "zero"}  # zero is so of any loss
    if Verdict.FAIL not in verdicts or Verdict.PASS in verdicts:
        return tried
    text = "it differentiates a loss of its own, which is none of those tried"
    checks = tuple(as_convention(c, text) for c in tried.report.checks)
    return replace(tried, report=replace(tried.report, checks=checks, again=""), suffix=OWN_LOSS)


def _as_step(tried: Answer) -> Answer:
    """What is right for the negative loss is the direction of a step, which its optimizer adds: a convention."""
    if not tried.suffix.endswith(DOWNHILL):
        return tried
    text = "it points downhill: the step that is added to the parameters, minus the gradient of the loss"
    checks = tuple(as_convention(c, text) if c.verdict is Verdict.PASS else c for c in tried.report.checks)
    return replace(tried, report=replace(tried.report, checks=checks))


OWN_LOSS = " of a loss of its own"


def ask(
    trial: Trial, number: int, arguments: Arguments, seed: int, heard: Search, **more: Any
) -> Answer | None:
    """What the engine says of one reading; None where the reading does not apply."""
    reading = trial.readings[number]
    try:
        target = reading.build(arguments)
        options: dict[str, Any] = {"kwargs": dict(arguments.kwargs) or None, "seed": seed, **more}
        options["tolerate"] = _tolerated(trial)
        options["budget"] = more.get("budget") or budget_of(trial, arguments)
        claimed = reading.wrt(target, arguments)
        options["wrt"] = without_labels(target, trial.forward, arguments, claimed)
        report = check(target, *arguments.inputs, **options)
        report = replace(report, notes=(*report.notes, *reading.notes(claimed)))
    except Exception as error:
        heard.backward = heard.backward or f"{type(error).__name__}: {error}".splitlines()[0][:160]
        return None
    names = argument_names(trial.forward, len(arguments.inputs))
    is_loss = "label" in roles_of(required_names(trial.forward)) or trial.returns_number(arguments)
    guarded = guarded_arguments(trial.forward)
    data = data_of(trial.forward, names)
    shapes = [np.shape(x) for x in arguments.inputs if isinstance(x, np.ndarray)]
    batches = {n for shape in shapes for n in (*shape[:1], *shape[-1:]) if n > 1}
    report, convention = in_conventions(report, is_loss=is_loss, leaves=data, guarded=guarded, batches=batches)
    return Answer(report, reading.suffix + convention, number, arguments, trial)


def budget_of(trial: Trial, arguments: Arguments) -> int:
    """So many forwards that a check of a slow network ends in about the time a worker has."""
    started = time.process_time()
    with silence():
        trial.run(arguments)
    return int(min(max(_SECONDS / max(time.process_time() - started, 1e-6), 150), 20_000))


_SECONDS = 6.0


def _tolerated(trial: Trial) -> float:
    """What is noted and not failed: a constant with six digits; in a loss, the epsilon inside its logarithm."""
    return 1e-4 if "label" in roles_of(required_names(trial.forward)) else 1e-5
