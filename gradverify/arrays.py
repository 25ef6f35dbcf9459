"""A tree of named arrays and its leaves; dot products, norms and seeded directions.

`Arrays` maps a path (``x``, ``params.W``, ``args[1]``, ``out[0]``) to an array. Everything that
compares numbers works on such a mapping; everything that calls a user's code rebuilds the tree.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

Arrays = dict[str, Any]
Rebuild = Callable[[Mapping[str, Any]], Any]

EPS = {
    "longdouble": float(np.finfo(np.longdouble).eps),
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}  # spacing at 1, twice the unit roundoff


_FEW = 10_000
_SAFE = 2.0**-960, 2.0**960  # sums of squares that no square has left by overflow, or to be missed by underflow


def dtype_name(array: Any) -> str:
    """``float32``, ``bfloat16`` ... for anything NumPy or a framework calls a dtype."""
    dtype = array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype
    name = str(getattr(dtype, "name", dtype)).rsplit(".", maxsplit=1)[-1]
    return "longdouble" if name in ("float128", "float96") else name


def is_floating(value: Any) -> bool:
    """Whether a derivative with respect to (or of) this value makes sense: real floating."""
    if isinstance(value, (bool, int, str, bytes)) or value is None:
        return False
    return isinstance(value, float) or (hasattr(value, "dtype") and dtype_name(value) in EPS)


def flatten(tree: Any, path: str) -> tuple[Arrays, Rebuild]:
    """The leaves of a nest of dicts, lists, tuples and dataclasses, and how to build it again.

    >>> leaves, rebuild = flatten({"W": 1.0, "b": [2.0, 3.0]}, "params")
    >>> sorted(leaves)
    ['params.W', 'params.b[0]', 'params.b[1]']
    >>> rebuild(leaves)
    {'W': 1.0, 'b': [2.0, 3.0]}
    """
    children = _children(tree, path)
    if children is None:
        return {path: tree}, lambda leaves: leaves[path]
    parts = [flatten(child, child_path) for child_path, child in children]
    leaves = {name: leaf for part, _ in parts for name, leaf in part.items()}
    return leaves, lambda new: _like(tree, [rebuild(new) for _, rebuild in parts])


def _children(tree: Any, path: str) -> list[tuple[str, Any]] | None:
    if isinstance(tree, Mapping):
        return [(f"{path}.{key}" if path else str(key), child) for key, child in tree.items()]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return [(f"{path}.{key}", getattr(tree, key)) for key in tree._fields]
    if isinstance(tree, (list, tuple)):
        return [(f"{path}[{i}]", child) for i, child in enumerate(tree)]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [(f"{path}.{f.name}", getattr(tree, f.name)) for f in dataclasses.fields(tree)]
    return None


def _like(tree: Any, children: list[Any]) -> Any:
    if isinstance(tree, Mapping):
        pairs = dict(zip(tree, children, strict=True))
        return pairs if type(tree) is dict else type(tree)(pairs)  # type: ignore[call-arg]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*children)
    if isinstance(tree, (list, tuple)):
        return type(tree)(children)
    names = [f.name for f in dataclasses.fields(tree)]
    return dataclasses.replace(tree, **dict(zip(names, children, strict=True)))


def select(names: Iterable[str], wanted: tuple[str, ...] | None, keyword: str) -> tuple[str, ...]:
    """The names asked for: a name itself, or the root of several (``params`` for ``params.W``)."""
    known = tuple(names)
    if wanted is None:
        return known
    for name in wanted:
        if not any(_under(leaf, name) for leaf in known):
            raise ValueError(f"{keyword}={name!r}: no such leaf; there are {', '.join(known)}")
    return tuple(leaf for leaf in known if any(_under(leaf, name) for name in wanted))


def _under(leaf: str, root: str) -> bool:
    return leaf == root or leaf.startswith((f"{root}.", f"{root}["))


def to_float64(array: Any) -> np.ndarray:
    """The same numbers as a float64 array; exact for every narrower dtype."""
    return np.asarray(array, dtype=np.float64)


def dot(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """``sum_leaf sum_i a_i b_i`` over the leaves of `b`; None is zero.

    In extended precision, where ten thousand terms are few; beyond that NumPy's pairwise sum in
    float64 errs by less than one rounding of the terms' root sum of squares, and is ten times faster.
    """
    total = np.longdouble(0)
    for name, right in b.items():
        left = a.get(name)
        if left is not None:
            wide: Any = np.longdouble if np.size(right) <= _FEW else np.float64
            total += np.sum(np.multiply(left, right, dtype=wide))
    return float(total)


def magnitude(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """``sqrt(sum (a_i b_i)^2)``: the size of `dot` if its terms had random signs."""
    products = (np.multiply(x, b[n], dtype=np.float64) for n in b if (x := a.get(n)) is not None)
    return math.hypot(*(norm({"": product}) for product in products))  # one at a time: they may be large


def norm(a: Mapping[str, Any]) -> float:
    """The Euclidean norm over all leaves, safe against overflow."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        square = sum(float(np.dot(flat, flat)) for x in a.values() for flat in (np.ravel(to_float64(x)),))
    if _SAFE[0] < square < _SAFE[1]:
        return math.sqrt(square)
    largest = max((float(np.max(np.abs(x), initial=0.0)) for x in a.values()), default=0.0)
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(sum(float(np.sum(np.square(x / largest))) for x in a.values())))


