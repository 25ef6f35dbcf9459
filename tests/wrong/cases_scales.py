"""Small errors in large company: single entries, tiny leaves, small outputs, nine digits, many leaves."""

from __future__ import annotations

import numpy as np
from catalogue import NONE, Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(111)
BIG = RNG.normal(size=10_000)
THOUSAND = RNG.normal(size=1000)
X = RNG.normal(size=(3, 4))
PI_NINE = 3.14159265
DECADES = 10.0 ** np.arange(-9.0, 10.0)


def fn(f, derivative):
    return gv.function(f, derivative=derivative)


def bumped(f, index, by):
    """The derivative `f` with one entry off by `by` of the root-mean-square entry."""

    def derivative(x):
        g = np.array(f(x))
        g.flat[index] += by * np.sqrt(np.mean(g**2))
        return g

    return derivative


def many(xs):
    return sum(np.sum(np.sin(x)) for x in xs.values())


def many_g(wrong=None):
    def gradient(xs):
        return {name: np.cos(x) * (1.001 if name == wrong else 1.0) for name, x in xs.items()}

    return gradient


LEAVES = {f"w{i}": RNG.normal(size=3) for i in range(200)}


def leaf_pair(wrong=None):
    """200 leaves in one dict; the pullback returns a dict of them."""

    def forward(xs):
        out = sum(np.sum(np.sin(x)) for x in xs.values())
        return out, lambda dy: {n: dy * np.cos(x) * (1.001 if n == wrong else 1.0) for n, x in xs.items()}

    return forward


def tiny_leaf(x, w):
    return np.sin(x) + 1e-8 * np.sum(w**3), (x, w)


def tiny_leaf_back(dy, cache, *, factor=1.0):
    x, w = cache
    return dy * np.cos(x), factor * 3e-8 * w**2 * dy.sum()


def five(x):
    return (1e6 * np.sin(x), np.cos(x), 1e-3 * x**2, 1e-7 * x**3, 1e-10 * np.exp(x)), x


def five_back(dy, x, *, small=1.0, mid=1.0):
    d = (1e6 * np.cos(x), -np.sin(x), mid * 2e-3 * x, 3e-7 * x**2, small * 1e-10 * np.exp(x))
    return sum(u * g for u, g in zip(dy, d, strict=True))


def rows(x):
    return 10.0 ** -np.arange(len(x))[:, None] * np.sin(x), x


def rows_back(dy, x, *, last=1.0):
    s = 10.0 ** -np.arange(len(x))[:, None]
    return dy * s * np.cos(x) * np.where(np.arange(len(x))[:, None] == len(x) - 1, last, 1.0)


TALL = RNG.normal(size=(9, 2))


def affine(x, w, b):
    return x @ w + b, (x, w)


def affine_back(dy, cache, *, entry=0.0):
    x, w = cache
    dw = x.T @ dy
    dw[-1, -1] *= 1 + entry
    return dy @ w.T, dw, dy.sum(axis=0)


AFFINE = (RNG.normal(size=(16, 30)), RNG.normal(size=(30, 40)), RNG.normal(size=40))

def natively(f):
    """The same function, refusing whatever is not a float64 array: only differences can judge it."""

    def only_float64(x):
        if type(x) is not np.ndarray or x.dtype != np.float64:
            raise TypeError(f"float64 only, not {type(x).__name__}")
        return f(x)

    return only_float64


def log1p_square(x):
    return np.log1p(x**2)


def log1p_square_d(x, *, flipped=False):
    return 2 * x / (1 + x**2) * (np.where(x < 1e-8, -1, 1) if flipped else 1)


