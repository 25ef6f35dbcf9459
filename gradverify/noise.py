"""A computed gradient and how noisy it is: each entry's spread over runs with everything moved by one rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gradverify.arrays import Arrays, dot, magnitude


@dataclass(frozen=True)
class Gradient:
    """A computed gradient with the noise of each entry; `absent` leaves came back as None.

    `runs` holds by how much each perturbed run differs from `value`.
    """

    value: Arrays
    noise: Mapping[str, np.ndarray]
    runs: tuple[Arrays, ...]
    absent: frozenset[str]
    dtypes: Mapping[str, str]

    def probe(self, v: Mapping[str, np.ndarray]) -> tuple[float, float]:
        """``<g, v>`` and its noise: the spread over the perturbed runs, at least one rounding of its terms."""
        spread = max((abs(dot(run, v)) for run in self.runs), default=0.0)
        return dot(self.value, v), max(spread, magnitude(self.noise, v))


class Noise(Mapping[str, np.ndarray]):
    """The noise of each entry, a leaf at a time: over a million entries it is cheaper to make again than to keep."""

    def __init__(self, value: Arrays, runs: tuple[Arrays, ...], eps: float) -> None:
        self.value, self.runs, self.eps = value, runs, eps

    def __getitem__(self, leaf: str) -> np.ndarray:
        noise = np.asarray(np.abs(self.value[leaf]))
        noise *= self.eps
        for run in self.runs:
            np.maximum(noise, np.abs(run[leaf]), out=noise)
        return noise

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)


_NARROW = 2.0**-80, 2.0**80  # sizes of which squares and roundings fit into float32


def differences(run: Arrays, value: Arrays, *, narrow: bool) -> Arrays:
    """By how much a run differs, leaf by leaf, the run given up on the way; in half the memory if `narrow`."""
    return {name: _difference(run.pop(name), g, narrow=narrow) for name, g in value.items()}


def _difference(run: np.ndarray, g: np.ndarray, *, narrow: bool) -> np.ndarray:
    gap = np.asarray(run - g)
    largest = _largest(gap)
    fits = narrow and (largest == 0.0 or _NARROW[0] <= largest <= _NARROW[1])
    return gap.astype(np.float32) if fits else gap


LEAP = 8.0  # times the rounding unit: a rounding grows as much with it, a branch is taken or not
_GREW = 2.0
_QUIET = 2.0**-10


def sudden(step: Arrays, value: Arrays, eps: float) -> bool:
    """Whether moving by one rounding changed a gradient by more than any rounding of it, unless its terms cancel."""
    return any(_largest(x) > math.sqrt(eps) * _largest(value[n]) for n, x in step.items())


def without_branches(step: Arrays, wide: Arrays, quiet: Arrays) -> Arrays:
    """The differences of a run, but where a saved result that was moved led to another branch.

    ``g * (out != low)`` compares what was saved exactly: half a unit beside `low` another gradient comes
    out, and no rounding of the real run does that. It shows in no `quiet` run, whose residuals follow from
    the moved inputs, and it is the same size in a `wide` one, which moved everything `LEAP` times as far.
    Cancellation among residuals (1 - tanh^2 in saturation) is quiet too, but grows with the move.
    """
    return {n: np.where(_branched(x, wide[n], quiet[n]), quiet[n], x) for n, x in step.items()}


def _branched(step: np.ndarray, wide: np.ndarray, quiet: np.ndarray) -> np.ndarray:
    size = np.abs(step)
    return np.asarray((np.abs(wide) < _GREW * size) & (np.abs(quiet) < _QUIET * size))


def _largest(x: np.ndarray) -> float:
    return float(np.max(np.abs(x), initial=0.0))
