"""Conventions that differ from forward(x) and backward(dout): each is understood, and wrong gradients still fail."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.audit import find
from gradverify.audit.attempt import attempt
from gradverify.records import Verdict
from tests.projects import attempts

IN_ATTRIBUTES = """
class Dense:
    def __init__(self, n_inputs, n_neurons):
        self.weights, self.biases = np.ones((n_inputs, n_neurons)), np.zeros((1, n_neurons))
    def forward(self, inputs, training):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases
    def backward(self, dvalues):
        self.dweights = self.inputs.T @ dvalues
        self.dbiases = dvalues.sum(0, keepdims=True)
        self.dinputs = dvalues @ self.weights.T
"""
UPDATING = """
class Dense:
    def __init__(self, n_in, n_out):
        self.W = np.ones((n_in, n_out))
    def forward(self, x):
        self.x = x
        return x @ self.W
    def backward(self, d, learning_rate):
        dx = d @ self.W.T
        self.W -= learning_rate * self.x.T @ d
        return dx
"""
BY_OPTIMIZER = """
import copy
class Dense:
    def __init__(self, n_units, input_shape=None):
        self.n, self.input_shape, self.W = n_units, input_shape, None
    def set_input_shape(self, shape):
        self.input_shape = shape
    def initialize(self, optimizer):
        self.W, self.opt = np.ones((self.input_shape[0], self.n)), copy.copy(optimizer)
    def forward_pass(self, X, training=True):
        self.x = X
        return X @ self.W
    def backward_pass(self, accum_grad):
        W = self.W
        self.W = self.opt.update(self.W, self.x.T @ accum_grad)
        return accum_grad @ W.T
"""
SOFTMAX_LOSS = """
class SoftmaxWithLoss:
    def forward(self, x, t):
        e = np.exp(x)
        self.y, self.t = e / e.sum(1, keepdims=True), t
        return -np.mean(np.log(self.y[np.arange(len(x)), t] + 1e-7))
    def backward(self, dout=1):
        dx = self.y.copy()
        dx[np.arange(len(dx)), self.t] -= 1
        return dx / len(dx)
"""
TRAINING = """
class Network:
    def __init__(self, sizes):
        self.weights = [np.full((n, m), 0.3) for m, n in zip(sizes[:-1], sizes[1:])]
    def feedforward(self, a):
        for w in self.weights:
            a = np.tanh(w @ a)
        return a
    def backprop(self, x, y):
        kept = [x]
        for w in self.weights:
            kept.append(np.tanh(w @ kept[-1]))
        d, nabla_w = kept[-1] - y, []
        for w, a, z in zip(self.weights[::-1], kept[-2::-1], kept[::-1]):
            d = d * (1 - z * z)
            nabla_w.insert(0, d @ a.T)
            d = w.T @ d
        return nabla_w
"""
JOINT = """
def square_loss(x, y):
    d = x - y
    return 0.5 * (d ** 2).sum(), d
"""
PENALTY = """
class Model:
    def __init__(self, input_dim=400, classes=10, reg=0.0):
        self.params, self.reg = {"W": np.ones((input_dim, classes))}, reg
    def loss(self, X, y=None):
        W = self.params["W"]
        d = X @ W - np.eye(W.shape[1])[y]
        value = 0.5 * (d ** 2).sum() + 0.5 * self.reg * (W * W).sum()
        return value, {"W": X.T @ d + self.reg * W}
"""
FLAG = """
def sigmoid(x, deriv=False):
    if deriv:
        return x * (1 - x)
    return 1 / (1 + np.exp(-x))
"""
LOGITS = """
class CrossEntropy:
    def loss(self, y, p):
        return -(y * np.log(p)).sum()
    def gradient(self, y, p):
        return p - y
"""
SECOND = """
class Square:
    def fn(self, x): return x ** 2
    def grad(self, x): return 2 * x
    def grad2(self, x): return 2 * x
"""
READINGS = [
    (IN_ATTRIBUTES, Verdict.PASS, "forward/backward"),
    (IN_ATTRIBUTES.replace("sum(0", "mean(0"), Verdict.FAIL, "forward/backward"),
    (UPDATING, Verdict.PASS, "forward/backward"),
    (UPDATING.replace("self.x.T @ d", "2 * self.x.T @ d"), Verdict.FAIL, "forward/backward"),
    (BY_OPTIMIZER, Verdict.PASS, "forward_pass/backward_pass"),
    (SOFTMAX_LOSS, Verdict.PASS, "forward/backward, which takes the upstream gradient to be one"),
    (TRAINING, Verdict.PASS, "feedforward/backprop of half the squared error"),
    (TRAINING.replace("insert(0, d", "insert(0, (1 + len(nabla_w)) * d"), Verdict.FAIL, "feedforward/backprop of half the squared error"),
    (JOINT, Verdict.PASS, "square_loss/d"),
    (PENALTY, Verdict.PASS, "loss/gradients"),
    (FLAG, Verdict.PASS, "sigmoid/deriv=True of the output"),
    (LOGITS, Verdict.INCONCLUSIVE, "loss/gradient of the logits before a softmax"),
]


def tried(tmp_path, monkeypatch, code):
    return list(attempts(tmp_path, monkeypatch, code).values())


@pytest.mark.parametrize(("code", "verdict", "convention"), READINGS)
def test_a_convention_is_understood(tmp_path, monkeypatch, code, verdict, convention):
    (entry,) = tried(tmp_path, monkeypatch, code)
    assert (entry.verdict, entry.convention, entry.reason) == (verdict, convention, "")


def test_a_penalty_of_the_wrong_sign_shows_only_where_it_is_switched_on(tmp_path, monkeypatch):
    (entry,) = tried(tmp_path, monkeypatch, PENALTY.replace("+ self.reg * W}", "- self.reg * W}"))
    failed = [check for check in entry.report.checks if check.verdict is Verdict.FAIL]
    assert [(check.wrt, check.regime) for check in failed] == [("params.W", "reg=0.3")]


def test_a_second_derivative_is_tried_as_that_of_the_first(tmp_path, monkeypatch):
    first, second = tried(tmp_path, monkeypatch, SECOND)
    assert (first.symbol, first.verdict) == ("code:Square", Verdict.PASS)
    assert (second.symbol, second.verdict) == ("code:Square.grad", Verdict.FAIL)


SLOPE_CALLED_BACKWARD = """
def relu(x):
    return np.maximum(0, x)