CASES = [
    Wrong("compiled: one entry in 1,000 off by 1e-6", fn(natively(np.exp), bumped(np.exp, 500, 1e-6)), THOUSAND, "x",
          "wrong-line|one-entry|one-slice"),
    Wrong("compiled: all entries off by 1e-9", fn(natively(np.exp), lambda x: np.exp(x) * (1 + 1e-9)), X, "x",
          "factor"),
    Wrong("compiled: the smallest row of one output doubled",
          gv.pair(natively(rows), lambda dy, x: rows_back(dy, x, last=2.0)), TALL, "x", "one-slice"),
    Wrong("compiled: 18 decades, one sign flipped",
          fn(natively(log1p_square), lambda x: log1p_square_d(x, flipped=True)), DECADES, "x", "sign|one-slice"),
    Right("compiled: 18 decades", fn(natively(log1p_square), log1p_square_d), DECADES),
    Wrong("one entry in 10,000 off by 1e-3", fn(np.sin, bumped(np.cos, 4321, 1e-3)), BIG, "x",
          "unexplained|one-entry|one-slice"),
    Wrong("one entry in 10,000 off by 1e-6", fn(np.sin, bumped(np.cos, 7, 1e-6)), BIG, "x",
          "unexplained|one-entry|one-slice"),
    Wrong("one entry in 1,000 off by 1e-6", fn(np.exp, bumped(np.exp, 500, 1e-6)), THOUSAND, "x",
          "wrong-line|one-entry|one-slice"),
    Wrong("the last entry of 1,000 off by 1e-6", fn(np.exp, bumped(np.exp, 999, 1e-6)), THOUSAND, "x",
          "unexplained|one-entry|one-slice"),
    Wrong("two entries in 1,000, opposite errors",
          fn(np.exp, bumped(bumped(np.exp, 3, 1e-3), 4, -1e-3)),
          THOUSAND, "x", "unexplained|wrong-region"),
    Wrong("all entries off by 1e-9", fn(np.sin, lambda x: np.cos(x) * (1 + 1e-9)), X, "x", "factor"),
    Wrong("all entries off by 1e-12", fn(np.sin, lambda x: np.cos(x) * (1 + 1e-12)), X, "x", "factor"),
    Wrong("all entries off by random 1e-9", fn(np.sin, lambda x: np.cos(x) * (1 + 1e-9 * np.sin(1e3 * x))), X, "x",
          "wrong-line"),
    Wrong("pi with nine digits", fn(lambda x: np.sin(np.pi * x), lambda x: PI_NINE * np.cos(np.pi * x)), X, "x",
          "factor"),
    Wrong("pi with nine digits in the argument",
          fn(lambda x: np.sin(np.pi * x), lambda x: np.pi * np.cos(PI_NINE * x)), X, "x",
          "unexplained"),
    Right("pi with nine digits, tolerated", fn(lambda x: np.sin(np.pi * x), lambda x: PI_NINE * np.cos(np.pi * x)), X,
          {"tolerate": 1e-8, "search": "none"}),
    Right("a derivative by central differences: its noise is known",
          fn(np.sin, lambda x: (np.sin(x + 1e-6) - np.sin(x - 1e-6)) / 2e-6),
          X, NONE),
    Wrong("a derivative by a forward difference", fn(np.exp, lambda x: (np.exp(x + 1e-7) - np.exp(x)) / 1e-7), X, "x",
          "unexplained|factor"),
    Right("200 leaves", leaf_pair(), LEAVES),
    Wrong("one of 200 leaves off by 0.1 %", leaf_pair("w137"), LEAVES, "xs.w137", "factor"),
    Right("a leaf of 1e-8 of the others", gv.pair(tiny_leaf, tiny_leaf_back), (X, X[0])),
    Wrong("a leaf of 1e-8 of the others, sign flipped",
          gv.pair(tiny_leaf, lambda dy, c: tiny_leaf_back(dy, c, factor=-1.0)), (X, X[0]),
          "w", "sign"),
    Wrong("a leaf of 1e-8 of the others, zero", gv.pair(tiny_leaf, lambda dy, c: tiny_leaf_back(dy, c, factor=0.0)),
          (X, X[0]), "w",
          "zero-gradient"),
    Wrong("a leaf of 1e-8 of the others, 1 % off",
          gv.pair(tiny_leaf, lambda dy, c: tiny_leaf_back(dy, c, factor=1.01)), (X, X[0]), "w",
          "factor"),
    Right("five outputs of sizes 1e6 to 1e-10", gv.pair(five, five_back), X),
    Wrong("the smallest of five outputs ignored", gv.pair(five, lambda dy, x: five_back(dy, x, small=0.0)), X, "x",
          "output-forgotten"),
    Wrong("the third of five outputs doubled", gv.pair(five, lambda dy, x: five_back(dy, x, mid=2.0)), X, "x",
          "path-factor"),
    Right("rows of one output of sizes 1 to 1e-8", gv.pair(rows, rows_back), TALL),
    Wrong("the smallest row of one output doubled", gv.pair(rows, lambda dy, x: rows_back(dy, x, last=2.0)), TALL,
          "x", "one-slice"),
    Wrong("log1p(x^2) over 18 decades, one sign flipped",
          fn(lambda x: np.log1p(x**2),
             lambda x: 2 * x / (1 + x**2) * np.where(x < 1e-8, -1, 1)), DECADES, "x", "sign|one-slice"),
    Right("log1p(x^2) over 18 decades", fn(lambda x: np.log1p(x**2), lambda x: 2 * x / (1 + x**2)), DECADES),
    Right("affine, 1,200 weights", gv.pair(affine, affine_back), AFFINE),
    Wrong("affine, last weight of 1,200 off by 1e-5", gv.pair(affine, lambda dy, c: affine_back(dy, c, entry=1e-5)),
          AFFINE, "w",
          "wrong-line|one-entry|one-slice"),
    Wrong("values 1e-12, doubled", fn(lambda x: 1e-12 * np.sin(x), lambda x: 2e-12 * np.cos(x)), X, "x", "factor"),
    Wrong("values 1e12, 1e-7 off", fn(lambda x: 1e12 * np.sin(x), lambda x: (1 + 1e-7) * 1e12 * np.cos(x)), X, "x",
          "factor"),
    Wrong("a constant of 1e9 added, 1e-4 off", fn(lambda x: 1e9 + np.sin(x), lambda x: (1 + 1e-4) * np.cos(x)), X,
          "x", "factor"),
    Wrong("inputs of 1e-9, sign flipped", fn(np.sin, lambda x: -np.cos(x)), 1e-9 * X, "x", "sign"),
    Wrong("inputs of 1e9, factor", fn(lambda x: np.log(np.abs(x)), lambda x: 1.5 / x), 1e9 * X, "x", "factor"),
    Wrong("values of 1e-200, doubled", fn(lambda x: 1e-200 * np.sin(x), lambda x: 2e-200 * np.cos(x)), X, "x",
          "factor"),
    Wrong("values of 1e200, doubled", fn(lambda x: 1e200 * np.sin(x), lambda x: 2e200 * np.cos(x)), X, "x", "factor"),
]
