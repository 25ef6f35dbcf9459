"""What a loss curve says: converged, falling, stalled, diverging, oscillating, overfitting.

Every size is compared with how far the loss has fallen and with the noise around its trend, never with a fixed
number: multiplying all losses by a constant changes no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from gradverify.convergence.trends import Trend, alternates, is_periodic, spread_of, trend

FEWEST = 6
GOING_ON = 0.01  # a fall in the last third of 1 % of the whole fall is still a fall
NO_FALL = 0.1  # a whole fall of less than 10 % of the first loss is hardly one
SWING = 0.25  # an oscillation as wide as a quarter of the whole fall
TRAINING = ("loss", "train_loss", "training_loss", "train", "training")
VALIDATION = ("val_loss", "validation_loss", "valid_loss", "test_loss", "validation", "val", "valid", "test")


class TrainingVerdict(StrEnum):
    """What a training run does; compares equal to its lower-case name."""

    CONVERGED = "converged"
    FALLING = "falling"
    STALLED = "stalled"
    DIVERGING = "diverging"
    OSCILLATING = "oscillating"
    OVERFITTING = "overfitting"


@dataclass(frozen=True)
class Losses:
    """The losses of a run in order, and those of data that it was not trained on, where there are any."""

    training: tuple[float, ...]
    validation: tuple[float, ...] = ()


@dataclass(frozen=True)
class Reading:
    """The verdict on a curve, in a sentence, and the numbers it rests on."""

    verdict: TrainingVerdict
    sentence: str
    first: float
    last: float
    best: float
    tail: Trend


def losses_of(history: Any) -> Losses:
    """The losses in whatever keeps them: a list, a dict, a frame, a Keras or reference history, rows, a pair."""
    if hasattr(history, "epoch_losses"):
        steps = tuple(history.losses)
        few = len(history.epoch_losses) < FEWEST
        return Losses(steps if few else tuple(history.epoch_losses), tuple(history.validation_losses))
    inner = getattr(history, "history", None)
    if isinstance(inner, Mapping):
        return losses_of(inner)
    if isinstance(history, Mapping) or hasattr(history, "columns"):
        return _of_columns({str(name): history[name] for name in history})
    rows = list(history)
    if rows and isinstance(rows[0], Mapping):
        names = {name for row in rows for name in row}
        return _of_columns({n: [row[n] for row in rows if row.get(n) is not None] for n in names})
    if len(rows) == 2 and all(np.ndim(part) == 1 for part in rows):
        return Losses(_numbers("training", rows[0]), _numbers("validation", rows[1]))
    return Losses(_numbers("history", rows))


def _of_columns(columns: Mapping[str, Any]) -> Losses:
    found = next((name for name in TRAINING if name in columns), None)
    if found is None:
        raise ValueError(f"history: has no {' or '.join(map(repr, TRAINING[:2]))} among {sorted(columns)}")
    other = next((name for name in VALIDATION if name in columns), None)
    validation = _numbers(other, columns[other]) if other is not None else ()
    return Losses(_numbers(found, columns[found]), validation)


def _numbers(name: str, values: Sequence[Any]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: must be a sequence of numbers ({error})") from error
    if name != "validation" and len(numbers) < FEWEST:
        raise ValueError(f"{name}: has {len(numbers)} losses, at least {FEWEST} are needed to see a trend")
    return numbers


def read(losses: Losses) -> Reading:
    """The verdict on the curves."""
    y = np.array(losses.training)
    finite = np.isfinite(y)
    if not finite.all():
        k = int(np.argmin(finite))
        tail = Trend(math.inf, 0.0, 0.0)
        text = f"the loss is not finite from entry {k} on"
        return Reading(TrainingVerdict.DIVERGING, text, float(y[0]), math.inf, math.inf, tail)
    reading = _read_finite(y)
    worse = _overfits(np.array(losses.validation)) if losses.validation else ""
    if worse and reading.verdict not in (TrainingVerdict.DIVERGING, TrainingVerdict.OSCILLATING):
        return Reading(TrainingVerdict.OVERFITTING, worse, reading.first, reading.last, reading.best, reading.tail)
    return reading


def _read_finite(y: np.ndarray) -> Reading:
    part = y[-max(5, len(y) // 3) :]
    tail = trend(part)
    first = float(np.median(y[: max(1, len(y) // 50)]))
    last = float(np.median(part[-max(3, len(part) // 3) :]))
    best = float(min(np.min(_smoothed(y)), last))
    verdict, sentence = _verdict(y, part, tail, first, last, best)
    return Reading(verdict, sentence, first, last, best, tail)


def _smoothed(y: np.ndarray) -> np.ndarray:
    width = max(1, len(y) // 20)
    return np.convolve(y, np.ones(width) / width, mode="valid")


def _verdict(
    y: np.ndarray, part: np.ndarray, tail: Trend, first: float, last: float, best: float
) -> tuple[TrainingVerdict, str]:
    fallen, share = first - last, abs(tail.change)
    if last > first + 3 * tail.noise + NO_FALL * abs(first) or (tail.rises and last - best > 0.5 * (first - best) > 0):
        return TrainingVerdict.DIVERGING, f"the loss rises from {min(first, best):.4g} to {last:.4g}"
    swing = float(np.quantile(part, 0.95) - np.quantile(part, 0.05)) - share
    turning = alternates(part) or is_periodic(part)
    if turning and swing > SWING * max(fallen, 0.0) and swing > 1e-3 * abs(first):
        return TrainingVerdict.OSCILLATING, f"the loss swings by {swing:.3g}, it has fallen by {max(fallen, 0.0):.3g}"
    falls = tail.falls and share > GOING_ON * max(fallen, 0.0) and share > 1e-9 * abs(first)
    if falls:
        return TrainingVerdict.FALLING, f"the loss still falls: by {share:.3g} in the last third of the run"
    if fallen < max(NO_FALL * abs(first), 3 * tail.noise):
        return TrainingVerdict.STALLED, f"the loss has stayed near {last:.4g}, from {first:.4g} at the start"
    return TrainingVerdict.CONVERGED, f"the loss has fallen from {first:.4g} to {last:.4g} and stays there"


def _overfits(y: np.ndarray) -> str:
    """What is said of a validation loss that has risen from its best and stayed above it, or nothing.

    Risen: nearly all of the last third lies above the best by three times the noise from one value to the next,
    and by a twentieth of the fall before it.
    """
    if len(y) < FEWEST or not np.isfinite(y).all():
        return ""
    best, noise = int(np.argmin(y)), spread_of(np.diff(y)) / math.sqrt(2)
    after = y[max(best + 1, len(y) - max(3, len(y) // 3)) :]
    margin = max(3 * noise, 0.05 * float(y[0] - y[best]), 1e-3 * abs(float(y[best])))
    if len(after) < 3 or float(np.quantile(after, 0.05)) <= y[best] + margin:
        return ""
    return f"the validation loss rises again after entry {best}: from {y[best]:.4g} to {y[-1]:.4g}"