def relu_backward(x):
    return FACTOR * (x > 0).astype(float)
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_a_backward_of_what_the_forward_takes_is_its_slope(tmp_path, monkeypatch, factor, verdict):
    (entry,) = tried(tmp_path, monkeypatch, SLOPE_CALLED_BACKWARD.replace("FACTOR", factor))
    assert entry.verdict is verdict


def test_each_copy_of_a_package_imports_its_own(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "net").mkdir(parents=True)  # a package of the name that fails to import, which an audit before stood in for
    (elsewhere / "net/__init__.py").write_text("from net.other import what_nobody_wrote\n")
    (elsewhere / "net/other.py").write_text("SCALE = 2\n")
    code = "from net.other import SCALE\ndef square(x):\n    return x ** SCALE\ndef square_prime(x):\n    return SCALE * x\n"
    (elsewhere / "net/square.py").write_text(code)
    monkeypatch.chdir(elsewhere)
    assert [attempt(candidate, 0).verdict for candidate in find(elsewhere / "net/square.py")] == [Verdict.PASS]
    (tmp_path / "project").mkdir()
    tmp_path /= "project"
    (tmp_path / "README.md").write_text("a course\n")
    for number, power, folder in (("first", 2, "first"), ("second", 3, "second/net")):
        (tmp_path / number / "net").mkdir(parents=True)
        (tmp_path / number / "net/powers.py").write_text(f"def {number}(x):\n    return x ** {power}\n")
        script = (f"from net.powers import {number}\ndef f(x):\n    return {number}(x)\n"
                  f"def f_prime(x):\n    return {power} * x ** {power - 1}\n")  # fmt: skip
        (tmp_path / folder / f"of_{number}.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    found = [attempt(candidate, 0) for candidate in find(tmp_path) if candidate.symbol.endswith(":f")]
    assert [(entry.verdict, entry.reason) for entry in found] == [(Verdict.PASS, "")] * 2


LISTS = """
class Network:
    def __init__(self):
        sizes = [2, 3, 3, 2]
        self.weights = [np.random.randn(k, j) for j, k in zip(sizes[:-1], sizes[1:])]
        self.biases = [np.random.randn(k, 1) for k in sizes[1:]]
    def feedforward(self, x):
        for w, b in zip(self.weights, self.biases):
            x = 1 / (1 + np.exp(-(w @ x + b)))
        return x
    def backprop(self, x, y):
        activations = [x]
        for w, b in zip(self.weights, self.biases):
            activations.append(1 / (1 + np.exp(-(w @ activations[-1] + b))))
        error, nabla_w, nabla_b = activations[-1] - y, [], []
        for i in (2, 1, 0):
            nabla_w.insert(0, error @ activations[i].T)
            nabla_b.insert(0, FACTOR * error)
            error = self.weights[i].T @ error * activations[i] * (1 - activations[i])
        return nabla_w, nabla_b
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_lists_of_gradients_are_in_the_order_of_the_parameters_and_none_is_the_inputs(tmp_path, monkeypatch, factor, verdict):
    (entry,) = tried(tmp_path, monkeypatch, LISTS.replace("FACTOR", factor))
    assert (entry.verdict, entry.reason) == (verdict, "")
    assert "x" not in {check.wrt for check in entry.report.checks}


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.INCONCLUSIVE), ("1.1", Verdict.FAIL), ("-1", Verdict.FAIL)])
def test_a_step_against_the_gradient_is_named_as_that(tmp_path, monkeypatch, factor, verdict):
    code = LISTS.replace("activations[-1] - y", "y - activations[-1]").replace("FACTOR", factor)
    (entry,) = tried(tmp_path, monkeypatch, code)
    assert entry.verdict is verdict
    assert "pointing downhill" in entry.convention or factor == "-1"  # half of it uphill: neither is meant


def test_an_audit_draws_the_same_whatever_was_drawn_before(tmp_path, monkeypatch):
    computed = []
    for seed in (1, 2):
        np.random.seed(seed)
        (entry,) = tried(tmp_path, monkeypatch, LISTS.replace("FACTOR", "1"))
        computed.append([check.computed for check in entry.report.checks])
    assert computed[0] == computed[1]
