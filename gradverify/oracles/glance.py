"""Four samples where fourteen are too many: whether differences confirm what a foreign oracle says.

A forward over a million numbers costs milliseconds, and beside an exact estimate a difference has only to show
that the real computation has that slope. Two central quotients over steps of which one is half the other, and how
far their even parts are from those of a smooth function, bound the slope well enough, or not at all. Of a smooth
function the even part is halved with the step; a kink at 0 leaves it as it is, and one at a share a of the step
shows in it as 1 - 3a, in the quotients as a.
"""

from __future__ import annotations

import math

from gradverify.oracles.sampling import Line, Phi
from gradverify.records import Estimate

ROUNDINGS = 16.0  # of the largest sample, that a quotient's numerator may be off by


def glance(phi: Phi, eps: float, radius: float, enough: float) -> Estimate | None:
    """The slope to within `enough`, from four samples, or None where these do not show it.

    The error is four times what halving the step changes, a kink as large as the even parts allow, and
    rounding.

    >>> glance(math.exp, 2.0**-52, 2.0**-20, 1e-3).covers(1.0)
    True
    """
    line = Line(phi, eps)
    wide, near = (_quotients(line, step) for step in (radius, radius / 2))
    if not all(map(math.isfinite, (*wide, *near))):
        return None
    kink = abs(2 * near[1] - wide[1])
    error = 4 * abs(wide[0] - near[0]) + 2 * kink + ROUNDINGS * line.quantum / radius
    standing = line(radius) == line(-radius)  # nothing moves: flat, or a step of something coarser
    return Estimate(near[0], error, line.evaluations, "finite") if error <= enough and not standing else None


def _quotients(line: Line, step: float) -> tuple[float, float]:
    """The odd and the even part of a difference: the slope, and half the gap of the slopes on both sides."""
    right, left, here = line(step), line(-step), line(0.0)
    return (right - left) / (2 * step), (right + left - 2 * here) / (2 * step)
