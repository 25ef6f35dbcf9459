"""Samples of the forward along a line: each taken once, counted, and NaN outside the domain."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from gradverify.oracles.fit import COUNT, DEGREES, TAIL, Array, Design, Fit, fit, make_design, make_nodes

Phi = Callable[[float], float]

SPARSE = (0, 2, 4, 5, 6, 7, 8, 10, 12)
FLOOR = 0.25  # rounding to nearest deviates by at most this many spacings (standard deviation)


@dataclass
class Line:
    """``phi(t) = <u, f(x + t v)>``, remembered: no t is evaluated twice but 0."""

    phi: Phi
    eps: float
    known: dict[float, float] = field(default_factory=dict)
    evaluations: int = 0
    largest: float = 0.0
    jitter: float = 0.0  # how far apart two evaluations at one place lie

    def __call__(self, t: float) -> float:
        if t not in self.known:
            self.known[t] = self._evaluate(t)
        return self.known[t]

    def _evaluate(self, t: float) -> float:
        self.evaluations += 1
        try:
            with np.errstate(all="ignore"):
                y = float(self.phi(t))
        except MemoryError:
            raise
        except Exception:  # a forward refuses what is outside its domain in its own way
            return math.nan
        if not math.isfinite(y):
            return math.nan
        self.largest = max(self.largest, abs(y))
        return y

    def repeat(self) -> None:
        """Evaluate the point itself once more; what differs joins the noise."""
        self.jitter = max(self.jitter, abs(self._evaluate(0.0) - self(0.0)))

    @property
    def quantum(self) -> float:
        """The spacing of the dtype at the largest value seen."""
        return self.eps * self.largest

    @property
    def floor(self) -> float:
        """The least noise a sample can have, as a standard deviation."""
        return max(FLOOR * self.quantum, self.jitter)


@dataclass(frozen=True)
class Rung:
    """What the samples within one radius say; value and error are NaN and infinite outside the domain."""

    radius: float
    t: Array
    y: Array
    value: float = math.nan
    error: float = math.inf
    noise: float = math.nan
    head: float = math.nan
    decay: float = 1.0
    reach: int = 0
    ends: tuple[float, float] = (math.nan, math.nan)

    def ahead(self, degree: int) -> float:
        """The size to be expected of the coefficient of a higher degree, as the last four fall."""
        before, last = self.ends
        decay = math.sqrt(min(last / before, 1.0)) if before > 0.0 else 1.0
        return last * decay ** (degree - min(len(self.t) - 1, DEGREES[0] + TAIL))

    @property
    def distinct(self) -> int:
        """How many different values were seen."""
        return len(set(self.y.tolist()))

    @property
    def inside(self) -> bool:
        """Whether all of it lies in the domain."""
        return bool(np.all(np.isfinite(self.y)))


def take(line: Line, radius: float, order: int, seeds: Iterable[int] = (0,), at: int = 0, *,
         count: int = COUNT, sparse: bool = False) -> Rung:
    """Sample within the radius and fit; value and bound in units of phi over t**order.

    With `at` = -1 or 1 the nodes of [-1, 1] are laid on [0, radius] or [-radius, 0], and the
    derivative is the one-sided one at 0. `sparse` leaves four nodes out, for a first look.
    """
    nodes = tuple(sorted({node for seed in seeds for node in make_nodes(seed, count)}))
    nodes = tuple(nodes[k] for k in SPARSE) if sparse else nodes
    half = radius / 2 if at else radius
    t = (np.array(nodes) - at) * half
    y = np.array([line(float(s)) for s in t])
    with np.errstate(all="ignore"):
        away = y - line(0.0)
        if not np.all(np.isfinite(away)):
            return Rung(radius, t, y)
        read = _read(line, away, make_design(nodes, order, at))  # a bound may overflow
    value, error = read.value / half**order, read.error / half**order
    return Rung(radius, t, y, value, error, read.noise, read.head, read.decay, read.reach, read.ends)


def _read(line: Line, away: Array, design: Design) -> Fit:
    # Brought to about 1 by a power of two: squares of tiny or huge values must not leave the range.
    exponent = int(math.frexp(max(float(np.max(np.abs(away))), line.floor))[1])
    floor = float(np.ldexp(line.floor, -exponent))
    found = fit(design, np.ldexp(away, -exponent), floor)
    sizes = np.ldexp([found.value, found.error, found.noise, found.head, *found.ends], exponent)
    value, error, noise, head, *ends = map(float, sizes)
    return Fit(value, error, noise, head, found.decay, found.reach, (ends[0], ends[1]))


CENTRAL = {1: (-0.5, 0.0, 0.5), 2: (1.0, -2.0, 1.0), 3: (-0.5, 1.0, 0.0, -1.0, 0.5)}


def central(line: Line, step: float, order: int) -> float:
    """The plain central difference of that step: no bound, and no mistake shared with a fit."""
    weights = CENTRAL[order]
    places = range(-(len(weights) // 2), len(weights) // 2 + 1)
    return sum(w * line(k * step) for k, w in zip(places, weights, strict=True) if w) / step**order
