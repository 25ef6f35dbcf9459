"""Derivatives from the forward alone, run as it is: black box, noise measured, bound included."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from gradverify.oracles.climb import climb
from gradverify.oracles.closer import closest
from gradverify.oracles.halves import Split, find_split
from gradverify.oracles.ladder import COARSE, EXPLAINED, FEW, Ladder
from gradverify.oracles.pieces import dismiss_pieces, find_jump, unsettled
from gradverify.oracles.sampling import Line, central, take
from gradverify.records import Estimate

Phi = Callable[[float], float]

RADIUS = 0.125
VISIBLE = 4.0  # a kink is farther off if a finer bound is so many times smaller than its gap
UNSTEADY = 64.0  # roundings by which two runs may differ before that is a finding

NARROW = 2.0**-20  # what stands still that far is no rounding to float32, whose steps are 2^-23


@dataclass(frozen=True)
class Finding:
    """What the rungs say together: an interval, and why it may not be a derivative."""

    value: float
    error: float
    reason: str = ""
    split: Split | None = None


def finite(phi: Phi, eps: float = 2.0**-52, require: float | None = None, order: int = 1, *,
           budget: float = math.inf, seed: int = 0, radius: float = RADIUS) -> Estimate:
    """The derivative of phi at 0 of order 1, 2 or 3, within a bound that phi's own values give.

    `phi(t)` is ``<u, f(x + t v)>`` from the forward in its own dtype, whose spacing at 1 is `eps`; t = 1
    is a change of x by about its own size. NaN, infinities and exceptions are the edge of the
    domain. The first rung costs 14 evaluations; more are taken while the bound exceeds `require`,
    or, if that is None, while they promise a better one, and never beyond a `budget` of evaluations but to
    find out where a step lies.

    >>> found = finite(math.exp)
    >>> abs(found.value - 1.0) <= found.error < 1e-11
    True
    """
    line = Line(phi, eps)
    finding = investigate(Ladder(line, order, require or 0.0, seed, budget), radius)
    return _estimate(line, finding, "finite")


def second_opinion(phi: Phi, eps: float = 2.0**-52, require: float | None = None, order: int = 1, *,
                   seed: int = 1, radius: float = 0.7 * RADIUS) -> Estimate:
    """The same from other nodes and radii, held against plain central differences.

    It confirms a failure where only native oracles exist, so it must not share a mistake with `finite`:
    if no central difference agrees with the fit within both errors, the bound is infinite.
    """
    line = Line(phi, eps)
    finding = investigate(Ladder(line, order, require or 0.0, seed), radius)
    if math.isfinite(finding.error) and not finding.reason and not _central_agrees(line, finding, order):
        finding = Finding(finding.value, math.inf, "resolution")
    return _estimate(line, finding, "finite central")


def _central_agrees(line: Line, finding: Finding, order: int) -> bool:
    radii = sorted({abs(t) for t in line.known if t})
    widest, finest = 0.9 * radii[-1], min(radii[0], radii[-1] / 64.0)
    steps = [widest * 4.0**-k for k in range(24) if widest * 4.0**-k > finest]
    found = [central(line, step, order) for step in steps]
    # A quotient and the one of a quarter of the step differ by 15/16 of the truncation, or by noise.
    own = [abs(a - b) * 4.0 for a, b in pairwise(found) if math.isfinite(a - b)]
    near = [abs(a - finding.value) for a in found[:-1] if math.isfinite(a)]
    return any(gap <= error + finding.error for gap, error in zip(near, own, strict=False))


def investigate(ladder: Ladder, radius: float = RADIUS) -> Finding:
    """Climb the ladder and judge its rungs."""
    if not math.isfinite(ladder.line(0.0)):
        return Finding(math.nan, math.inf, "domain")
    climb(ladder, radius)
    if ladder.cut and not any(r.inside for r in ladder.rungs):
        return Finding(closest(ladder), math.inf, "resolution")
    found = conclude(ladder)
    return _closer(ladder, found) if ladder.cut and not found.error < abs(found.value) else found


def _closer(ladder: Ladder, found: Finding) -> Finding:
    """What the budget left without a bound, or at a kink that may be farther off, told by plain quotients."""
    value = closest(ladder)
    if not math.isfinite(value) or (ladder.order > 1 and found.split):
        return found
    if found.split is None or found.split.kind == "jump":
        return replace(found, value=value) if found.error == math.inf else found
    slopes = (found.split.left.slope, found.split.right.slope)
    inside = min(slopes) <= value <= max(slopes)
    reach = max(abs(value - s) for s in slopes) + found.split.slope_error
    return replace(found, value=value, error=reach) if inside else found


def conclude(ladder: Ladder) -> Finding:
    """The finest rungs overrule the coarser ones they contradict; pieces and edges come first."""
    if not any(r.inside for r in ladder.rungs):
        return _one_sided(ladder)
    if all(r.distinct == 1 for r in ladder.rungs if r.inside):
        return _flat(ladder, max(r.radius for r in ladder.rungs if r.inside))
    piece = _flat_piece(ladder)
    if piece is not None:
        return piece
    return _merge(ladder)


def _merge(ladder: Ladder) -> Finding:
    while dismiss_pieces(ladder):
        pass
    best = Finding(min(ladder.usable, key=lambda r: r.error).value if ladder.usable else 0.0, math.inf, "resolution")
    if unsettled(ladder):
        return best
    finest = True
    for rung in ladder.usable:
        split = find_split(rung, ladder.line)
        if split is not None and split.kind == "jump" and finest:
            return _at_split(ladder, split)
        finest = False
        if ladder.believed(rung):
            if abs(rung.value - best.value) > rung.error + best.error:
                break
            best = Finding(rung.value, rung.error) if rung.error < best.error else best
        if split is not None and split.kind == "kink" and best.error > split.gap / VISIBLE:
            return _at_split(ladder, _sharpest(ladder, split))
    stairs = _stairs(ladder.line, best) if best.error < math.inf or not ladder.cut else ""
    return Finding(0.0, math.inf, stairs) if stairs else best


def _stairs(line: Line, found: Finding) -> str:
    """``staircase`` or ``jump`` if phi stands still beside 0 over the step of any quantiser; else empty.

    Over hundreds of steps a staircase looks like a line with noise, and no finer rung is asked for.
    """
    if min(abs(found.value), found.error) * NARROW <= 64.0 * line.floor:
        return ""
    if any(line(s * NARROW) != line(s * NARROW / 2) for s in (1.0, -1.0)):
        return ""
    return "staircase" if line(NARROW) == line(0.0) == line(-NARROW) else "jump"


def _sharpest(ladder: Ladder, split: Split) -> Split:
    """The same kink from farther away, where noise matters less, as long as the slopes agree."""
    splits = [find_split(r, ladder.line) for r in ladder.usable if r.radius > split.radius]
    return min([split, *(s for s in splits if s and s.agrees(split))], key=lambda s: s.slope_error)


def _at_split(ladder: Ladder, split: Split) -> Finding:
    left, right = split.left, split.right
    if ladder.order > 1:  # slopes that differ leave no second derivative on which a bound could be put
        return Finding(math.nan, math.inf, split.kind)
    error = math.inf if split.kind == "jump" else abs(right.slope - left.slope) / 2 + split.slope_error
    return Finding((left.slope + right.slope) / 2, error, split.kind, split)


def _flat(ladder: Ladder, radius: float) -> Finding:
    # Less than one spacing of the largest value may have been gained within the radius.
    room = 2.0 * math.factorial(ladder.order) * max(ladder.line.quantum, ladder.line.jitter)
    return Finding(0.0, room / radius**ladder.order, "flat")


def _flat_piece(ladder: Ladder) -> Finding | None:
    """A piece around 0 on which phi does not change at all though it does farther out."""
    line = ladder.line
    few = [r.radius for r in ladder.rungs if r.inside and r.distinct < FEW]
    width = max(few, default=0.0)
    if width < max(COARSE, 32.0 * line.eps):
        return None
    smooth = [r for r in ladder.usable if ladder.believed(r) and abs(r.value) * width <= 64.0 * line.floor]
    if smooth:
        return None
    here = line(0.0)
    edge = min((t for t, y in line.known.items() if y != here), key=abs)
    jump = find_jump(line, 0.0, edge, abs(line(edge) - here) / 8.0)
    if jump is not None:
        at_point = abs(jump) <= ladder.lowest
        return Finding(0.0, math.inf, "jump" if at_point else "staircase")
    still = _still(line)
    return _flat(ladder, still) if still > 0.0 else None


def _still(line: Line) -> float:
    """The distance up to which every sample on both sides equals phi(0)."""
    moved = [abs(t) for t, y in line.known.items() if y != line(0.0)]
    edge = min(moved, default=math.inf)
    sides = [max((abs(t) for t in line.known if abs(t) < edge and t * s > 0), default=0.0) for s in (-1, 1)]
    return min(sides)


def _one_sided(ladder: Ladder) -> Finding:
    best = Finding(math.nan, math.inf, "domain")
    for side in (-1, 1):
        for exponent in range(-3, -44, -8):
            rung = take(ladder.line, 2.0**exponent, ladder.order, (ladder.seed,), at=side)
            # Nothing lies on the other side to compare with, so a tail has to be rounding: that of a root is not.
            sharp = rung.inside and rung.distinct >= FEW and rung.noise <= EXPLAINED * ladder.line.floor
            if sharp and rung.error < best.error:
                best = Finding(rung.value, rung.error, "domain")
    return best


def _estimate(line: Line, finding: Finding, oracle: str) -> Estimate:
    unsteady = line.jitter > UNSTEADY * line.quantum
    reason = "nondeterministic" if unsteady else finding.reason
    slopes = (finding.split.left.slope, finding.split.right.slope) if finding.split else None
    return Estimate(finding.value, finding.error, line.evaluations, oracle, reason, slopes)
