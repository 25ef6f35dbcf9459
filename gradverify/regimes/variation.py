"""Inputs like the user's in other shapes, with other values or another layout: what a variation describes, made.

Sizes that are equal in the inputs are one symbol and change together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, is_floating
from gradverify.regimes.special import SPECIAL, admissible, is_shares

_MOST = 2**15  # entries of one array
OWN = "values like yours"


@dataclass(frozen=True)
class Variation:
    """How drawn inputs differ from the given ones: enough to make the same arrays again.

    `sizes` holds the new size of each symbol, `apart` those axes (as bits) of one symbol that get
    a size of their own: (symbol, bits, size).
    """

    sizes: tuple[int, ...]
    apart: tuple[int, int, int] | None = None
    kind: str = OWN
    fortran: bool = False
    seed: int = 0

    def describe(self, given: Arrays, drawn: Arrays) -> str:
        """What a reader has to know of it: the shapes that changed, and the kind of values."""
        changed = [f"{n} of shape {np.shape(x)}" for n, x in drawn.items() if np.shape(x) != np.shape(given[n])]
        order = ["inputs in Fortran order"] if self.fortran else []
        return ", ".join([*changed, self.kind, *order])


Axes = Mapping[int, list[tuple[str, int]]]  # size -> where it occurs: (leaf, axis)


def axes_of(given: Arrays) -> Axes:
    """Every size in the inputs, with the axes that have it."""
    found: dict[int, list[tuple[str, int]]] = {}
    for name, x in given.items():
        for axis, size in enumerate(np.shape(x)):
            found.setdefault(size, []).append((name, axis))
    return found


def vary(given: Arrays, variation: Variation) -> Arrays | None:
    """The inputs that a variation describes; None where an array would be too large."""
    axes = axes_of(given)
    shapes = {name: list(np.shape(x)) for name, x in given.items()}
    for size, places in zip(variation.sizes, axes.values(), strict=True):
        for name, axis in places:
            shapes[name][axis] = size
    if variation.apart is not None:
        symbol, bits, size = variation.apart
        for k, (name, axis) in enumerate(list(axes.values())[symbol]):
            if bits >> k & 1:
                shapes[name][axis] = size
    if any(np.prod(shape, dtype=float) > _MOST for shape in shapes.values()):
        return None
    rng = np.random.default_rng(variation.seed)
    return {name: _values(rng, x, tuple(shapes[name]), variation) for name, x in given.items()}


def _values(rng: np.random.Generator, old: Any, shape: tuple[int, ...], variation: Variation) -> np.ndarray:
    """Values like the old ones, in another shape; floating ones with special values among them."""
    like = _resampled(rng, np.asarray(old), shape)
    if is_floating(like) and variation.kind != OWN:
        wide = like.astype(np.float64)
        like = admissible(SPECIAL[variation.kind](rng, wide), wide).astype(like.dtype)
    return np.array(like, order="F" if variation.fortran else "C")


def _resampled(rng: np.random.Generator, old: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Entries drawn from the old ones: whole rows of shares, and mixtures of two where they are no whole numbers."""
    if not old.size:
        return np.ones(shape, old.dtype)
    if is_shares(old) and shape[-1:] == old.shape[-1:]:
        rows = old.reshape(-1, old.shape[-1])
        return rows[rng.integers(len(rows), size=shape[:-1])]
    first = rng.choice(np.ravel(old), shape)
    if not is_floating(old) or np.array_equal(old, np.round(old)):
        return np.asarray(first)
    share = rng.uniform(0.0, 1.0, shape)
    return np.asarray((share * first + (1 - share) * rng.choice(np.ravel(old), shape)).astype(old.dtype))


def another_batch(given: Arrays) -> Variation | None:
    """Several samples where one was given: the first axis of the first array that has more than one axis.

    So many as no other axis has entries, or two leaves would seem to belong together.

    Not one where there were several: a matrix of one row may be another problem than one of five.
    """
    first = next((np.shape(x)[0] for x in given.values() if np.ndim(x) > 1 and np.size(x)), None)
    axes = axes_of(given)
    several = next(n for n in count(3) if n not in axes)
    return Variation(tuple(several if n == 1 else n for n in axes)) if first == 1 else None


def widened(given: Arrays, variation: Variation) -> Variation | None:
    """The same with a size of its own wherever it makes an axis one; None where it makes none so."""
    sizes = tuple(old + 1 if new == 1 != old else new for old, new in zip(axes_of(given), variation.sizes, strict=True))
    apart = variation.apart
    if apart is not None and apart[2] == 1:
        apart = (*apart[:2], sizes[apart[0]] + 1)
    wider = replace(variation, sizes=sizes, apart=apart)
    return None if wider == variation else wider
