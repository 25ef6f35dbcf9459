"""Exactly at kinks, ties, steps and edges of the domain."""

from __future__ import annotations

import numpy as np
from catalogue import NONE, QUICK, Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(106)
X = RNG.normal(size=(3, 4))
ZEROS = np.zeros((2, 3))
SOME_ZEROS = np.array([[0.0, 1.0, -2.0], [0.5, 0.0, -0.3]])


def relu(x):
    return np.maximum(x, 0)


def fn(f, derivative):
    return gv.function(f, derivative=derivative)


def maximum(x):
    return x.max(axis=-1)


def to_every_tie(x, dy):
    return (x == x.max(axis=-1, keepdims=True)) * dy[..., None]


def to_the_first(x, dy):
    return (np.arange(x.shape[-1]) == x.argmax(axis=-1, keepdims=True)) * dy[..., None]


def shared(x, dy):
    mask = (x == x.max(axis=-1, keepdims=True)) * 1.0
    return mask / mask.sum(axis=-1, keepdims=True) * dy[..., None]


def to_the_first_of_all(x, dy):
    g = np.zeros_like(x)
    g[..., 0] = dy
    return g


def pool(x):
    return x.reshape(x.shape[0], -1, 2).max(axis=-1), x


def pool_back(dy, x):
    blocks = x.reshape(x.shape[0], -1, 2)
    return to_the_first(blocks, dy).reshape(x.shape)


def pool_back_ties(dy, x):
    blocks = x.reshape(x.shape[0], -1, 2)
    return to_every_tie(blocks, dy).reshape(x.shape)


def norm2(x):
    return np.sqrt(np.sum(x**2))


def clip(x):
    return np.clip(x, -1, 1)


def median(x):
    return np.median(x)


