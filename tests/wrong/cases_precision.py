"""Coarse dtypes: formula and implementation judged apart, accumulation, thresholds, overflow, casts."""

from __future__ import annotations

import numpy as np
from catalogue import QUICK, Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(114)
X = RNG.normal(size=(4, 6))
X32, X16 = X.astype("float32"), X.astype("float16")
LONG16 = RNG.normal(size=(400, 3)).astype("float16")
WIDE = LONG16.T.astype("float64")


def fn(f, derivative):
    return gv.function(f, derivative=derivative)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def in_float32(x):
    return np.cos(x.astype("float32"))


def in_float32_and_back(x):
    return np.cos(x.astype("float32")).astype("float64")


def in_float16(x):
    return np.cos(x.astype("float16")).astype("float64")


def mse(y):
    return np.mean(y**2)


def layernorm(x):
    inv = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + x.dtype.type(1e-5))
    h = (x - x.mean(axis=-1, keepdims=True)) * inv
    return h, (h, inv)


def layernorm_back(dy, cache, *, variance=True):
    h, inv = cache
    dx = dy - dy.mean(axis=-1, keepdims=True)
    if variance:
        dx = dx - h * (dy * h).mean(axis=-1, keepdims=True)
    return inv * dx


def total(x, b):
    return x + b, x


def summed_in_float16(dy, x):
    running = np.zeros(x.shape[1], dtype="float16")
    for row in dy.astype("float16"):
        running = (running + row).astype("float16")
    return dy, running.astype(dy.dtype)


def truncated(dy, x):
    return dy, (np.trunc(dy.sum(axis=0) * 64) / 64).astype(dy.dtype)


def kept_in_float32(dy, x):
    gradient = np.zeros_like(x, dtype="float32")
    gradient += np.exp(x) * dy.astype("float32")
    return gradient


def mask_in_float16(x):
    return np.where(x > 0.1, x, 0 * x), x


def affine(x, w):
    return x @ w, (x, w)


W32 = RNG.normal(size=(6, 5)).astype("float32")


def affine_back(dy, cache, *, block=1.0):
    x, w = cache
    dw = x.T @ dy
    dw[:, -1] *= dw.dtype.type(block)
    return dy @ w.T, dw


def exp_sum(x):
    return np.log(np.sum(np.exp(x))), x


class AnswersInFloat32:
    """Takes float64, computes and answers in float32."""

    def __init__(self, power=2):
        self.power = power

    def forward(self, x):
        self.y = np.tanh(x.astype(np.float32))
        return self.y

    def backward(self, dy):
        return dy.astype(np.float32) * (1 - self.y**self.power)


