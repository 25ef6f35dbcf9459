"""Other inputs than the user's, drawn and shrunk by Hypothesis: values, memory layouts and shapes.

Sizes that are equal in the inputs are one symbol and change together; now and then some of them
are set apart, since a square can hide a transposition. Which shapes mean something only the
forward knows: what it refuses is no example. Parameters inside an object keep their shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Verbosity, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from gradverify.arrays import Arrays, is_floating
from gradverify.regimes.special import LARGE, SPECIAL, admissible, is_shares

# One, odd sizes, and the edges of tiles: powers of two and their neighbours; nothing at all comes last.
SIZES = (1, 2, 3, 5, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 0)
_MOST = 2**15  # entries of one array
_OWN = "values like yours"
_KINDS = (_OWN, *(kind for kind in SPECIAL if kind not in LARGE))


@dataclass(frozen=True)
class Variation:
    """How drawn inputs differ from the given ones: enough to make the same arrays again.

    `sizes` holds the new size of each symbol, `apart` those axes (as bits) of one symbol that get
    a size of their own: (symbol, bits, size).
    """

    sizes: tuple[int, ...]
    apart: tuple[int, int, int] | None = None
    kind: str = _OWN
    fortran: bool = False
    seed: int = 0

    def describe(self, given: Arrays, drawn: Arrays) -> str:
        """What a reader has to know of it: the shapes that changed, and the kind of values."""
        changed = [f"{n} of shape {np.shape(x)}" for n, x in drawn.items() if np.shape(x) != np.shape(given[n])]
        order = ["inputs in Fortran order"] if self.fortran else []
        return ", ".join([*changed, self.kind, *order])


Axes = Mapping[int, list[tuple[str, int]]]  # size -> where it occurs: (leaf, axis)


def _axes(given: Arrays) -> Axes:
    """Every size in the inputs, with the axes that have it."""
    found: dict[int, list[tuple[str, int]]] = {}
    for name, x in given.items():
        for axis, size in enumerate(np.shape(x)):
            found.setdefault(size, []).append((name, axis))
    return found


def variations(given: Arrays) -> st.SearchStrategy[Variation]:
    """Variations of these inputs; the simplest is the inputs' own shapes with values like theirs."""
    axes = _axes(given)
    sizes = st.tuples(*(st.just(n) | st.sampled_from([k for k in SIZES if k != n]) for n in axes))
    tied = [i for i, places in enumerate(axes.values()) if len(places) > 1]
    most = max((len(places) for places in axes.values()), default=1)
    apart = st.tuples(st.sampled_from(tied or [0]), st.integers(1, 2**most - 2 or 1), st.sampled_from(SIZES))
    return st.builds(
        Variation, sizes=sizes, apart=st.none() | apart if tied else st.none(), kind=st.sampled_from(_KINDS),
        fortran=st.booleans(), seed=st.integers(0, 2**16 - 1),
    )  # fmt: skip


def vary(given: Arrays, variation: Variation) -> Arrays | None:
    """The inputs that a variation describes; None where an array would be too large."""
    axes = _axes(given)
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
    if is_floating(like) and variation.kind != _OWN:
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


def find_failure(fails: Callable[[Variation], bool], given: Arrays, *, examples: int, seed: int) -> Variation | None:
    """The simplest variation of the inputs that fails, or None; the same seed tries the same ones."""
    quiet = settings(
        max_examples=examples, database=None, deadline=None, verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    # In a thread of its own Hypothesis may run inside a test that it drives itself.
    with ThreadPoolExecutor(max_workers=1) as pool:
        search = pool.submit(find, variations(given), fails, settings=quiet, random=Random(seed))
    try:
        return search.result()
    except NoSuchExample:
        return None
