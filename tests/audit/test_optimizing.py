"""Steps of an optimizer: which of two arrays is the weight, and the sign of a step, are told and never assumed."""

from __future__ import annotations

import pytest

from gradverify.records import Verdict
from tests.projects import attempts

DENSE = """
class Returning:
    def update(self, gradient, weight):
        return weight - 0.01 * gradient
class InPlace:
    def update(self, gradient, weight):
        weight -= 0.01 * gradient
class Dense:
    def __init__(self, n_in, n_out):
        self.W, self.b = np.random.randn(n_in, n_out), np.zeros(n_out)
        self.optimizer = OPTIMIZER
    def forward(self, x):
        self.x = x
        return x @ self.W + self.b
    def backward(self, dy):
        dx, dW, db = dy @ self.W.T, K * self.x.T @ dy, K * dy.sum(axis=0)
        UPDATE
        return dx
"""
GRADIENT_FIRST = "self.optimizer.update(dW, self.W); self.optimizer.update(db, self.b)"
KEPT_FIRST = "self.dW = dW; self.optimizer.update(self.dW, self.W); self.optimizer.update(db, self.b)"
BUFFER_FIRST = "self.dW[...] = dW; self.optimizer.update(self.dW, self.W); self.optimizer.update(db, self.b)"
RETURNED = "self.W = self.optimizer.update(dW, self.W); self.b = self.optimizer.update(db, self.b)"
NAMED = "self.optimizer.update(grad=dW, param=self.W); self.optimizer.update(grad=db, param=self.b)"
WEIGHT_FIRST = "self.optimizer.update(self.W, dW); self.optimizer.update(self.b, db)"
ADDED = "self.W += self.optimizer.step(dW); self.b += self.optimizer.step(db)"
NEITHER = "u, v = self.W.copy(), self.x.T @ dy; self.optimizer.update(u, v)"
UPDATES = [
    ("None", GRADIENT_FIRST),
    ("None", KEPT_FIRST),
    ("None", BUFFER_FIRST),
    ("None", RETURNED),
    ("None", NAMED),
    ("None", WEIGHT_FIRST),
    ("InPlace()", GRADIENT_FIRST),
    ("Returning()", RETURNED),
]


def tried(tmp_path, monkeypatch, optimizer, update, factor="1.0"):
    code = DENSE.replace("OPTIMIZER", optimizer).replace("UPDATE", update).replace("K", factor)
    if "self.dW[" in update:
        code = code.replace("self.optimizer =", "self.dW = np.zeros((n_in, n_out)); self.optimizer =")
    (entry,) = attempts(tmp_path, monkeypatch, code).values()
    return entry


def verdicts(entry):
    return {check.wrt: check.verdict for check in entry.report.checks}


@pytest.mark.parametrize(("optimizer", "update"), UPDATES)
def test_the_weight_is_told_from_its_gradient_in_either_order(tmp_path, monkeypatch, optimizer, update):
    entry = tried(tmp_path, monkeypatch, optimizer, update)
    assert verdicts(entry) == dict.fromkeys(("x", "W", "b"), Verdict.PASS)


@pytest.mark.parametrize(("optimizer", "update"), UPDATES)
def test_a_wrong_gradient_shows_in_either_order(tmp_path, monkeypatch, optimizer, update):
    assert tried(tmp_path, monkeypatch, optimizer, update, "0.7").verdict is Verdict.FAIL


def test_of_arrays_that_nothing_holds_nothing_is_claimed(tmp_path, monkeypatch):
    entry = tried(tmp_path, monkeypatch, "None", NEITHER)
    assert (entry.report, "'update'" in entry.reason, bool(entry.remedy)) == (None, True, True)


def test_the_sign_of_a_step_that_is_added_is_a_convention(tmp_path, monkeypatch):
    entry = tried(tmp_path, monkeypatch, "None", ADDED)
    assert verdicts(entry) == {"x": Verdict.PASS, "W": Verdict.INCONCLUSIVE, "b": Verdict.INCONCLUSIVE}
    assert {c.reason for c in entry.report.checks if c.wrt != "x"} == {"convention"}
    assert entry.convention.endswith(", whose optimizer's step points downhill")


@pytest.mark.parametrize(
    ("update", "factor"),
    [
        (ADDED, "0.7"),  # no sign makes it right
        (ADDED.replace("b +=", "b -="), "1.0"),  # one sign for both makes one wrong
        (ADDED.replace("+=", "-="), "-1.0"),  # subtracted, and flipped
    ],
)
def test_the_sign_of_a_step_excuses_nothing_else(tmp_path, monkeypatch, update, factor):
    assert tried(tmp_path, monkeypatch, "None", update, factor).verdict is Verdict.FAIL
