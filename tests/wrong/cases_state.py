"""What a backward does to memory: overwrites, stale caches, uninitialised buffers, chance, accumulation."""

from __future__ import annotations

import numpy as np
from catalogue import QUICK, Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(103)
X = RNG.normal(size=(4, 3))


def rms_forward(x, w):
    inv = 1 / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)
    return x * inv * w, (x, inv, w)


def rms_backward(dy, cache):
    x, inv, w = cache
    h = x * inv
    g = dy * w
    dx = inv * (g - h * np.mean(g * h, axis=-1, keepdims=True))
    return dx, (dy * h).sum(axis=0)


def rms_overwrites_dy_before_dw(dy, cache):
    x, inv, w = cache
    h = x * inv
    g = dy * w
    dy[...] = inv * (g - h * np.mean(g * h, axis=-1, keepdims=True))
    return dy, (dy * h).sum(axis=0)


def relu_masks_dy(dy, x):
    dy[x <= 0] = 0
    return dy


def overwriting_forward(x):
    x[x < 0] = 0
    return x * 3.0


def overwriting_backward(dy, x):
    return np.where(x > 0, 3.0, 0.0) * dy


def normalises_its_input(x):
    x -= x.mean(axis=0)
    return x**2, x.copy()


CHANCE = np.random.default_rng(5)


def noisy_backward(dy, x):
    return dy * np.cos(x) * (1 + 1e-3 * CHANCE.normal(size=x.shape))


COUNT = {"calls": 0}


def first_call_is_right(dy, x):
    COUNT["calls"] += 1
    return dy * np.cos(x) * (1 + (COUNT["calls"] % 7 == 0))


TOTAL = np.zeros_like(X)


def accumulates_in_a_global(dy, x):
    TOTAL[...] += dy * np.cos(x)
    return TOTAL.copy()


LAST: dict[str, np.ndarray] = {}


def remembers_globally(x):
    LAST.setdefault("x", x.copy())
    return np.sin(x)


class Stale:
    """Keeps the input of its very first forward."""

    def __init__(self):
        self.x = None

    def forward(self, x):
        if self.x is None:
            self.x = x.copy()
        return np.sin(x)

    def backward(self, dout):
        return dout * np.cos(self.x)


class Consumed:
    """The backward changes what it saved, so that a second backward is wrong."""

    def forward(self, x):
        self.x = x.copy()
        return self.x**2

    def backward(self, dout):
        self.x *= 2
        return self.x * dout


LATEST: dict[str, np.ndarray] = {}


def keeps_the_latest(x):
    LATEST["x"] = x.copy()
    return np.sin(x), None


BUFFER, GRADIENT = np.zeros_like(X), np.zeros_like(X)


def pullback_of_a_buffer(x):
    np.cos(x, out=BUFFER)
    return np.sin(x), lambda dy: dy * BUFFER


def into_a_buffer(dy, x):
    return np.multiply(dy, np.cos(x), out=GRADIENT)


def clips_by_norm(dy, x):
    g = dy * np.cos(x)
    return g * min(1.0, 10.0 / np.linalg.norm(g))


class Accumulates:
    """Adds into its gradient, as is usual, but also into what it returns."""

    def __init__(self, *, wrong=False):
        self.W, self.dW, self.dx = RNG.normal(size=(3, 2)), np.zeros((3, 2)), None
        self.wrong = wrong

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW += self.x.T @ dout
        dx = dout @ self.W.T
        if self.wrong:
            dx = dx + (0 if self.dx is None else self.dx) + dx
        return dx


class RandomDropout:
    """Draws its mask from the global generator."""

    def __init__(self, *, redraw=False):
        self.redraw = redraw

    def forward(self, x):
        self.mask = np.random.rand(*x.shape) < 0.7
        return x * self.mask / 0.7

    def backward(self, dout):
        if self.redraw:
            self.mask = np.random.rand(*dout.shape) < 0.7
        return dout * self.mask / 0.7


class OwnGenerator:
    """Draws its noise from a generator of its own."""

    def __init__(self, *, redraw=False):
        self.rng, self.redraw = np.random.default_rng(3), redraw

    def forward(self, x):
        self.noise = self.rng.normal(size=x.shape)
        return x * self.noise

    def backward(self, dout):
        noise = self.rng.normal(size=dout.shape) if self.redraw else self.noise
        return dout * noise


def partly_filled(dy, x):
    g = np.full_like(x, 1e-3)
    g[:-1] = (dy * np.cos(x))[:-1]
    return g


