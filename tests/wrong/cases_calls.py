"""How functions are called: keywords, defaults, stars, closures, scalars, integers, dicts, odd returns."""

from __future__ import annotations

from functools import partial

import numpy as np
from catalogue import Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(113)
X = RNG.normal(size=(3, 4))
W = RNG.normal(size=(4, 2))


def scaled(x, *, gain=2.0, power=3):
    return gain * x**power


def scaled_d(x, *, gain=2.0, power=3):
    return gain * power * x ** (power - 1)


def total(*xs):
    return sum(np.sum(x**2) for x in xs), xs


def with_default(x, bias=0.5):
    return np.sin(x) * bias, (x, bias)


def closure(w):
    def forward(x):
        return np.tanh(x @ w), x

    def backward(dy, x):
        return (dy * (1 - np.tanh(x @ w) ** 2)) @ w.T

    return forward, backward


def indexed(x, ids, flag):
    return (x[ids] ** 2 if flag else x[ids]), (x, ids, flag)


def indexed_back(dy, cache, *, factor=2.0):
    x, ids, flag = cache
    g = np.zeros_like(x)
    np.add.at(g, ids, dy * factor * x[ids] if flag else dy)
    return g, None, None


def mixed(x, w):
    return x.astype(np.float64) * w, (x, w)


def nested(p):
    return p["layer"]["w"] * p["x"][0] + p["x"][1], p


def nested_pullback(p, *, wrong=False):
    y, _ = nested(p)
    w, (x0, x1) = p["layer"]["w"], p["x"]
    return y, lambda dy: {"layer": {"w": dy * (x1 if wrong else x0)}, "x": [dy * w, dy]}


def dict_of_layers(p, x):
    return np.tanh(x @ p["hidden"]["w"]) @ p["rest"][0], (p, x)


def dict_of_layers_back(dy, cache, *, wrong="", d=""):
    p, x = cache
    h = np.tanh(x @ p["hidden"]["w"])
    dz = dy @ p["rest"][0].T * (1 - h * h)
    dw, dv = x.T @ dz, h.T @ dy
    dw, dv = (dv, dw) if wrong == "swapped" else (dw, 1.5 * dv) if wrong == "list" else (dw, dv)
    return {f"{d}hidden": {f"{d}w": dw}, f"{d}rest": [dv]}, dz @ p["hidden"]["w"].T


def tuple_pullback(x, w, *, swapped=False):
    y = x * w
    return y, lambda dy: (dy * x, dy * w) if swapped else (dy * w, dy * x)


def odd_dict(dy, cache):
    x, w = cache
    return {"dw": x.T @ dy, "dx": dy @ w.T}


def odd_dict_wrong(dy, cache):
    x, w = cache
    return {"dw": 3 * x.T @ dy, "dx": dy @ w.T}


def matmul(x, w):
    return x @ w, (x, w)


def as_list(dy, cache):
    x, w = cache
    return [dy @ w.T, x.T @ dy]


def generatorlike(x):
    return float(x) ** 2


def two_outputs(x):
    return {"mean": x.mean(), "square": x**2}, x


def two_outputs_back(dy, x, *, wrong=""):
    g = 2 * x * dy["square"]
    return g if wrong == "mean" else g + dy["mean"] / (1 if wrong == "n" else x.size)


def cache_first(cache, dout):
    x, w = cache
    return dout @ w.T, x.T @ dout * 1.0


FLAT = np.arange(3.0)

NEST_RNG = np.random.default_rng(7)


def nest():
    return {"hidden": {"w": NEST_RNG.normal(size=(4, 4))}, "rest": [NEST_RNG.normal(size=(4, 4))]}


def in_a_dict(x, p):
    return x @ p["w"] + p["b"], (x, p)


def beside(order):
    def back(dy, cache):
        x, p = cache
        known = {"w": p["w"], "dw": x.T @ dy}
        return dy @ p["w"].T, {**{name: known[name] for name in order}, "db": dy.sum(0)}

    return back


