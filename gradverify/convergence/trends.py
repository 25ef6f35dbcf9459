"""Trends of noisy losses, by ranks and medians: one outlier or a heavy tail moves none of them.

Sources: Mann (1945) and Kendall (1975) for the test; Theil (1950) and Sen (1968) for the slope; Fisher (1929) for
the largest line of a periodogram.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BLOCKS = 30  # means of so many blocks: losses next to each other are correlated, blocks hardly


@dataclass(frozen=True)
class Trend:
    """How a series changes from begin to end, the chance of that without a trend, and the noise around it."""

    change: float
    chance: float
    noise: float

    @property
    def rises(self) -> bool:
        """Up, with a chance below one in a hundred of seeing that without a trend."""
        return self.change > 0 and self.chance < 0.01

    @property
    def falls(self) -> bool:
        """Down, likewise."""
        return self.change < 0 and self.chance < 0.01


def blocks(y: np.ndarray, most: int = BLOCKS) -> np.ndarray:
    """The series as at most so many means."""
    return np.array([part.mean() for part in np.array_split(y, min(len(y), most))])


def trend(y: np.ndarray) -> Trend:
    """Theil-Sen slope over the whole series, and the Mann-Kendall test of its block means."""
    means = blocks(y)
    n = len(means)
    upper = np.triu_indices(n, 1)
    rises = means[upper[1]] - means[upper[0]]
    slope = float(np.median(rises / (upper[1] - upper[0])))
    s = float(np.sum(np.sign(rises)))
    spread = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    chance = math.erfc(max(abs(s) - 1, 0) / spread / math.sqrt(2))
    line = slope * (n - 1) * np.linspace(-0.5, 0.5, len(y))
    return Trend(slope * (n - 1), chance, spread_of(y - line))


def spread_of(y: np.ndarray) -> float:
    """The standard deviation of a normal series, by the median distance from the median."""
    return 1.4826 * float(np.median(np.abs(y - np.median(y))))


def detrended(y: np.ndarray) -> np.ndarray:
    """What a straight line leaves of it."""
    x = np.linspace(-1, 1, len(y))
    return np.asarray(y - np.polyval(np.polyfit(x, y, 1), x))


def is_periodic(y: np.ndarray) -> bool:
    """Whether one frequency stands out of the periodogram, by Fisher's test at one in a thousand."""
    power = np.abs(np.fft.rfft(detrended(y)))[2:] ** 2  # slower than two periods in the series is a drift
    m = len(power)
    if m < 3 or not power.sum() > 0:
        return False
    share = float(power.max() / power.sum())
    return m * (1 - share) ** (m - 1) < 1e-3


def alternates(y: np.ndarray) -> bool:
    """Whether up follows down from one value to the next, far more often than in noise."""
    rest = detrended(y)
    power = float(rest @ rest)
    return power > 0 and float(rest[1:] @ rest[:-1]) / power < -0.5
