"""More that no list named: losses, elementwise slips, linear maps not transposed, and errors with a pattern of places."""

from __future__ import annotations

import numpy as np
from catalogue import QUICK, Right, Wrong
from scipy import fft

import gradverify as gv
from tests.formulas import sigmoid, softmax

RNG = np.random.default_rng(117)


def drawn(*shape):
    return RNG.normal(size=shape)


TARGET = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
LOGITS = drawn(4, 3)
SHARES = softmax(LOGITS)


def smoothed(z, *, smooth=0.1):
    t = TARGET * (1 - smooth) + smooth / 3
    return -np.mean(np.sum(t * np.log(softmax(z)), axis=-1))


def smoothed_grad(z, *, smooth=0.1):
    return (softmax(z) - (TARGET * (1 - smooth) + smooth / 3)) / len(z)


def entropy(p):
    return -np.mean(np.sum(TARGET * np.log(p), axis=-1))


def entropy_of_logits(z):
    return entropy(softmax(z))


def focal(p):
    return -np.sum((1 - p) ** 2 * np.log(p))


def focal_grad(p, *, wrong=""):
    modulated = 0 if wrong == "modulation" else 2 * (1 - p) * np.log(p)
    return modulated - (1 - p) ** 2 / p


def dice(p):
    return 1 - 2 * np.sum(p * TARGET) / (np.sum(p) + np.sum(TARGET))


def dice_grad(p, *, wrong=""):
    n, d = 2 * np.sum(p * TARGET), np.sum(p) + np.sum(TARGET)
    return -2 * TARGET / d + (0 if wrong == "denominator" else n / d**2)


def huber(x, t):
    d = np.abs(x - t)
    return np.sum(np.where(d < 0.5, 0.5 * d**2, 0.5 * (d - 0.25)))


def huber_grad(x, t, *, slope=0.5):
    d = x - t
    return np.where(np.abs(d) < 0.5, d, slope * np.sign(d))


def softplus(x):
    return np.log1p(np.exp(3.0 * x)) / 3.0


def hot(x):
    return softmax(x / 0.7)


def hot_vjp(x, dy, *, temperature=0.7):
    y = hot(x)
    return y * (dy - np.sum(dy * y, axis=-1, keepdims=True)) / temperature


MASK = (np.random.default_rng(1).uniform(size=(4, 3)) > 0.3) * 1.0


def dropped(x):
    return x**2 * MASK / 0.7


def residual(x):
    return x + np.tanh(x)


def interpolate(x):
    i, w = np.array([0, 1, 2, 0]), np.array([0.2, 0.5, 0.9, 0.3])
    return (1 - w) * x[i] + w * x[i + 1], (i, w, x)


def interpolate_back(dy, cache, *, swap=False):
    i, w, x = cache
    dx = np.zeros_like(x)
    np.add.at(dx, i, (w if swap else 1 - w) * dy)
    np.add.at(dx, i + 1, (1 - w if swap else w) * dy)
    return dx


def tied(x, w):
    return np.tanh(x @ w) @ w.T, (x, w)


def tied_back(dy, cache, *, wrong=""):
    x, w = cache
    h = np.tanh(x @ w)
    da = (dy @ w) * (1 - h**2)
    encoder, decoder = x.T @ da, dy.T @ h
    return da @ w.T, encoder if wrong == "decoder" else decoder if wrong == "encoder" else encoder + decoder


ORDER = np.array([2, 0, 3, 1])
WEIGHTS = drawn(3, 3) + 3 * np.eye(3)
X = drawn(4, 3)
POSITIVE = np.abs(drawn(4, 3)) + 0.2


def rows(x):
    return np.where(np.arange(x.shape[0])[:, None] == 2, 1.1, 1.0)


def columns(x):
    return np.where(np.arange(x.shape[1]) == 3, 1.1, 1.0)


def tail(x):
    return np.where(np.arange(x.shape[1]) >= x.shape[1] - 4, 0.0, 1.0)


def on_diagonal(x):
    return np.where(np.eye(x.shape[0], dtype=bool), 0.5, 1.0)


