"""Losses: reductions, logits against probabilities, weights, penalties, targets that need not sum to one."""

from __future__ import annotations

import numpy as np
from catalogue import QUICK, Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(108)
Z = RNG.normal(size=(4, 3))
T = RNG.normal(size=(4, 3))
LABELS = np.array([0, 2, 1, 1])
ONE_HOT = np.eye(3)[LABELS]
SOFT = RNG.uniform(0.1, 1.0, size=(4, 3))
WEIGHTS = np.array([0.2, 1.0, 3.0])
BINARY = (RNG.random((4, 3)) < 0.5) * 1.0
PROBABILITIES = RNG.uniform(0.05, 0.95, size=(4, 3))
V = np.array([0.4, -0.7, 1.1, -0.2, 0.9])
DATA = RNG.normal(size=(8, 5))
RESPONSE = RNG.normal(size=8)
MASK = np.array([1.0, 1.0, 0.0, 1.0])


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(z):
    s = z - z.max(axis=-1, keepdims=True)
    return s - np.log(np.exp(s).sum(axis=-1, keepdims=True))


def of(f, g):
    return gv.function(f, gradient=g)


def mse(y):
    return np.mean((y - T) ** 2)


def sse(y):
    return 0.5 * np.sum((y - T) ** 2)


def mae(y):
    return np.mean(np.abs(y - T))


def cross_entropy(z):
    return -np.mean(log_softmax(z)[np.arange(4), LABELS])


def cross_entropy_soft(z):
    return -np.sum(SOFT * log_softmax(z)) / 4


def cross_entropy_weighted(z):
    w = WEIGHTS[LABELS]
    return -np.sum(w * log_softmax(z)[np.arange(4), LABELS]) / w.sum()


def cross_entropy_masked(z):
    return -np.sum(MASK * log_softmax(z)[np.arange(4), LABELS]) / MASK.sum()


def cross_entropy_smooth(z, a=0.1):
    return -np.mean(np.sum(((1 - a) * ONE_HOT + a / 3) * log_softmax(z), axis=-1))


def nll_of_probabilities(p):
    return -np.mean(np.log(p[np.arange(4), LABELS]))


def nll_g(p):
    return -ONE_HOT / p / 4


def bce(p):
    return -np.mean(BINARY * np.log(p) + (1 - BINARY) * np.log(1 - p))


def bce_logits(z):
    return np.mean(np.logaddexp(0, z) - BINARY * z)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def kl(p):
    q = SOFT / SOFT.sum(axis=-1, keepdims=True)
    return np.sum(q * (np.log(q) - np.log(p)))


def ridge(w):
    return 0.5 * np.sum((DATA @ w - RESPONSE) ** 2) + 0.1 * np.sum(w**2)


def ridge_g(w, *, penalty=0.2, data=1.0):
    return data * DATA.T @ (DATA @ w - RESPONSE) + penalty * w


def lasso(w):
    return 0.5 * np.mean((DATA @ w - RESPONSE) ** 2) + 0.3 * np.sum(np.abs(w))


def logistic(w):
    s = np.where(RESPONSE > 0, 1, -1)
    return np.sum(np.logaddexp(0, -s * (DATA @ w)))


def logistic_g(w):
    s = np.where(RESPONSE > 0, 1, -1)
    return -(s * sigmoid(-s * (DATA @ w))) @ DATA


def poisson(w):
    eta = DATA @ w
    return np.mean(np.exp(eta) - np.abs(RESPONSE) * eta)


def poisson_g(w):
    return DATA.T @ (np.exp(DATA @ w) - np.abs(RESPONSE)) / 8


def triplet(a, p, n):
    return np.sum(np.maximum(0, np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1) + 1))


def triplet_g(a, p, n, *, sign=1.0):
    m = (np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1) + 1 > 0)[:, None]
    return m * 2 * (n - p), m * -2 * (a - p), m * 2 * (a - n) * sign


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def cosine_g(a, b, *, project=True):
    na, nb, c = np.linalg.norm(a), np.linalg.norm(b), cosine(a, b)
    ga = (b / nb - (c * a / na if project else 0)) / na
    return ga, (a / na - c * b / nb) / nb


def focal(z):
    lp = log_softmax(z)[np.arange(4), LABELS]
    return -np.mean((1 - np.exp(lp)) ** 2 * lp)


def focal_g(z, *, through_weight=True):
    p, lp = softmax(z), log_softmax(z)[np.arange(4), LABELS]
    pt = np.exp(lp)
    by_log = -((1 - pt) ** 2)
    if through_weight:
        by_log = by_log + 2 * (1 - pt) * pt * lp
    return by_log[:, None] * (ONE_HOT - p) / 4


def gaussian_nll(mu, s):
    return np.mean(0.5 * np.log(s) + 0.5 * (T - mu) ** 2 / s)


def gaussian_nll_g(mu, s, *, log_term=True):
    return (mu - T) / s / T.size, ((0.5 / s if log_term else 0) - 0.5 * (T - mu) ** 2 / s**2) / T.size


