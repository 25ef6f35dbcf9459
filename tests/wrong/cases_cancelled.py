"""Gradients of which cancellation leaves a millionth or less: a norm of two numbers knows their order and no more."""

from __future__ import annotations

import numpy as np
from catalogue import Right, Wrong

import gradverify as gv

EPS = 1e-5
RNG = np.random.default_rng(120)
X, ONE, W = RNG.normal(size=(3, 2)), RNG.normal(size=(3, 1)), RNG.normal(size=(1, 5))


def norm(x):
    s = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + EPS)
    return (x - x.mean(axis=-1, keepdims=True)) * s, s


def norm_back(dy, y, s):
    return s * (dy - dy.mean(axis=-1, keepdims=True) - y * (dy * y).mean(axis=-1, keepdims=True))


def twice(x):
    y, s = norm(x)
    z, t = norm(y)
    return z, (y, s, z, t)


def twice_back(dy, cache, *, factor=1.0, inner=True):
    y, s, z, t = cache
    dy = norm_back(dy, z, t)
    return factor * (norm_back(dy, y, s) if inner else s * dy)


def widened(x, w):
    y, s = norm(x @ w)
    return y, (x, w, y, s)


def widened_back(dy, cache, *, factor=1.0):
    x, w, y, s = cache
    dh = norm_back(dy, y, s)
    return factor * (dh @ w.T), x.T @ dh


CASES = [
    Right("a norm of a norm, of two numbers each", gv.pair(twice, twice_back), X),
    Wrong("a norm of a norm: 0.1 % off", gv.pair(twice, lambda dy, c: twice_back(dy, c, factor=1.001)), X, "x",
          "factor"),
    Wrong("a norm of a norm: the inner statistics taken for constants",
          gv.pair(twice, lambda dy, c: twice_back(dy, c, inner=False)), X, "x", "missing-path"),
    Right("one number widened, then normed", gv.pair(widened, widened_back), (ONE, W)),
    Wrong("one number widened, then normed: 0.1 % off",
          gv.pair(widened, lambda dy, c: widened_back(dy, c, factor=0.999)), (ONE, W), "x", "factor"),
]
