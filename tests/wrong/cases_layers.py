"""Objects with a forward and a backward, in the many ways people keep parameters and gradients."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from catalogue import Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(102)
X = RNG.normal(size=(5, 3))
SQUARE = RNG.normal(size=(4, 4))


def drawn(*shape):
    return RNG.normal(size=shape)


class Dense:
    """Attributes W, b, dW, db; every mistake is a word in `wrong`."""

    def __init__(self, n_in=3, n_out=4, wrong=""):
        self.W, self.b = drawn(n_in, n_out), drawn(n_out)
        self.wrong = wrong

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = self.x.T @ dout
        self.db = dout.sum(axis=0)
        dx = dout @ self.W.T
        mistake = MISTAKES.get(self.wrong)
        return dx if mistake is None else mistake(self, dout, dx)


def in_weights(change):
    """A mistake in dW: the layer's own dx is right."""

    def mistake(layer, dout, dx):
        layer.dW = change(layer, dout)
        return dx

    return mistake


def in_bias(change):
    def mistake(layer, dout, dx):
        layer.db = change(layer, dout)
        return dx

    return mistake


MISTAKES = {
    "mean": in_weights(lambda layer, dout: layer.dW / len(layer.x)),
    "transposed": in_weights(lambda layer, dout: dout.T @ layer.x),
    "negated": in_weights(lambda layer, dout: -layer.dW),
    "bias mean": in_bias(lambda layer, dout: dout.mean(axis=0)),
    "bias not summed": in_bias(lambda layer, dout: dout),
    "bias of the first row": in_bias(lambda layer, dout: dout[0]),
    "bias over the wrong axis": in_bias(lambda layer, dout: dout.sum(axis=1)),
    "zero bias": in_bias(lambda layer, dout: np.zeros_like(layer.b)),
    "dx without W": lambda layer, dout, dx: dout @ np.ones_like(layer.W.T),
    "dx transposed": lambda layer, dout, dx: dout @ layer.W,
}


class InDicts:
    """``params`` and ``grads``, two dicts."""

    def __init__(self, *, forget=False, half=False):
        self.params = {"W": drawn(3, 2), "b": drawn(2)}
        self.grads = {}
        self.forget, self.half = forget, half

    def forward(self, x):
        self.cache = x
        return np.tanh(x @ self.params["W"] + self.params["b"])

    def backward(self, dout):
        x = self.cache
        y = np.tanh(x @ self.params["W"] + self.params["b"])
        dz = dout * (1 - y**2)
        self.grads["W"] = x.T @ dz * (0.5 if self.half else 1.0)
        if not self.forget:
            self.grads["b"] = dz.sum(axis=0)
        return dz @ self.params["W"].T


class InLists:
    """``params`` and ``grads``, two lists in the same order."""

    def __init__(self, *, swapped=False):
        self.W1, self.W2 = drawn(4, 4), drawn(4, 4)
        self.params = [self.W1, self.W2]
        self.grads = [np.zeros((4, 4)), np.zeros((4, 4))]
        self.swapped = swapped

    def forward(self, x):
        self.x, self.h = x, np.sin(x @ self.W1)
        return self.h @ self.W2

    def backward(self, dout):
        dz = (dout @ self.W2.T) * np.cos(self.x @ self.W1)
        found = [self.x.T @ dz, self.h.T @ dout]
        for slot, g in zip(self.grads, found[::-1] if self.swapped else found, strict=True):
            slot[...] = g
        return dz @ self.W1.T


class Slotted:
    """``__slots__`` and no ``__dict__``."""

    __slots__ = ("factor", "scale", "scale_grad", "x")

    def __init__(self, factor=1.0):
        self.scale, self.scale_grad = drawn(3), np.zeros(3)
        self.factor = factor

    def forward(self, x):
        self.x = x
        return x * self.scale

    def backward(self, grad_output):
        self.scale_grad[:] = self.factor * (grad_output * self.x).sum(axis=0)
        return grad_output * self.scale


class Parameter:
    """A value beside its gradient."""

    def __init__(self, value):
        self.value, self.grad = value, np.zeros_like(value)


class WithParameters:
    """Parameters that are objects of their own."""

    def __init__(self, *, wrong=False):
        self.weight, self.bias = Parameter(drawn(3, 2)), Parameter(drawn(2))
        self.wrong = wrong

    def forward(self, x):
        self.x = x
        return x @ self.weight.value + self.bias.value

    def backward(self, dy):
        self.weight.grad += self.x.T @ dy
        self.bias.grad += dy[:-1].sum(axis=0) if self.wrong else dy.sum(axis=0)
        return dy @ self.weight.value.T


