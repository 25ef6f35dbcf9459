"""A wrong gradient is traced to the operation of the forward whose derivative is wrong; what fits nothing is not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import gradverify as gv
from gradverify.altered import _Search
from gradverify.arithmetic.sites import Site
from gradverify.targets.settings import settings_in

RNG = np.random.default_rng(5)
X, W = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 3))


def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def scores(x, w):
    p = softmax(x @ w)
    return p**2, (x, w, p)


def scores_back(dy, cache, *, cross=0.0):
    x, w, p = cache
    dp = 2 * dy * p
    ds = p * (dp - cross * (dp * p).sum(axis=-1, keepdims=True))
    return ds @ w.T, x.T @ ds


def first_cause(report, leaf):
    (check,) = [c for c in report.checks if c.wrt == leaf and c.verdict is gv.Verdict.FAIL]
    return check.causes[0]


@pytest.mark.parametrize("leaf", ["x", "w"])
def test_cross_terms_that_are_missing_behind_a_product_are_named_with_their_line(leaf):
    cause = first_cause(gv.check(gv.pair(scores, scores_back), X, W, search="none"), leaf)
    assert cause.name == "missing-cross-terms"
    assert "`e.sum(axis=-1, keepdims=True)` in `e / e.sum(axis=-1, keepdims=True)` (test_mistakes.py:" in cause.text


@pytest.mark.parametrize(("operations", "reruns", "spent"), [
    (10, 900, False), (10, 1001, True), (1000, 200, False), (1000, 301, True),
])
def test_a_forward_of_many_operations_is_rerun_the_less_often(operations, reruns, spent):
    asked = [SimpleNamespace(known=[None] * operations)]
    assert _Search(None, asked, SimpleNamespace(reruns=reruns))._is_spent() is spent


def test_cross_terms_that_count_half_are_told_so():
    half = gv.pair(scores, lambda dy, cache: scores_back(dy, cache, cross=0.5))
    cause = first_cause(gv.check(half, X, W, search="none"), "x")
    assert cause.name == "path-factor"
    assert cause.text.endswith("counts 0.5 times")


@pytest.mark.parametrize("seed", range(3))
def test_a_gradient_that_is_wrong_by_chance_is_called_unexplained(seed):
    other = np.random.default_rng(seed).normal(size=(2, 4, 3))

    def back(dy, cache):
        dx, dw = scores_back(dy, cache, cross=1.0)
        return dx + other[0] * (other[1] * dy).sum() + other[1] * dy.mean(), dw

    assert first_cause(gv.check(gv.pair(scores, back), X, W, search="none"), "x").name == "unexplained"


def unrolled(x, w):
    h = np.zeros(3)
    for row in x:
        h = np.tanh(row @ w + 0.5 * h)
    return h, (x, w)


def unrolled_back(dy, cache, *, steps):
    x, w = cache
    states = [np.zeros(3)]
    for row in x:
        states.append(np.tanh(row @ w + 0.5 * states[-1]))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for t in range(len(x) - 1, len(x) - 1 - steps, -1):
        da = dy * (1 - states[t + 1] ** 2)
        dx[t], dw, dy = w @ da, dw + np.outer(x[t], da), 0.5 * da
    return dx, dw


@pytest.mark.parametrize("steps", [2, 3])
def test_a_recurrence_cut_after_some_steps_is_truncated(steps):
    pair = gv.pair(unrolled, lambda dy, cache: unrolled_back(dy, cache, steps=steps))
    cause = first_cause(gv.check(pair, X, W, search="none"), "w")
    assert cause.name == "truncated"
    assert f"in the first {4 - steps} of 4 passes" in cause.text


def test_a_recurrence_that_hands_nothing_back_misses_the_path_through_its_state():
    pair = gv.pair(unrolled, lambda dy, cache: unrolled_back(dy, cache, steps=1))
    cause = first_cause(gv.check(pair, X, W, search="none"), "w")
    assert cause.name == "missing-path"
    assert "`0.5 * h` in `row @ w + 0.5 * h`" in cause.text


class Smoothed:
    def __init__(self):
        self.smoothing, self.target = 0.1, np.eye(3)[[0, 2, 1, 0]]

    def forward(self, z):
        self.p = softmax(z)
        mixed = (1 - self.smoothing) * self.target + self.smoothing / 3
        return -np.sum(mixed * np.log(self.p))

    def backward(self, dy=1.0):
        return dy * (self.p - self.target)


def test_a_setting_that_the_backward_forgets_is_named_and_left_as_it_was():
    loss = Smoothed()
    cause = first_cause(gv.check(loss, X, search="none"), "z")
    assert (cause.name, loss.smoothing) == ("setting-forgotten", 0.1)
    assert "smoothing = 0" in cause.text


SCALE = 3.0


def scaled(x, *, power=2.0):
    return SCALE * x**power


def test_settings_are_defaults_globals_closures_and_attributes():
    inner = 0.25
    found = {s.name: s for target in (scaled, lambda x: x * inner, Smoothed()) for s in settings_in(target)}
    assert {"power", "SCALE", "inner", "smoothing", "target"} <= found.keys()
    for name, before, after in (("power", 3.0 * 4.0, 3.0), ("SCALE", 3.0 * 4.0, 4.0)):
        assert scaled(2.0) == before
        with found[name].replaced(0.0 if name == "power" else 1.0):
            assert scaled(2.0) == after
        assert scaled(2.0) == before


@pytest.mark.parametrize(("expression", "operands"), [
    ("la.norm(x)", ["x"]),
    ("h[t] @ r", ["h[t]", "r"]), ("e.sum(axis=-1)", ["e"]), ("np.exp(x - m)", ["x - m"]), ("-x", ["x"]),
    ("y += a * b", ["y", "a * b"]), ("np.einsum('ij,j', a, b)", ["'ij,j'", "a", "b"]), ("a b", []),
])
def test_operands_are_called_as_the_source_calls_them(expression, operands):
    site = Site("f.py", 1, (), expression, {"np": np, "la": np.linalg})
    assert [site.operand(i) for i in range(len(operands) + 1)] == [*operands, ""]