class FusedLoss:
    """A loss object with ``forward(y)`` and ``backward()``."""

    def __init__(self, *, per="entry"):
        self.per = per

    def forward(self, y):
        self.y = y
        return np.mean((y - T) ** 2)

    def backward(self):
        return 2 * (self.y - T) / (self.y.size if self.per == "entry" else len(self.y))


class UpstreamIgnoring(FusedLoss):
    """``backward(dout)`` that assumes dout is one."""

    def backward(self, dout):
        return 2 * (self.y - T) / self.y.size


CASES = [
    Right("mse", of(mse, lambda y: 2 * (y - T) / y.size), Z),
    Wrong("mse: not divided", of(mse, lambda y: 2 * (y - T)), Z, "y", "factor"),
    Wrong("mse: divided by the batch only", of(mse, lambda y: 2 * (y - T) / len(y)), Z, "y", "factor"),
    Wrong("mse: 2 forgotten", of(mse, lambda y: (y - T) / y.size), Z, "y", "factor"),
    Wrong("mse: target minus prediction", of(mse, lambda y: 2 * (T - y) / y.size), Z, "y", "sign"),
    Right("half the sum of squares", of(sse, lambda y: y - T), Z),
    Wrong("half the sum of squares: divided by the batch", of(sse, lambda y: (y - T) / len(y)), Z, "y", "factor"),
    Right("mae", of(mae, lambda y: np.sign(y - T) / y.size), Z),
    Wrong("mae: gradient of the square", of(mae, lambda y: 2 * (y - T) / y.size), Z, "y", "unexplained"),
    Right("cross-entropy of logits", of(cross_entropy, lambda z: (softmax(z) - ONE_HOT) / 4), Z),
    Wrong("cross-entropy: not averaged", of(cross_entropy, lambda z: softmax(z) - ONE_HOT), Z, "z", "factor"),
    Wrong("cross-entropy: one-hot forgotten", of(cross_entropy, lambda z: softmax(z) / 4), Z, "z", "missing-path"),
    Wrong("cross-entropy: with respect to the probabilities", of(cross_entropy, lambda z: -ONE_HOT / softmax(z) / 4),
          Z, "z",
          "wrt-probabilities"),
    Wrong("cross-entropy: sigmoid for softmax", of(cross_entropy, lambda z: (sigmoid(z) - ONE_HOT) / 4), Z, "z",
          "unexplained"),
    Wrong("cross-entropy: diagonal of the softmax", of(cross_entropy, lambda z: -ONE_HOT * (1 - softmax(z)) / 4), Z,
          "z", "unexplained"),
    Wrong("cross-entropy: softmax over the batch", of(cross_entropy, lambda z: (softmax(z.T).T - ONE_HOT) / 4), Z,
          "z", "unexplained|wrong-axis"),
    Wrong("soft cross-entropy: targets that do not sum to one",
          of(cross_entropy_soft, lambda z: (softmax(z) - SOFT) / 4), Z, "z",
          "unexplained|missing-output-term"),
    Right("soft cross-entropy",
          of(cross_entropy_soft, lambda z: (SOFT.sum(axis=-1, keepdims=True) * softmax(z) - SOFT) / 4), Z),
    Right("weighted cross-entropy",
          of(cross_entropy_weighted,
             lambda z: WEIGHTS[LABELS][:, None] * (softmax(z) - ONE_HOT) / WEIGHTS[LABELS].sum()), Z),
    Wrong("weighted cross-entropy: weights forgotten",
          of(cross_entropy_weighted, lambda z: (softmax(z) - ONE_HOT) / 4), Z, "z",
          "setting-forgotten"),
    Wrong("weighted cross-entropy: divided by the batch",
          of(cross_entropy_weighted,
             lambda z: WEIGHTS[LABELS][:, None] * (softmax(z) - ONE_HOT) / 4), Z, "z", "factor"),
    Right("masked cross-entropy", of(cross_entropy_masked, lambda z: MASK[:, None] * (softmax(z) - ONE_HOT) / 3), Z),
    Wrong("masked cross-entropy: mask forgotten", of(cross_entropy_masked, lambda z: (softmax(z) - ONE_HOT) / 3), Z,
          "z", "one-slice"),
    Wrong("masked cross-entropy: divided by all",
          of(cross_entropy_masked, lambda z: MASK[:, None] * (softmax(z) - ONE_HOT) / 4), Z, "z",
          "factor"),
    Wrong("smoothed cross-entropy: smoothing forgotten",
          of(cross_entropy_smooth, lambda z: (softmax(z) - ONE_HOT) / 4), Z, "z",
          "setting-forgotten"),
    Right("nll of probabilities", of(nll_of_probabilities, nll_g), PROBABILITIES),
    Wrong("nll of probabilities: as if of logits", of(nll_of_probabilities, lambda p: (p - ONE_HOT) / 4),
          PROBABILITIES, "p",
          "wrt-logits"),
    Wrong("nll of probabilities: reciprocal forgotten", of(nll_of_probabilities, lambda p: -ONE_HOT / 4),
          PROBABILITIES, "p", "wrong-slope"),
    Right("bce", of(bce, lambda p: (p - BINARY) / (p * (1 - p)) / p.size), PROBABILITIES),
    Wrong("bce: as if of logits", of(bce, lambda p: (p - BINARY) / p.size), PROBABILITIES, "p",
          "wrt-logits"),
    Wrong("bce: only the positive term", of(bce, lambda p: -BINARY / p / p.size), PROBABILITIES, "p", "missing-path"),
    Right("bce of logits", of(bce_logits, lambda z: (sigmoid(z) - BINARY) / z.size), Z),
    Wrong("bce of logits: sign", of(bce_logits, lambda z: (BINARY - sigmoid(z)) / z.size), Z, "z", "sign"),
    Wrong("bce of logits: overflow", of(bce_logits, lambda z: (np.exp(z) / (1 + np.exp(z)) - BINARY) / z.size),
          400 * Z, "z", "nonfinite"),
    Wrong("bce of logits: times the sigmoid's derivative",
          of(bce_logits,
             lambda z: (sigmoid(z) - BINARY) * sigmoid(z) * (1 - sigmoid(z)) / z.size), Z, "z", "unexplained"),
    Right("kl", of(kl, lambda p: -(SOFT / SOFT.sum(axis=-1, keepdims=True)) / p), PROBABILITIES),
    Wrong("kl: arguments swapped", of(kl, lambda p: 1 + np.log(p) - np.log(SOFT)), PROBABILITIES, "p", "unexplained"),
    Right("ridge", of(ridge, ridge_g), V),
    Wrong("ridge: sign of the penalty", of(ridge, lambda w: ridge_g(w, penalty=-0.2)), V, "w",
          "missing-norm-term|unexplained"),
    Wrong("ridge: penalty forgotten", of(ridge, lambda w: ridge_g(w, penalty=0.0)), V, "w", "missing-norm-term"),
    Wrong("ridge: half the penalty", of(ridge, lambda w: ridge_g(w, penalty=0.1)), V, "w", "missing-norm-term"),
    Wrong("ridge: data averaged, penalty not", of(ridge, lambda w: ridge_g(w, data=1 / 8)), V, "w", "path-factor"),
    Wrong("ridge: bias penalised too",
          of(lambda w: ridge(w) - 0.1 * w[0] ** 2, ridge_g), V, "w", "one-slice"),
    Right("lasso", of(lasso, lambda w: DATA.T @ (DATA @ w - RESPONSE) / 8 + 0.3 * np.sign(w)), V),
    Wrong("lasso: penalty's gradient of the square",
          of(lasso, lambda w: DATA.T @ (DATA @ w - RESPONSE) / 8 + 0.6 * w), V, "w",
          "unexplained"),
    Right("logistic regression", of(logistic, logistic_g), V),
    Wrong("logistic regression: sigmoid of the positive margin",
          of(logistic, lambda w: -(np.where(RESPONSE > 0, 1,
                                            -1) * sigmoid(np.where(RESPONSE > 0, 1,
                                                                   -1) * (DATA @ w))) @ DATA), V, "w",
          "wrong-line"),
    Right("poisson regression", of(poisson, poisson_g), V),
    Wrong("poisson regression: eta for exp(eta)", of(poisson, lambda w: DATA.T @ (DATA @ w - np.abs(RESPONSE)) / 8),
          V, "w", "wrong-line"),
    Right("triplet", gv.function(triplet, gradient=triplet_g), (Z, T, SOFT)),
    Wrong("triplet: sign of the negative",
          gv.function(triplet, gradient=lambda a, p, n: triplet_g(a, p, n, sign=-1.0)), (Z, T, SOFT), "n",
          "sign"),
    Right("cosine similarity", gv.function(cosine, gradient=cosine_g), (V, RESPONSE[:5])),
    Wrong("cosine similarity: not projected",
          gv.function(cosine, gradient=lambda a, b: cosine_g(a, b, project=False)), (V, RESPONSE[:5]),
          "a", "missing-norm-term"),
    Right("focal loss", of(focal, focal_g), Z),
    Wrong("focal loss: the weight taken for a constant", of(focal, lambda z: focal_g(z, through_weight=False)), Z, "z",
          "missing-path"),
    Right("gaussian nll", gv.function(gaussian_nll, gradient=gaussian_nll_g), (Z, SOFT)),
    Wrong("gaussian nll: the log term forgotten",
          gv.function(gaussian_nll, gradient=lambda m, s: gaussian_nll_g(m, s, log_term=False)),
          (Z, SOFT), "s", "missing-path"),
    Right("a loss object", FusedLoss(), Z),
    Wrong("a loss object: divided by the batch only", FusedLoss(per="row"), Z, "y", "factor"),
    Wrong("a loss object: upstream gradient ignored", UpstreamIgnoring(), Z, "y", "upstream-ignored", QUICK),
]
