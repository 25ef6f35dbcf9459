"""The best value where the budget leaves no bound: plain quotients close to the point.

A wide rung is of no use where the forward is not smooth that far, and says so after nine of its nodes. Quotients
of steps far apart do better: a wider step that agrees with the finer one has less rounding; one that
does not gives away the truncation, by an extrapolation that does little where it is wrong,

    D(h) + (D(h) - D(m h)) / (m^2 - 1),   m = 2^7.

What they say carries no bound.
"""

from __future__ import annotations

import math

from gradverify.oracles.fit import COUNT
from gradverify.oracles.ladder import Ladder
from gradverify.oracles.sampling import Line, Rung, central, take

EDGE = 2.0**-3  # phi is not smooth so far, hence its third derivative is more than phi / EDGE^3
APART = 2.0**7  # the ratio of two steps
QUOTIENTS = 3
AGREE = 4.0  # times the noise of the finer quotient
SILENT = 1.0 / 8.0  # a quotient nearer to a rung than so much of its noise says that it was none
BENT = 1.0 / 8.0  # one-sided quotients of a smooth phi come nearer by APART


def is_tight(ladder: Ladder) -> bool:
    """Whether the budget has no room for three rungs."""
    return room(ladder) < 3 * (COUNT - 1)


def look(ladder: Ladder, radius: float) -> Rung:
    """A first look, of a few nodes."""
    ladder.looks.append(take(ladder.line, radius, ladder.order, (ladder.seed,), sparse=True))
    return ladder.looks[-1]


def worth_the_rest(ladder: Ladder, seen: Rung) -> bool:
    """Whether the samples fall so steeply that more nodes leave less than quotients would."""
    return seen.inside and seen.ahead(COUNT) <= ladder.line.eps ** (2.0 / 3.0) * seen.head


def noisy(ladder: Ladder, seen: Rung) -> bool:
    """Whether the closest quotient is as far off as it would be if what a rung left unexplained were noise."""
    step = _finest(ladder)
    off = abs(central(ladder.line, step, ladder.order) - seen.value)
    return off * step**ladder.order >= SILENT * seen.noise


def room(ladder: Ladder) -> float:
    """How many evaluations are left."""
    return ladder.budget - ladder.line.evaluations


def closest(ladder: Ladder) -> float:
    """The derivative as the evaluations that are left tell it; NaN if they tell nothing."""
    line, order = ladder.line, ladder.order
    left, finest = room(ladder), _finest(ladder)
    known = finest in line.known
    count = known + max(0, min(QUOTIENTS - known, math.floor(left / (2 if order < 3 else 4))))
    steps = [finest * APART**k for k in range(count)]
    values = [central(line, h, order) for h in steps]
    if order == 1 and count and (not math.isfinite(values[0]) or _bends(ladder, steps)):
        return _beside(line, finest, left > 2 * (count - known))
    return _with_rungs(ladder, steps, values)


def _finest(ladder: Ladder) -> float:
    exponent = math.log2(EDGE) + math.log2(ladder.line.eps) / (ladder.order + 2)
    return 2.0 ** math.floor(exponent)


def _with_rungs(ladder: Ladder, steps: list[float], values: list[float]) -> float:
    """The quotients' value, or that of a rung that knows better and does not contradict it."""
    looks = _looks(ladder)
    best = sorted(looks, key=_guess)
    if not values:
        return best[0].value if best else math.nan
    if best and noisy(ladder, min(looks, key=lambda r: r.noise)):
        return best[0].value
    value, error = _combined(ladder, steps, values)
    better = (r.value for r in best if _guess(r) < error and abs(r.value - value) <= AGREE * error)
    return next(better, value)


def _guess(rung: Rung) -> float:
    """About by how much the value is off, if the coefficients go on as they fall."""
    return rung.error * rung.ahead(len(rung.t)) / rung.noise if rung.noise else rung.error


def _combined(ladder: Ladder, steps: list[float], values: list[float]) -> tuple[float, float]:
    """The value of all quotients together, and about by how much it is off."""
    order = ladder.order
    value, noise = values[0], _noise(ladder.line, steps[0], order)
    for h, wider in zip(steps[1:], values[1:], strict=True):
        if not abs(wider - value) <= AGREE * noise:
            if order == 1 and _bent(ladder.line, h):
                return value, noise
            correction = (value - wider) / (APART**2 - 1.0)
            return (value + correction, noise + abs(correction)) if math.isfinite(correction) else (value, noise)
        value, noise = wider, _noise(ladder.line, h, order)
    return value, noise


def _bent(line: Line, h: float) -> bool:
    """Whether a kink lies between this step and the one before: one-sided quotients part more than a curve's."""
    fine, wide = (abs(right - left) for left, right in (_sides(line, h / APART), _sides(line, h)))
    return wide > 2.0 * APART * (fine + AGREE * _noise(line, h / APART, 1))


def _noise(line: Line, h: float, order: int) -> float:
    return max(line.quantum, line.jitter) / h**order


def _sides(line: Line, h: float) -> tuple[float, float]:
    here = line(0.0)
    return (here - line(-h)) / h, (line(h) - here) / h


def _bends(ladder: Ladder, steps: list[float]) -> bool:
    """Whether one-sided quotients stay apart as the step shrinks: a kink is nearer than the finest."""
    line = ladder.line
    if len(steps) < 2:
        return False
    fine, wide = (abs(right - left) for left, right in (_sides(line, h) for h in steps[:2]))
    silent = fine * steps[0] < SILENT * min((r.noise for r in _looks(ladder)), default=math.inf)
    return silent and fine > BENT * wide + AGREE * _noise(line, steps[0], 1)


def _looks(ladder: Ladder) -> list[Rung]:
    return [r for r in (*ladder.rungs, *ladder.looks) if r.inside and math.isfinite(r.error)]


def _beside(line: Line, h: float, more: bool) -> float:
    """A one-sided slope from closer still, or the one at h where the side is smooth up to there.

    It is moved by its noise towards the other one, so that it lies between them if the kink is at 0 itself.
    """
    left, right = _sides(line, h)
    curved = (right - _sides(line, h * APART)[1]) / (APART - 1.0) if h * APART in line.known else 0.0
    right = right + curved if math.isfinite(curved) else right
    near = line.eps**0.5
    closer = (line(near) - line(0.0)) / near if more else math.nan
    found = [s for s in (closer, right, left) if math.isfinite(s)]
    if len(found) < 3:
        return found[0] if found else math.nan
    if abs(closer - right) > AGREE * _noise(line, near, 1):
        return closer
    margin = AGREE * _noise(line, h, 1) + abs(curved) / APART
    return right + math.copysign(min(margin, abs(left - right)), left - right)
