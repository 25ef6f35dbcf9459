"""Which radii to sample, and which of them to believe.

The bound of a rung (`fit`) holds for noise of any size, kinks and jumps inside, and slow decay. What
it cannot see is an oscillation faster than its nodes: that looks like noise. So a rung whose tail is
more than rounding explains is believed only if its coefficients fall steeply, or if the tail is still
there at the smallest radius, where an oscillation would have become smooth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gradverify.oracles.fit import DEGREES
from gradverify.oracles.sampling import FLOOR, Line, Rung, take

FEW = 6  # fewer distinct values than this among 13: flat or a staircase at this radius
EXPLAINED = 64.0  # a tail of so many rounding floors is what a long computation leaves
PERSISTS = 8.0  # a tail within this factor of the one far below is the same noise
STEEP = 0.45  # decay per degree that no aliased oscillation imitates: 0.45^8 = 2e-3
WIDEST = 2.0**10
COARSE = 2.0**-14  # few values within a larger radius than this are a quantiser's, not rounding's
PATIENCE = 8.0  # a further rung must promise to shrink the bound so many times
NARROW = 2.0**-30  # dtypes coarser than this are averaged, and every factor is worth a rung
POOL = 16  # rungs of different nodes in an average


@dataclass
class Ladder:
    """The rungs taken so far along a line."""

    line: Line
    order: int
    require: float
    seed: int = 0
    rungs: list[Rung] = field(default_factory=list)
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
        inputs = FLOOR * self.line.eps * rung.head / rung.radius  # x + t v is rounded too
        return rung.noise <= max(EXPLAINED * (self.line.floor + inputs), PERSISTS * self.noise)

    def believed(self, rung: Rung) -> bool:
        """Whether the bound of a usable rung may be relied on."""
        return rung.decay <= STEEP or self.explained(rung)

    @property
    def best(self) -> float:
        """The smallest bound that may be relied on."""
        return min((r.error for r in self.usable if self.believed(r)), default=math.inf)


def climb(ladder: Ladder, radius: float, most: int) -> None:
    """Take rungs until the bound is small enough or no further one promises anything."""
    wanted: float | None = radius
    while wanted is not None and len(ladder.rungs) < most:
        ladder.take(wanted)
        wanted = _next(ladder)
    if ladder.line.eps >= NARROW and ladder.require < ladder.best < math.inf:
        _average(ladder)


def _average(ladder: Ladder) -> None:
    best = min((r for r in ladder.usable if ladder.believed(r)), key=lambda r: r.error)
    ladder.rungs.append(take(ladder.line, best.radius, ladder.order, range(ladder.seed, ladder.seed + POOL)))


def _next(ladder: Ladder) -> float | None:
    last = ladder.rungs[-1]
    if ladder.best <= ladder.require or not math.isfinite(ladder.line(0.0)):
        return None
    if not last.inside:
        wanted = _into_domain(ladder, last)
    elif last.distinct < FEW:
        wanted = _past_steps(ladder, last)
    else:
        wanted = _scaled(ladder, last)
    if wanted is None or not ladder.lowest <= wanted <= WIDEST or ladder.seen(wanted):
        wanted = _under_steps(ladder) or _between(ladder)
    return wanted


def _into_domain(ladder: Ladder, last: Rung) -> float:
    outside = min(abs(t) for t, y in zip(last.t.tolist(), last.y.tolist(), strict=True) if not math.isfinite(y))
    times = sum(not r.inside for r in ladder.rungs)
    return _power(outside) / (4.0 if times < 3 else 256.0)


def _past_steps(ladder: Ladder, last: Rung) -> float:
    finer = last.radius / 256.0
    if last.distinct > 1 and last.radius > COARSE and not ladder.explained(last) and not ladder.seen(finer):
        return finer
    leap = last.distinct == 1 and last.radius < 2.0**-11 and not ladder.passes(last.radius * 256.0)
    return last.radius * (256.0 if leap else 16.0)


def _scaled(ladder: Ladder, last: Rung) -> float | None:
    if ladder.explained(last):
        wider = _wider(last, PATIENCE if ladder.line.eps < NARROW else 2.0)
        return min(wider, 1.0) if wider is not None and ladder.line.eps >= NARROW else wider
    coarser = [r for r in ladder.usable if r.radius >= 4.0 * last.radius]
    if coarser and last.noise > coarser[0].noise / 4.0 and not ladder.seen(ladder.deep):
        return ladder.deep
    return _finer(ladder, last)


def _finer(ladder: Ladder, last: Rung) -> float:
    # a_k ~ r^k and r is proportional to the radius: let a_9 be just the noise.
    floor = ladder.noise
    wanted = (floor / last.head) ** (1.0 / 9.0) if last.head > floor > 0.0 else 0.01
    return last.radius * _power(min(max(wanted / max(last.decay, 1e-6), 2.0**-8), 0.25))


def _wider(last: Rung, patience: float) -> float | None:
    if last.reach >= DEGREES[0] or last.head <= 0.0:
        return None
    signal = min(last.noise / last.head, 1.0)
    gain = signal ** (1.0 / 9.0 - 1.0 / last.reach) if signal > 0.0 else 64.0
    return last.radius * _power(min(gain, 64.0)) if gain >= patience else None


def _under_steps(ladder: Ladder) -> float | None:
    """How wide the steps are, where nothing but steps was seen below the finest usable rung."""
    flat = max((r.radius for r in ladder.rungs if r.inside and r.distinct < FEW), default=0.0)
    wanted = flat * 16.0
    return wanted if flat and ladder.passes(wanted * 32.0) and not ladder.seen(wanted) and wanted <= COARSE * 4.0 else None


def _between(ladder: Ladder) -> float | None:
    """Below the finest rung that is not explained, if there is room above the next finer one."""
    usable = ladder.usable
    doubtful = [r for r in usable if not ladder.explained(r)]
    if not doubtful:
        return None
    wanted = _finer(ladder, doubtful[0])
    room = wanted >= ladder.lowest and not ladder.seen(wanted)
    below = any(wanted < r.radius < doubtful[0].radius for r in ladder.rungs)
    return wanted if room and not below else None


def _power(x: float) -> float:
    return 2.0 ** math.floor(math.log2(x)) if x > 0.0 else 2.0**-8
