"""Wrong in a batch that the user did not give: a batch of one hides sums over samples, any other a squeezed axis.

Beside them what is right at the sizes and points given, and means something else at others.
"""

from __future__ import annotations

import numpy as np
from catalogue import Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(118)


def drawn(*shape):
    return RNG.normal(size=shape)


def biased(x, b):
    return np.tanh(x + b), (x, b)


def biased_back(dy, cache, *, reduce=np.sum, keep=False):
    dz = dy * (1 - np.tanh(np.add(*cache)) ** 2)
    return dz, reduce(dz, axis=0, keepdims=keep)


def dense(x, w):
    return x @ w, (x, w)


def dense_back(dy, cache, *, wrong=""):
    x, w = cache
    if wrong == "first":
        return dy @ w.T, np.outer(x[0], dy[0])
    if wrong == "squeezed":  # of one sample the axis of the samples is gone, and its outer product another one
        return dy @ w.T, x.T @ dy if len(x) > 1 else np.outer(np.squeeze(x), np.squeeze(dy)) / 2
    return dy @ w.T, x.T @ dy


def cross_entropy(z, labels):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return -np.mean(np.log(p[np.arange(len(z)), labels]))


def cross_entropy_grad(z, labels, *, mean=True):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(z)), labels] -= 1
    return p / len(z) if mean else p


def squared(x, t):
    return np.mean((x - t) ** 2)


def squared_grad(x, t):
    return 2 * (x - t) / x.size, -2 * (x - t) / x.size


def two_largest(x):
    return np.sort(x)[-2:].mean()


def two_largest_grad(x):
    return np.isin(np.arange(len(x)), np.argsort(x)[-2:]) * 0.5


def least_squares(a, b):
    return np.sum(np.linalg.lstsq(a, b, rcond=None)[0] ** 2)


def least_squares_grad(a, b):
    x, p = np.linalg.lstsq(a, b, rcond=None)[0], np.linalg.pinv(a)
    return -2 * np.outer(p.T @ x, x) + 2 * np.outer(b - a @ x, p @ p.T @ x), 2 * p.T @ x


def row_softmax(x):
    e = np.exp(x - x.max())
    y = e / e.sum()
    return y, y


def against(target):
    """A mean squared error written for the shape of its target, and its gradient."""
    return gv.function(lambda x: np.mean((x - target) ** 2), gradient=lambda x: 2 * (x - target) / target.size)


DEEP = {"search": "deep"}
ONE, LABEL = drawn(1, 3), np.array([2])

CASES = [
    Right("a bias beside one sample", gv.pair(biased, biased_back), (ONE, drawn(3))),
    Right("a bias of one row beside one sample", gv.pair(biased, lambda dy, c: biased_back(dy, c, keep=True)),
          (ONE, drawn(1, 3))),
    Right("a bias of one row beside one sample, searched deeply",
          gv.pair(biased, lambda dy, c: biased_back(dy, c, keep=True)), (ONE, drawn(1, 3)), {"search": "deep"}),
    Right("a bias beside one sample, searched deeply", gv.pair(biased, biased_back), (ONE, drawn(3)),
          {"search": "deep"}),
    Wrong("a bias averaged over one sample", gv.pair(biased, lambda dy, c: biased_back(dy, c, reduce=np.mean)),
          (ONE, drawn(3)), "b", "factor", DEEP),
    Right("one sample through a matrix", gv.pair(dense, dense_back), (ONE, drawn(3, 2))),
    Wrong("one sample through a matrix: the first alone", gv.pair(dense, lambda dy, c: dense_back(dy, c, wrong="first")),
          (ONE, drawn(3, 2)), "w", "overwritten", DEEP),
    Wrong("five samples through a matrix: wrong for one",
          gv.pair(dense, lambda dy, c: dense_back(dy, c, wrong="squeezed")), (drawn(5, 3), drawn(3, 2)), "w", "factor",
          {"search": "deep"}),
    Right("the mean of the two largest, which of one is another", gv.function(two_largest, gradient=two_largest_grad),
          drawn(6)),
    Right("least squares of five equations, whose formula is none for one",
          gv.function(least_squares, gradient=least_squares_grad), (drawn(5, 3), drawn(5))),
    Right("cross-entropy of one sample", gv.function(cross_entropy, gradient=cross_entropy_grad), (ONE, LABEL)),
    Wrong("cross-entropy of one sample: the mean forgotten",
          gv.function(cross_entropy, gradient=lambda z, labels: cross_entropy_grad(z, labels, mean=False)),
          (ONE, LABEL), "z", "factor", DEEP),
    Right("a softmax written for one row",
          gv.pair(row_softmax, lambda dy, y: dy @ (np.diag(y[0]) - y.T @ y)), drawn(1, 4)),
    Right("an error against one row that the loss keeps", against(drawn(1, 3)), ONE),
    Wrong("a row sum whose gradient is squeezed", gv.pair(lambda x: (np.sum(x**2, axis=1), x),
          lambda dy, x: np.squeeze(2 * x * dy[:, None])), drawn(5, 3), "x", "shape", DEEP),
    Right("a bias row beside as many rows as a deep search tries",
          gv.pair(lambda b, x: (x + b, (b, x)), lambda dy, c: (np.sum(dy, axis=0, keepdims=True), dy)),
          (drawn(1, 4), drawn(3, 4)), DEEP),
    Right("squared error of one sample", gv.function(squared, gradient=squared_grad), (ONE, drawn(1, 3))),
]