class Lazy:
    """Parameters made by the first forward, of the size that it sees."""

    def __init__(self, *, wrong=False):
        self.W = None
        self.wrong = wrong

    def forward(self, x):
        if self.W is None:
            self.W = np.random.default_rng(0).normal(size=(x.shape[-1], 2))
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return 1.1 * dout @ self.W.T if self.wrong else dout @ self.W.T


@dataclass
class Settings:
    """A dataclass with arrays."""

    gain: np.ndarray = field(default_factory=lambda: np.array([0.5, -1.5, 2.0]))
    offset: np.ndarray = field(default_factory=lambda: np.array([0.1, 0.2, -0.3]))


class WithDataclass:
    """Parameters and gradients in dataclasses."""

    def __init__(self, *, wrong=False):
        self.params, self.grads = Settings(), Settings()
        self.wrong = wrong

    def forward(self, x):
        self.x = x
        return self.params.gain * np.sin(x) + self.params.offset

    def backward(self, dout):
        self.grads.gain = (dout * (np.cos(self.x) if self.wrong else np.sin(self.x))).sum(axis=0)
        self.grads.offset = dout.sum(axis=0)
        return dout * self.params.gain * np.cos(self.x)


class Sequential:
    """Layers in a list; the backward walks it from the end."""

    def __init__(self, *layers, forward_order=False):
        self.layers = list(layers)
        self.forward_order = forward_order

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout):
        for layer in self.layers if self.forward_order else self.layers[::-1]:
            dout = layer.backward(dout)
        return dout


class Tied:
    """One matrix used twice: encoder and transposed decoder."""

    def __init__(self, *, once=False):
        self.W = drawn(3, 3)
        self.decoder = self.W
        self.once = once

    def forward(self, x):
        self.x, self.h = x, np.tanh(x @ self.W)
        return self.h @ self.decoder.T

    def backward(self, dout):
        dz = (dout @ self.decoder) * (1 - self.h**2)
        self.dW = self.x.T @ dz
        if not self.once:
            self.dW = self.dW + dout.T @ self.h
        return dz @ self.W.T


class WithProperty:
    """The weight is a property over a raw array: a softplus keeps it positive."""

    def __init__(self, *, raw=True):
        self.rho = drawn(3)
        self.raw = raw

    @property
    def scale(self):
        """What the forward multiplies by."""
        return np.log1p(np.exp(self.rho))

    def forward(self, x):
        self.x = x
        return x * self.scale

    def backward(self, dout):
        self.drho = (dout * self.x).sum(axis=0) * (1 / (1 + np.exp(-self.rho)) if self.raw else 1.0)
        return dout * self.scale


class Caller:
    """``__call__`` and ``grad``: no forward by that name."""

    def __init__(self, power):
        self.power = power

    def __call__(self, x):
        return x**3

    def grad(self, x):
        return self.power * x**2


class ReturnsDict:
    """The backward returns a dict of everything."""

    def __init__(self, *, wrong=False):
        self.W, self.wrong = drawn(3, 3), wrong

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        dx, dW = dout @ self.W.T, self.x.T @ dout
        return {"W": dW if not self.wrong else dW.T, "x": dx}


class Dropout:
    """Inverted dropout with a fixed mask."""

    def __init__(self, wrong=""):
        self.mask = np.array([[1.0, 0.0, 1.0]] * 5)
        self.wrong = wrong

    def forward(self, x):
        return x * self.mask / 0.6

    def backward(self, dout):
        if self.wrong == "mask":
            return dout / 0.6
        return dout * self.mask / (1.0 if self.wrong == "scale" else 0.6)


class ParamDictOfLists:
    """Nested lists in a dict."""

    def __init__(self, *, wrong=False):
        self.params = {"W": [drawn(3, 4), drawn(4, 2)]}
        self.grads = {"W": [None, None]}
        self.wrong = wrong

    def forward(self, x):
        self.x = x
        self.h = np.tanh(x @ self.params["W"][0])
        return self.h @ self.params["W"][1]

    def backward(self, dout):
        dh = dout @ self.params["W"][1].T
        dz = dh if self.wrong else dh * (1 - self.h**2)
        self.grads["W"] = [self.x.T @ dz, self.h.T @ dout]
        return (dh * (1 - self.h**2)) @ self.params["W"][0].T


