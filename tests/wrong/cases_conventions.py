"""Objects as other people write them: one right and one wrong of each convention, the wrong one off by a factor."""

from __future__ import annotations

import numpy as np
from catalogue import Right, Wrong

RNG = np.random.default_rng(115)
X = RNG.normal(size=(5, 3))
W, B = RNG.normal(size=(3, 2)), RNG.normal(size=2)


class PairOfLists:
    """``forward(inputs) -> tuple``, ``backward(inputs, grad_outputs) -> tuple``."""

    def __init__(self, k=1.0):
        self.k = k

    def forward(self, inputs):
        x, w = inputs
        return (x @ w,)

    def backward(self, inputs, grad_outputs):
        (x, w), (g,) = inputs, grad_outputs
        return g @ w.T, self.k * x.T @ g


class InputAgain:
    """``backward(x, dout)``: the input is handed in again."""

    def __init__(self, k=1.0):
        self.W, self.k = W.copy(), k

    def forward(self, x):
        return x @ self.W

    def backward(self, x, dout):
        self.dW = self.k * x.T @ dout
        return dout @ self.W.T


class InputLast(InputAgain):
    """``backward(grad, x)``: the input comes last."""

    def backward(self, grad, x):
        self.grad_W = self.k * x.T @ grad
        return grad @ self.W.T


class Derived:
    """``parameters`` and ``gradients``; inputs are appended to a list; gradients accumulate."""

    def __init__(self, k=1.0):
        self.parameters = {"W": W.copy(), "b": B[None].copy()}
        self.gradients = {"W": np.zeros((3, 2)), "b": np.zeros((1, 2))}
        self.X, self.k = [], k

    def forward(self, X, retain_derived=True):
        if retain_derived:
            self.X.append(X)
        return X @ self.parameters["W"] + self.parameters["b"]

    def backward(self, dLdy, retain_grads=True):
        x = self.X[-1]
        if retain_grads:
            self.gradients["W"] += self.k * x.T @ dLdy
            self.gradients["b"] += dLdy.sum(axis=0, keepdims=True)
        return dLdy @ self.parameters["W"].T


class Updates:
    """The backward takes a step of its own and returns dx only."""

    def __init__(self, k=1.0):
        self.W, self.lr, self.k = W.copy(), 0.1, k

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        dx = self.k * dout @ self.W.T
        self.W -= self.lr * self.x.T @ dout
        return dx


class WithMethods:
    """``params()`` and ``grads()`` are methods."""

    def __init__(self, k=1.0):
        self.w, self.b, self.k = W.copy(), B.copy(), k

    def forward(self, x):
        self.x = x
        return x @ self.w + self.b

    def backward(self, grad):
        self.kept = [self.k * self.x.T @ grad, grad.sum(axis=0)]
        return grad @ self.w.T

    def params(self):
        return [self.w, self.b]

    def grads(self):
        return self.kept


class ReturnsAll:
    """``return dx, dW, db``."""

    def __init__(self, k=1.0, order=(0, 1, 2)):
        self.W, self.b, self.k, self.order = W.copy(), B.copy(), k, order

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, grad):
        found = grad @ self.W.T, self.k * self.x.T @ grad, grad.sum(axis=0)
        return tuple(found[i] for i in self.order)


class Slope:
    """A parameter that is a Python float."""

    def __init__(self, k=1.0):
        self.alpha, self.k = 0.25, k

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.alpha * x)

    def backward(self, g):
        self.dalpha = self.k * float((g * np.minimum(self.x, 0)).sum())
        return g * np.where(self.x > 0, 1, self.alpha)


class TwoInputs:
    """Two inputs, two gradients, nothing learnt."""

    def __init__(self, k=1.0):
        self.k = k

    def forward(self, q, k):
        self.saved = q, k
        return q @ k.T

    def backward(self, g):
        q, k = self.saved
        return g @ k, self.k * g.T @ q


