"""Learning rates that change with the number of steps taken: records that are called with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from gradverify.reference.layer import require_size

Schedule: TypeAlias = Callable[[int], float]


def require_rate(keyword: str, rate: float | Schedule) -> None:
    """Raise unless `rate` is a schedule or a finite number above zero."""
    if not callable(rate) and not (math.isfinite(rate) and rate > 0):
        raise ValueError(f"{keyword}={rate!r}: must be a finite number > 0, or a function of the step")


def rate_at(rate: float | Schedule, step: int) -> float:
    """The learning rate of this step."""
    return rate(step) if callable(rate) else rate


@dataclass(frozen=True)
class Exponential:
    """start factor^step, or with `every` > 1 a staircase: start factor^floor(step / every).

    >>> [Exponential(0.8, 0.5, every=2)(step) for step in range(4)]
    [0.8, 0.8, 0.4, 0.4]
    """

    start: float
    factor: float
    every: int = 1

    def __post_init__(self) -> None:
        require_rate("start", self.start)
        require_rate("factor", self.factor)
        require_size("every", self.every)

    def __call__(self, step: int) -> float:
        return self.start * float(self.factor ** (step // self.every))


@dataclass(frozen=True)
class InverseTime:
    """start / (1 + step / period)^power: power 1 is the rate of Robbins and Monro (1951), 1/2 a common one."""

    start: float
    period: float
    power: float = 1.0

    def __post_init__(self) -> None:
        require_rate("start", self.start)
        require_rate("period", self.period)

    def __call__(self, step: int) -> float:
        return self.start / float((1 + step / self.period) ** self.power)


@dataclass(frozen=True)
class CosineDecay:
    """From start to end along half a cosine in so many steps, then at end (Loshchilov and Hutter 2017, eq. 5).

    >>> [round(CosineDecay(1.0, 2)(step), 3) for step in range(4)]
    [1.0, 0.5, 0.0, 0.0]
    """

    start: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        require_rate("start", self.start)
        require_size("steps", self.steps)

    def __call__(self, step: int) -> float:
        share = min(step / self.steps, 1.0)
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class Warmup:
    """(step + 1) / steps of what follows, for the first steps; then what follows, from its own beginning.

    Source: Goyal et al. (2017), section 2.2.
    """

    steps: int
    then: float | Schedule

    def __post_init__(self) -> None:
        require_size("steps", self.steps)
        require_rate("then", self.then)

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return (step + 1) / self.steps * rate_at(self.then, 0)
        return rate_at(self.then, step - self.steps)
