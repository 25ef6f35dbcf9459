"""The rungs taken along a line, and which of them to believe.

The bound of a rung (`fit`) holds for noise of any size, kinks and jumps inside, and slow decay. What
it cannot see is an oscillation faster than its nodes: that looks like noise. So a rung whose tail is
more than rounding explains is believed only if its coefficients fall steeply and a plain difference close
to the point agrees, or if the tail is still there at the smallest radius, where an oscillation would
have become smooth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gradverify.oracles.sampling import FLOOR, Line, Rung, central, take

FEW = 6  # fewer distinct values than this among 13: flat or a staircase at this radius
EXPLAINED = 64.0  # a tail of so many rounding floors is what a long computation leaves
PERSISTS = 8.0  # a tail within this factor of the one far below is the same noise
STEEP = 0.45  # decay per degree that no aliased oscillation imitates: 0.45^8 = 2e-3
CLOSE = 16.0  # of the noise over the bound: a difference by that step errs by an eighth of the bound
COARSE = 2.0**-14  # few values within a larger radius than this are a quantiser's, not rounding's


@dataclass
class Ladder:
    """The rungs taken so far along a line."""

    line: Line
    order: int
    require: float
    seed: int = 0
    budget: float = math.inf  # in evaluations
    cut: bool = False  # the budget ended before the climb did
    rungs: list[Rung] = field(default_factory=list)
    looks: list[Rung] = field(default_factory=list)  # of a few nodes only, for a value without a bound
    rounding: float | None = None  # the noise of a computation that is narrower inside than it says

    def take(self, radius: float) -> Rung:
        """One more rung."""
        self.rungs.append(take(self.line, radius, self.order, (self.seed,)))
        return self.rungs[-1]

    @property
    def usable(self) -> list[Rung]:
        """The rungs that lie in the domain and show more than a few values, finest first."""
        rungs = [r for r in self.rungs if r.inside and r.distinct >= FEW]
        return sorted(rungs, key=lambda r: r.radius)

    @property
    def lowest(self) -> float:
        """The smallest radius whose nodes are some spacings of the dtype apart."""
        return 2.0**4 * self.line.eps

    @property
    def deep(self) -> float:
        """The radius at which noise is measured if it is in doubt."""
        return 2.0**12 * self.line.eps

    def seen(self, radius: float) -> bool:
        """Whether a rung near this radius was taken already."""
        return any(0.5 < radius / r.radius < 2.0 for r in self.rungs)

    def passes(self, radius: float) -> bool:
        """Whether a rung of this radius or less shows more than steps."""
        return any(r.radius <= radius for r in self.usable)

    @property
    def noise(self) -> float:
        """The noise where an oscillation would be smooth: of the finest rung, if it is fine enough.

        A rung is fine enough when below it there is nothing but a staircase, or the dtype itself.
        """
        usable = self.usable
        if self.rounding is not None or not usable:
            return max(self.rounding or 0.0, self.line.floor)
        below = any(r.radius < usable[0].radius and r.inside for r in self.rungs)
        fine = below or usable[0].radius <= self.deep
        return max(usable[0].noise, self.line.floor) if fine else self.line.floor

    def explained(self, rung: Rung) -> bool:
        """Whether the tail is rounding, as far as is known."""
        return rung.noise <= max(self._roundings(rung), PERSISTS * self.noise)

    def _roundings(self, rung: Rung) -> float:
        inputs = FLOOR * self.line.eps * rung.head / rung.radius  # x + t v is rounded too
        return EXPLAINED * (self.line.floor + inputs)

    def believed(self, rung: Rung) -> bool:
        """Whether the bound of a usable rung may be relied on."""
        if self.cut:  # nobody has looked for a ripple or steps below it
            return rung.noise <= self._roundings(rung)
        return self.explained(rung) or (rung.decay <= STEEP and self._seen_close(rung))

    def _seen_close(self, rung: Rung) -> bool:
        """Whether a central difference, as close to 0 as noise lets it resolve the bound, finds the same.

        Ripples of a thousandth of the values leave as steep a decay as the next derivative does, and
        their slope may be any multiple of the bound.
        """
        if self.rounding is not None:
            return True
        inputs = FLOOR * self.line.eps * rung.head / rung.radius
        noise = max(self.noise, self.line.floor) + inputs
        step = (CLOSE * noise / rung.error) ** (1.0 / self.order) if rung.error > 0.0 else math.inf
        step = 2.0 ** math.ceil(math.log2(max(step, self.lowest))) if step < rung.radius else rung.radius
        return abs(central(self.line, step, self.order) - rung.value) <= rung.error / 2.0

    @property
    def best(self) -> float:
        """The smallest bound that may be relied on."""
        return min((r.error for r in self.usable if self.believed(r)), default=math.inf)
