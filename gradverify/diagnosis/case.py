"""What is known about a failed leaf, and what may still be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gradverify.arrays import Arrays
from gradverify.localize import Located
from gradverify.records import FAIL_FACTOR, Cause

Index = tuple[int, ...]


class Mistake(Protocol):
    """A mistake that a forward was rerun with: its kind, what it concerns, where, and what is taken instead of what."""

    @property
    def kind(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def instead(self) -> str: ...
    @property
    def own(self) -> str: ...


@dataclass(frozen=True)
class Repair:
    """A change of the user's code: the place, what stands there, what should, and the whole statement with that."""

    where: str
    before: str
    after: str
    line: str


@dataclass(frozen=True)
class Case:
    """Everything an explanation may look at.

    `gradient` is the whole computed leaf; `located` the entries for which the expected value is
    known. The closures ask further questions: `at(point)` computes the gradient elsewhere, `with_u(u)`
    with another cotangent, `expect(point, indices)` and `expect_u(u, indices)` what the oracle expects
    there, `expect_of(leaf, indices)` for another leaf, `diagonal()` u_i dy_i/dx_i alone, `push()` ``J u`` where the
    output has the leaf's shape, `moved(index)` by how much that entry moves each output. `mistakes()` are those with
    which the forward's own derivative is the computed one, and how many times their path counts; `repairs()` are
    changes of the backward with which the gradient is right. `unhooked` are the gradients without hooks of the user's:
    without any first, then without each, by what it is; `redrawn()` is the one for which the backward draws the same
    random numbers as the forward.
    """

    leaf: str
    x: np.ndarray
    point: Arrays
    gradient: np.ndarray
    located: Located
    u: Arrays
    outputs: Arrays
    gradient_dtype: str
    leaf_dtype: str
    sizes: Mapping[str, float] = field(default_factory=dict)
    at: Callable[[Arrays], np.ndarray | None] = lambda _: None
    with_u: Callable[[Arrays], np.ndarray | None] = lambda _: None
    expect: Callable[[Arrays, tuple[tuple[int, ...], ...]], np.ndarray | None] = lambda *_: None
    expect_u: Callable[[Arrays, tuple[tuple[int, ...], ...]], np.ndarray | None] = lambda *_: None
    expect_of: Callable[[str, tuple[Index, ...]], np.ndarray | None] = lambda *_: None
    diagonal: Callable[[], np.ndarray | None] = lambda: None
    push: Callable[[], np.ndarray | None] = lambda: None
    moved: Callable[[Index], Arrays | None] = lambda _: None
    unhooked: Mapping[str, Callable[[], np.ndarray | None]] = field(default_factory=dict)
    redrawn: Callable[[], np.ndarray | None] = lambda: None
    mistakes: Callable[[], Iterable[tuple[Mistake, float]]] = tuple
    repairs: Callable[[], Iterable[Repair]] = tuple

    @property
    def computed(self) -> np.ndarray:
        """Computed values at the entries asked."""
        return self.located.computed

    @property
    def expected(self) -> np.ndarray:
        """Expected values there."""
        return self.located.expected

    def explains(self, candidate: np.ndarray) -> bool:
        """Whether `candidate` reproduces every computed entry, to within the bars and 1e-3 of the gap.

        The bars alone would let anything explain a discrepancy that barely exceeds them.
        """
        gap = float(np.max(np.abs(self.computed - self.expected), initial=0.0))
        bar = np.maximum(FAIL_FACTOR * self.located.bar, 1e-3 * gap)
        return bool(np.all(np.abs(candidate - self.computed) <= bar))

    def is_right(self, gradient: np.ndarray | None) -> bool:
        """Whether another gradient is the expected one at every entry asked."""
        if gradient is None or gradient.shape != self.gradient.shape:
            return False
        close = 1e-3 * np.abs(self.computed - self.expected)
        room = np.maximum(FAIL_FACTOR * self.located.bar, close)
        return bool(np.all(np.abs(self.take(gradient) - self.expected) <= room))

    def take(self, array: np.ndarray) -> np.ndarray:
        """The entries asked, of an array shaped like the leaf."""
        return np.array([array[i] for i in self.located.indices], dtype=float)


Explanations = tuple[Callable[[Case], Iterator[Cause]], ...]
