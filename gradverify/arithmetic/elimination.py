"""Gaussian elimination and Cholesky's factor in any arithmetic, for one matrix or a stack of them.

The pivot is chosen by the size of float64 values; in exact arithmetic every pivot is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradverify.arithmetic.functions import Refused


def _triangle(array: Any, a: Any, b: Any) -> tuple[Any, Any, int]:
    """Upper triangle U and right side c with the solutions of ``a x = b``, and the sign of the row order."""
    u, c, sign = array.wrap(a).copy(), array.wrap(b).copy(), 1
    n = u.shape[-1]
    if u.shape != (n, n):
        raise np.linalg.LinAlgError("a square matrix is needed")
    for j in range(n):
        pivot = j + int(np.argmax(np.abs(u.values[j:, j])))
        if pivot != j:
            sign = -sign
            rows, swapped = [j, pivot], [pivot, j]
            u.payload[rows], c.payload[rows] = u.payload[swapped], c.payload[swapped]
        factors = u[j + 1 :, j : j + 1] / u[j, j]
        u[j + 1 :, j:] -= factors * u[j, j:]
        c[j + 1 :] -= factors * c[j]
    return u, c, sign


def _solve(array: Any, a: Any, b: Any) -> Any:
    u, x, _ = _triangle(array, a, b)
    for j in reversed(range(u.shape[0])):
        x[j] = x[j] / u[j, j]
        x[:j] -= u[:j, j : j + 1] * x[j]
    return x


def _stacked(one: Any, a: Any, *rest: Any) -> Any:
    """The result of `one` for each matrix of a stack."""
    if a.ndim == 2:
        return one(a, *rest)
    if a.ndim < 2:
        raise np.linalg.LinAlgError("a matrix is needed")
    return np.stack([_stacked(one, *parts) for parts in zip(a, *rest, strict=True)])


def solve(array: Any, a: Any, b: Any) -> Any:
    """``a^-1 b``; b is a vector or, like a, a stack of matrices."""
    a, b = array.wrap(a), array.wrap(b)
    if b.ndim == 1:
        return solve(array, a, np.broadcast_to(b[:, None], (*a.shape[:-2], b.size, 1)))[..., 0]
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, stack + a.shape[-2:]), np.broadcast_to(b, stack + b.shape[-2:])
    return _stacked(lambda m, c: _solve(array, m, c), a, b)


def inv(array: Any, a: Any) -> Any:
    """The solution for the columns of the identity."""
    return solve(array, a, np.eye(np.shape(a)[-1]))


def det(array: Any, a: Any) -> Any:
    """The product of the pivots, with the sign of their order."""

    def one(m: Any) -> Any:
        u, _, sign = _triangle(array, m, np.zeros((m.shape[0], 1)))
        return np.prod(np.diagonal(u)) * sign

    return _stacked(one, array.wrap(a))


def slogdet(array: Any, a: Any) -> Any:
    """The plain sign, and the logarithm of the modulus."""
    d = det(array, a)
    return np.sign(d.values), np.log(np.abs(d))


def cholesky(array: Any, a: Any, upper: bool = False) -> Any:
    """The lower triangle with ``L L^T = A``, column by column."""
    if upper:
        raise Refused("numpy.linalg.cholesky with upper=True")

    def one(m: Any) -> Any:
        factor = array.wrap(np.zeros(m.shape))
        for j in range(m.shape[0]):
            rest = m[j:, j] - np.matmul(factor[j:, :j], factor[j, :j]) if j else m[:, 0]
            factor[j:, j] = rest / np.sqrt(rest[0])
        return factor

    return _stacked(one, array.wrap(a))
