"""Layers as people write them: every parameter is found, and its gradient wherever it is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import gradverify as gv

RNG = np.random.default_rng(3)
X = RNG.normal(size=(5, 3))


def weights(i=3, o=2):
    return np.random.default_rng(1).normal(size=(i, o)), np.full(o, 0.5)


class Attributes:
    def __init__(self):
        self.W, self.b = weights()

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T


class Dicts:
    def __init__(self):
        w, b = weights()
        self.params, self.grads = {"W": w, "b": b}, {}
        self.W = w  # an alias

    def forward(self, x):
        self.x = x
        return x @ self.W + self.params["b"]

    def backward(self, dout):
        self.grads = {"W": self.x.T @ dout, "b": dout.sum(axis=0)}
        return dout @ self.params["W"].T


class Lists:
    def __init__(self):
        self.params = list(weights())
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        self.grads[1][...] = dout.sum(axis=0)
        return dout @ self.params[0].T


class Accumulating(Attributes):
    def __init__(self):
        super().__init__()
        self.dW, self.db = np.ones_like(self.W), np.ones_like(self.b)

    def backward(self, dout):
        self.dW += self.x.T @ dout
        self.db += dout.sum(axis=0)
        return dout @ self.W.T


class Returned(Attributes):
    def backward(self, dout):
        return dout @ self.W.T, self.x.T @ dout, dout.sum(axis=0)


class Named(Attributes):
    def backward(self, dout):
        return {"x": dout @ self.W.T, "W": self.x.T @ dout, "b": dout.sum(axis=0)}


class Lazy:
    W = None

    def forward(self, x):
        if self.W is None:
            self.W = np.random.default_rng(1).normal(size=(x.shape[1], 2))
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W.T


class View(Attributes):
    def __init__(self):
        super().__init__()
        self.transposed = self.W.T

    def forward(self, x):
        self.x = x
        return x @ self.transposed.T + self.b


class Parts:
    def __init__(self):
        self.layers = [Attributes(), Rectifier()]

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout):
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


class Rectifier:
    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


class Slotted:
    __slots__ = ("W", "dW", "x")

    def __init__(self):
        self.W = weights()[0]

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W.T


@dataclass
class Record:
    W: np.ndarray = field(default_factory=lambda: weights()[0])
    grad_W: Any = None
    x: Any = None

    def forward_pass(self, x):
        self.x = x
        return x @ self.W

    def backward_pass(self, dout):
        self.grad_W = self.x.T @ dout
        return dout @ self.W.T


class Dropout:
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def forward(self, x):
        self.mask = (self.rng.random(x.shape) > 0.4) / 0.6
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


class GlobalDropout(Dropout):
    def forward(self, x):
        self.mask = (np.random.rand(*x.shape) > 0.4) / 0.6
        return x * self.mask


class RunningMean:
    def __init__(self):
        self.running_mean = np.zeros(3)

    def forward(self, x):
        self.running_mean = 0.9 * self.running_mean + 0.1 * x.mean(axis=0)
        return x - self.running_mean

    def backward(self, dout):
        return dout - 0.1 * dout.mean(axis=0)


FOUND = {
    Attributes: {"x", "W", "b"},
    Dicts: {"x", "params.W", "params.b"},
    Lists: {"x", "params[0]", "params[1]"},
    Accumulating: {"x", "W", "b"},
    Lazy: {"x", "W"},
    View: {"x", "W", "b"},
    Parts: {"x", "layers[0].W", "layers[0].b"},
    Slotted: {"x", "W"},
    Record: {"x", "W"},
    Dropout: {"x"},
    GlobalDropout: {"x"},
    RunningMean: {"x"},
}


@pytest.mark.parametrize("layer", FOUND, ids=lambda cls: cls.__name__)
def test_every_parameter_of_a_right_layer_is_found_and_passes(layer):
    report = gv.check(layer(), X)
    assert {c.wrt for c in report.checks} == FOUND[layer]
    assert report.ok, str(report)


@pytest.mark.parametrize("layer", [Attributes, Dicts, Lists, Accumulating, View, Parts], ids=lambda cls: cls.__name__)
def test_a_wrong_bias_gradient_fails_at_the_bias_alone(layer):
    class Wrong(layer):
        def backward(self, dout):
            dx = super().backward(dout)
            _halve_bias(self)
            return dx

    report = gv.check(Wrong(), X, search="none")
    failed = [c for c in report.checks if c.verdict is gv.Verdict.FAIL]
    assert [c.wrt.rsplit(".")[-1].replace("params[1]", "b") for c in failed] == ["b"]
    assert failed[0].causes[0].name == "factor"


def _halve_bias(layer):
    owner = layer.layers[0] if hasattr(layer, "layers") else layer
    if hasattr(owner, "db"):
        owner.db = owner.db / 2
    elif isinstance(owner.grads, dict):
        owner.grads["b"] = owner.grads["b"] / 2
    else:
        owner.grads[1] /= 2


@pytest.mark.parametrize("layer", [Returned, Named])
def test_gradients_may_be_returned_as_a_tuple_or_by_name(layer):
    report = gv.check(gv.layer(layer(), params=["W", "b"]), X)
    assert {c.wrt for c in report.checks} == {"x", "W", "b"}
    assert report.ok, str(report)


def test_a_convention_of_ones_own_can_be_spelled_out():
    class Own(Attributes):
        def run(self, x):
            return self.forward(x)

        def back(self, dout):
            dx = self.backward(dout)
            self.first, self.second = self.dW, self.db
            return dx

    spec = gv.layer(Own(), params=["W", "b"], grads=["first", "second"], forward="run", backward="back")
    assert {c.wrt for c in gv.check(spec, X).checks} == {"x", "W", "b"}


def test_checking_leaves_the_layer_and_the_generators_as_they_were():
    layer, state = Dicts(), np.random.get_state()[1].copy()
    before = {k: v.copy() for k, v in layer.params.items()}
    gv.check(layer, X)
    assert all(np.array_equal(layer.params[k], before[k]) for k in before)
    assert not layer.grads
    assert np.array_equal(np.random.get_state()[1], state)


def test_a_loss_is_judged_by_its_prediction_and_its_labels_are_data():
    class Loss:
        def forward(self, pred, target):
            self.pred, self.target = pred, target
            return ((pred - target) ** 2).mean()

        def backward(self):
            return 2 * (self.pred - self.target) / self.pred.size

    report = gv.check(Loss(), X, X + 1)
    assert report.ok
    assert [c.wrt for c in report.checks] == ["pred"]
    assert "target" in report.notes[0]
    assert gv.check(Loss(), X, X + 1, wrt="target").verdict is gv.Verdict.FAIL


def test_a_pair_may_return_several_outputs_before_its_cache():
    def step(x, h):
        c = np.tanh(x + h)
        return c * x, c, (x, c)

    def back(dy, dc, cache):
        x, c = cache
        dc = (dc + dy * x) * (1 - c * c)
        return dc + dy * c, dc

    assert gv.check(gv.pair(step, back), X, X + 0.3).ok


def test_a_function_may_return_its_pullback():
    def scale(x, a):
        return a * x, lambda dy: (a * dy, np.sum(dy * x))

    report = gv.check(scale, X, 2.0)
    assert {c.wrt for c in report.checks} == {"x", "a"}
    assert report.ok


class Projected:
    def __init__(self):
        self.output_w = np.array([[1.0, 2.0], [0.5, -1.0]])
        self.d_output_w = None

    def forward(self, x):
        self.x = x
        return np.tanh(x) @ self.output_w

    def backward(self, dy):
        self.d_output_w = np.tanh(self.x).T @ dy
        return dy @ self.output_w.T * (1 - np.tanh(self.x) ** 2)


def test_what_a_backward_returns_is_its_inputs_whatever_its_parameters_are_called():
    report = gv.check(gv.layer(Projected(), params=["output_w"], grads=["d_output_w"]), np.array([[0.3, -0.6], [1.1, 0.2]]))
    assert [(check.wrt, check.verdict) for check in report.checks] == [("x", "pass"), ("output_w", "pass")]


class Silent:
    """Whatever it computes is left in attributes, forward and backward."""

    def __init__(self):
        self.weights, self.biases = weights()

    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights, self.dbiases = self.inputs.T @ dvalues, dvalues.sum(axis=0)
        self.dinputs = FACTOR[0] * dvalues @ self.weights.T


class SilentLoss:
    def forward(self, y_pred, y_true):
        self.error = y_pred - y_true
        return np.mean(self.error**2)

    def backward(self):
        self.dinputs = FACTOR[0] * 2 * self.error / self.error.size


FACTOR = [1.0]


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.1, "fail")])
@pytest.mark.parametrize(("layer", "inputs", "wrt"), [(Silent, (X,), "inputs"), (SilentLoss, (X, X[::-1].copy()), "y_pred")])
def test_what_is_left_in_attributes_is_output_and_gradient(monkeypatch, layer, inputs, wrt, factor, verdict):
    monkeypatch.setitem(globals(), "FACTOR", [factor])
    report = gv.check(gv.layer(layer()), *inputs)
    assert {check.wrt: check.verdict for check in report.checks}[wrt] == verdict
    assert all(check.verdict == "pass" for check in report.checks if check.wrt != wrt)


class Leaving:
    """Two inputs; where their gradients are left is told."""

    def __init__(self, leave):
        self.leave = leave

    def forward(self, a, x):
        self.a, self.x, self.dx = a, x, x - 1.0
        self.output, self.out = x.copy(), a * np.tanh(x)

    def backward(self, dy):
        da, dx = dy * np.tanh(self.x), dy * self.a * (1 - np.tanh(self.x) ** 2)
        vars(self).update(self.leave(da, dx))


@pytest.mark.parametrize(("leave", "verdicts"), [
    (lambda da, dx: {"da": da, "dx": dx}, {"a": "pass", "x": "pass"}),
    (lambda da, dx: {"dinputs": [da, dx]}, {"a": "pass", "x": "pass"}),
    (lambda da, dx: {"dx": dx}, {"x": "pass"}),
    (lambda da, dx: {"da": da}, {"a": "pass"}),
    (lambda da, dx: {"da": da.T, "dx": dx}, {"a": "fail"}),
    (lambda da, dx: {"dinputs": [da, 1.1 * dx]}, {"a": "pass", "x": "fail"}),
], ids=["by name", "as a list", "of the second", "of the first", "transposed", "wrong in a list"])  # fmt: skip
def test_each_input_has_the_gradient_that_the_backward_left_for_it(leave, verdicts):
    report = gv.check(gv.layer(Leaving(leave)), X, X[::-1].copy())
    assert {check.wrt: check.verdict for check in report.checks} == verdicts


class TruthFirst:
    def forward(self, target, pred):
        self.error = pred - target
        return np.sum(self.error**2)

    def backward(self):
        self.dinputs = FACTOR[0] * 2 * self.error


class AskedAgain(TruthFirst):
    def backward(self, target, pred):
        self.dinputs = FACTOR[0] * 2 * (pred - target)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.1, "fail")])
@pytest.mark.parametrize("loss", [TruthFirst, AskedAgain])
def test_a_loss_leaves_the_gradient_of_its_prediction(monkeypatch, loss, factor, verdict):
    monkeypatch.setitem(globals(), "FACTOR", [factor])
    report = gv.check(gv.layer(loss()), X[::-1].copy(), X)
    assert {check.wrt: check.verdict for check in report.checks} == {"pred": verdict}
