"""Statistics over axes: softmax, layer, batch, group and weight normalisation, and their forgotten terms."""

from __future__ import annotations

import numpy as np
from catalogue import Right, Wrong

import gradverify as gv
from tests.formulas import softmax

RNG = np.random.default_rng(107)
X = RNG.normal(size=(4, 6))
SQUARE = RNG.normal(size=(5, 5))
GAMMA, BETA = RNG.normal(size=6), RNG.normal(size=6)
EPS = 1e-5


def softmax_forward(x):
    y = softmax(x)
    return y, y


def softmax_back(dy, y):
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def log_softmax(x):
    y = softmax(x)
    return np.log(y), y


def log_softmax_back(dy, y):
    return dy - y * dy.sum(axis=-1, keepdims=True)


def layernorm(x, gamma, beta, *, eps=EPS, ddof=0):
    inv = 1 / np.sqrt(x.var(axis=-1, keepdims=True, ddof=ddof) + eps)
    h = (x - x.mean(axis=-1, keepdims=True)) * inv
    return gamma * h + beta, (h, inv, gamma)


def layernorm_back(dy, cache):
    h, inv, gamma = cache
    g = dy * gamma
    dx = inv * (g - g.mean(axis=-1, keepdims=True) - h * (g * h).mean(axis=-1, keepdims=True))
    return dx, (dy * h).sum(axis=0), dy.sum(axis=0)


def ln_without(term):
    """Layer normalisation's backward with one thing left out."""

    def back(dy, cache):
        h, inv, gamma = cache
        g = dy if term == "gamma" else dy * gamma
        dx = g
        if term != "mean":
            dx = dx - g.mean(axis=-1, keepdims=True)
        if term != "variance":
            dx = dx - h * (g * h).mean(axis=-1, keepdims=True)
        dx = dx if term == "inv" else dx * inv
        dgamma = dy.sum(axis=0) if term == "h" else (dy * h).sum(axis=0)
        return dx, dgamma, dy.sum(axis=0)

    return back


def ln_wrong_statistics(dy, cache):
    h, inv, gamma = cache
    g = dy * gamma
    return inv * (g - g.mean(axis=0) - h * (g * h).mean(axis=0)), (dy * h).sum(axis=0), dy.sum(axis=0)


def layernorm_no_eps(dy, cache):
    _, _, gamma, x = cache
    inv = 1 / np.sqrt(x.var(axis=-1, keepdims=True))
    h = (x - x.mean(axis=-1, keepdims=True)) * inv
    return layernorm_back(dy, (h, inv, gamma))


def layernorm_with_x(x, gamma, beta):
    y, cache = layernorm(x, gamma, beta, eps=1e-2)
    return y, (*cache, x)


def layernorm_ddof(x, gamma, beta):
    return layernorm(x, gamma, beta, ddof=1)


def ln_rank(dy, cache):
    """Takes the rows for ``shape[0]``, the rest for the normalised axis: right for rank 2 alone."""
    h, inv, gamma = cache
    rows = dy.shape[0]
    g, h2 = (dy * gamma).reshape(rows, -1), h.reshape(rows, -1)
    dx = g - g.mean(axis=-1, keepdims=True) - h2 * (g * h2).mean(axis=-1, keepdims=True)
    axes = tuple(range(dy.ndim - 1))
    return inv * dx.reshape(dy.shape), (dy * h).sum(axis=axes), dy.sum(axis=axes)


def batchnorm(x, gamma, beta):
    inv = 1 / np.sqrt(x.var(axis=0) + EPS)
    h = (x - x.mean(axis=0)) * inv
    return gamma * h + beta, (h, inv, gamma)


def batchnorm_back(dy, cache, *, frozen=False, factor=1.0):
    h, inv, gamma = cache
    g = dy * gamma
    dx = inv * g if frozen else inv * (g - g.mean(axis=0) - factor * h * (g * h).mean(axis=0))
    return dx, (dy * h).sum(axis=0), dy.sum(axis=0)


def groupnorm(x):
    b = x.reshape(len(x), 2, -1)
    inv = 1 / np.sqrt(b.var(axis=-1, keepdims=True) + EPS)
    h = (b - b.mean(axis=-1, keepdims=True)) * inv
    return h.reshape(x.shape), (h, inv)


def groupnorm_back(dy, cache, *, over_all=False):
    h, inv = cache
    g, axes = dy.reshape(h.shape), (1, 2) if over_all else (2,)
    dx = inv * (g - g.mean(axis=axes, keepdims=True) - h * (g * h).mean(axis=axes, keepdims=True))
    return dx.reshape(dy.shape)


