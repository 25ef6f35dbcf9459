"""A fine rung against a coarse trend: which one is the derivative.

Both can be smooth and contradict each other. The trend is false where a ripple hides in its noise; it
is true where the fine rung lies on one piece of a computation that rounds to a narrower type on its way:
there phi is smooth but for the parts that were rounded away. What lies between the two tells: jumps at
a scale below that of any quantiser, or a smooth unfolding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradverify.oracles.ladder import COARSE, EXPLAINED, STEEP, Ladder
from gradverify.oracles.sampling import Line, Rung

NEIGHBOURS = 2.0**8  # radii whose ratio is at most this leave nothing unseen between them


@dataclass(frozen=True)
class Dispute:
    """A sharp fine rung, a steep coarse one that excludes it, and what breaks up in between, if seen."""

    fine: Rung
    top: Rung  # the coarsest rung that is still whole
    broken: Rung | None
    trend: Rung

    @property
    def settled(self) -> bool:
        """Whether the break is pinned down closely enough to look for jumps there."""
        return self.broken is not None and self.broken.radius <= NEIGHBOURS * self.top.radius


def find_dispute(ladder: Ladder) -> Dispute | None:
    """The contradiction between a believed rung and a steep one above it that is sharpest."""
    usable = ladder.usable
    steep = [r for r in usable if r.decay <= STEEP]
    excluded = [(f, t) for f in usable if ladder.believed(f) for t in steep if _excludes(f, t)]
    if not excluded:
        return None
    fine, trend = min(excluded, key=lambda pair: (pair[0].error, pair[1].radius))
    gap = abs(trend.value - fine.value)
    between = [r for r in usable if fine.radius < r.radius < trend.radius]
    broken = next((r for r in between if r.decay > STEEP or r.error >= gap), None)
    edge = broken.radius if broken is not None else trend.radius
    whole = [r for r in between if r.radius < edge]
    return Dispute(fine, whole[-1] if whole else fine, broken, trend)


def _excludes(fine: Rung, trend: Rung) -> bool:
    return fine.radius < trend.radius and contradict(fine, trend)


def contradict(a: Rung, b: Rung) -> bool:
    """Whether two bounds leave no common value."""
    return abs(a.value - b.value) > a.error + b.error


def between_pieces(ladder: Ladder) -> float | None:
    """The radius to look at next in an unsettled dispute."""
    dispute = find_dispute(ladder)
    if dispute is None or dispute.settled:
        return None
    high = dispute.broken if dispute.broken is not None else dispute.trend
    wanted = 2.0 ** round(math.log2(dispute.top.radius * high.radius) / 2)
    return None if ladder.seen(wanted) else wanted


def unsettled(ladder: Ladder) -> bool:
    """Whether fine and coarse contradict each other and nothing shows why."""
    dispute = find_dispute(ladder)
    return dispute is not None and not dispute.settled


def dismiss_pieces(ladder: Ladder) -> bool:
    """Drop the rungs inside one piece of a narrower computation; False if there are none."""
    dispute = find_dispute(ladder)
    if dispute is None or dispute.broken is None or dispute.broken.radius > 8.0 * COARSE:
        return False
    broken, fine = dispute.broken, dispute.fine
    least = max(broken.noise / 64.0, 8.0 * fine.noise, EXPLAINED * ladder.line.floor)
    slope = fine.value if ladder.order == 1 else 0.0
    if find_jump(ladder.line, float(broken.t[0]), float(broken.t[-1]), least, slope) is None:
        return False
    ladder.rungs = [r for r in ladder.rungs if r.radius >= dispute.trend.radius]
    ladder.rounding = dispute.trend.noise
    return True


def find_jump(line: Line, a: float, b: float, least: float, slope: float = 0.0) -> float | None:
    """Where phi less a slope jumps by so much between a and b: bisection into the half of more change."""

    def height(t: float) -> float:
        return line(t) - slope * t

    while abs(b - a) > 16.0 * line.eps * max(1.0, abs(a)):
        middle = (a + b) / 2
        left, right = abs(height(middle) - height(a)), abs(height(b) - height(middle))
        a, b = (a, middle) if left > right else (middle, b)
        if not max(left, right) > least:
            return None
    return b
