"""Which oracle first, when to climb, and when a foreign one may be believed.

A foreign oracle (complex step) is exact to rounding but can be silently wrong where NumPy
conjugates; a native one (finite differences) sees the real computation but resolves less. So a
foreign estimate counts only where a native one, within its own bound, agrees with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gradverify.arrays import Arrays
from gradverify.oracles.complexstep import complex_step
from gradverify.oracles.finite import finite, second_opinion
from gradverify.records import Estimate

_CORROBORATES = 1e-2  # a native bound this much smaller than the value says something about it
_WORDS = {"complex": "complex step", "finite": "finite differences"}


@dataclass(frozen=True)
class Opinion:
    """`best` is what is believed; `native` and `foreign` are what it rests on."""

    best: Estimate
    native: Estimate
    foreign: Estimate | None = None

    @property
    def corroborated(self) -> bool:
        """Whether both families spoke, and agree on more than the order of magnitude."""
        informative = self.native.error <= _CORROBORATES * abs(self.native.value)
        return self.foreign is not None and self.best is self.foreign and informative

    @property
    def name(self) -> str:
        """The oracles that agree, for the report."""
        used = [self.best.oracle] + ([self.native.oracle] if self.best is not self.native else [])
        return " and ".join(_WORDS.get(name, name) for name in used)


def consult(
    *,
    phi: Callable[[float], float],
    forward: Callable[[Arrays], Arrays] | None,
    point: Arrays,
    u: Arrays,
    v: Arrays,
    eps: float,
    need: float | None,
    oracle: str = "auto",
    seed: int = 0,
) -> Opinion:
    """Native differences, and the foreign oracle where the forward runs on it and both agree."""
    foreign = None
    if forward is not None and oracle in ("auto", "complex"):
        foreign = complex_step(forward, point, u, v, seed=seed)
        if foreign.reason == "kink" and oracle == "auto":
            # It saw the tie itself: differences would only spend a hundred evaluations on shrinking towards it.
            met = Estimate(math.nan, math.inf, foreign.evaluations, "finite", "kink", foreign.slopes)
            return Opinion(met, met)
        foreign = None if foreign.reason or not math.isfinite(foreign.error) else foreign
    # Beside a foreign estimate the difference has to confirm, not to resolve: a thousandth is enough.
    enough = max(need or 0.0, 1e-3 * abs(foreign.value)) if foreign is not None else need
    native = finite(phi, eps, require=enough, seed=seed)
    if foreign is None or native.reason in ("kink", "jump", "staircase") or not math.isfinite(native.error):
        return Opinion(native, native, foreign)
    agree = abs(foreign.value - native.value) <= foreign.error + native.error
    return Opinion(foreign if agree else native, native, foreign)


def confirm(phi: Callable[[float], float], eps: float, seed: int = 0) -> Estimate:
    """A second native opinion, by other nodes and steps, where no foreign oracle can speak."""
    return second_opinion(phi, eps, seed=seed)
