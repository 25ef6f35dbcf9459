"""Broadcast leaves: what must be summed, over which axes, and what must not."""

from __future__ import annotations

import numpy as np
from catalogue import Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(104)
A = RNG.normal(size=(3, 4))
ROW = RNG.normal(size=4)
COLUMN = RNG.normal(size=(3, 1))
SCALAR = np.array(0.7)
BATCH = RNG.normal(size=(2, 3, 4))
SQUARE = RNG.normal(size=(4, 4))


def unbroadcast(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    ones = tuple(i for i, n in enumerate(shape) if n == 1)
    return g.sum(axis=ones, keepdims=True) if ones else g


def add(a, b):
    return a + b, (a, b)


def mul(a, b):
    return a * b, (a, b)


def div(a, b):
    return a / b, (a, b)


def add_back(dy, cache):
    return tuple(unbroadcast(dy, x.shape) for x in cache)


def mul_back(dy, cache):
    a, b = cache
    return unbroadcast(dy * b, a.shape), unbroadcast(dy * a, b.shape)


def div_back(dy, cache):
    a, b = cache
    return unbroadcast(dy / b, a.shape), unbroadcast(-dy * a / b**2, b.shape)


def broadcast_to(x):
    return np.broadcast_to(x, (3, 4)).copy(), x


def outer(a, b):
    return np.outer(a, b), (a, b)


def outer_back(dy, cache):
    a, b = cache
    return dy @ b, dy.T @ a


def mean_axis(x):
    return x.mean(axis=0), x


def mean_keepdims(x):
    return x - x.mean(axis=-1, keepdims=True), x


def expand(x):
    return x[:, None] * np.ones((1, 5)), x


def tile(x):
    return np.tile(x, 3), x


def repeat(x):
    return np.repeat(x, 3), x


def batched(x, w):
    return x @ w, (x, w)


def batched_back(dy, cache):
    x, w = cache
    return dy @ w.T, np.einsum("bij,bik->jk", x, dy)


CASES = [
    Right("add a row", gv.pair(add, add_back), (A, ROW)),
    Wrong("add a row: gradient not reduced", gv.pair(add, lambda dy, c: (dy, dy)), (A, ROW), "b", "not-summed"),
    Wrong("add a row: averaged over the batch", gv.pair(add, lambda dy, c: (dy, dy.mean(axis=0))), (A, ROW), "b",
          "factor"),
    Wrong("add a row: the first row taken", gv.pair(add, lambda dy, c: (dy, dy[0])), (A, ROW), "b",
          "unexplained|not-summed"),
    Wrong("add a row: summed over the wrong axis, square", gv.pair(add, lambda dy, c: (dy, dy.sum(axis=1))),
          (SQUARE, ROW), "b",
          "wrong-axis"),
    Wrong("add a row: summed over everything", gv.pair(add, lambda dy, c: (dy, np.full(4, dy.sum()))), (A, ROW), "b",
          "unexplained|wrong-axis"),
    Wrong("add a scalar: gradient not reduced", gv.pair(add, lambda dy, c: (dy, dy)), (A, SCALAR), "b", "not-summed"),
    Wrong("add a scalar: the first entry", gv.pair(add, lambda dy, c: (dy, dy[0, 0])), (A, SCALAR), "b",
          "overwritten|not-summed|factor"),
    Wrong("add a scalar: mean for sum", gv.pair(add, lambda dy, c: (dy, dy.mean())), (A, SCALAR), "b", "factor"),
    Right("multiply by a column", gv.pair(mul, mul_back), (A, COLUMN)),
    Wrong("multiply by a column: gradient not reduced", gv.pair(mul, lambda dy, c: (dy * c[1], dy * c[0])),
          (A, COLUMN), "b",
          "not-summed"),
    Wrong("multiply by a column: factors swapped",
          gv.pair(mul, lambda dy, c: (dy * c[0], unbroadcast(dy * c[1], (3, 1)))),
          (A, COLUMN), "a", "wrong-line"),
    Wrong("multiply by a column: wrong axis kept",
          gv.pair(mul, lambda dy, c: (dy * c[1], (dy * c[0]).sum(axis=0)[:3, None])),
          (A, COLUMN), "b", "wrong-line|wrong-axis"),
    Right("multiply by a scalar", gv.pair(mul, mul_back), (A, SCALAR)),
    Wrong("multiply by a scalar: the sum without a", gv.pair(mul, lambda dy, c: (dy * c[1], dy.sum())), (A, SCALAR),
          "b", "unexplained|factor"),
    Right("divide by a row", gv.pair(div, div_back), (A, ROW)),
    Wrong("divide by a row: sign of the denominator",
          gv.pair(div, lambda dy, c: (dy / c[1], (dy * c[0] / c[1] ** 2).sum(axis=0))),
          (A, ROW), "b", "sign"),
    Wrong("divide by a row: not squared", gv.pair(div, lambda dy, c: (dy / c[1], (-dy * c[0] / c[1]).sum(axis=0))),
          (A, ROW), "b",
          "wrong-line"),
    Right("broadcast_to", gv.pair(broadcast_to, lambda dy, x: dy.sum(axis=0)), ROW),
    Wrong("broadcast_to: the upstream gradient divided", gv.pair(broadcast_to, lambda dy, x: dy.sum(axis=0) / 3),
          ROW, "x", "factor"),
    Right("outer product", gv.pair(outer, outer_back), (ROW, ROW[:3])),
    Wrong("outer product: factors swapped, square", gv.pair(outer, lambda dy, c: (dy.T @ c[1], dy @ c[0])),
          (ROW, ROW[::-1].copy()), "a",
          "transposed"),
    Right("mean over the batch", gv.pair(mean_axis, lambda dy, x: np.broadcast_to(dy / len(x), x.shape)), A),
    Wrong("mean over the batch: not divided", gv.pair(mean_axis, lambda dy, x: np.broadcast_to(dy, x.shape)), A, "x",
          "factor"),
    Wrong("mean over the batch: divided by the other axis",
          gv.pair(mean_axis, lambda dy, x: np.broadcast_to(dy / x.shape[1], x.shape)),
          A, "x", "factor"),
    Right("centring", gv.pair(mean_keepdims, lambda dy, x: dy - dy.mean(axis=-1, keepdims=True)), A),
    Wrong("centring: the mean taken for a constant", gv.pair(mean_keepdims, lambda dy, x: dy), A, "x",
          "missing-mean-term|diagonal-only|passed-through"),
    Wrong("centring: over the wrong axis, square",
          gv.pair(mean_keepdims, lambda dy, x: dy - dy.mean(axis=0, keepdims=True)), SQUARE,
          "x", "wrong-line|wrong-axis"),
    Right("a new axis", gv.pair(expand, lambda dy, x: dy.sum(axis=1)), ROW),
    Wrong("a new axis: not summed", gv.pair(expand, lambda dy, x: dy), ROW, "x", "not-summed|shape"),
    Right("tile", gv.pair(tile, lambda dy, x: dy.reshape(3, -1).sum(axis=0)), ROW),
    Wrong("tile: reshaped as repeat", gv.pair(tile, lambda dy, x: dy.reshape(-1, 3).sum(axis=1)), ROW, "x",
          "unexplained"),
    Right("repeat", gv.pair(repeat, lambda dy, x: dy.reshape(-1, 3).sum(axis=1)), ROW),
    Wrong("repeat: every third entry picked", gv.pair(repeat, lambda dy, x: dy[::3]), ROW, "x", "overwritten"),
    Right("a batch of matrices by one matrix", gv.pair(batched, batched_back), (BATCH, A.T)),
    Wrong("a batch of matrices: dw of the first only",
          gv.pair(batched, lambda dy, c: (dy @ c[1].T, c[0][0].T @ dy[0])), (BATCH, A.T), "w",
          "unexplained|not-summed"),
    Wrong("a batch of matrices: dw not summed over the batch",
          gv.pair(batched, lambda dy, c: (dy @ c[1].T, c[0].transpose(0, 2, 1) @ dy)), (BATCH, A.T), "w", "not-summed"),
    Wrong("right for a batch of one only",
          gv.pair(batched, lambda dy, c: (dy @ c[1].T, c[0].sum(axis=0).T @ dy.sum(axis=0))),
          (BATCH, A.T), "w", "unexplained"),
]
