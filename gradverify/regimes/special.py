"""Points the user did not give: zeros, ties, saturation, tiny and huge values put into the point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from gradverify.arrays import Arrays, to_float64
from gradverify.domains import settle
from gradverify.trial import Trial

Change = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def _some(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """A random third of the entries, at least one."""
    chosen = np.asarray(rng.random(x.shape) < 1 / 3)
    if x.size and not chosen.any():
        chosen[np.unravel_index(int(rng.integers(x.size)), x.shape)] = True
    return np.asarray(chosen)


def _put(*values: float) -> Change:
    return lambda rng, x: np.where(_some(rng, x), rng.choice(np.array(values), x.shape), x)


def _ties(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    levels = np.quantile(x, [0.2, 0.5, 0.8]) if x.size else np.zeros(3)
    return np.asarray(rng.choice(levels, x.shape))


def _constant(_: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """One value everywhere ties every block, axis and window."""
    return np.full(x.shape, float(np.median(x)) if x.size else 0.0)


SPECIAL: Mapping[str, Change] = {
    "one value everywhere": _constant,
    "zeros among the values": _put(0.0, -0.0),
    "ties among the values": _ties,
    "saturating values (5 to 40)": _put(5.0, -5.0, 12.0, -12.0, 20.0, -20.0, 40.0, -40.0),
    "tiny values (1e-8)": _put(1e-8, -1e-8),
    "huge values (1e4)": _put(1e4, -1e4),
}
LARGE = ("saturating values (5 to 40)", "huge values (1e4)")


def special_points(trial: Trial, seed: int) -> Iterator[tuple[str, Arrays]]:
    """One point for each special regime, all leaves changed alike, each inside what its values look like."""
    rng = np.random.default_rng((seed, 13))
    for name, change in SPECIAL.items():
        new = {leaf: _changed(trial, leaf, change, rng) for leaf in trial.leaves}
        if any(not np.array_equal(x, trial.point[leaf]) for leaf, x in new.items()):
            yield name, {**trial.point, **new}


def _changed(trial: Trial, leaf: str, change: Change, rng: np.random.Generator) -> np.ndarray:
    old, region = to_float64(trial.point[leaf]), trial.regions.get(leaf)
    new = settle(region, old, admissible(change(rng, old), old))
    return np.asarray(new.astype(trial.point[leaf].dtype))


def admissible(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The special values that a leaf could have had, judged by the values it has.

    Whole numbers (labels, one-hot rows, counts) and shares of one stay as they are; what was
    positive, or between 0 and 1, is likely to have to be.
    """
    labels = old.size > 1 and np.array_equal(old, np.round(old)) and np.ptp(old) > 0
    if not old.size or labels or is_shares(old):
        return old
    if np.all(old > 0):
        new = np.where(new == 0, old, np.abs(new))
    if np.all((old >= 0) & (old <= 1)):
        new = np.where((new < 0) | (new > 1), old, new)
    return np.asarray(new)


def is_shares(x: np.ndarray) -> bool:
    """Whether the last axis holds shares of one: probabilities, one-hot labels."""
    return x.ndim > 0 and x.shape[-1] > 1 and bool(np.all(x >= 0)) and np.allclose(x.sum(axis=-1), 1.0, atol=1e-5)
