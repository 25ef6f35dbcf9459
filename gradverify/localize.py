"""From a failed probe to the entries that are wrong, in O(log n) questions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Entry, Estimate, Sampled

Index = tuple[int, ...]
Ask = Callable[[np.ndarray], Estimate]  # direction in one leaf -> estimate of <u, J v>

_EVERY_ENTRY = 64  # up to so many entries each is asked on its own
_SAMPLE = 24
_IN_LINE = 4


@dataclass(frozen=True)
class Located:
    """Entries of one leaf that were asked one by one: computed, expected, and how well each is known."""

    leaf: str
    indices: tuple[Index, ...]
    computed: np.ndarray
    expected: np.ndarray
    bar: np.ndarray
    complete: bool

    @property
    def wrong(self) -> np.ndarray:
        """Which of them are wrong beyond doubt."""
        return np.asarray(~(np.abs(self.computed - self.expected) <= FAIL_FACTOR * self.bar))

    @property
    def sampled(self) -> Sampled:
        """All of them, as the record that a report keeps."""
        numbers = (tuple(array.tolist()) for array in (self.computed, self.expected, self.bar))
        return Sampled(self.indices, *numbers)

    def entries(self, limit: int = 12) -> tuple[Entry, ...]:
        """The wrong entries, the largest discrepancy first."""
        gap = np.where(self.wrong, np.abs(self.computed - self.expected), -1.0)
        gap = np.where(np.isnan(gap), np.inf, gap)
        order = [i for i in np.argsort(-gap) if self.wrong[i]][:limit]
        return tuple(
            Entry(self.leaf, self.indices[i], float(self.computed[i]), float(self.expected[i])) for i in order
        )


def locate(
    leaf: str, gradient: np.ndarray, noise: np.ndarray, sizes: np.ndarray, ask: Ask, seed: int = 0
) -> Located:
    """Ask every entry of a small leaf; in a large one, split down to wrong entries and sample the rest."""
    rng = np.random.default_rng(seed)
    if gradient.size <= _EVERY_ENTRY:
        indices = list(np.ndindex(gradient.shape))
        complete = True
    else:
        flat = _split(gradient, noise, sizes, ask, rng)
        flat += [i for found in flat[:1] for i in _in_line_with(found, gradient.shape, rng)]
        flat += [int(i) for i in rng.choice(gradient.size, _SAMPLE, replace=False)]
        indices = [tuple(int(k) for k in np.unravel_index(i, gradient.shape)) for i in dict.fromkeys(flat)]
        complete = False
    asked = [(index, _entry(ask, gradient.shape, sizes, index)) for index in indices]
    known = [(index, e) for index, e in asked if math.isfinite(e.error)]
    indices, estimates = [index for index, _ in known], [e for _, e in known]
    return Located(
        leaf,
        tuple(indices),
        np.array([gradient[i] for i in indices], dtype=float),
        np.array([e.value for e in estimates], dtype=float),
        np.array(
            [e.error + NOISE_FACTOR * noise[i] for e, i in zip(estimates, indices, strict=True)], dtype=float
        ),
        complete and len(known) == len(asked),
    )


def _in_line_with(flat: int, shape: tuple[int, ...], rng: np.random.Generator) -> list[int]:
    """Entries that share all indices but one with a wrong one, and some of its diagonal: a pattern shows in them."""
    index = np.array(np.unravel_index(flat, shape))
    lines = [
        [int(k) if a == axis else int(i) for a, i in enumerate(index)]
        for axis, n in enumerate(shape) for k in rng.choice(n, min(n, _IN_LINE), replace=False)
    ]  # fmt: skip
    if len(shape) == 2 and index[0] == index[1]:
        lines += [[int(k), int(k)] for k in rng.choice(min(shape), min(*shape, _IN_LINE), replace=False)]
    return [int(np.ravel_multi_index(line, shape)) for line in lines]


def _entry(ask: Ask, shape: tuple[int, ...], sizes: np.ndarray, index: Index) -> Estimate:
    v = np.zeros(shape)
    v[index] = sizes[index]
    estimate, size = ask(v), float(sizes[index])
    return Estimate(
        estimate.value / size, estimate.error / size, estimate.evaluations, estimate.oracle, estimate.reason
    )


def _split(
    gradient: np.ndarray,
    noise: np.ndarray,
    sizes: np.ndarray,
    ask: Ask,
    rng: np.random.Generator,
    budget: int = 45,
) -> list[int]:
    """Wrong entries found by halving: a half whose masked probe agrees is dropped."""
    weights = np.ravel(
        sizes * rng.uniform(0.5, 1.5, gradient.shape) * rng.choice([-1.0, 1.0], gradient.shape)
    )
    g, n = np.ravel(gradient), np.ravel(noise)
    found: list[int] = []
    queue = [(np.arange(gradient.size), False, False)]
    while queue and budget > 0:
        part, sure, first = queue.pop(0)
        if not sure or part.size == 1:
            budget -= 1
            v = np.zeros(gradient.size)
            v[part] = weights[part]
            estimate = ask(v.reshape(gradient.shape))
            bar = estimate.error + NOISE_FACTOR * float(np.sqrt(np.sum(np.square(n[part] * v[part]))))
            if abs(float(g[part] @ v[part]) - estimate.value) <= FAIL_FACTOR * bar:
                # Of a part that is wrong one half is: where the first agrees the second need not be asked.
                queue[: int(first)] = [(half, True, False) for half, *_ in queue[: int(first)]]
                continue
        if part.size == 1:
            found.append(int(part[0]))
        else:
            # Depth first: one wrong entry is reached in log2(n) + 2 questions whatever else is wrong.
            left, right = np.array_split(part, 2)
            queue = [(left, False, True), (right, False, False), *queue]
    return found
