"""The order at which a quantity falls with the step: a slope on logarithmic axes, with its own error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

FLOORS = 8.0  # a value counts as resolved above so many floors
FEWEST = 5  # points of a window: a line, its scatter and its curvature
ASYMPTOTIC = 6  # the finest resolved points, where the leading order rules


@dataclass(frozen=True)
class Slope:
    """``log |r|`` falls by `value` times ``log t``, known to +- `error`, on the steps from `low` to `high`."""

    value: float
    error: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} +- {self.error:.2f}"


def resolved(steps: Sequence[float], values: Sequence[float], floor: Sequence[float]) -> list[int]:
    """The indices from the coarsest step down to where two values in a row are lost in the floor.

    One small value alone is a change of sign on the way; two are the end of what rounding lets through.
    """
    clear = [abs(r) > FLOORS * f for r, f in zip(values, floor, strict=True)]
    end = next((k for k, (a, b) in enumerate(pairwise([*clear, False])) if not a and not b), len(steps))
    return [k for k in range(end) if clear[k]]


def best_slope(steps: Sequence[float], values: Sequence[float], floor: Sequence[float]) -> Slope | None:
    """The slope on the window whose fit is surest: least noise, least curvature, most points; or None."""
    seen = resolved(steps, values, floor)
    windows = [seen[i:j] for i in range(len(seen)) for j in range(i + FEWEST, len(seen) + 1)]
    fits = [fit(*_taken(window, steps, values, floor)) for window in windows]
    return min(fits, key=lambda slope: slope.error, default=None)


def finest_slope(steps: Sequence[float], values: Sequence[float], floor: Sequence[float]) -> Slope | None:
    """The slope on the finest resolved steps: what is left as the step goes to zero."""
    seen = resolved(steps, values, floor)[-ASYMPTOTIC:]
    return fit(*_taken(seen, steps, values, floor)) if len(seen) >= FEWEST - 1 else None


def leading_slope(steps: Sequence[float], values: Sequence[float], floor: Sequence[float]) -> Slope | None:
    """The surest slope, unless the finest steps have another order: far from the point any order may rule."""
    best, finest = best_slope(steps, values, floor), finest_slope(steps, values, floor)
    if best is None or finest is None or abs(best.value - finest.value) < 0.25 + finest.error:
        return best
    return finest


def _taken(window: Sequence[int], *series: Sequence[float]) -> list[list[float]]:
    return [[one[k] for k in window] for one in series]


def fit(steps: Sequence[float], values: Sequence[float], floor: Sequence[float]) -> Slope:
    """Least squares on logarithmic axes.

    The error is what values off by their floor, each in the worst direction, would do to the slope, plus the
    most that the slopes of the coarser and of the finer half can differ by. (A next order, halved from step to
    step, bends the whole by less than 0.8 of that difference.)
    """
    x, y = np.log2(steps), np.log2(np.abs(values))
    blur = np.asarray(floor) / np.abs(values) / math.log(2)
    half = (len(x) + 1) // 2
    whole, bend = _weights(x), np.zeros(len(x))
    bend[:half] += _weights(x[:half])
    bend[-half:] -= _weights(x[-half:])
    error = float(np.abs(whole) @ blur + abs(bend @ y) + np.abs(bend) @ blur)
    return Slope(float(whole @ y), error, float(min(steps)), float(max(steps)))


def _weights(x: np.ndarray) -> np.ndarray:
    """What each value counts in the slope of least squares."""
    dx = x - x.mean()
    return np.asarray(dx / np.sum(dx**2))
