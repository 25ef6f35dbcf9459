"""Points the user did not give: zeros, ties, saturation, tiny and huge values put into the point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from gradverify.arrays import Arrays, to_float64
from gradverify.domains import settle
from gradverify.trial import Trial

Structure = Callable[[np.ndarray], np.ndarray]
Change = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def _put(*values: float) -> Change:
    return lambda rng, x: _dealt(rng, x, np.array(values))


def _dealt(rng: np.random.Generator, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values dealt out over a random third of the entries, or more, so that each of them occurs."""
    new, count = np.array(x), min(x.size, max(x.size // 3, len(values)))
    new.flat[rng.permutation(x.size)[:count]] = np.resize(rng.permutation(values), count)
    return new


def _ties(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    levels = np.quantile(x, [0.2, 0.5, 0.8]) if x.size else np.zeros(3)
    return np.asarray(rng.choice(levels, x.shape))


def _constant(_: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """One value everywhere ties every block, axis and window."""
    return np.full(x.shape, float(np.median(x)) if x.size else 0.0)


AT_ZERO = "zeros everywhere"  # of the first leaf: with parameters at zero too there would be nothing left to see
_ROUND = (0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0)
SPECIAL: Mapping[str, Change] = {
    "one value everywhere": _constant,
    AT_ZERO: lambda _, x: np.zeros(x.shape),
    "zeros among the values": _put(0.0, -0.0),
    "ties among the values": _ties,
    "saturating values (5 to 40)": _put(5.0, -5.0, 12.0, -12.0, 20.0, -20.0, 40.0, -40.0),
    "round numbers": _put(*_ROUND),
    "tiny values (1e-8)": _put(1e-8, -1e-8),
    "huge values (1e4)": _put(1e4, -1e4),
}
_CODE, _LARGE_CODE, _LARGEST = "numbers in the code", "large numbers in the code", 4.0
LARGE = ("saturating values (5 to 40)", "huge values (1e4)", _LARGE_CODE)


def special_points(trial: Trial, seed: int) -> Iterator[tuple[str, Arrays]]:
    """One point for each special regime, all leaves changed alike, each inside what its values look like."""
    rng = np.random.default_rng((seed, 13))
    for name, change in {**SPECIAL, **_from_code(trial.target.constants)}.items():
        leaves = trial.leaves[:1] if name == AT_ZERO else trial.leaves
        new = {leaf: _changed(trial, leaf, change, rng) for leaf in leaves}
        if any(not np.array_equal(x, trial.point[leaf]) for leaf, x in new.items()):
            yield name, {**trial.point, **new}


def _from_code(constants: tuple[float, ...]) -> Mapping[str, Change]:
    """Both signs of the numbers that the code names; where it compares with one, exactly that one is special."""
    small = [c for c in constants if c <= _LARGEST and c not in _ROUND]
    large = [c for c in constants if c > _LARGEST]
    groups = {_CODE: small, _LARGE_CODE: large}
    return {name: _put(*values, *(-c for c in values)) for name, values in groups.items() if values}


def _changed(trial: Trial, leaf: str, change: Change, rng: np.random.Generator) -> np.ndarray:
    old, region = to_float64(trial.point[leaf]), trial.regions.get(leaf)
    new = settle(region, old, admissible(change(rng, old), old))
    return np.asarray(new.astype(trial.point[leaf].dtype))


def admissible(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The special values that a leaf could have had, judged by the values it has.

    Whole numbers (labels, one-hot rows, counts), shares of one and rows of unit length stay as they
    are; what was positive, between 0 and 1, symmetric, triangular or increasing is likely to have to be.
    """
    labels = old.size > 1 and np.array_equal(old, np.round(old)) and np.ptp(old) > 0
    if not old.size or labels or is_shares(old) or _rows_are_unit(old):
        return old
    if np.all(old > 0):
        new = np.where(new == 0, old, np.abs(new))
    if np.all((old >= 0) & (old <= 1)):
        new = np.where((new < 0) | (new > 1), old, new)
    for keep in _structures(old) if new.shape == old.shape else ():
        if np.array_equal(keep(old), old):
            new = keep(new)
    return np.asarray(new)


def _structures(x: np.ndarray) -> list[Structure]:
    """Functions that leave what has a structure as it is, and give it to anything else of that shape."""
    square = x.ndim > 1 and x.shape[-1] == x.shape[-2] > 1
    row = x.ndim > 0 and x.shape[-1] > 2
    matrices: list[Structure] = [_symmetric, np.tril, np.triu] if square else []
    return [*matrices, _increasing] if row else matrices


def _symmetric(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.tril(x) + np.swapaxes(np.tril(x, -1), -1, -2))


def _increasing(x: np.ndarray) -> np.ndarray:
    return np.sort(x, axis=-1)


def _rows_are_unit(x: np.ndarray) -> bool:
    return x.ndim > 0 and x.shape[-1] > 1 and np.allclose(np.linalg.norm(x, axis=-1), 1.0, atol=1e-5)


def is_shares(x: np.ndarray) -> bool:
    """Whether the last axis holds shares of one: probabilities, one-hot labels."""
    return x.ndim > 0 and x.shape[-1] > 1 and bool(np.all(x >= 0)) and np.allclose(x.sum(axis=-1), 1.0, atol=1e-5)
