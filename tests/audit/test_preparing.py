"""Layers whose gradients show only in an update, or only in training: the right pass whole, the wrong fail."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.records import Verdict
from tests.projects import attempts

UPDATING = """
class Adam:
    def __init__(self):
        self.m = self.v = 0.0
    def update(self, w, g):
        self.m, self.v = 0.9 * self.m + 0.1 * g, 0.99 * self.v + 0.01 * g * g
        return w - 0.01 * self.m / (np.sqrt(self.v) + 1e-8)
class InPlace(Adam):
    def update(self, w, g):
        w -= 0.01 * g / (np.sqrt(g * g) + 1e-8)
class Lists(Adam):
    def update(self, ws, gs):
        for w, g in zip(ws, gs):
            w -= 0.01 * g / (np.sqrt(g * g) + 1e-8)
class Step(Adam):
    def step(self, g):
        return 0.01 * g / (np.sqrt(g * g) + 1e-8)
class Dense:
    def __init__(self, n_in=3, n_out=4, lr=0.01):
        self.W, self.b, self.lr, self.optimizer = np.ones((n_in, n_out)), np.zeros(n_out), lr, OPTIMIZER
    def forward(self, x):
        self.x = x
        return x @ self.W + self.b
    def backward(self, dy):
        dx, dW, db = dy @ self.W.T, self.x.T @ dy, dy.sum(0)
        UPDATE
        return dx
"""
OWN_RATE = ("None", "self.W -= self.lr * dW; self.b -= self.lr * db")
RETURNED = ("Adam()", "self.W = self.optimizer.update(self.W, dW); self.b = self.optimizer.update(self.b, db)")
IN_PLACE = ("InPlace()", "self.optimizer.update(self.W, dW); self.optimizer.update(self.b, db)")
LISTS = ("Lists()", "self.optimizer.update([self.W, self.b], [dW, db])")
STEP = ("Step()", "self.W -= self.optimizer.step(dW); self.b -= self.optimizer.step(db)")
UPWARDS = ("Step()", "self.W += -self.optimizer.step(dW); self.b -= self.optimizer.step(db)")
DECAY = ("None", "self.dW, self.db = dW + 0.3 * self.W, db")
BATCH_NORM = """
class Norm:
    def __init__(self, n=3):
        self.mean, self.var, self.training = np.zeros(n), np.ones(n), False
    def forward(self, x):
        self.m, self.v = (x.mean(0), x.var(0)) if self.training else (self.mean, self.var)
        self.z = (x - self.m) / np.sqrt(self.v + 1e-5)
        return self.z
    def backward(self, dy):
        return (dy - dy.mean(0) - self.z * (dy * self.z).mean(0)) / np.sqrt(self.v + 1e-5)
"""
IN_PLACE_ELU = """
def elu(x):
    x[x < 0] = np.exp(x[x < 0]) - 1
    return x
def elu_derivative(y):
    return np.where(y < 0, y + 1, 1.0)
"""
ALL_AXES = """
class LayerNorm:
    def __init__(self, n, eps=1e-5):
        self.gamma, self.beta, self.eps = np.ones(n), np.zeros(n), eps
    def forward(self, x):
        centred = x - x.mean(-1, keepdims=True)
        self.s = np.sqrt(x.var(-1, keepdims=True) + self.eps)
        self.z = centred / self.s
        return self.gamma * self.z + self.beta
    def backward(self, dy):
        self.dgamma, self.dbeta = (dy * self.z).sum((0, 1)), dy.sum((0, 1))
        d = dy * self.gamma
        return (d - d.mean(-1, keepdims=True) - self.z * (d * self.z).mean(-1, keepdims=True)) / self.s
"""


def tried(tmp_path, monkeypatch, code, owner):
    (entry,) = [entry for name, entry in attempts(tmp_path, monkeypatch, code).items() if owner in name]
    return entry


def dense(update, wrong=""):
    optimizer, step = update
    code = UPDATING.replace("OPTIMIZER", optimizer).replace("UPDATE", step)
    return code.replace("self.x.T @ dy", wrong) if wrong else code


@pytest.mark.parametrize("update", [OWN_RATE, RETURNED, IN_PLACE, LISTS, STEP, UPWARDS, DECAY])
def test_a_parameter_is_judged_by_what_an_update_is_given(tmp_path, monkeypatch, update):
    entry = tried(tmp_path, monkeypatch, dense(update), "Dense")
    assert (entry.verdict, {check.wrt for check in entry.report.checks}) == (Verdict.PASS, {"x", "W", "b"})


@pytest.mark.parametrize("update", [OWN_RATE, RETURNED, IN_PLACE, LISTS, STEP, DECAY])
@pytest.mark.parametrize("wrong", ["self.x.T @ dy / 2", "self.x.T @ np.abs(dy)"])
def test_a_wrong_gradient_shows_through_its_update(tmp_path, monkeypatch, update, wrong):
    entry = tried(tmp_path, monkeypatch, dense(update, wrong), "Dense")
    assert entry.verdict is Verdict.FAIL


def test_a_decay_of_the_wrong_sign_fails(tmp_path, monkeypatch):
    entry = tried(tmp_path, monkeypatch, dense(("None", DECAY[1].replace("+", "-"))), "Dense")
    assert entry.verdict is Verdict.FAIL


def test_a_layer_that_is_made_for_testing_is_tried_in_training(tmp_path, monkeypatch):
    assert tried(tmp_path, monkeypatch, BATCH_NORM, "Norm").verdict is Verdict.PASS


def test_a_forward_in_place_is_told_apart_from_a_wrong_derivative_of_the_output(tmp_path, monkeypatch):
    entry = tried(tmp_path, monkeypatch, IN_PLACE_ELU, "elu")
    assert entry.convention.endswith(" of the output")
    assert {c.reason for c in entry.report.checks if c.verdict is not Verdict.PASS} <= {"mutated-input"}


def test_a_wrong_derivative_of_the_output_of_a_forward_in_place_fails(tmp_path, monkeypatch):
    assert tried(tmp_path, monkeypatch, IN_PLACE_ELU.replace("y + 1", "y + 2"), "elu").verdict is Verdict.FAIL


def test_other_settings_are_tried_at_the_inputs_that_passed(tmp_path, monkeypatch):
    assert tried(tmp_path, monkeypatch, ALL_AXES, "LayerNorm").verdict is Verdict.PASS


def test_what_is_revived_leaves_numpys_allocations_alone():
    from gradverify.arithmetic.allocation import ORIGINALS
    from gradverify.audit.imports import revive_old_names

    revive_old_names()
    # Arrays that a forward makes and fills carry other numbers only where these are NumPy's own.
    assert np.zeros is ORIGINALS["zeros"]


STACKED = """
class Rows:
    def forward(self, x):
        return np.vstack(2 * row for row in x)
    def backward(self, dy):
        return np.stack(map(lambda row: FACTOR * row, dy))
"""


@pytest.mark.parametrize(("factor", "verdict"), [("2", Verdict.PASS), ("2.2", Verdict.FAIL)])
def test_rows_are_stacked_as_older_numpy_did(tmp_path, monkeypatch, factor, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, STACKED.replace("FACTOR", factor)).values()
    assert entry.verdict is verdict
