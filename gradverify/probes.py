"""Which cotangents u and tangents v to ask: few random questions that no structured error dodges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gradverify.arrays import Arrays, draw_signs, to_float64

_BITS = {"float64": 20, "longdouble": 20, "float32": 10, "float16": 4, "bfloat16": 4}


def draw_cotangent(rng: np.random.Generator, outputs: Mapping[str, np.ndarray], bits: int = 10) -> Arrays:
    """Random signs of sizes 0.5 to 1.5, each output divided by its own size.

    Never all ones (softmax and normalisations would give zero), and no output drowns another.
    Sizes are powers of two, so that scaling an output does not change the roundings.
    """
    return {
        n: draw_signs(rng, np.shape(y), bits) / power_of_two(typical_size(to_float64(y), 1.0))
        for n, y in outputs.items()
    }


def draw_tangent(
    rng: np.random.Generator, point: Mapping[str, np.ndarray], leaves: Sequence[str], dtype: str
) -> Arrays:
    """Every entry moves by a random share, 0.5 to 1.5, of its own size: t = 1 is a relative change of one.

    So an entry of 1e-9 beside one of 1e9 stays inside its own domain. Zeros move by the typical
    size of their leaf, or by one where the whole leaf is zero.
    """
    return {n: _signed(rng, _slim(entry_sizes(point[n])), _BITS[dtype]) for n in leaves}


def _signed(rng: np.random.Generator, sizes: np.ndarray, bits: int = 20) -> np.ndarray:
    """Random signs of these sizes, in their dtype: to float32 the few bits of a sign are no loss."""
    return np.asarray(draw_signs(rng, sizes.shape, bits, sizes.dtype.type) * sizes)


_MANY = 2**12
_NARROW = 2.0**-100, 2.0**100


def _slim(sizes: np.ndarray) -> np.ndarray:
    """The same in half the memory, where there are many and float32 reaches all of them."""
    many = sizes.size > _MANY and _NARROW[0] < np.min(sizes) and np.max(sizes) < _NARROW[1]
    return sizes.astype(np.float32) if many else sizes


def entry_sizes(x: np.ndarray) -> np.ndarray:
    """|x_i| rounded to a power of two; for zeros the typical size of the others, or 1."""
    size = np.asarray(np.abs(to_float64(x)))
    if not (np.min(size, initial=1.0) > 0 and np.max(size, initial=0.0) < np.inf):
        size = np.where((size > 0) & np.isfinite(size), size, typical_size(size, 1.0))
    exponents = np.maximum(size, 2.0**-1000, out=size).view(np.uint64)
    exponents &= np.uint64(0x7FF0000000000000)
    return np.asarray(exponents.view(np.float64))


def power_of_two(size: float) -> float:
    """The power of two just below."""
    return float(2.0 ** np.floor(np.log2(size)))


def typical_size(values: np.ndarray, otherwise: float = 1.0) -> float:
    """The median of the nonzero sizes."""
    nonzero = np.abs(values[(values != 0) & np.isfinite(values)])
    return max(float(np.median(nonzero)), 2.0**-1000) if nonzero.size else otherwise


def equalised(
    rng: np.random.Generator, gradient: Mapping[str, np.ndarray], noise: Mapping[str, np.ndarray]
) -> Arrays:
    """A tangent under which every entry's term ``g_i v_i`` has the same size: v_i ~ 1 / |g_i|.

    Entries within a thousand times their own noise count as that large, since nothing smaller can
    be resolved; exact zeros get the largest weight that any other entry has.
    """
    sizes = {n: np.asarray(np.maximum(np.abs(g), 1024 * noise[n])) for n, g in gradient.items()}
    smallest = min(_smallest(s) for s in sizes.values())
    smallest = smallest if np.isfinite(smallest) else 1.0
    return {n: _signed(rng, _weights(sizes.pop(n), smallest)) for n in gradient}


def _smallest(sizes: np.ndarray) -> float:
    least = float(np.min(sizes, initial=np.inf))
    return least if least > 0 else float(np.min(sizes, initial=np.inf, where=sizes > 0))


def _weights(sizes: np.ndarray, smallest: float) -> np.ndarray:
    np.maximum(sizes, smallest, out=sizes)
    # Any numbers will do, as long as they are the same ones everywhere.
    return _slim(np.divide(1.0, sizes, out=sizes))


def tied(rng: np.random.Generator, x: np.ndarray, *, hold_zeros: bool) -> np.ndarray:
    """A random function of the value: equal entries move together, so that ties stay ties."""
    values, where = np.unique(to_float64(x), return_inverse=True)
    speeds = draw_signs(rng, values.shape) * np.where(values == 0, 1.0, np.abs(values))
    if hold_zeros:
        speeds = np.where(values == 0, 0.0, speeds)
    return np.asarray(speeds[where.reshape(np.shape(x))])


def unit(x: np.ndarray, index: tuple[int, ...]) -> np.ndarray:
    """The direction that moves one entry by its own size."""
    v = np.zeros(np.shape(x))
    v[index] = entry_sizes(x)[index]
    return v