class Training:
    """``training=True`` on both methods."""

    def __init__(self, k=1.0):
        self.W, self.k = W.copy(), k

    def forward(self, x, training=True):
        self.x, self.y = x, np.tanh(x @ self.W)
        return self.y

    def backward(self, g, training=True):
        d = g * (1 - self.y**2)
        self.dW = self.k * self.x.T @ d
        return d @ self.W.T


class LossOfTwo:
    """``forward(y, t)`` and ``backward()``."""

    def __init__(self, k=1.0):
        self.k = k

    def forward(self, y, t):
        self.saved = y, t
        return np.mean((y - t) ** 2)

    def backward(self):
        y, t = self.saved
        return self.k * 2 * (y - t) / y.size


class TargetFirst:
    """``loss(y, y_pred)`` elementwise, ``gradient(y, y_pred)`` with respect to the prediction."""

    def __init__(self, k=1.0):
        self.k = k

    def loss(self, y, y_pred):
        return 0.5 * (y - y_pred) ** 2

    def gradient(self, y, y_pred):
        return -self.k * (y - y_pred)


class Static:
    """Static methods."""

    @staticmethod
    def forward(x):
        return x**2

    @staticmethod
    def backward(x, g):
        return 2 * x * g


class StaticWrong(Static):
    """The two forgotten."""

    @staticmethod
    def backward(x, g):
        return x * g


class OutAndCache:
    """``forward(x) -> (out, cache)`` in an object."""

    def __init__(self, k=1.0):
        self.W, self.k = W.copy(), k

    def forward(self, x):
        return x @ self.W, x

    def backward(self, dout, cache):
        self.dW = self.k * cache.T @ dout
        return dout @ self.W.T


class Network:
    """A whole network: ``backward(X, dy)`` leaves dW1 and dW2, and returns nothing."""

    def __init__(self, k=1.0):
        self.W1, self.W2, self.k = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 1)), k

    def forward(self, X):
        self.h = np.tanh(X @ self.W1)
        return self.h @ self.W2

    def backward(self, X, dy):
        self.dW2 = self.h.T @ dy
        self.dW1 = self.k * X.T @ ((dy @ self.W2.T) * (1 - self.h**2))


class Activation:
    """``__call__`` and ``gradient``."""

    def __init__(self, k=1.0):
        self.k = k

    def __call__(self, x):
        return np.tanh(x)

    def gradient(self, x):
        return self.k * (1 - np.tanh(x) ** 2)


def both(note, kind, inputs, leaf):
    """A convention done right, and off by a factor of two at `leaf`."""
    return [
        Right(note, kind(), inputs),
        Wrong(f"{note}: doubled", kind(2.0), inputs, leaf, "factor"),
    ]


CASES = [
    *both("inputs and gradients in tuples", PairOfLists, ([X, W],), "inputs[1]"),
    *both("backward(x, dout)", InputAgain, X, "W"),
    *both("backward(grad, x)", InputLast, X, "W"),
    *both("parameters and gradients, inputs in a list", Derived, X, "parameters.W"),
    *both("a backward that takes the step itself", Updates, X, "x"),
    *both("params() and grads()", WithMethods, X, "w"),
    *both("dx, dW, db returned", ReturnsAll, X, "W"),
    Right("dW, db, dx returned", ReturnsAll(order=(1, 2, 0)), X),
    *both("a Python float for a parameter", Slope, X, "alpha"),
    *both("two inputs in a layer", TwoInputs, (X, X[:4]), "k"),
    *both("training=True", Training, X, "W"),
    *both("loss(y, t) and backward()", LossOfTwo, (X, X[::-1].copy()), "y"),
    *both("loss(y, y_pred) and gradient(y, y_pred)", TargetFirst, (X, X[::-1].copy()), "y_pred"),
    Right("static methods", Static(), X),
    Wrong("static methods: halved", StaticWrong(), X, "x", "factor"),
    *both("an object that returns (out, cache)", OutAndCache, X, "W"),
    *both("a network whose backward returns nothing", Network, X, "W1"),
    *both("__call__ and gradient", Activation, X, "x"),
]