CASES = [
    Wrong("float32 tanh, a millionth too large",
          fn(np.tanh, lambda x: (1 - np.tanh(x) ** 2) * np.float32(1 + 1e-6)), X32, "x", "factor"),
    Right("float64 in, float32 inside and out", AnswersInFloat32(), X),
    Wrong("float64 in, float32 out: 1 - y for 1 - y^2", AnswersInFloat32(power=1), X, "x", "wrong-line"),
    Wrong("the upstream gradient rounded to float32 on the way",
          gv.pair(lambda x: (np.sin(x), x), lambda dy, x: dy.astype(np.float32) * np.cos(x)), X, "x",
          "unexplained|dtype"),
    Wrong("float64 leaf, gradient computed and returned in float32", fn(np.sin, in_float32), X, "x", "dtype"),
    Wrong("float64 leaf, gradient computed in float32 and cast back", fn(np.sin, in_float32_and_back), X, "x",
          "unexplained|dtype|low-precision-inside"),
    Wrong("float64 leaf, gradient computed in float16 and cast back", fn(np.sin, in_float16), X, "x",
          "unexplained|dtype|low-precision-inside"),
    Right("float32 sigmoid", fn(sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))), X32),
    Wrong("float32: factor 1.001", fn(np.sin, lambda x: np.float32(1.001) * np.cos(x)), X32, "x", "factor"),
    Wrong("float32: factor 1 + 1e-5", fn(np.sin, lambda x: np.float32(1.00001) * np.cos(x)), X32, "x", "factor"),
    Wrong("float32: sign", fn(np.sin, lambda x: -np.cos(x)), X32, "x", "sign"),
    Wrong("float32: mean for sum", fn(lambda x: x**3, lambda x: 3 * x**2 / np.float32(x.size)), X32, "x", "factor"),
    Wrong("float16: factor 1.05", fn(np.sin, lambda x: np.float16(1.05) * np.cos(x)), X16, "x", "factor"),
    Wrong("float16: zero", fn(np.sin, np.zeros_like), X16, "x", "zero-gradient"),
    Wrong("float16: sigmoid of the activation", fn(sigmoid, lambda a: a * (1 - a)), X16, "x",
          "derivative-at-activation"),
    Right("float32 layernorm", gv.pair(layernorm, layernorm_back), X32),
    Wrong("float32 layernorm: variance term forgotten",
          gv.pair(layernorm, lambda dy, c: layernorm_back(dy, c, variance=False)), X32, "x",
          "missing-variance-term"),
    Right("float16 sum in float64",
          gv.pair(total, lambda dy, x: (dy, dy.sum(axis=0, dtype="float64").astype(dy.dtype))),
          (LONG16, LONG16[0])),
    Right("a float32 buffer for the upstream gradient, tolerated", gv.pair(lambda x: (np.exp(x), x), kept_in_float32), X,
          {"tolerate": 1e-5}),
    Right("a float32 sum that the layout of the upstream gradient reorders, tolerated",
          gv.pair(lambda x, b: (x + 1.1 * b[:, None], x),
                  lambda dy, x: (dy, (dy.astype("float32") * np.float32(1.1)).sum(axis=1).astype("float64"))),
          (WIDE, WIDE[:, 0]), {"tolerate": 1e-5}),
    Wrong("a float32 buffer that is clipped too, the rounding tolerated",
          gv.pair(lambda x: (np.exp(x), x), lambda dy, x: kept_in_float32(np.clip(dy, -100, 100), x)), X, "x",
          "nonlinear", {"tolerate": 1e-5}),
    Wrong("a float32 buffer and a rule with 0.01 % of a square, the rounding tolerated",
          gv.pair(lambda x: (np.exp(x), x), lambda dy, x: kept_in_float32(dy + 1e-4 * dy * np.abs(dy), x)), X, "x",
          "nonlinear|unexplained|wrong-line", {"tolerate": 1e-5}),
    Wrong("float16: bias accumulated in float16, truncated", gv.pair(total, truncated), (X16, X16[0]), "b",
          "unexplained|low-precision-inside|nonlinear"),
    Wrong("float32: bias accumulated in float16", gv.pair(total, summed_in_float16),
          (LONG16.astype("float32"), X32[0, :3]), "b",
          "unexplained|low-precision-inside|nonlinear"),
    Wrong("float32: last column off by 1 %", gv.pair(affine, lambda dy, c: affine_back(dy, c, block=1.01)),
          (X32, W32), "w", "one-slice"),
    Wrong("float32: last column off by 0.01 %", gv.pair(affine, lambda dy, c: affine_back(dy, c, block=1.0001)),
          (X32, W32), "w",
          "one-slice"),
    Right("float32 affine", gv.pair(affine, affine_back), (X32, W32)),
    Wrong("float32: overflows in the backward only",
          gv.pair(lambda x: (np.tanh(x), x),
                  lambda dy, x: dy * 4 * np.exp(2 * x) / (np.exp(2 * x) + 1) ** 2), 30 * X32, "x", "nonfinite",
          QUICK),
    Wrong("float32: underflows to a wrong zero",
          fn(lambda x: np.float32(1e-25) * x**2,
             lambda x: np.float32(1e-25) * np.float32(1e-25) * 2 * x / np.float32(1e-25)), X32, "x",
          "zero-gradient|factor|unexplained"),
    Wrong("float32 with a float64 reference: formula of another function", fn(np.tanh, lambda x: 1 - np.tanh(x)),
          X32, "x", "wrong-line",
          {"reference": np.tanh, "search": "none"}),
    Wrong("float32 with a reference: the forward itself is another function",
          fn(lambda x: np.tanh(x) * np.float32(1.01), lambda x: 1 - np.tanh(x) ** 2),
          X32, "", "value", {"reference": np.tanh, "search": "none"}),
    Right("float32 with a reference", fn(np.tanh, lambda x: 1 - np.tanh(x) ** 2), X32,
          {"reference": np.tanh, "search": "none"}),
    Right("straight-through, said to be meant", gv.pair(lambda x: (np.round(x * 8) / 8, None), lambda dy, _: dy), X,
          {"surrogate": lambda x: x, "search": "none"}),
    Wrong("straight-through with a factor", gv.pair(lambda x: (np.round(x * 8) / 8, None), lambda dy, _: 2 * dy), X,
          "x", "factor",
          {"surrogate": lambda x: x, "search": "none"}),
    Right("gradient reversal, said to be meant", gv.pair(lambda x: (x * 1.0, None), lambda dy, _: -0.5 * dy), X,
          {"surrogate": lambda x: -0.5 * x, "search": "none"}),
    Wrong("gradient reversal that does not reverse", gv.pair(lambda x: (x * 1.0, None), lambda dy, _: 0.5 * dy), X,
          "x", "sign",
          {"surrogate": lambda x: -0.5 * x, "search": "none"}),
]
