"""`check_training`: does it converge, and if not, why.

A history of losses is read as it is. A callable is run for its history, and where it takes the data, again with
inputs of zero and with shuffled labels. A `Program`, training taken apart, also has its gradient, its step and
its data held against the identities of `controls`, and each explanation that a control run could refute is tried
by one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify import sheets
from gradverify.convergence.controls import runs
from gradverify.convergence.identities import structure
from gradverify.convergence.losses import Losses, Reading, TrainingVerdict, losses_of, read
from gradverify.convergence.program import Program, run
from gradverify.records import Cause, Curve, Figure, Sheet

GOOD = (TrainingVerdict.CONVERGED, TrainingVerdict.FALLING)


@dataclass(frozen=True)
class TrainingReport:
    """What a training run does, in one word, and what is wrong with it, each finding with its evidence.

    `ok` is that the loss has converged or still falls, and that nothing was found: a run may converge to the wrong
    thing, and one that is merely not done yet is no failure.
    """

    target: str
    reading: Reading
    losses: Losses
    findings: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> TrainingVerdict:
        """Converged, falling, stalled, diverging, oscillating or overfitting."""
        return self.reading.verdict

    @property
    def ok(self) -> bool:
        """Converged or still falling, and nothing found."""
        return self.verdict in GOOD and not self.findings

    def sheet(self) -> Sheet:
        """The findings, the numbers of the verdict, and the curves."""
        return Sheet(
            "training",
            self.target,
            str(self.verdict),
            self.ok,
            self.reading.sentence,
            ("measured", "value"),
            _rows(self.reading),
            self.findings,
            (_figure(self.losses),),
            self.notes,
        )

    def frame(self) -> Any:
        """A `pandas.DataFrame`, one row a loss; the numbers of the verdict are in the JSON."""
        longest = max(len(self.losses.training), len(self.losses.validation))
        columns = [_padded(part, longest) for part in (self.losses.training, self.losses.validation)]
        rows = tuple(zip(range(longest), *columns, strict=True))
        return Sheet("training", self.target, str(self.verdict), self.ok, "", ("entry", "loss", "validation_loss"),
                     rows).frame()  # fmt: skip

    to_json = sheets.to_json
    to_html = sheets.to_html
    __str__ = sheets.text
    _repr_html_ = sheets.fragment


def check_training(
    history_or_callable: Any, *, data: tuple[Any, Any] | None = None, classes: int | None = None, seed: int = 0
) -> TrainingReport:
    """Say of a training run what it does and why.

    `history_or_callable` is a history of losses (a sequence, a dict or data frame with ``loss`` and perhaps
    ``val_loss``, a Keras or reference history), a callable that trains and returns one, or a
    `gradverify.convergence.program.Program`. A callable of two arguments is given `data`, and controls are run:
    inputs of zero and shuffled labels. With `classes` the first loss of a cross-entropy is held against log C.

    >>> check_training([2.0 * 0.8**k + 0.1 for k in range(60)]).verdict.value
    'converged'
    >>> report = check_training([1.0 * 1.2**k for k in range(30)])
    >>> report.verdict.value, report.ok
    ('diverging', False)
    """
    if classes is not None and (isinstance(classes, bool) or classes < 2):
        raise ValueError(f"classes={classes!r}: must be an integer of at least 2")
    if isinstance(history_or_callable, Program):
        return _of_program(history_or_callable, classes)
    if callable(history_or_callable):
        return _of_callable(history_or_callable, data, classes, seed)
    if data is not None:
        raise ValueError("data=: belongs to a callable of two arguments, train(x, y)")
    losses = losses_of(history_or_callable)
    reading = read(losses)
    return TrainingReport("history", reading, losses, (*_of_curve(losses, reading), *_of_start(losses, classes)))


def _of_program(program: Program, classes: int | None) -> TrainingReport:
    broken = tuple(structure(program))
    own = run(program)
    losses = Losses(own.losses, own.validation)
    reading = read(losses)
    found = broken or tuple(runs(program, own, reading)) or _of_curve(losses, reading)
    return TrainingReport(program.name, reading, losses, (*found, *_of_start(losses, classes)))


def _of_callable(
    train: Callable[..., Any], data: tuple[Any, Any] | None, classes: int | None, seed: int
) -> TrainingReport:
    name = str(getattr(train, "__name__", type(train).__name__))
    if data is None:
        if _needs_arguments(train):
            raise TypeError(f"{name}: takes arguments; give data=(x, y) for a callable train(x, y)")
        losses = losses_of(train())
        reading = read(losses)
        return TrainingReport(name, reading, losses, (*_of_curve(losses, reading), *_of_start(losses, classes)))
    x, y = (np.asarray(part) for part in data)
    losses = losses_of(train(x, y))
    reading = read(losses)
    found = (*_of_curve(losses, reading), *_of_controls(train, x, y, losses, seed), *_of_start(losses, classes))
    return TrainingReport(name, reading, losses, found)


def _needs_arguments(train: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(train).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _of_controls(train: Callable[..., Any], x: np.ndarray, y: np.ndarray, own: Losses, seed: int) -> tuple[Cause, ...]:
    """Inputs of zero, and labels shuffled three times: the real ones must do better than either."""
    rng = np.random.default_rng((seed, 11))
    end = _end(own)
    blind = _end(losses_of(train(np.zeros_like(x), y)))
    shuffled = [_end(losses_of(train(x, y[rng.permutation(len(y))]))) for _ in range(3)]
    found = []
    if abs(blind - end) <= 1e-9 * abs(end):
        found.append(
            Cause(
                "inputs-ignored",
                "the inputs make no difference",
                f"the loss ends at {end:.4g} with zeros as well",
                "look for what cuts the path from the inputs to the loss",
                1.0,
            )
        )
    elif end >= min(shuffled) - float(np.ptp(shuffled)):
        found.append(
            Cause(
                "shuffled-labels",
                "the labels have nothing to do with the inputs",
                f"the loss ends at {end:.4g}, with shuffled labels at {min(shuffled):.4g} to {max(shuffled):.4g}",
                "check that examples and labels are read, split and shuffled together",
                1.0,
            )
        )
    return tuple(found)


def _end(losses: Losses) -> float:
    return float(np.median(losses.training[-3:]))


def _of_curve(losses: Losses, reading: Reading) -> tuple[Cause, ...]:
    """The likeliest explanation that the losses alone allow."""
    if reading.verdict in (TrainingVerdict.DIVERGING, TrainingVerdict.OSCILLATING):
        return (
            Cause(
                "rate-too-large",
                "probably: the learning rate is too large",
                reading.sentence,
                "divide the learning rate by 10; if it still diverges, check the sign of the gradient",
                0.5,
            ),
        )
    if reading.verdict is TrainingVerdict.OVERFITTING:
        best = int(np.argmin(losses.validation))
        return (
            Cause(
                "overfitting",
                "the network learns its training data by heart",
                reading.sentence,
                f"stop at entry {best}, more data, dropout, or weight decay",
                1.0,
            ),
        )
    if reading.verdict is TrainingVerdict.STALLED:
        return (
            Cause(
                "stalled",
                "the loss does not fall",
                reading.sentence,
                "try to overfit ten examples: if that fails too, look at the gradients (gradverify.check, "
                "gradverify.check_flow), else at rate and data",
                0.5,
            ),
        )
    return ()


def _of_start(losses: Losses, classes: int | None) -> tuple[Cause, ...]:
    """A classifier that knows nothing has a cross-entropy of log C."""
    if classes is None:
        return ()
    first, known = losses.training[0], math.log(classes)
    if 0.5 * known <= first <= 2 * known:
        return ()
    return (
        Cause(
            "initial-loss",
            "the first loss is not that of a classifier that knows nothing yet",
            f"{first:.4g}, log {classes} is {known:.4g}",
            "smaller initial weights in the last layer; if it is smaller, look for leakage or a wrong mean",
            0.7,
        ),
    )


def _rows(reading: Reading) -> tuple[tuple[Any, ...], ...]:
    tail = reading.tail
    return (("first loss", reading.first), ("last loss", reading.last), ("best loss", reading.best),
            ("change over the last third", tail.change), ("chance of that without a trend", tail.chance),
            ("noise around the trend", tail.noise))  # fmt: skip


def _padded(values: tuple[float, ...], length: int) -> list[float]:
    return [*values, *[math.nan] * (length - len(values))]


def _figure(losses: Losses) -> Figure:
    named = (("training", losses.training), ("validation", losses.validation))
    curves = tuple(Curve(name, tuple(map(float, range(len(y)))), y) for name, y in named if y)
    positive = all(v > 0 for _, y in named for v in y)
    return Figure("Losses", "entry", "loss", curves, log_y=positive)
