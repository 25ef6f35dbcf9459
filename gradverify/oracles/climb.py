"""Which radius to sample next: down until the tail is explained, up where noise is all that is left of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gradverify.oracles.closer import is_tight, look, noisy, room, worth_the_rest
from gradverify.oracles.fit import COUNT, DEGREES
from gradverify.oracles.ladder import COARSE, FEW, Ladder
from gradverify.oracles.pieces import between_pieces, find_dispute
from gradverify.oracles.sampling import Rung, take

MOST_RUNGS = 12
WIDEST = 2.0**10
PATIENCE = 8.0  # a further rung must promise to shrink the bound so many times
NARROW = 2.0**-30  # dtypes coarser than this are averaged, and every factor is worth a rung
POOL = 16  # rungs of different nodes in an average
COARSEST = 2.0**-8  # bfloat16 has so few numbers within a radius that more nodes show nothing new, other radii do
INFORMS = 2.0**-4  # relative: nobody needs to know a derivative in such a dtype to more than a few of its roundings
LOOK = 8  # evaluations of a first look
KEPT = 2  # evaluations for another quotient
WIDTHS = (1.0, 1.5, 0.75, 2.0, 0.5, 2.5, 0.35)


def climb(ladder: Ladder, radius: float) -> None:
    """Take rungs until the bound is small enough or no further one promises anything."""
    if is_tight(ladder) and not worth_the_rest(ladder, look(ladder, radius)):
        _within(ladder, ladder.looks[-1])
        return
    ladder.line.repeat()
    wanted: float | None = radius
    while wanted is not None and len(ladder.rungs) < MOST_RUNGS:
        ladder.take(wanted)
        ladder.cut = room(ladder) < 2  # even a look at whether the rung may be believed takes so many
        wanted = None if ladder.cut else _next(ladder)
        ladder.cut = ladder.cut or (wanted is not None and _room(ladder) < 1)
        if ladder.cut:
            break
    if not ladder.require < ladder.best < math.inf:
        return
    if ladder.line.eps >= NARROW:
        _average(ladder, min((r for r in ladder.usable if ladder.believed(r)), key=lambda r: r.error))
    elif _room(ladder) > 0:
        _widen(ladder)


def _within(ladder: Ladder, seen: Rung) -> None:
    """Wider at once where there is noise, else finer, as far as the budget goes; the rest is for quotients."""
    ladder.cut = True
    if seen.inside and noisy(ladder, seen):
        _all_at_once(ladder, min(_wider(seen, 1.0) or 2.0 * seen.radius, 1.0))
        return
    if seen.inside and room(ladder) >= COUNT - 1 + KEPT:
        seen = ladder.take(_finer(ladder, seen))
    if seen.inside and not ladder.explained(seen) and room(ladder) >= LOOK:
        look(ladder, _finer(ladder, seen) / 4.0)


def _all_at_once(ladder: Ladder, radius: float) -> None:
    """One rung of all the nodes that the budget still has: their noise averages."""
    count = 2 * int(room(ladder) // 2) + 1
    if count >= COUNT:
        ladder.rungs.append(take(ladder.line, radius, ladder.order, (ladder.seed,), count=count))


def _widen(ladder: Ladder) -> None:
    """Once more as wide as it pays, where a narrower dtype inside leaves so much noise that every factor counts."""
    dispute = find_dispute(ladder)
    if dispute is None or not dispute.settled:
        return
    trends = [r for r in ladder.usable if r.radius >= dispute.trend.radius and ladder.believed(r)]
    wider = _wider(min(trends, key=lambda r: r.error), 2.0) if trends else None
    if wider is not None and not ladder.seen(min(wider, 1.0)):
        ladder.take(min(wider, 1.0))


def _average(ladder: Ladder, best: Rung) -> None:
    """The best radius again with many nodes; for the coarsest dtypes others too, and the mean of them all."""
    averages: list[Rung] = []
    for k, times in enumerate(WIDTHS if ladder.line.eps >= COARSEST else (1.0,)):
        pool = min(POOL, 1 + _room(ladder))
        enough = ladder.require if not averages else max(ladder.require, INFORMS * abs(averages[-1].value))
        if ladder.best <= enough or pool < 2:
            return
        seeds = range(ladder.seed + k * POOL, ladder.seed + k * POOL + pool)
        rung = take(ladder.line, times * best.radius, ladder.order, seeds)
        ladder.rungs.append(rung)
        averages += [rung] if rung.inside and ladder.believed(rung) else []
        if len(averages) > 1:
            ladder.rungs.append(_mean(averages))


def _mean(rungs: list[Rung]) -> Rung:
    """Weighted by the bounds; nodes of their own make their noise independent. Contradictions end it."""
    error, value = (np.array([getattr(r, name) for r in rungs]) for name in ("error", "value"))
    weight = error**-2.0
    mean, bound = float(weight @ value / np.sum(weight)), float(np.linalg.norm(weight * error) / np.sum(weight))
    best = min(rungs, key=lambda r: r.error)
    return best if np.any(np.abs(value - mean) > error + bound) else replace(best, value=mean, error=bound)


def _room(ladder: Ladder) -> int:
    """How many more rungs the budget has room for; the node at 0 is known."""
    left = (ladder.budget - ladder.line.evaluations) / (COUNT - 1)
    return int(min(left, MOST_RUNGS + POOL))


def _next(ladder: Ladder) -> float | None:
    last = ladder.rungs[-1]
    if ladder.best <= ladder.require:
        return between_pieces(ladder)
    wanted: float | None
    if not last.inside:
        wanted = _into_domain(ladder, last)
    elif last.distinct < FEW:
        wanted = _past_steps(ladder, last)
    else:
        wanted = _scaled(ladder, last)
    if wanted is None or not ladder.lowest <= wanted <= WIDEST or ladder.seen(wanted):
        wanted = _under_steps(ladder) or _between(ladder) or between_pieces(ladder)
    return wanted


def _into_domain(ladder: Ladder, last: Rung) -> float:
    outside = float(np.min(np.abs(last.t[~np.isfinite(last.y)])))
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
        wider = _wider(last, PATIENCE if ladder.line.eps < NARROW and ladder.budget == math.inf else 2.0)
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
    open_above = ladder.passes(wanted * 32.0) and not ladder.seen(wanted)
    return wanted if 0.0 < wanted <= COARSE * 4.0 and open_above else None


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