def rmsnorm(x, gamma):
    inv = 1 / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)
    return gamma * x * inv, (x, inv, gamma)


def rmsnorm_back(dy, cache, *, through_norm=True):
    x, inv, gamma = cache
    g, h = dy * gamma, x * inv
    dx = inv * (g - h * (g * h).mean(axis=-1, keepdims=True)) if through_norm else inv * g
    return dx, (dy * h).sum(axis=0)


def l2_normalise(x):
    n = np.sqrt(np.sum(x**2, axis=-1, keepdims=True))
    return x / n, (x / n, n)


def l2_back(dy, cache, *, projected=True):
    y, n = cache
    return (dy - y * (dy * y).sum(axis=-1, keepdims=True)) / n if projected else dy / n


def l1_normalise(x):
    return x / x.sum(axis=-1, keepdims=True), x


def l1_back(dy, x, *, path=True):
    s = x.sum(axis=-1, keepdims=True)
    return dy / s - ((dy * x).sum(axis=-1, keepdims=True) / s**2 if path else 0)


def weightnorm(v, g):
    return g * v / np.linalg.norm(v, axis=0), (v, g)


def weightnorm_back(dy, cache, *, projected=True):
    v, g = cache
    n = np.linalg.norm(v, axis=0)
    u = v / n
    dg = (dy * u).sum(axis=0)
    return g / n * (dy - (dg * u if projected else 0)), dg


def standardise(x):
    return (x - x.mean()) / x.std(), x


def standardise_back(dy, x, *, n=None):
    h = (x - x.mean()) / x.std()
    n = n or x.size
    return (dy - dy.sum() / x.size - h * (dy * h).sum() / n) / x.std()


def temperature(x, t):
    y = softmax(x / t)
    return y, (x, t, y)


def temperature_back(dy, cache, *, divided=True):
    x, t, y = cache
    dz = softmax_back(dy, y)
    return dz / t if divided else dz, -(dz * x).sum() / t**2


LN = (X, GAMMA, BETA)
LN3 = (RNG.normal(size=(2, 3, 6)), GAMMA, BETA)
P = RNG.uniform(0.5, 2, size=(3, 4))
OFFSET = (X + 100.0, GAMMA, BETA)

