"""Networks that are filled by ``add``: layers of their project go in, right ones, so that the order of the way back shows."""

from __future__ import annotations

import pytest

from gradverify.records import Verdict
from tests.projects import attempts

LAYERS = """
class Crooked:
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y
    def backward(self, dy, lr):
        return 1.1 * dy * (1 - self.y ** 2)
class Dense:
    def __init__(self, n_in, n_out):
        self.W = np.cos(np.arange(n_in * n_out)).reshape(n_in, n_out)
    def forward(self, x):
        self.x = x
        return x @ self.W
    def backward(self, dy, lr):
        dx = dy @ self.W.T
        self.W -= lr * self.x.T @ dy
        return dx
class Gate:
    def forward(self, x):
        self.y = np.exp(-x)
        return self.y
    def backward(self, dy, lr):
        return -dy * self.y
"""
NETWORK = """
class Network:
    def __init__(self):
        self.layers = []
    def add(self, ADDED):
        HOW
    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x
    def backward(self, dy, lr):
        for layer in ORDER:
            dy = layer.backward(dy, lr)
        return dy
"""
FILLED = NETWORK.replace("ADDED", "layer").replace("HOW", "self.layers.append(layer)")


@pytest.mark.parametrize(("order", "verdict"), [
    ("reversed(self.layers)", Verdict.PASS), ("self.layers", Verdict.FAIL), ("self.layers[1:]", Verdict.FAIL),
])  # fmt: skip
def test_a_network_is_tried_with_layers_that_are_added_to_it(tmp_path, monkeypatch, order, verdict):
    entry = attempts(tmp_path, monkeypatch, LAYERS + FILLED.replace("ORDER", order))["Network"]
    assert (entry.verdict, entry.reason) == (verdict, "")


def test_a_layer_that_is_wrong_fails_alone_and_not_the_network(tmp_path, monkeypatch):
    found = attempts(tmp_path, monkeypatch, LAYERS + FILLED.replace("ORDER", "reversed(self.layers)"))
    assert {n: e.verdict for n, e in found.items()} == {
        "Crooked": Verdict.FAIL, "Dense": Verdict.PASS, "Gate": Verdict.PASS, "Network": Verdict.PASS}  # fmt: skip
    assert {c.wrt for c in found["Network"].report.checks} == {"x", "layers[0].W"}


def test_what_adds_something_else_than_layers_is_left_as_it_is(tmp_path, monkeypatch):
    code = NETWORK.replace("ADDED", "count").replace("HOW", "self.layers += [Gate() for _ in range(count)]")
    entry = attempts(tmp_path, monkeypatch, LAYERS + code.replace("ORDER", "reversed(self.layers)"))["Network"]
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


EACH_STEP = """
class EachStep:
    def __init__(self, layer):
        self.inner = layer
    def set_input_shape(self, shape):
        self.shape = shape
    def forward(self, x):
        steps = [self.inner.forward(part) for part in x]
        self.y = np.stack(steps)
        return self.y
    def backward(self, dy, lr):
        return -FACTOR * dy * self.y
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_one_layer_is_one_however_many_ways_there_are_to_set_up_what_wraps_it(tmp_path, monkeypatch, factor, verdict):
    gate = "class Gate" + LAYERS.split("class Gate")[1]
    entry = attempts(tmp_path, monkeypatch, gate + EACH_STEP.replace("FACTOR", factor))["EachStep"]
    assert (entry.verdict, entry.reason) == (verdict, "")