CASES = [
    Right("keywords", gv.function(scaled, derivative=scaled_d), X,
          {"kwargs": {"gain": 0.5, "power": 2}, "search": "none"}),
    Wrong("keywords: the derivative ignores one",
          gv.function(scaled,
                      derivative=lambda x, *, gain=2.0, power=3: 2.0 * power * x ** (power - 1)), X, "x", "factor",
          {"kwargs": {"gain": 0.5, "power": 2}, "search": "none"}),
    Right("partial", gv.function(partial(scaled, gain=1.5), derivative=partial(scaled_d, gain=1.5)), X),
    Wrong("partial with another gain", gv.function(partial(scaled, gain=1.5), derivative=scaled_d), X, "x", "factor"),
    Right("starred arguments", gv.pair(total, lambda dy, xs: tuple(2 * dy * x for x in xs)), (X, W, FLAT)),
    Wrong("starred arguments: the last forgotten",
          gv.pair(total, lambda dy, xs: (*(2 * dy * x for x in xs[:-1]), 0 * xs[-1])),
          (X, W, FLAT), "xs[2]", "zero-gradient"),
    Right("a default left alone", gv.pair(with_default, lambda dy, c: dy * np.cos(c[0]) * c[1]), X),
    Wrong("a default doubled in the backward", gv.pair(with_default, lambda dy, c: dy * np.cos(c[0])), X, "x",
          "factor"),
    Right("a closure over an array", gv.pair(*closure(W)), X),
    Wrong("a closure over another array", gv.pair(closure(W)[0], closure(W[::-1].copy())[1]), X, "x",
          "unexplained|permuted"),
    Right("integer and boolean inputs", gv.pair(indexed, indexed_back), (X, np.array([0, 2, 2]), True)),
    Wrong("integer and boolean inputs: factor", gv.pair(indexed, lambda dy, c: indexed_back(dy, c, factor=3.0)),
          (X, np.array([0, 2, 2]), True), "x", "factor"),
    Right("float32 beside float64", gv.pair(mixed, lambda dy, c: (dy * c[1], (dy * c[0]).sum(axis=0))),
          (X.astype("float32"), W[:, 0])),
    Wrong("float32 beside float64: not reduced", gv.pair(mixed, lambda dy, c: (dy * c[1], dy * c[0])),
          (X.astype("float32"), W[:, 0]), "w",
          "not-summed"),
    Wrong("float32 beside float64: sign", gv.pair(mixed, lambda dy, c: (dy * c[1], -(dy * c[0]).sum(axis=0))),
          (X.astype("float32"), W[:, 0]), "w", "sign"),
    *(Right(f"gradients beside what they belong to, {' before '.join(order)}", gv.pair(in_a_dict, beside(order)),
            (X, {"w": X.T.copy(), "b": np.zeros(len(X))})) for order in (("dw", "w"), ("w", "dw"))),
    Right("a nest of dicts and lists", nested_pullback, {"layer": {"w": X}, "x": [X[::-1].copy(), X * 2]}),
    Wrong("a nest of dicts and lists: the wrong list entry", partial(nested_pullback, wrong=True),
          {"layer": {"w": X}, "x": [X[::-1].copy(), X * 2]}, "p.layer.w", "wrong-factor"),
    Right("a pullback that returns a tuple", tuple_pullback, (X, X[::-1].copy())),
    Wrong("a pullback that returns a tuple in the wrong order", partial(tuple_pullback, swapped=True),
          (X, X[::-1].copy()), "x",
          "unexplained|permuted|swapped-leaves"),
    Right("a dict in another order", gv.pair(matmul, odd_dict), (X, W)),
    Wrong("a dict in another order: factor", gv.pair(matmul, odd_dict_wrong), (X, W), "w", "factor"),
    Right("a list", gv.pair(matmul, as_list), (X, W)),
    Right("the cache first", gv.pair(matmul, cache_first), (X, W)),
    Right("a python float", gv.function(generatorlike, derivative=lambda x: 2 * float(x)), 1.5),
    Wrong("a python float: factor", gv.function(generatorlike, derivative=float), 1.5, "x", "factor"),
    Right("a numpy scalar", gv.function(np.sin, derivative=np.cos), np.float64(0.7)),
    Wrong("a numpy scalar: sign", gv.function(np.sin, derivative=lambda x: -np.cos(x)), np.float64(0.7), "x",
          "sign|factor"),
    Right("a dict of outputs", gv.pair(two_outputs, two_outputs_back), X),
    Wrong("a dict of outputs: the scalar one forgotten",
          gv.pair(two_outputs, lambda dy, x: two_outputs_back(dy, x, wrong="mean")), X, "x",
          "output-forgotten"),
    Wrong("a dict of outputs: the mean not divided",
          gv.pair(two_outputs, lambda dy, x: two_outputs_back(dy, x, wrong="n")), X, "x",
          "missing-mean-term"),
    Wrong("one gradient too few", gv.pair(matmul, lambda dy, c: (dy @ c[1].T,)), (X, W), "w", "missing|zero-gradient"),
    Wrong("None for a gradient that is not zero", gv.pair(matmul, lambda dy, c: (dy @ c[1].T, None)), (X, W), "w",
          "missing|zero-gradient"),
    Wrong("one gradient too many", gv.pair(matmul, lambda dy, c: (dy @ c[1].T, c[0].T @ dy, dy.sum(axis=0))), (X, W),
          "x", "shape"),
    Wrong("a complex gradient", gv.pair(matmul, lambda dy, c: (dy @ c[1].T, c[0].T @ dy + 0j)), (X, W), "x", "dtype"),
    Wrong("a gradient of objects", gv.function(np.sin, vjp=lambda x, u: [[None, 1.0]]), X, "x", "dtype|shape"),
    Wrong("a gradient of the wrong length", gv.function(np.sin, vjp=lambda x, u: (u * np.cos(x))[:, :-1]), X, "x",
          "shape"),
    Wrong("a flat gradient", gv.function(np.sin, vjp=lambda x, u: (u * np.cos(x)).ravel()), X, "x", "shape"),
    Right("gradients in a nest like the parameters'", gv.pair(dict_of_layers, dict_of_layers_back), (nest(), X)),
    Right("gradients in a nest, with names of their own",
          gv.pair(dict_of_layers, lambda dy, c: dict_of_layers_back(dy, c, d="d")), (nest(), X)),
    Wrong("gradients in a nest: the list's scaled",
          gv.pair(dict_of_layers, lambda dy, c: dict_of_layers_back(dy, c, wrong="list")), (nest(), X), "p.rest[0]",
          "factor"),
    Wrong("gradients in a nest: two exchanged",
          gv.pair(dict_of_layers, lambda dy, c: dict_of_layers_back(dy, c, wrong="swapped")), (nest(), X),
          "p.hidden.w", "swapped-leaves"),
]