def all_finite(a: Mapping[str, Any]) -> bool:
    """Whether every entry of every leaf is finite."""
    return all(bool(np.all(np.isfinite(to_float64(x)))) for x in a.values() if x is not None)


def axpy(t: float, v: Mapping[str, Any], x: Mapping[str, Any]) -> Arrays:
    """``x + t v`` on the leaves of `v`, in float64; the other leaves of `x` as they are."""
    moved = {name: to_float64(x[name]) + t * to_float64(v[name]) for name in v}
    return {**x, **moved}


def draw_signs(
    rng: np.random.Generator, shape: tuple[int, ...], bits: int = 20, dtype: type = np.float64
) -> np.ndarray:
    """Random signs times sizes in [0.5, 1.5], rounded to so many bits.

    No single wrong entry can hide (no size is near 0), several rarely cancel (sizes differ), and
    few bits keep ``x + t v`` exact for the powers of two t that differences step by. In float32 there is
    room for 23.
    """
    drawn = np.asarray(rng.integers(2**32, size=shape, dtype=np.uint32))
    real, bit = (np.float32, np.uint32) if bits <= _ROOM else (np.float64, np.uint64)
    sizes: Any = np.asarray(drawn >> np.uint32(32 - bits), dtype=real)
    sizes *= 2.0**-bits
    sizes += 0.5
    signs: Any = np.asarray(drawn & np.uint32(1), dtype=bit)
    signs <<= bit(8 * signs.itemsize - 1)
    signs |= sizes.view(bit)
    return np.asarray(signs.view(real), dtype)


def one_ulp(array: Any, key: int, eps: float, times: float = 1.0) -> Any:
    """The array with every entry moved by one rounding unit of its own size, or `times` that, up or down.

    The sign is a hash of the value: equal values move alike, in every array that gets the same
    key, so that ties and comparisons with a saved maximum stay what they were.
    """
    if not isinstance(array, np.ndarray) or dtype_name(array) not in EPS:
        return array
    own = times * max(eps, EPS[dtype_name(array)])
    factors = np.asarray(to_float64(array).view(np.uint64) ^ np.uint64(key))
    np.multiply(factors, np.uint64(0x9E3779B97F4A7C15), out=factors)
    # The hash's first bit becomes the sign of one unit, in place: over a million numbers a copy costs what a pass does.
    np.bitwise_and(factors, _SIGN, out=factors)
    np.bitwise_or(factors, np.float64(own).view(np.uint64), out=factors)
    moved = factors.view(np.float64)
    if dtype_name(array) == "longdouble":  # whose unit beside 1.0 is none to float64
        return array + array * moved
    np.add(moved, 1.0, out=moved)
    if array.dtype == np.float64:
        return np.multiply(array, moved, out=moved)
    return (array * moved.astype(array.dtype, copy=False)).astype(array.dtype, copy=False)


def one_ulp_if_rounded(array: Any, key: int, eps: float, times: float = 1.0) -> Any:
    """The same of a saved result, but for what a type coarser than `eps` holds exactly: a float32 mask of ones, say.

    No digit in the lower half of any entry says so.
    """
    if isinstance(array, np.ndarray) and 2 * eps < EPS.get(dtype_name(array), 0.0) and _is_short(array):
        return array
    return one_ulp(array, key, eps, times)


def _is_short(array: np.ndarray) -> bool:
    """Whether every entry is written with half of its dtype's digits: of so many no rounding leaves all so."""
    digits = 1 - round(np.log2(EPS[dtype_name(array)]))
    kept = digits // 2
    if array.size * (digits - kept) < _UNLIKELY:
        return False
    halves = np.ldexp(np.frexp(to_float64(array))[0], kept)
    return bool(np.all(halves == np.rint(halves)))


_UNLIKELY = 24  # digits that happen to be zero
_SIGN = np.uint64(1 << 63)
_ROOM = 23
