"""Chance in code under audit: the same seed draws the same, also where the code asks for fresh entropy."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np

from gradverify.targets.calling import seeded


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Set NumPy's and Python's global generators inside, and put them back.

    Inside, ``np.random.seed(None)`` and ``random.seed()`` leave them as they are, and ``default_rng()`` is seeded from
    the global generator: a forward that reseeds itself is run from one state again and again, and has to draw the same.
    """
    kept = np.random.seed, random.seed, np.random.default_rng
    np.random.seed = _unless_none(kept[0])
    random.seed = _unless_none(kept[1])
    np.random.default_rng = _from_global(kept[2])
    try:
        with seeded(seed)():
            yield
    finally:
        np.random.seed, random.seed, np.random.default_rng = kept


def _unless_none(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def seed(*arguments: Any, **named: Any) -> None:
        if any(x is not None for x in (*arguments, *named.values())):
            function(*arguments, **named)

    return seed


def _from_global(make: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(make)
    def default_rng(seed: Any = None) -> Any:
        return make(np.random.randint(2**31) if seed is None else seed)  # noqa: NPY002 - replayed with the forward

    return default_rng
