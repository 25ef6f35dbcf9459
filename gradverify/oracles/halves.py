"""The two halves of a rung: one-sided slopes, and whether they meet at 0.

At a kink the central samples split into two smooth halves with different slopes, at a jump into two
halves that miss each other at 0. That costs no evaluation beyond the rung's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradverify.oracles.fit import Array
from gradverify.oracles.sampling import Line, Rung

HALF_DEGREE = 2
MARGIN = 3.0  # a gap is one if it exceeds the errors of both sides so many times
HALF_QUANTILE = 20.0  # Student's t at 1e-4 for the 3 to 4 degrees of freedom a half leaves is 22 to 13


@dataclass(frozen=True)
class Half:
    """A parabola through the samples on one side: its height over phi(0) and its slope at 0."""

    height: float
    height_error: float
    slope: float
    slope_error: float


@dataclass(frozen=True)
class Split:
    """A kink or a jump at 0, seen within one radius."""

    kind: str
    left: Half
    right: Half
    radius: float

    @property
    def gap(self) -> float:
        """The distance of the slopes; infinite at a jump, where a derivative has no bound."""
        return math.inf if self.kind == "jump" else abs(self.right.slope - self.left.slope)

    @property
    def slope_error(self) -> float:
        """The larger of the two errors."""
        return max(self.left.slope_error, self.right.slope_error)

    def agrees(self, other: Split) -> bool:
        """Whether both see the same kind of thing and their slopes overlap on either side."""
        pairs = ((self.left, other.left), (self.right, other.right))
        near = all(abs(a.slope - b.slope) <= a.slope_error + b.slope_error for a, b in pairs)
        return self.kind == other.kind and near


def fit_half(t: Array, y: Array, floor: float, *, anchored: bool) -> Half:
    """The parabola on one side of 0; `anchored` passes it through the origin."""
    radius = float(np.max(np.abs(t)))
    size = max(float(np.max(np.abs(y))), floor)
    if size == 0.0:
        return Half(0.0, 0.0, 0.0, 0.0)
    s, y = t / radius, y / size  # squares of tiny or huge values would leave the range
    basis = np.stack([s**k for k in range(1 if anchored else 0, HALF_DEGREE + 1)], axis=1)
    inverse = np.linalg.pinv(basis)
    c = inverse @ y
    residual = float(np.linalg.norm(y - basis @ c)) / math.sqrt(len(t) - len(c))
    spread = HALF_QUANTILE * max(residual, floor / size) * np.linalg.norm(inverse, axis=1)
    k = 0 if anchored else 1
    height, height_error = (0.0, 0.0) if anchored else (float(c[0]), float(spread[0]))
    unit = size / radius
    return Half(height * size, height_error * size, float(c[k]) * unit, float(spread[k]) * unit)


def find_split(rung: Rung, line: Line) -> Split | None:
    """The kink or jump at 0 that these samples show, if their halves are smooth and disagree."""
    loose = _halves(rung, line, anchored=False)
    step = abs(loose[0].height - loose[1].height)
    if step > MARGIN * (loose[0].height_error + loose[1].height_error):
        # A kink between 0 and the nearest node makes the halves miss each other too, by this much.
        bend = 2.0 * abs(loose[0].slope - loose[1].slope) * float(np.min(np.abs(rung.t[rung.t != 0.0])))
        return Split("jump" if step > bend else "kink", *loose, rung.radius)
    tight = _halves(rung, line, anchored=True)
    if _apart(tight[0].slope, tight[1].slope, tight[0].slope_error + tight[1].slope_error):
        return Split("kink", *tight, rung.radius)
    return None


def _halves(rung: Rung, line: Line, *, anchored: bool) -> tuple[Half, Half]:
    y = rung.y - line(0.0)
    left, right = rung.t < 0, rung.t > 0
    return (fit_half(rung.t[left], y[left], line.floor, anchored=anchored),
            fit_half(rung.t[right], y[right], line.floor, anchored=anchored))


def _apart(a: float, b: float, error: float) -> bool:
    return abs(a - b) > MARGIN * error
