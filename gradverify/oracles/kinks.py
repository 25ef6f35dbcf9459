"""What a forward does at the point along one line: smooth, kink, jump, flat, staircase, domain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gradverify.oracles.finite import RADIUS, Finding, investigate
from gradverify.oracles.ladder import Ladder
from gradverify.oracles.sampling import Line

SHARP = 2.5e-4  # a bound below this share of the slope rules out a kink whose gap is 1e-3 of it

KINDS = ("smooth", "kink", "jump", "flat", "staircase", "domain", "undecided")


@dataclass(frozen=True)
class Side:
    """The one-sided slopes at a point, each within its error, and how they meet there.

    Where `kind` is smooth or flat both are the derivative; at a kink they differ by more than their
    errors; at a jump they are the slopes beside it; otherwise their errors are infinite.
    """

    kind: str
    left: float
    right: float
    left_error: float
    right_error: float
    evaluations: int

    @property
    def gap(self) -> float:
        """By how much the slopes differ at least."""
        return max(0.0, abs(self.right - self.left) - self.left_error - self.right_error)


def classify(phi: Callable[[float], float], eps: float = 2.0**-52, radius: float = RADIUS) -> Side:
    """How phi behaves at 0; undecided where noise hides a kink of a thousandth of the slope.

    >>> side = classify(lambda t: abs(t) + 3 * t)
    >>> side.kind, round(side.left, 6), round(side.right, 6)
    ('kink', 2.0, 4.0)
    """
    line = Line(phi, eps)
    finding = investigate(Ladder(line, order=1, require=0.0), radius)
    if finding.split is not None:
        left, right = finding.split.left, finding.split.right
        errors = left.slope_error, right.slope_error
        return Side(finding.reason, left.slope, right.slope, *errors, line.evaluations)
    kind = finding.reason or ("smooth" if _sharp(finding, line) else "undecided")
    known = kind if kind in KINDS else "undecided"
    return Side(known, finding.value, finding.value, finding.error, finding.error, line.evaluations)


def _sharp(finding: Finding, line: Line) -> bool:
    # Where the slope itself vanishes, that of the values farther out is the measure.
    here = line(0.0)
    across = [abs((y - here) / t) for t, y in line.known.items() if t and math.isfinite(y)]
    return finding.error <= SHARP * max(abs(finding.value), sorted(across)[len(across) // 2])
