"""Families of forwards for the foreign oracles, in NumPy and, for the truth, in mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
from scipy import special


def lift(function, arity=1):
    return np.frompyfunc(function, arity, 1)


class Numpy:
    """The functions of a family in float64."""

    exp, log, tanh, sqrt, sin, log1p = np.exp, np.log, np.tanh, np.sqrt, np.sin, np.log1p
    erf, var = special.erf, np.var
    abs, maximum, norm, solve = np.abs, np.maximum, np.linalg.norm, np.linalg.solve
    logaddexp, expit, gammaln = np.logaddexp, special.expit, special.gammaln


class Exact:
    """The same in mpmath, on object arrays."""

    exp, log, tanh, sqrt, sin = (lift(getattr(mpmath, f)) for f in ("exp", "log", "tanh", "sqrt", "sin"))
    erf, gammaln, expit = lift(mpmath.erf), lift(mpmath.loggamma), lift(lambda x: 1 / (1 + mpmath.exp(-x)))
    log1p = lift(lambda x: mpmath.log(1 + x))
    logaddexp = lift(lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b)), 2)
    abs, maximum = np.abs, np.maximum

    @staticmethod
    def var(x):
        return np.mean((x - np.mean(x)) ** 2)

    @staticmethod
    def norm(x):
        return mpmath.sqrt(np.sum(x**2))

    @staticmethod
    def solve(a, b):
        solution = mpmath.lu_solve(mpmath.matrix(a.tolist()), mpmath.matrix(b.tolist()))
        return np.array(list(solution), dtype=object)


def softmax(m, x):
    e = m.exp(x - x.max())
    return e / e.sum()


def logsumexp(m, x):
    return m.log(np.sum(m.exp(x - x.max()), keepdims=True)) + x.max()


def layer_norm(m, x):
    return (x - x.mean()) / (m.var(x) + 2.0**-17) ** 0.5


def mlp(m, x, w):
    for layer in w:
        x = m.tanh(x @ layer)
    return x


def normal(*sizes, shape=(4,), shift=0.0):
    return lambda r: {"x": r.choice(sizes) * r.normal(size=shape) + shift}


def deep(depth):
    return lambda r: {"x": r.normal(size=4), "w": r.normal(size=(depth, 4, 4))}


def decades(low, high):
    return lambda r: {"x": 10.0 ** r.uniform(low, high, 4)}


# name: (forward, draw of a point, whether it is well conditioned)
FAMILIES = {
    "mlp of 1": (mlp, deep(1), True),
    "mlp of 10": (mlp, deep(10), True),
    "relu mlp": (lambda m, x, w: m.maximum(m.maximum(x @ w[0], 0) @ w[1], 0) @ w[2], deep(3), True),
    "softmax": (softmax, normal(0.1, 1, 20), True),
    "saturated softmax": (softmax, normal(100, 500), False),
    "cross entropy": (lambda m, x: -m.log(softmax(m, x)[:1]), normal(1, 5), True),
    "logsumexp": (logsumexp, normal(1, 20), True),
    "layer norm": (layer_norm, normal(1, 30), True),
    "layer norm at 1e5": (layer_norm, normal(1, shift=1e5), False),
    "gelu tanh": (lambda m, x: x * (1 + m.tanh(0.75 * (x + x**3 / 16))), normal(0.1, 1, 5), True),
    "gelu erf": (lambda m, x: x * (1 + m.erf(x * 0.75)), normal(0.1, 1, 5), True),
    "offset": (lambda m, x: (x**2 + 1e6) - 1e6 + m.sin(x), normal(1), True),
    "log of an offset": (lambda m, x: m.log(1e6 + x), normal(1), True),
    "cancellation": (lambda m, x: m.log(1 - m.tanh(x) ** 2), normal(1, 4), False),
    "naive variance": (lambda m, x: 1 / ((x**2).mean() - x.mean() ** 2) + x, normal(1, shift=1e3), False),
    "all scales": (lambda m, x: m.log(x) * x + 1 / x, decades(-12, 12), True),
    "log1p": (lambda m, x: m.log1p(x**2), decades(-9, 9), True),
    "naive sigmoid": (lambda m, x: 1 / (1 + m.exp(-x)), normal(1, 10, 100), False),
    "expit": (lambda m, x: m.expit(x), normal(1, 10), True),
    "softplus": (lambda m, x: m.logaddexp(x, 0 * x), normal(1, 10), True),
    "deep saturation": (lambda m, x: m.tanh(x), normal(10, 50), False),
    "stiff": (lambda m, x: m.sin(300 * x), normal(1), False),
    "abs": (lambda m, x: m.abs(x) * x, normal(1), True),
    "norm": (lambda m, x: x / m.norm(x), normal(1e-9, 1, 1e9), True),
    "solve": (lambda m, x, w: m.solve(w[0], x), deep(1), False),
    "log gamma": (lambda m, x: m.gammaln(x), decades(-3, 2), True),
}


def truth(f, point, u, v, digits):
    """Central differences of step 1e-50."""
    exact, t = lift(mpmath.mpf), mpmath.mpf(10) ** -50
    with mpmath.workdps(digits):
        x = {name: exact(a) for name, a in point.items()}
        ahead = f(Exact, **{name: x[name] + t * exact(v[name]) for name in x})
        behind = f(Exact, **{name: x[name] - t * exact(v[name]) for name in x})
        return mpmath.mpf(np.sum((ahead - behind) * exact(u)) / (2 * t))