def median_g(x):
    order = np.argsort(x)
    g = np.zeros_like(x)
    g[order[x.size // 2]] = 1.0
    return g


def sort_back(x, dy, *, inverse=True):
    order = np.argsort(x)
    g = np.empty_like(dy)
    if inverse:
        g[order] = dy
    else:
        g = dy[order]
    return g


def hinge(x):
    return np.maximum(0, 1 - x)


def prelu(x, a):
    return np.where(x > 0, x, a * x)


def prelu_vjp(x, a, u):
    return u * np.where(x > 0, 1, a), np.sum(u * np.minimum(x, 0))


PRELU = (X, np.array(0.25))
TIES = np.array([[1.0, 1.0, 0.5], [2.0, -1.0, 2.0]])
V = np.array([0.3, -1.2, 2.0, 0.7, -0.1])

CASES = [
    Wrong("clip: a slope of 2 exactly at its bounds",
          fn(lambda x: np.clip(x, -1, 1), lambda x: np.where(np.abs(x) == 1, 2.0, np.abs(x) < 1)), X, "x",
          "wrong-at-kink", QUICK),
    Wrong("clip: a slope of 2 exactly at a bound that only the code names",
          fn(lambda x: np.minimum(x, 1.37), lambda x: np.where(x == 1.37, 2.0, x < 1.37)), X, "x",
          "wrong-at-kink", QUICK),
    Right("relu at zeros", fn(relu, lambda x: (x > 0) * 1.0), ZEROS),
    Right("relu at some zeros, slope 1 there", fn(relu, lambda x: (x >= 0) * 1.0), SOME_ZEROS),
    Right("relu at some zeros, slope 1/2 there", fn(relu, lambda x: 0.5 * (np.sign(x) + 1)), SOME_ZEROS),
    Wrong("relu: slope 2 at zero", fn(relu, lambda x: np.where(x == 0, 2.0, (x > 0) * 1.0)), SOME_ZEROS, "x",
          "wrong-at-kink|wrong-at-zero"),
    Wrong("relu: slope -1 at zero", fn(relu, lambda x: np.where(x == 0, -1.0, (x > 0) * 1.0)), ZEROS, "x",
          "wrong-at-kink|wrong-at-zero"),
    Wrong("relu: slope 2 at zero, found by looking there", fn(relu, lambda x: np.where(x == 0, 2.0, (x > 0) * 1.0)),
          X, "x",
          "wrong-at-kink|wrong-at-zero", QUICK),
    Wrong("relu: NaN at zero", fn(relu, lambda x: relu(x) / x), SOME_ZEROS, "x", "nonfinite"),
    Wrong("relu: NaN at zero, found by looking there", fn(relu, lambda x: relu(x) / x), X, "x", "nonfinite", QUICK),
    Wrong("relu: the value is returned", fn(relu, relu), X, "x", "value-for-derivative"),
    Wrong("relu: masked by the upstream gradient", gv.pair(lambda x: (relu(x), x), lambda dy, x: dy * (dy > 0)), X, "x",
          "nonlinear"),
    Wrong("relu: masked where the value is below 1", fn(relu, lambda x: (x > 1) * 1.0), 2 * X, "x",
          "wrong-line|zero-gradient"),
    Wrong("relu: ones everywhere", fn(relu, np.ones_like), X, "x", "passed-through"),
    Right("abs at zeros", fn(np.abs, np.sign), SOME_ZEROS),
    Wrong("abs: ones", fn(np.abs, np.ones_like), X, "x", "passed-through"),
    Wrong("abs: NaN at zero", fn(np.abs, lambda x: x / np.abs(x)), X, "x", "nonfinite", QUICK),
    Wrong("abs: slope 3 at zero", fn(np.abs, lambda x: np.where(x == 0, 3.0, np.sign(x))), SOME_ZEROS, "x",
          "wrong-at-kink|wrong-at-zero"),
    Right("max over ties, to the first", gv.function(maximum, vjp=to_the_first), TIES),
    Right("max over ties, shared", gv.function(maximum, vjp=shared), TIES),
    Wrong("max over ties, to each of them", gv.function(maximum, vjp=to_every_tie), TIES, "x", "wrong-at-tie"),
    Wrong("max, to each of the ties, found by looking there", gv.function(maximum, vjp=to_every_tie), X, "x",
          "wrong-at-tie", QUICK),
    Wrong("max: to the first of all", gv.function(maximum, vjp=to_the_first_of_all), X, "x", "unexplained|permuted"),
    Right("max pooling", gv.pair(pool, pool_back), X),
    Right("max pooling of equal entries", gv.pair(pool, pool_back), np.ones((2, 4))),
    Wrong("max pooling gives to every tie", gv.pair(pool, pool_back_ties), X, "x", "wrong-at-tie", QUICK),
    Right("minimum of two", gv.function(np.minimum, vjp=lambda a, b, u: (u * (a <= b), u * (a > b))),
          (X, X[::-1].copy())),
    Wrong("minimum of two: masks swapped", gv.function(np.minimum, vjp=lambda a, b, u: (u * (a > b), u * (a <= b))),
          (X, X[::-1].copy()),
          "x1", "swapped-leaves"),
    Right("clip", fn(clip, lambda x: (np.abs(x) <= 1) * 1.0), 2 * X),
    Wrong("clip: gradient flows outside", fn(clip, np.ones_like), 2 * X, "x", "passed-through"),
    Wrong("clip: mask of the output, always inside", fn(clip, lambda x: (np.abs(clip(x)) <= 1) * 1.0), 2 * X, "x",
          "passed-through"),
    Right("norm", gv.function(norm2, gradient=lambda x: x / norm2(x)), V),
    Wrong("norm: NaN at the origin", gv.function(norm2, gradient=lambda x: x / norm2(x)), np.zeros(3), "x",
          "nonfinite"),
    Wrong("norm: not divided", gv.function(norm2, gradient=lambda x: x), V, "x", "factor"),
    Wrong("norm: squared norm's gradient", gv.function(norm2, gradient=lambda x: 2 * x), V, "x", "factor"),
    Right("1-norm", gv.function(lambda x: np.sum(np.abs(x)), gradient=np.sign), V),
    Wrong("1-norm: the gradient of the 2-norm",
          gv.function(lambda x: np.sum(np.abs(x)), gradient=lambda x: x / norm2(x)), V, "x", "another-function"),
    Right("median", gv.function(median, gradient=median_g), V),
    Wrong("median: of the unsorted",
          gv.function(median, gradient=lambda x: (np.arange(x.size) == x.size // 2) * 1.0), V, "x", "permuted"),
    Right("sort", gv.function(np.sort, vjp=sort_back), V),
    Wrong("sort: permutation not inverted", gv.function(np.sort, vjp=lambda x, dy: sort_back(x, dy, inverse=False)),
          V, "a", "not-transposed"),
    Right("hinge", fn(hinge, lambda x: -1.0 * (x < 1)), 2 * X),
    Wrong("hinge: active on the wrong side", fn(hinge, lambda x: -1.0 * (x > 1)), 2 * X, "x",
          "wrong-line|wrong-sign-branch"),
    Wrong("hinge: margin 0 in the backward", fn(hinge, lambda x: -1.0 * (x < 0)), 2 * X, "x",
          "wrong-line|wrong-sign-branch"),
    Right("prelu", gv.function(prelu, vjp=prelu_vjp), PRELU),
    Wrong("prelu: slope's gradient over all entries",
          gv.function(prelu, vjp=lambda x, a, u: (prelu_vjp(x, a, u)[0], np.sum(u * x))), PRELU, "a",
          "unexplained|factor"),
    Wrong("prelu: slope's gradient left at zero",
          gv.function(prelu, vjp=lambda x, a, u: (prelu_vjp(x, a, u)[0], 0.0)), PRELU, "a", "zero-gradient"),
    Right("round, gradient zero", fn(np.round, np.zeros_like), X, NONE),
    Right("sign, gradient zero", fn(np.sign, np.zeros_like), X),
    Wrong("sqrt of the absolute value: the sign forgotten",
          fn(lambda x: np.sqrt(np.abs(x)), lambda x: 0.5 / np.sqrt(np.abs(x))), X, "x",
          "wrong-sign-branch"),
    Right("sqrt of the absolute value",
          fn(lambda x: np.sqrt(np.abs(x)), lambda x: 0.5 * np.sign(x) / np.sqrt(np.abs(x))), X, NONE),
]
