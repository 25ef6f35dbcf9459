"""Layers that hand on what they compute, reseed what they draw from, or read their settings from a dictionary."""

from __future__ import annotations

import pytest

from gradverify.records import Verdict
from tests.projects import attempts

# A layer has neither parents nor sons until its network says so; it counts how often it was visited.
IN_A_GRAPH = """
class Dense:
    def __init__(self, n_in, n_out):
        self.parents, self.sons, self.visited, self.output = [], [], 0, None
        self.parameters = np.random.randn(n_out, n_in)
    def forward(self, x):
        self.input, self.output = x, self.parameters @ x
        for son in self.sons:
            son.forward(self.output)
    def backward(self, upstream):
        self.grads = np.zeros(self.parameters.shape)
        self.gradient = upstream @ self.input.T
        if self.visited == len(self.sons):
            for parent in self.parents:
                parent.visited += 1
                parent.backward(FACTOR * self.parameters.T @ upstream)
"""
IN_A_CHAIN = """
class Square:
    def __init__(self):
        self.prev, self.next = None, None
    def forward(self, x):
        self.x = x
        return self.next.forward(x ** 2)
    def backward(self, dy):
        self.prev.backward(FACTOR * 2 * self.x * dy)
"""
RESEEDED = """
class Noise:
    def __init__(self, seed=None):
        self.seed = seed
    def forward(self, x):
        np.random.seed(self.seed)
        self.mask = np.random.rand(*x.shape) + np.random.default_rng().random(x.shape)
        return x * self.mask
    def backward(self, dy):
        return FACTOR * dy * self.mask
"""
BY_DICTIONARY = """
class pool:
    def __init__(self, settings):
        self.settings = settings
    def forward(self, x):
        height, kind = self.settings['pool_h'], self.settings['pool_type']
        if kind == 'avg':
            self.rows = x.shape[0]
            return x[:height].mean(axis=0)
        raise ValueError(kind)
    def backward(self, dy):
        dx = np.zeros((self.rows, dy.shape[0]))
        dx[:self.settings['pool_h']] = FACTOR * dy / min(self.settings['pool_h'], self.rows)
        return dx
class Pool:
    def __init__(self, pool_settings):
        self.pool = pool(pool_settings)
    def forward(self, x):
        return self.pool.forward(x)
    def backward(self, dy):
        return self.pool.backward(dy)
"""
WRITTEN = {"in a graph": IN_A_GRAPH, "in a chain": IN_A_CHAIN, "reseeded": RESEEDED, "by dictionary": BY_DICTIONARY}


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize("code", WRITTEN.values(), ids=WRITTEN)
def test_what_stands_beside_a_layer_is_lent_to_it(tmp_path, monkeypatch, code, factor, verdict):
    entries = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor)).values()
    assert [entry.verdict for entry in entries] == [verdict] * len(entries)


def test_a_backward_that_hands_nothing_on_fails(tmp_path, monkeypatch):
    code = IN_A_CHAIN.replace("self.prev.backward(FACTOR * 2 * self.x * dy)", "dx = 2 * self.x * dy")
    (entry,) = attempts(tmp_path, monkeypatch, code.replace("self.next.forward(x ** 2)", "x ** 2")).values()
    assert (entry.verdict, entry.report.checks[0].causes[0].name) == (Verdict.FAIL, "zero-gradient")


NETWORK = """
class Network:
    def __init__(self):
        self.layers = {}
    def forward(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x
    def backward(self, dy):
        for layer in reversed(list(self.layers.values())):
            dy = layer.backward(dy)
"""


def test_a_network_without_layers_that_returns_no_gradient_claims_no_zero(tmp_path, monkeypatch):
    (entry,) = attempts(tmp_path, monkeypatch, NETWORK).values()
    assert (entry.verdict, entry.report) == (Verdict.INCONCLUSIVE, None)
    assert "leaves nothing that could be a gradient" in entry.reason


MEAN_AS_SUM = """
class Loss:
    def forward(self, y, t):
        self.y, self.t = y, t
        return -np.mean(t * np.log(y + 1e-7) + (1 - t) * np.log(1 - y + 1e-7))
    def backward(self, dout=1.0):
        return dout * FACTOR * (-self.t / (self.y + 3e-7) + (1 - self.t) / (1 - self.y + 3e-7))
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.INCONCLUSIVE), ("0.99", Verdict.FAIL)])
def test_a_loss_is_that_of_the_sum_whatever_its_epsilon(tmp_path, monkeypatch, factor, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, MEAN_AS_SUM.replace("FACTOR", factor)).values()
    assert (entry.verdict, "of the sum" in entry.convention) == (verdict, factor == "1")


OF_LOGITS = """
class Classifier:
    def __init__(self):
        self.params = {"W": np.random.randn(3, 4), "b": np.zeros(4)}
    def forward(self, X):
        return X @ self.params["W"] + self.params["b"], (X,)
    def backward(self, logits, labels, cache, reg):
        X, = cache
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        loss = -np.mean(np.log(p[np.arange(len(X)), labels])) + reg / 2 * np.sum(self.params["W"] ** 2)
        delta = (p - np.eye(4)[labels]) / len(X)
        return loss, {"W": X.T @ delta + reg * self.params["W"], "b": FACTOR * delta.sum(axis=0)}
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_a_network_that_leaves_its_softmax_to_its_backward_is_judged(tmp_path, monkeypatch, factor, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, OF_LOGITS.replace("FACTOR", factor)).values()
    assert (entry.verdict, "cross entropy of its softmax" in entry.convention) == (verdict, True)


def test_one_array_of_parameters_is_judged_by_the_array_called_its_gradient(tmp_path, monkeypatch):
    code = IN_A_GRAPH.replace("FACTOR", "1").replace("upstream @ self.input.T", "1.1 * upstream @ self.input.T")
    (entry,) = attempts(tmp_path, monkeypatch, code).values()
    assert {check.wrt for check in entry.report.checks if check.verdict is Verdict.FAIL} == {"parameters"}