CASES = [
    Right("Dense", Dense(), X),
    Wrong("Dense: dW averaged over the batch", Dense(wrong="mean"), X, "W", "factor"),
    Wrong("Dense: dW transposed, square", Dense(4, 4, wrong="transposed"), SQUARE, "W", "transposed"),
    Wrong("Dense: dW transposed, not square", Dense(3, 4, wrong="transposed"), X, "W", "transposed|shape"),
    Wrong("Dense: db averaged", Dense(wrong="bias mean"), X, "b", "factor"),
    Wrong("Dense: db not summed", Dense(wrong="bias not summed"), X, "b", "not-summed"),
    Wrong("Dense: db of the first row only", Dense(wrong="bias of the first row"), X, "b", "unexplained|not-summed"),
    Wrong("Dense: db over the wrong axis, square", Dense(4, 4, wrong="bias over the wrong axis"), SQUARE, "b",
          "wrong-axis"),
    Wrong("Dense: dx forgets the weights", Dense(wrong="dx without W"), X, "x", "setting-forgotten"),
    Wrong("Dense: dx with W instead of its transpose", Dense(4, 4, wrong="dx transposed"), SQUARE, "x",
          "not-transposed"),
    Wrong("Dense: dW negated", Dense(wrong="negated"), X, "W", "sign"),
    Wrong("Dense: db is zeros", Dense(wrong="zero bias"), X, "b", "zero-gradient"),
    Right("params and grads in dicts", InDicts(), X),
    Wrong("grads dict: half of dW", InDicts(half=True), X, "params.W", "factor"),
    Wrong("grads dict: no entry for b", InDicts(forget=True), X, "params.b", "missing|zero-gradient"),
    Right("params and grads in lists", InLists(), SQUARE),
    Wrong("grads list in the reverse order", InLists(swapped=True), SQUARE, "W1", "unexplained|swapped-leaves"),
    Right("slots", Slotted(), X),
    Wrong("slots: gradient tripled", Slotted(3.0), X, "scale", "factor"),
    Right("Parameter objects, accumulating", WithParameters(), X),
    Wrong("Parameter objects: last row left out of the bias", WithParameters(wrong=True), X, "bias.value",
          "not-summed"),
    Right("parameters made by the first forward", Lazy(), X),
    Wrong("parameters made by the first forward: dx 10 % too large", Lazy(wrong=True), X, "x", "factor"),
    Right("dataclasses of parameters and gradients", WithDataclass(), X),
    Wrong("dataclasses: cos for sin", WithDataclass(wrong=True), X, "params.gain", "wrong-line"),
    Right("Sequential", Sequential(Dense(3, 4), Dense(4, 2)), X),
    Wrong("Sequential walked from the front", Sequential(Dense(3, 3), Dense(3, 3), forward_order=True), X, "x",
          "unexplained"),
    Wrong("Sequential: db of an inner layer averaged", Sequential(Dense(3, 4, wrong="bias mean"), Dense(4, 2)), X,
          "layers[0].b",
          "factor"),
    Right("one matrix used twice", Tied(), X),
    Wrong("one matrix used twice: second use forgotten", Tied(once=True), X, "W", "missing-path"),
    Right("a property over a raw array", WithProperty(), X),
    Wrong("a property over a raw array: gradient of the property", WithProperty(raw=False), X, "rho", "wrong-slope"),
    Right("__call__ and grad", Caller(3), X),
    Wrong("__call__ and grad: factor 2 for 3", Caller(2), X, "x", "factor"),
    Right("backward returns a dict", ReturnsDict(), X),
    Wrong("backward returns a dict, W transposed", ReturnsDict(wrong=True), X, "W", "transposed"),
    Right("dropout", Dropout(), X),
    Wrong("dropout: mask not applied in the backward", Dropout("mask"), X, "x", "unexplained|one-slice"),
    Wrong("dropout: scale not applied in the backward", Dropout("scale"), X, "x", "factor"),
    Right("a dict of lists of parameters", ParamDictOfLists(), X),
    Wrong("a dict of lists: activation's derivative forgotten", ParamDictOfLists(wrong=True), X, "params.W[0]",
          "wrong-slope"),
    Right("layer(): names spelled out", gv.layer(Dense(), params=("W", "b"), grads=("dW", "db")), X),
    Wrong("layer(): names spelled out, the gradients swapped in their order",
          gv.layer(Tied(), params=("W",), grads=("x",)), X[:3], "W", "unexplained|upstream-ignored"),
]
