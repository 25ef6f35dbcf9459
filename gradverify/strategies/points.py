"""Where a network is tried: points, upstream gradients, entries one by one, and regimes.

Values from a seed are fast and shrink in one step; they are ordinary numbers. What breaks gradients lives at
zeros, ties and in saturation: `special_points` deals such entries out, `entries` draws an array of them
element by element, so that Hypothesis may shrink each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from hypothesis import strategies as st

from gradverify.regimes import SPECIAL
from gradverify.strategies.description import LAYOUTS, Point, Shape, Upstream, laid_out
from gradverify.strategies.makers import choice

SEEDS = st.integers(0, 2**16 - 1)
# Zeros, ties and steps of activations; both sides of saturation; tiny and huge, and 88 where float32 ends.
# From 1e3 on a probability of float64 is exactly 0.
POOL = (0.0, 1.0, -1.0, -0.0, 0.5, 2.0, -2.0, 3.0, -3.0, 6.0, 20.0, -20.0, 40.0, -40.0, 88.0, -88.0, 1e-8, -1e-8,
        1e4, -1e3)


@cache
def points(scales: tuple[float, ...] = (1.0, 0.1, 3.0)) -> st.SearchStrategy[Point]:
    """Ordinary points: normal values from a seed, the input of several sizes.

    >>> from gradverify.strategies import minimal
    >>> minimal(points())
    Point()
    """
    return st.builds(Point, seed=SEEDS, scale=st.sampled_from(scales))


@cache
def special_points(pool: tuple[float, ...] = POOL) -> st.SearchStrategy[Point]:
    """Points with one to three special numbers dealt out among the values, which therefore tie."""
    chosen = st.lists(st.sampled_from(pool), min_size=1, max_size=3).map(tuple)
    return st.builds(Point, seed=SEEDS, entries=chosen)


@cache
def any_points() -> st.SearchStrategy[Point]:
    """As many ordinary as special."""
    return choice(points(), special_points(), points(scales=(0.3, 10.0)), special_points()).flatmap(lambda drawn: drawn)


@cache
def upstreams() -> st.SearchStrategy[Upstream]:
    """Upstream gradients of several sizes and memory layouts."""
    return st.builds(Upstream, seed=SEEDS, scale=st.sampled_from((1.0, 1e-3, 1e3)), layout=st.sampled_from(LAYOUTS))


def entries(shape: Shape, pool: tuple[float, ...] = POOL) -> st.SearchStrategy[np.ndarray]:
    """Arrays drawn entry by entry: three in four from the pool, else any number within +-3.

    >>> from gradverify.strategies import minimal
    >>> minimal(entries((2,)), lambda x: x[0] == x[1] != 0)
    array([1., 1.])
    """
    size = math.prod(shape)
    special = st.sampled_from(pool)
    entry = st.one_of(special, special, special, st.floats(-3, 3))
    return st.lists(entry, min_size=size, max_size=size).map(lambda values: np.array(values, float).reshape(shape))


@dataclass(frozen=True)
class Regime:
    """A change of an array: special values put in place of some of its own, and a memory layout.

    >>> float(Regime("huge values (1e4)").apply(np.ones(3)).max())
    10000.0
    """

    values: str = ""
    layout: str = "plain"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.values and self.values not in SPECIAL:
            raise ValueError(f"values={self.values!r}: must be empty or one of {', '.join(SPECIAL)}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout={self.layout!r}: must be one of {', '.join(LAYOUTS)}")

    def apply(self, x: np.ndarray) -> np.ndarray:
        """A changed copy."""
        rng = np.random.default_rng(self.seed)
        new = SPECIAL[self.values](rng, np.asarray(x)) if self.values else np.array(x)
        return laid_out(np.asarray(new), self.layout)


def regimes() -> st.SearchStrategy[Regime]:
    """What `check` tries at the user's point, and memory layouts; no change at all is the simplest."""
    layouts = st.sampled_from(tuple(layout for layout in LAYOUTS if layout != "expanded"))
    return st.builds(Regime, st.sampled_from(("", *SPECIAL)), layouts, SEEDS)
