"""A whole gradient against a trusted one, tile by tile: one bad block among thousands is found.

    spread of a tile  = rms(computed - trusted) / rms(unit)
    slope of a tile   = <computed - trusted, trusted> / <trusted, trusted>

The unit of an entry is what its dtype can do there: how far the trusted computation, run in that dtype, is from
its own float64 run, and never less than half a spacing. Roundings are independent, so over a tile they average
out of the slope, while a wrong factor stays in it. A probe over the whole leaf sees the mean of all tiles; a
kernel that forgets its tail, or sums in the dtype it stores, is wrong in a few of them, or by a little everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SIDE = 32
MOST = 4.0  # two right computations differ from the truth by units within this factor of each other
SURE = 8.0  # standard deviations of a slope, whose size must also exceed one spacing of the dtype


@dataclass(frozen=True)
class Tile:
    """A block of a leaf seen as a matrix: its rows and columns, and its error; beyond `MOST` it is wrong."""

    rows: slice
    columns: slice
    ratio: float


def worst_tile(error: np.ndarray, unit: np.ndarray, trusted: np.ndarray, eps: float) -> Tile:
    """The block with the largest error among bands of columns, bands of rows, and squares.

    >>> ones = np.ones((64, 96))
    >>> error = 0.5e-3 * np.sign(np.sin(np.arange(64 * 96))).reshape(64, 96)
    >>> error[:, 64:] *= 20
    >>> tile = worst_tile(error, 1e-3 * ones, ones, 1e-3)
    >>> tile.columns.start, round(tile.ratio, 6)
    (64, 10.0)
    """
    e, s, t = (_matrix(x) for x in (error, unit, trusted))
    shapes = (len(e), SIDE), (SIDE, e.shape[1]), (SIDE, SIDE)
    return max((tile for shape in shapes for tile in _worst(e, s, t, eps, shape)), key=lambda tile: tile.ratio)


def _matrix(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64).reshape(-1, np.shape(x)[-1] if np.ndim(x) else 1)


def _worst(
    e: np.ndarray, s: np.ndarray, t: np.ndarray, eps: float, shape: tuple[int, int]
) -> Iterator[Tile]:
    tiny = np.finfo(float).tiny
    variance = np.maximum(_sums(s * s, shape), float(np.mean(s * s)) * 2.0**-20 + tiny)
    size = _sums(t * t, shape) + tiny
    slope, deviation = _sums(e * t, shape) / size, np.sqrt(_sums(np.square(s * t), shape)) / size
    for found in (np.sqrt(_sums(e * e, shape) / variance), MOST * np.abs(slope) / np.maximum(eps, SURE * deviation)):
        i, j = np.unravel_index(int(np.argmax(found)), found.shape)
        yield Tile(_block(int(i), shape[0], len(e)), _block(int(j), shape[1], e.shape[1]), float(found[i, j]))


def _sums(x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    starts = [np.arange(0, n, step) for n, step in zip(x.shape, shape, strict=True)]
    return np.asarray(np.add.reduceat(np.add.reduceat(x, starts[0], axis=0), starts[1], axis=1))


def _block(i: int, step: int, size: int) -> slice:
    return slice(i * step, min((i + 1) * step, size))