def one_head(x):
    return np.where((np.arange(x.shape[1]) // 4 == 1), 1.1, 1.0)


def sine(pattern=None):
    return gv.function(np.sin, derivative=lambda x: np.cos(x) * (1.0 if pattern is None else pattern(x)))


WIDE, SQUARE = drawn(12, 16), drawn(12, 12)

CASES = [    Right("label smoothing", gv.function(smoothed, gradient=smoothed_grad), LOGITS),
    Wrong("label smoothing forgotten", gv.function(smoothed, gradient=lambda z: smoothed_grad(z, smooth=0.0)), LOGITS,
          "z", "setting-forgotten"),
    Right("cross-entropy of probabilities", gv.function(entropy, gradient=lambda p: -TARGET / p / len(p)), SHARES),
    Wrong("cross-entropy of probabilities: p - t", gv.function(entropy, gradient=lambda p: (p - TARGET) / len(p)),
          SHARES, "p", "wrt-logits"),
    Wrong("cross-entropy of logits: -t / p",
          gv.function(entropy_of_logits, gradient=lambda z: -TARGET / softmax(z) / len(z)), LOGITS, "z",
          "wrt-probabilities"),
    Right("focal loss, as a rule", gv.function(focal, gradient=focal_grad), SHARES),
    Wrong("focal loss: modulation a constant", gv.function(focal, gradient=lambda p: focal_grad(p, wrong="modulation")),
          SHARES, "p", "missing-path"),
    Right("dice loss", gv.function(dice, gradient=dice_grad), SHARES),
    Wrong("dice loss: denominator a constant", gv.function(dice, gradient=lambda p: dice_grad(p, wrong="denominator")),
          SHARES, "p", "missing-mean-term"),
    Right("huber, as a rule", gv.function(huber, gradient=huber_grad), (X, np.zeros_like(X))),
    Wrong("huber: slope one outside", gv.function(huber, gradient=lambda x, t: huber_grad(x, t, slope=1.0)),
          (X, np.zeros_like(X)), "x", "path-factor"),
    Wrong("squared error: slope of the absolute one",
          gv.function(lambda x, t: np.mean((x - t) ** 2), gradient=lambda x, t: np.sign(x - t) / x.size), (X, drawn(4, 3)),
          "x", "another-function"),
    Wrong("1-norm: slope of the 2-norm",
          gv.function(lambda x: np.sum(np.abs(x)), gradient=lambda x: x / np.linalg.norm(x)), X, "x",
          "another-function"),
    Right("softplus of three times x", gv.function(softplus, derivative=lambda x: sigmoid(3.0 * x)), X),
    Wrong("softplus of three times x: inner derivative kept",
          gv.function(softplus, derivative=lambda x: 3.0 * sigmoid(3.0 * x)), X, "x", "factor"),
    Right("softmax at a temperature", gv.function(hot, vjp=hot_vjp), X),
    Wrong("softmax at a temperature: temperature forgotten",
          gv.function(hot, vjp=lambda x, dy: hot_vjp(x, dy, temperature=1)), X, "x", "factor"),
    Right("dropout, as a rule", gv.function(dropped, derivative=lambda x: 2 * x * MASK / 0.7), X),
    Wrong("dropout: mask forgotten", gv.function(dropped, derivative=lambda x: 2 * x / 0.7), X, "x", "mask-forgotten"),
    Wrong("dropout: scale forgotten", gv.function(dropped, derivative=lambda x: 2 * x * MASK), X, "x", "factor"),
    Right("residual", gv.function(residual, derivative=lambda x: 2 - np.tanh(x) ** 2), X),
    Wrong("residual: the skip forgotten", gv.function(residual, derivative=lambda x: 1 - np.tanh(x) ** 2), X, "x",
          "missing-skip"),
    Right("linear interpolation", gv.pair(interpolate, interpolate_back), drawn(4)),
    Wrong("linear interpolation: weights exchanged",
          gv.pair(interpolate, lambda dy, c: interpolate_back(dy, c, swap=True)), drawn(4), "x", "wrong-line"),
    Right("weights used twice", gv.pair(tied, tied_back), (X, drawn(3, 3))),
    Wrong("weights used twice: only the encoder's share", gv.pair(tied, lambda dy, c: tied_back(dy, c, wrong="decoder")),
          (X, drawn(3, 3)), "w", "missing-path"),
    Right("swish, as a rule", gv.function(lambda x: x * sigmoid(x), derivative=lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
          X),
    Wrong("swish: half the product rule", gv.function(lambda x: x * sigmoid(x), derivative=sigmoid), X, "x",
          "missing-term"),
    Wrong("sigmoid: the value for the derivative", gv.function(sigmoid, derivative=sigmoid), X, "x",
          "value-for-derivative"),
    Wrong("sigmoid: the derivative twice", gv.function(sigmoid, derivative=lambda x: (sigmoid(x) * sigmoid(-x)) ** 2), X,
          "x", "applied-twice"),
    Wrong("square root: divided by the derivative", gv.function(np.sqrt, derivative=lambda x: 2 * np.sqrt(x)), POSITIVE,
          "x", "inverse"),
    Right("cumulative sum over rows", gv.pair(lambda x: (np.cumsum(x, 0), None),
                                    lambda dy, _: np.cumsum(dy[::-1], 0)[::-1]), X),
    Wrong("cumulative sum over rows: not reversed", gv.pair(lambda x: (np.cumsum(x, 0), None), lambda dy, _: np.cumsum(dy, 0)), X,
          "x", "not-transposed"),
    Right("cosine transform", gv.pair(lambda x: (fft.dct(x, norm="ortho"), None),
                                      lambda dy, _: fft.idct(dy, norm="ortho")), X),
    Wrong("cosine transform: forward again", gv.pair(lambda x: (fft.dct(x, norm="ortho"), None),
                                                     lambda dy, _: fft.dct(dy, norm="ortho")), X, "x", "not-transposed"),
    Right("entries reordered", gv.pair(lambda x: (x[ORDER], None), lambda dy, _: dy[np.argsort(ORDER)]), X),
    Wrong("entries reordered: the same order again", gv.pair(lambda x: (x[ORDER], None), lambda dy, _: dy[ORDER]), X, "x",
          "not-transposed"),
    Right("square map", gv.pair(lambda x: (x @ WEIGHTS, None), lambda dy, _: dy @ WEIGHTS.T), X),
    Wrong("square map: weights not transposed", gv.pair(lambda x: (x @ WEIGHTS, None), lambda dy, _: dy @ WEIGHTS), X,
          "x", "not-transposed"),
    Right("sine of many entries", sine(), WIDE, QUICK),
    Wrong("one row wrong", sine(rows), WIDE, "x", "one-slice"),
    Wrong("one column wrong", sine(columns), WIDE, "x", "one-slice"),
    Wrong("the last block of columns wrong", sine(tail), WIDE, "x", "last-block"),
    Wrong("one head of four columns wrong", sine(one_head), WIDE, "x", "block"),
    Wrong("the diagonal wrong", sine(on_diagonal), SQUARE, "x", "diagonal"),
]