CASES = [
    Wrong("a global cache that the next forward overwrites",
          gv.pair(keeps_the_latest, lambda dy, _: dy * np.cos(LATEST["x"])), X, "x", "stale-cache", QUICK),
    Wrong("a pullback that reads a buffer shared by all calls", pullback_of_a_buffer, X, "x", "stale-cache", QUICK),
    Right("a gradient in a buffer of its own", gv.pair(lambda x: (np.sin(x), x), into_a_buffer), X),
    Wrong("the upstream gradient clipped at 100",
          gv.pair(lambda x: (np.sin(x), x), lambda dy, x: np.clip(dy, -100, 100) * np.cos(x)), X, "x", "nonlinear",
          QUICK),
    Wrong("small upstream gradients dropped",
          gv.pair(lambda x: (np.sin(x), x), lambda dy, x: np.where(np.abs(dy) < 1e-3, 0, dy) * np.cos(x)), X, "x",
          "nonlinear", QUICK),
    Wrong("the gradient clipped by its norm", gv.pair(lambda x: (np.sin(x), x), clips_by_norm), X, "x", "nonlinear",
          QUICK),
    Right("rmsnorm pair", gv.pair(rms_forward, rms_backward), (X, np.array([0.5, -1.2, 2.0]))),
    Wrong("rmsnorm: dy overwritten by dx before dw is computed", gv.pair(rms_forward, rms_overwrites_dy_before_dw),
          (X, np.array([0.5, -1.2, 2.0])), "w", "mutated-upstream|unexplained"),
    Wrong("relu: the upstream gradient is masked in place", gv.pair(lambda x: (np.maximum(x, 0), x), relu_masks_dy),
          X, "x",
          "mutated-upstream", QUICK),
    Wrong("the forward overwrites its input", gv.pair(lambda x: (overwriting_forward(x), x), overwriting_backward),
          X, "x",
          "mutated-input", QUICK),
    Wrong("the forward centres its input in place", gv.pair(normalises_its_input, lambda dy, x: 2 * x * dy), X, "x",
          "mutated-input|missing-mean-term|unexplained", QUICK),
    # Its generator is a global of this module and put back at each call: the chance is a factor like any other.
    Wrong("a gradient with chance in it", gv.pair(lambda x: (np.sin(x), x), noisy_backward), X, "x",
          "nondeterministic|wrong-line", QUICK),
    Wrong("every seventh backward is twice as large", gv.pair(lambda x: (np.sin(x), x), first_call_is_right), X, "x",
          "nondeterministic|factor", QUICK),
    Wrong("accumulates in a global array", gv.pair(lambda x: (np.sin(x), x), accumulates_in_a_global), X, "x",
          "nondeterministic|unexplained|accumulated|nonlinear", QUICK),
    Wrong("a global cache that is never renewed",
          gv.pair(lambda x: (remembers_globally(x), x), lambda dy, x: dy * np.cos(LAST["x"])), X,
          "x", "unexplained|stale-cache", QUICK),
    Right("the second forward before the backward", gv.pair(lambda x: (np.sin(x), x), lambda dy, x: dy * np.cos(x)), X),
    Wrong("the input of the first forward is kept", gv.layer(Stale()), X, "x", "unexplained|stale-cache", QUICK),
    Wrong("what was saved is changed by the backward", Consumed(), X, "x",
          "nondeterministic|mutated-saved|consumed-cache", QUICK),
    Right("accumulates into dW", Accumulates(), X),
    Wrong("accumulates into dW, returns dx doubled", Accumulates(wrong=True), X, "x", "factor"),
    Right("dropout from the global generator", RandomDropout(), X),
    Wrong("dropout draws another mask in the backward", RandomDropout(redraw=True), X, "x", "wrong-line"),
    Right("noise from an own generator", OwnGenerator(), X),
    Wrong("another noise in the backward", OwnGenerator(redraw=True), X, "x", "wrong-line"),
    Wrong("a buffer that is filled but for the last row", gv.pair(lambda x: (np.sin(x), x), partly_filled), X, "x",
          "one-slice|nonlinear|upstream-ignored"),
    Wrong("a sum added into the upstream gradient",
          gv.pair(lambda x: (np.sin(x), x), lambda dy, x: (dy + 0.1) * np.cos(x)), X, "x",
          "nonlinear|upstream-ignored|unexplained", QUICK),
    Wrong("the upstream gradient clipped at 1",
          gv.pair(lambda x: (np.sin(x), x), lambda dy, x: np.clip(dy, -1, 1) * np.cos(x)), X, "x",
          "nonlinear", QUICK),
    Wrong("only the sign of the upstream gradient",
          gv.pair(lambda x: (np.sin(x), x), lambda dy, x: np.sign(dy) * np.cos(x)), X, "x",
          "nonlinear"),
    Wrong("the upstream gradient squared",
          gv.pair(lambda x: (np.sin(x), x), lambda dy, x: dy * np.abs(dy) * np.cos(x)), X, "x",
          "nonlinear"),
    Wrong("a loss that multiplies by the first upstream entry",
          gv.pair(lambda x: (x**2, x), lambda dy, x: 2 * x * dy.flat[0]), X, "x",
          "unexplained|first-upstream"),
    Wrong("a loss that multiplies by the mean upstream entry",
          gv.pair(lambda x: (x**2, x), lambda dy, x: 2 * x * dy.mean()), X, "x",
          "wrong-line|first-upstream"),
]
