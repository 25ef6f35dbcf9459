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


def test_one_array_of_parameters_is_judged_by_the_array_called_its_gradient(tmp_path, monkeypatch):
    code = IN_A_GRAPH.replace("FACTOR", "1").replace("upstream @ self.input.T", "1.1 * upstream @ self.input.T")
    (entry,) = attempts(tmp_path, monkeypatch, code).values()
    assert {check.wrt for check in entry.report.checks if check.verdict is Verdict.FAIL} == {"parameters"}
