"""Elementwise functions and small formulas: signs, factors, branches, terms, and where they are evaluated."""

from __future__ import annotations

import numpy as np
from catalogue import QUICK, Right, Wrong
from scipy import special

import gradverify as gv

RNG = np.random.default_rng(101)
X = RNG.normal(size=(3, 4))
P = RNG.uniform(0.2, 3.0, size=(3, 4))
V = RNG.normal(size=7)
A = RNG.normal(size=(6, 6))


def of(f, derivative):
    return gv.function(f, derivative=derivative)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(C * (x + 0.044715 * x**3)))


C = np.sqrt(2 / np.pi)


def gelu_tanh_d(x):
    t = np.tanh(C * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * C * (1 + 3 * 0.044715 * x**2)


def gelu_three_forgotten(x):
    t = np.tanh(C * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * C * (1 + 0.044715 * x**2)


def gelu_erf_d(x):
    return special.ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def swish_d(x):
    s = sigmoid(x)
    return s + x * s * (1 - s)


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def mish(x):
    return x * np.tanh(softplus(x))


def mish_d(x):
    t = np.tanh(softplus(x))
    return t + x * (1 - t**2) * sigmoid(x)


def quadratic(x):
    return 0.5 * x @ A @ x


def huber(x):
    return np.where(np.abs(x) <= 1, 0.5 * x**2, np.abs(x) - 0.5)


def rosen(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosen_g(x, *, forget_left=False, forget_right=False):
    g = np.zeros_like(x)
    g[:-1] += 0 if forget_right else -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 0 if forget_left else 200 * (x[1:] - x[:-1] ** 2)
    return g


def logsumexp(x):
    m = x.max()
    return m + np.log(np.sum(np.exp(x - m)))


def two(x, y):
    return x**2 * y + np.sin(y)


def two_vjp(x, y, u):
    return u * 2 * x * y, u * (x**2 + np.cos(y))


def power(x, n):
    return np.sum(x**n)


def power_vjp(x, n, u, *, log=True):
    return u * n * x ** (n - 1), u * np.sum(x**n * (np.log(x) if log else 1))


EXPONENT = np.array(1.7)


def product_g(a, u):
    return u * np.array([np.prod(np.delete(a, i)) for i in range(a.size)])


def product_by_division(a, u):
    return u * np.prod(a) / a


CASES = [
    Right("sin", of(np.sin, np.cos), X),
    Wrong("sin: sign flipped", of(np.sin, lambda x: -np.cos(x)), X, "x", "sign"),
    Wrong("cos: the minus is forgotten", of(np.cos, np.sin), X, "x", "sign"),
    Right("exp of -x", of(lambda x: np.exp(-x), lambda x: -np.exp(-x)), X),
    Wrong("exp of -x: inner derivative forgotten", of(lambda x: np.exp(-x), lambda x: np.exp(-x)), X, "x", "sign"),
    Right("exp of 3x", of(lambda x: np.exp(3 * x), lambda x: 3 * np.exp(3 * x)), X),
    Wrong("exp of 3x: chain rule forgotten", of(lambda x: np.exp(3 * x), lambda x: np.exp(3 * x)), X, "x", "factor"),
    Right("square", of(np.square, lambda x: 2 * x), X),
    Wrong("square: the 2 forgotten", of(np.square, lambda x: x), X, "x", "factor"),
    Wrong("half a square: the half forgotten", of(lambda x: x**2 / 2, lambda x: 2 * x), X, "x", "factor"),
    Right("cube", of(lambda x: x**3, lambda x: 3 * x**2), X),
    Wrong("cube: the power not reduced", of(lambda x: x**3, lambda x: 3 * x**3), X, "x", "another-function"),
    Right("reciprocal", of(lambda x: 1 / x, lambda x: -1 / x**2), P),
    Wrong("reciprocal: minus forgotten", of(lambda x: 1 / x, lambda x: 1 / x**2), P, "x", "sign"),
    Right("sqrt", of(np.sqrt, lambda x: 0.5 / np.sqrt(x)), P),
    Wrong("sqrt: half forgotten", of(np.sqrt, lambda x: 1 / np.sqrt(x)), P, "x", "factor"),
    Right("log2", of(np.log2, lambda x: 1 / (x * np.log(2))), P),
    Wrong("log2 with the derivative of log", of(np.log2, lambda x: 1 / x), P, "x", "factor"),
    Right("sigmoid", of(sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))), X),
    Wrong("sigmoid: a (1 - a) given z", of(sigmoid, lambda z: z * (1 - z)), X, "x", "derivative-at-activation"),
    Wrong("sigmoid taken twice", of(sigmoid, lambda x: sigmoid(sigmoid(x)) * (1 - sigmoid(sigmoid(x)))), X, "x",
          "derivative-at-activation"),
    Wrong("sigmoid: y (1 + y)", of(sigmoid, lambda x: sigmoid(x) * (1 + sigmoid(x))), X, "x", "wrong-line"),
    Right("tanh", of(np.tanh, lambda x: 1 - np.tanh(x) ** 2), X),
    Wrong("tanh: 1 - z^2 given z", of(np.tanh, lambda z: 1 - z**2), X, "x", "derivative-at-activation"),
    Wrong("tanh: not squared", of(np.tanh, lambda x: 1 - np.tanh(x)), X, "x", "wrong-line"),
    Wrong("tanh: 1 + y^2", of(np.tanh, lambda x: 1 + np.tanh(x) ** 2), X, "x", "wrong-line"),
    Right("gelu, tanh form", of(gelu_tanh, gelu_tanh_d), X),
    Wrong("gelu: derivative of the erf form under the tanh form", of(gelu_tanh, gelu_erf_d), X, "x", "another-function"),
    Wrong("gelu: 3 forgotten in the inner derivative", of(gelu_tanh, gelu_three_forgotten), X, "x", "path-factor"),
    Right("swish", of(lambda x: x * sigmoid(x), swish_d), X),
    Wrong("swish: product rule forgotten", of(lambda x: x * sigmoid(x), sigmoid), X, "x", "missing-term"),
    Right("elu", of(elu, lambda x: np.where(x > 0, 1.0, np.exp(np.minimum(x, 0)))), X),
    Wrong("elu: negative branch returns the value", of(elu, lambda x: np.where(x > 0, 1.0, elu(x))), X, "x",
          "wrong-sign-branch"),
    Wrong("elu: the branches swapped", of(elu, lambda x: np.where(x < 0, 1.0, np.exp(-np.abs(x)))), X, "x",
          "wrong-line"),
    Right("leaky relu", of(lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1.0, 0.01)), X),
    Wrong("leaky relu: slope forgotten below 0", of(lambda x: np.where(x > 0, x, 0.01 * x), lambda x: (x > 0) * 1.0),
          X, "x",
          "wrong-sign-branch"),
    Right("mish", of(mish, mish_d), X),
    Wrong("mish: sigmoid of the inner derivative forgotten",
          of(mish, lambda x: np.tanh(softplus(x)) + x * (1 - np.tanh(softplus(x)) ** 2)), X, "x", "unexplained"),
    Right("softplus", of(softplus, sigmoid), X),
    Wrong("softplus: sigmoid of -x", of(softplus, lambda x: sigmoid(-x)), X, "x", "wrong-line|sign"),
    Right("huber", of(huber, lambda x: np.clip(x, -1, 1)), 2 * X),
    Wrong("huber: clipped at twice the width", of(huber, lambda x: np.clip(x, -2, 2)), 2 * X, "x",
          "wrong-in-saturation|unexplained"),
    Right("arctan", of(np.arctan, lambda x: 1 / (1 + x**2)), X),
    Wrong("arctan: minus", of(np.arctan, lambda x: 1 / (1 - x**2)), X, "x", "wrong-line"),
    Right("degrees", of(lambda x: np.sin(np.deg2rad(x)), lambda x: np.cos(np.deg2rad(x)) * np.pi / 180), 40 * X),
    Wrong("degrees taken for radians", of(lambda x: np.sin(np.deg2rad(x)), lambda x: np.cos(np.deg2rad(x))), 40 * X,
          "x", "factor"),
    Right("quadratic form", gv.function(quadratic, gradient=lambda x: 0.5 * (A + A.T) @ x), V[:6]),
    Wrong("quadratic form: not symmetrised", gv.function(quadratic, gradient=lambda x: A @ x), V[:6], "x",
          "unexplained"),
    Right("rosenbrock", gv.function(rosen, gradient=rosen_g), V),
    Wrong("rosenbrock: left neighbour forgotten",
          gv.function(rosen, gradient=lambda x: rosen_g(x, forget_left=True)), V, "x",
          "missing-path"),
    Wrong("rosenbrock: last entry forgotten",
          gv.function(rosen, gradient=lambda x: np.where(np.arange(x.size) == x.size - 1, 0,
                                                         rosen_g(x))), V, "x", "one-slice"),
    Right("logsumexp", gv.function(logsumexp, gradient=lambda x: np.exp(x - logsumexp(x))), V),
    Wrong("logsumexp: not normalised", gv.function(logsumexp, gradient=lambda x: np.exp(x - x.max())), V, "x",
          "factor"),
    Right("two inputs", gv.function(two, vjp=two_vjp), (X, P)),
    Wrong("two inputs: the gradients come in the wrong order",
          gv.function(two, vjp=lambda x, y, u: two_vjp(x, y, u)[::-1]), (X, P), "x", "unexplained|swapped-leaves"),
    Wrong("two inputs: one of two terms forgotten",
          gv.function(two, vjp=lambda x, y, u: (u * 2 * x * y, u * np.cos(y))), (X, P), "y", "missing-path"),
    Right("product over all", gv.function(np.prod, vjp=product_g), V),
    Wrong("product over all: NaN at a zero factor", gv.function(np.prod, vjp=product_by_division),
          np.array([0.5, 0.0, 2.0]), "a", "nonfinite"),
    Wrong("where and sqrt: NaN from the branch not taken",
          of(lambda x: np.where(x > 0, np.sqrt(np.abs(x)), 0.0),
             lambda x: np.where(x > 0, 1.0, 0.0) * 0.5 / np.sqrt(x)), X, "x",
          "nonfinite"),
    Right("where and sqrt",
          of(lambda x: np.where(x > 0, np.sqrt(np.abs(x)), 0.0),
             lambda x: np.where(x > 0, 0.5 / np.sqrt(np.abs(x)), 0.0)), X),
    Wrong("sinc: NaN at the removable singularity",
          of(np.sinc,
             lambda x: np.cos(np.pi * x) / x - np.sin(np.pi * x) / (np.pi * x**2)), X, "x", "nonfinite", QUICK),
    Wrong("log1p(exp): overflows to NaN for large values",
          of(softplus, lambda x: np.exp(x) / (1 + np.exp(x))), np.array([1.0, 800.0, -3.0]), "x", "nonfinite"),
    Wrong("wrong only for values beyond 5 (a table that ends)",
          of(np.tanh, lambda x: np.where(np.abs(x) > 5, 1e-3,
                                         1 - np.tanh(x) ** 2)), X, "x", "wrong-in-saturation|unexplained", QUICK),
    Wrong("power: derivative with respect to the exponent without the log",
          gv.function(power, vjp=lambda x, n, u: power_vjp(x, n, u, log=False)), (P, EXPONENT), "n",
          "unexplained|factor"),
    Right("power", gv.function(power, vjp=power_vjp), (P, EXPONENT)),
]
