"""Products of arrays as transposes, reshapes and one product of stacked matrices.

No arithmetic here is float64, so NumPy's own contractions are either slow, wrong or, for some
dtypes, fatal; this is the only way in.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradverify.arithmetic.functions import Refused


def einsum(array: Any, subscripts: Any, *operands: Any, optimize: Any = False) -> Any:
    """`numpy.einsum` with a string of subscripts, two operands at a time from the left."""
    if not isinstance(subscripts, str):
        raise Refused("numpy.einsum without a string of subscripts")
    arrays = [array.wrap(operand) for operand in operands]
    terms, out = _parse(subscripts, [a.ndim for a in arrays])
    pairs = [_diagonal(term, a) for term, a in zip(terms, arrays, strict=True)]
    while len(pairs) > 1:
        kept = set(out).union(*(term for term, _ in pairs[2:]))
        pairs = [_contract(*pairs[0], *pairs[1], kept), *pairs[2:]]
    term, result = _sum_out(*pairs[0], set(out))
    return np.transpose(result, [term.index(label) for label in out])


def _parse(subscripts: str, ranks: list[int]) -> tuple[list[str], str]:
    left, arrow, out = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"einsum {subscripts!r}: {len(ranks)} operands for {len(terms)} terms")
    # The axes of an ellipsis are labelled from the right, by characters no subscript has.
    spans = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    names = "".join(chr(0x3B1 + i) for i in range(max([s for s, t in zip(spans, terms, strict=True) if "..." in t],
                                                     default=0)))
    terms = [t.replace("...", names[len(names) - s:]) for t, s in zip(terms, spans, strict=True)]
    if not arrow:
        labels = sorted(set("".join(terms)) - set(names))
        out = names + "".join(label for label in labels if "".join(terms).count(label) == 1)
    return terms, out.replace("...", names)


def _diagonal(term: str, a: Any) -> tuple[str, Any]:
    for label in sorted(set(term)):
        while term.count(label) > 1:
            first = term.index(label)
            second = term.index(label, first + 1)
            a = np.diagonal(a, axis1=first, axis2=second)
            term = "".join(c for i, c in enumerate(term) if i not in (first, second)) + label
    return term, a


def _sum_out(term: str, a: Any, kept: set[str]) -> tuple[str, Any]:
    axes = tuple(i for i, label in enumerate(term) if label not in kept)
    return "".join(label for label in term if label in kept), np.sum(a, axis=axes) if axes else a


def _contract(s: str, a: Any, t: str, b: Any, kept: set[str]) -> tuple[str, Any]:
    s, a = _sum_out(s, a, kept | set(t))
    t, b = _sum_out(t, b, kept | set(s))
    both = [label for label in s if label in t]
    batch, summed = [c for c in both if c in kept], [c for c in both if c not in kept]
    left, right = [c for c in s if c not in t], [c for c in t if c not in s]
    sizes = {**dict(zip(t, b.shape, strict=True)), **dict(zip(s, a.shape, strict=True))}
    for c in both:
        sizes[c] = max(a.shape[s.index(c)], b.shape[t.index(c)])
    x = _arranged(s, a, (batch, left, summed), sizes)
    y = _arranged(t, b, (batch, summed, right), sizes)
    shape = [sizes[c] for c in (*batch, *left, *right)]
    return "".join((*batch, *left, *right)), np.reshape(np.matmul(x, y), shape)


def _arranged(term: str, a: Any, groups: tuple[list[str], ...], sizes: dict[str, int]) -> Any:
    order = [c for group in groups for c in group]
    spread = np.broadcast_to(np.transpose(a, [term.index(c) for c in order]), [sizes[c] for c in order])
    return np.reshape(spread, [math.prod(sizes[c] for c in group) for group in groups])


def tensordot(array: Any, a: Any, b: Any, axes: Any = 2) -> Any:
    """Sums of products over the given axes of both."""
    a, b = array.wrap(a), array.wrap(b)
    if isinstance(axes, (int, np.integer)):
        axes = (list(range(a.ndim - axes, a.ndim)), list(range(axes)))
    over_a, over_b = ([i % x.ndim for i in np.atleast_1d(k)] for k, x in zip(axes, (a, b), strict=True))
    rest_a = [i for i in range(a.ndim) if i not in over_a]
    rest_b = [i for i in range(b.ndim) if i not in over_b]
    left, right = np.transpose(a, rest_a + over_a), np.transpose(b, over_b + rest_b)
    rows, columns = left.shape[: len(rest_a)], right.shape[len(over_b):]
    n = math.prod(b.shape[i] for i in over_b)
    product = np.matmul(np.reshape(left, (math.prod(rows), n)), np.reshape(right, (n, math.prod(columns))))
    return np.reshape(product, rows + columns)


def dot(array: Any, a: Any, b: Any) -> Any:
    """The product of matrices, or over the last axis of a and the last but one of b."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return tensordot(array, a, b, ([np.ndim(a) - 1], [max(np.ndim(b) - 2, 0)]))


def inner(array: Any, a: Any, b: Any) -> Any:
    """Sums of products over the last axes."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return tensordot(array, a, b, ([np.ndim(a) - 1], [np.ndim(b) - 1]))


def outer(array: Any, a: Any, b: Any) -> Any:
    """All products of two flattened arrays."""
    return np.ravel(array.wrap(a))[:, None] * np.ravel(array.wrap(b))


def kron(array: Any, a: Any, b: Any) -> Any:
    """Blocks ``a_ij B``."""
    a, b = array.wrap(a), array.wrap(b)
    n = max(a.ndim, b.ndim)
    rows, columns = (1,) * (n - a.ndim) + a.shape, (1,) * (n - b.ndim) + b.shape
    left = np.reshape(a, [k for size in rows for k in (size, 1)])
    right = np.reshape(b, [k for size in columns for k in (1, size)])
    return np.reshape(left * right, [p * q for p, q in zip(rows, columns, strict=True)])


def convolve(array: Any, a: Any, v: Any, mode: str = "full") -> Any:
    """``sum_k a_k v_(i-k)``, cut as `mode` says."""
    a, v = array.wrap(a), array.wrap(v)
    a, v = (a, v) if a.size >= v.size else (v, a)
    total = array.wrap(np.zeros(a.size + v.size - 1))
    for k in range(v.size):
        total[k : k + a.size] += v[k] * a
    cut = {"full": 0, "same": (v.size - 1) // 2, "valid": v.size - 1}[mode]
    length = {"full": total.size, "same": a.size, "valid": a.size - v.size + 1}[mode]
    return total[cut : cut + length]


def cross(array: Any, a: Any, b: Any, axis: int = -1) -> Any:
    """The vector product of triples along an axis."""
    a, b = np.moveaxis(array.wrap(a), axis, -1), np.moveaxis(array.wrap(b), axis, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise Refused("numpy.cross of other than triples")
    product = np.roll(a, -1, -1) * np.roll(b, 1, -1) - np.roll(a, 1, -1) * np.roll(b, -1, -1)
    return np.moveaxis(product, -1, axis)


def matrix_power(array: Any, a: Any, n: int) -> Any:
    """Repeated products; of the inverse for negative n."""
    if n < 0:
        return matrix_power(array, np.linalg.inv(a), -n)
    result = array.wrap(np.eye(a.shape[-1])) + 0.0 * a
    for _ in range(n):
        result = result @ a
    return result
