"""A computed gradient and how noisy it is: each entry's spread over runs with everything moved by one rounding."""

from __future__ import annotations

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
        noise = np.asarray(np.abs(self.value[leaf]) * self.eps)
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
    largest = float(np.max(np.abs(gap), initial=0.0))
    fits = narrow and (largest == 0.0 or _NARROW[0] <= largest <= _NARROW[1])
    return gap.astype(np.float32) if fits else gap
