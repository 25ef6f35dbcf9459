"""Which oracle first, when to climb, and when a foreign one may be believed.

A foreign oracle (complex step) is exact to rounding but can be silently wrong where NumPy
conjugates; a native one (finite differences) sees the real computation but resolves less. So a
foreign estimate counts only where a native one, within its own bound, agrees with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradverify.arrays import Arrays
from gradverify.oracles.certified import certified
from gradverify.oracles.complexstep import complex_step
from gradverify.oracles.finite import RADIUS, finite, second_opinion
from gradverify.oracles.glance import glance
from gradverify.oracles.multiprecision import multiprecision
from gradverify.oracles.quad import quad
from gradverify.records import Estimate

Forward = Callable[[Arrays], Arrays]
Phi = Callable[[float], float]
Step = Callable[[Arrays, Arrays], Estimate]

FOREIGN: dict[str, Callable[[Forward, Arrays, Arrays, Arrays], Estimate]] = {
    "complex": complex_step,
    "quad": quad,
    "mpmath": multiprecision,
    "certified": certified,
}
# A rung above complex step is climbed to only where the forward handles at most so many numbers:
# per number, quad costs about a hundred and mpmath a few thousand times what float64 does.
RUNGS = {"quad": 2**14, "mpmath": 2**11}

_CORROBORATES = 1e-2  # a native bound this much smaller than the value says something about it
_WORDS = {
    "complex": "complex step",
    "finite": "finite differences",
    "quad": "quadruple precision",
    "mpmath": "mpmath",
    "certified": "certified balls",
}


@dataclass(frozen=True)
class Opinion:
    """`best` is what is believed; `native` and `foreign` are what it rests on."""

    best: Estimate
    native: Estimate
    foreign: Estimate | None = None

    @property
    def corroborated(self) -> bool:
        """Whether complex step and differences both spoke, and agree on more than the order of magnitude."""
        informative = self.native.error <= _CORROBORATES * abs(self.native.value)
        return self.by == "complex" and informative

    @property
    def by(self) -> str:
        """The oracle that is believed."""
        return self.best.oracle if self.best is self.foreign else "finite"

    @property
    def name(self) -> str:
        """The oracles that agree, for the report."""
        used = [self.best.oracle] + ([self.native.oracle] if self.best is not self.native else [])
        return " and ".join(_WORDS.get(name, name) for name in used)


def consult(
    *,
    phi: Callable[[float], float],
    forward: Forward | None,
    point: Arrays,
    u: Arrays,
    v: Arrays,
    eps: float,
    need: float | None,
    oracle: str = "auto",
    seed: int = 0,
    step: Step | None = None,
    size: float = 0.0,
    large: bool = False,
) -> Opinion:
    """Native differences, and the foreign oracle where the forward runs on it and both agree.

    `step` is the complex step of a framework that carries it itself; `size` is that of the values under phi.
    With `large` forwards are dear, and four samples do where they confirm the foreign estimate.
    """
    foreign = _ask_foreign(forward, point, u, v, "complex" if oracle == "auto" else oracle, step)
    if foreign is not None:
        if foreign.reason == "kink" and foreign.slopes is not None and oracle == "auto":
            # It saw the tie itself: differences would only spend a hundred evaluations on shrinking towards it.
            met = Estimate(sum(foreign.slopes) / 2, math.inf, foreign.evaluations, "finite", "kink", foreign.slopes)
            return Opinion(met, met)
        foreign = None if foreign.reason or not math.isfinite(foreign.error) else foreign
    # Beside a foreign estimate the difference has to confirm, not to resolve: a thousandth is enough.
    enough = max(need or 0.0, 1e-3 * abs(foreign.value)) if foreign is not None else need
    radius = RADIUS if foreign is None else _near(eps * size, enough)
    if large and foreign is not None and enough:
        seen = glance(phi, eps, radius, enough)
        if seen is not None and abs(seen.value - foreign.value) <= seen.error + foreign.error:
            return Opinion(foreign, seen, foreign)
    return _joined(finite(phi, eps, require=enough, seed=seed, radius=radius), foreign, phi)


_ROOM = 2.0**22  # roundings: a fit multiplies them by a few hundred, the rest is what measured noise may exceed one by


def _near(rounding: float, enough: float | None) -> float:
    """The radius from which a difference is just good enough to confirm: a kink farther off is none of its business."""
    if not enough or rounding <= 0.0:
        return RADIUS
    wanted = math.ldexp(1.0, math.frexp(_ROOM * rounding / enough)[1])
    return min(RADIUS, max(2.0**-40, wanted))


def _ask_foreign(
    forward: Forward | None, point: Arrays, u: Arrays, v: Arrays, oracle: str, step: Step | None
) -> Estimate | None:
    if oracle == "complex" and step is not None:
        return step(u, v)
    return FOREIGN[oracle](forward, point, u, v) if forward is not None and oracle in FOREIGN else None


def _joined(native: Estimate, foreign: Estimate | None, phi: Phi) -> Opinion:
    if foreign is None or native.reason in ("kink", "jump", "staircase") or not math.isfinite(native.error):
        return Opinion(native, native, foreign)
    gap = abs(foreign.value - native.value)
    if gap <= foreign.error + native.error:
        return Opinion(foreign, native, foreign)
    if _steady(native, phi):
        # The foreign run is another computation: a stale view, a value that lost its imaginary part.
        return Opinion(native, native, foreign)
    # Differences that hold only over the shortest way may have fallen for a staircase of roundings.
    apart = Estimate(native.value, native.error + gap + foreign.error, native.evaluations, "finite", "disagreement")
    return Opinion(apart, native, foreign)


def _steady(native: Estimate, phi: Callable[[float], float]) -> bool:
    """Whether the slope is still about the same over a hundredth of the point's size."""
    with np.errstate(all="ignore"):
        wide = (phi(2.0**-6) - phi(-(2.0**-6))) * 2.0**5
    return abs(wide - native.value) <= abs(native.value) / 2


def climb(opinion: Opinion, phi: Phi, forward: Forward, point: Arrays, u: Arrays, v: Arrays) -> Opinion:
    """The next rungs, where differences and complex step left it undecided: quad, then mpmath."""
    if opinion.native.reason in ("kink", "jump", "staircase"):
        return opinion
    numbers = sum(np.size(x) for x in (*point.values(), *u.values()))
    for name, most in RUNGS.items():
        if numbers > most or opinion.by == name:
            continue
        found = FOREIGN[name](forward, point, u, v)
        if not found.reason and math.isfinite(found.error):
            joined = _joined(opinion.native, found, phi)
            sharper = joined.best.error < opinion.best.error or joined.best.reason == "disagreement"
            return joined if sharper else opinion
    return opinion


def confirm(phi: Callable[[float], float], eps: float, seed: int = 0) -> Estimate:
    """A second native opinion, by other nodes and steps, where no foreign oracle can speak."""
    return second_opinion(phi, eps, seed=seed)