CASES = [
    Right("softmax", gv.pair(softmax_forward, softmax_back), X),
    Wrong("softmax: diagonal of its Jacobian only", gv.pair(softmax_forward, lambda dy, y: dy * y * (1 - y)), X, "x",
          "diagonal-only"),
    Wrong("softmax: the outer product only",
          gv.pair(softmax_forward, lambda dy, y: -y * (dy * y).sum(axis=-1, keepdims=True)), X, "x",
          "missing-path"),
    Wrong("softmax: sum over the wrong axis, square",
          gv.pair(softmax_forward, lambda dy, y: y * (dy - (dy * y).sum(axis=0))), SQUARE, "x",
          "unexplained|wrong-axis"),
    Wrong("softmax: sum without keepdims, square",
          gv.pair(softmax_forward, lambda dy, y: y * (dy - (dy * y).sum(axis=-1))), SQUARE, "x",
          "diagonal"),
    Wrong("softmax: mean for sum",
          gv.pair(softmax_forward, lambda dy, y: y * (dy - (dy * y).mean(axis=-1, keepdims=True))), X, "x",
          "missing-output-term"),
    Wrong("softmax: identity (thought to be in the loss)", gv.pair(softmax_forward, lambda dy, y: dy), X, "x",
          "passed-through|unexplained"),
    Right("log-softmax", gv.pair(log_softmax, log_softmax_back), X),
    Wrong("log-softmax: the normaliser forgotten", gv.pair(log_softmax, lambda dy, y: dy), X, "x",
          "passed-through|unexplained"),
    Wrong("log-softmax: assumes one-hot upstream", gv.pair(log_softmax, lambda dy, y: dy - y), X, "x",
          "nonlinear|missing-output-term|unexplained", misnamed=""),
    Right("layernorm", gv.pair(layernorm, layernorm_back), LN),
    Wrong("layernorm: mean term forgotten", gv.pair(layernorm, ln_without("mean")), LN, "x", "missing-mean-term"),
    Wrong("layernorm: variance term forgotten", gv.pair(layernorm, ln_without("variance")), LN, "x",
          "missing-variance-term"),
    Wrong("layernorm: gamma forgotten in dx", gv.pair(layernorm, ln_without("gamma")), LN, "x", "wrong-factor"),
    Wrong("layernorm: inverse deviation forgotten", gv.pair(layernorm, ln_without("inv")), LN, "x",
          "wrong-line|row-factor"),
    Wrong("layernorm: dgamma without the normalised x", gv.pair(layernorm, ln_without("h")), LN, "gamma",
          "swapped-leaves"),
    Wrong("layernorm: statistics over the wrong axis, square", gv.pair(layernorm, ln_wrong_statistics),
          (SQUARE, GAMMA[:5], BETA[:5]), "x",
          "unexplained|wrong-axis"),
    Wrong("layernorm: eps forgotten", gv.pair(layernorm_with_x, layernorm_no_eps), LN, "x", "epsilon"),
    Wrong("layernorm: unbiased variance forwards, biased backwards", gv.pair(layernorm_ddof, layernorm_back), LN, "x",
          "missing-variance-term"),
    Right("layernorm of rank 3",
          gv.pair(layernorm, lambda dy, c: (layernorm_back(dy, c)[0], (dy * c[0]).sum(axis=(0, 1)),
                                            dy.sum(axis=(0, 1)))), LN3),
    Wrong("layernorm: rows times columns taken for rank 2", gv.pair(layernorm, ln_rank), LN3, "x",
          "missing-statistics|wrong-axis"),
    Right("layernorm, offset 100", gv.pair(layernorm, layernorm_back), OFFSET),
    Wrong("layernorm: eps forgotten, offset 100", gv.pair(layernorm_with_x, layernorm_no_eps), OFFSET, "x",
          "epsilon|unexplained"),
    Right("batchnorm", gv.pair(batchnorm, batchnorm_back), LN),
    Wrong("batchnorm: statistics taken for constants",
          gv.pair(batchnorm, lambda dy, c: batchnorm_back(dy, c, frozen=True)), LN, "x",
          "unexplained|diagonal-only|missing-mean-term|missing-statistics"),
    Wrong("batchnorm: half the variance term", gv.pair(batchnorm, lambda dy, c: batchnorm_back(dy, c, factor=0.5)),
          LN, "x",
          "missing-variance-term"),
    Right("groupnorm", gv.pair(groupnorm, groupnorm_back), X),
    Wrong("groupnorm: means over all groups", gv.pair(groupnorm, lambda dy, c: groupnorm_back(dy, c, over_all=True)),
          X, "x",
          "wrong-line"),
    Right("rmsnorm", gv.pair(rmsnorm, rmsnorm_back), (X, GAMMA)),
    Wrong("rmsnorm: the path through the norm forgotten",
          gv.pair(rmsnorm, lambda dy, c: rmsnorm_back(dy, c, through_norm=False)),
          (X, GAMMA), "x", "missing-norm-term"),
    Right("l2 normalisation", gv.pair(l2_normalise, l2_back), X),
    Wrong("l2 normalisation: not projected", gv.pair(l2_normalise, lambda dy, c: l2_back(dy, c, projected=False)), X,
          "x",
          "missing-norm-term|missing-output-term"),
    Right("l1 normalisation", gv.pair(l1_normalise, l1_back), P),
    Wrong("l1 normalisation: the path through the sum forgotten",
          gv.pair(l1_normalise, lambda dy, x: l1_back(dy, x, path=False)), P, "x",
          "missing-mean-term"),
    Right("weight normalisation", gv.pair(weightnorm, weightnorm_back), (X, GAMMA)),
    Wrong("weight normalisation: not projected",
          gv.pair(weightnorm, lambda dy, c: weightnorm_back(dy, c, projected=False)), (X, GAMMA),
          "v", "missing-norm-term|missing-output-term"),
    Right("standardisation over everything", gv.pair(standardise, standardise_back), X),
    Wrong("standardisation: n - 1 backwards",
          gv.pair(standardise, lambda dy, x: standardise_back(dy, x, n=x.size - 1)), X, "x",
          "missing-variance-term|missing-output-term"),
    Right("softmax with temperature", gv.pair(temperature, temperature_back), (X, np.array(1.7))),
    Wrong("softmax with temperature: not divided by it",
          gv.pair(temperature, lambda dy, c: temperature_back(dy, c, divided=False)),
          (X, np.array(1.7)), "x", "factor"),
]
