"""The deep search: gradients that are wrong only in other shapes, layouts or values, and what it shrinks to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradverify as gv
from gradverify import checking
from gradverify.records import Options
from gradverify.regimes.deep import find_failure
from gradverify.regimes.variation import Variation, vary
from gradverify.targets import make_targets
from gradverify.targets.gradients import WrongClaim
from gradverify.trial import Counts, Trial

RNG = np.random.default_rng(3)
X, W = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 3))


def matmul(x, w):
    return x @ w, (x, w)


def back(dy, cache):
    x, w = cache
    return dy @ w.T, x.T @ dy


def mean_loss(x):
    return np.mean(x**2), x


def tail_of_four(dy, x):
    """Works through blocks of four entries and forgets what is left over."""
    g = 2 * x * dy / x.size
    g.reshape(-1)[x.size // 4 * 4 :] = 0
    return g


class Centre:
    """Subtracts the mean of the batch."""

    def __init__(self, *, wrong=False):
        self.wrong = wrong

    def forward(self, x):
        return (x - x.mean(axis=0)) ** 2, x

    def __call__(self, x):
        y, x = self.forward(x)

        def pullback(dy):
            d = 2 * dy * (x - x.mean(axis=0))
            return d - (d.mean(axis=0) if len(x) != 2 or not self.wrong else d.mean(axis=0) / 2)

        return y, pullback


def square_only(dy, cache):
    """Transposes twice too often, which a square does not show."""
    x, w = cache
    return dy @ w.T, x.T @ dy * (1.0 if w.shape[0] == w.shape[1] else 2.0)


WRONG = [
    # target, inputs, what the regime must say
    ("right but for batches of two", Centre(wrong=True), (X,), "of shape (2, "),
    ("right only where the weights are square", gv.pair(matmul, square_only), (X, W), "of shape"),
]


@pytest.mark.parametrize(("target", "inputs", "text"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_gradient_wrong_in_another_shape_only_is_found(target, inputs, text):
    assert gv.check(target, *inputs).ok
    report = gv.check(target, *inputs, search="deep")
    assert report.verdict is gv.Verdict.FAIL
    assert text in report.checks[-1].regime


def test_a_right_gradient_passes_a_deep_search():
    assert gv.check(gv.pair(matmul, back), X, W, search="deep").ok


def test_the_saved_point_is_the_one_that_was_found(monkeypatch, tmp_path):
    from gradverify.saved import load

    monkeypatch.chdir(tmp_path)
    report = gv.check(gv.pair(mean_loss, tail_of_four), X, search="deep")
    target, inputs, options = load(report.again)
    assert inputs[0].size % 4
    assert gv.check(target, *inputs, **options).verdict is gv.Verdict.FAIL


def test_the_search_works_inside_a_test_that_hypothesis_drives():
    @settings(deadline=None, max_examples=2)
    @given(st.booleans())
    def run(_):
        assert find_failure(lambda v: v.sizes[0] > 4, {"x": X}, examples=40, seed=1) is not None

    run()


def test_a_search_finds_the_same_with_the_same_seed():
    wrong = lambda v: v.sizes[0] == 1 or v.kind.startswith("ties")  # noqa: E731
    first, second = (find_failure(wrong, {"x": X}, examples=50, seed=5) for _ in range(2))
    assert first == second is not None


def test_a_search_shrinks_to_what_matters():
    found = find_failure(lambda v: v.sizes[0] > 8, {"x": X}, examples=80, seed=1)
    assert found == Variation(sizes=(9, 3))


def test_drawn_integers_and_shares_stay_what_they_are():
    labels, rows = np.array([0, 2, 1]), np.eye(3)[[0, 2, 1]]
    drawn = vary({"labels": labels, "rows": rows, "x": X}, Variation(sizes=(7, 2), kind="zeros among the values"))
    assert set(drawn["labels"]) <= {0, 1, 2}
    assert drawn["labels"].shape == (7,)
    assert drawn["rows"].shape == (7, 7)


def stretched(dy, cache):
    """Undoes no broadcasting: dw of the shape of x where w has one row."""
    x, w = cache
    return dy * w, dy * x


@pytest.mark.parametrize(("leaf", "claimed", "expected"), [
    ((1, 3), (4, 3), True), ((4, 3), (1, 3), True), ((4, 3), (3, 4), False), ((4, 3), (3,), False), ((4, 3), None, False),
])
def test_a_gradient_of_a_shape_that_broadcasting_explains_is_told_apart(leaf, claimed, expected):
    (target,) = make_targets(gv.function(np.sin, derivative=np.cos), (np.ones(leaf),), Options())
    trial = Trial(target, Options(), dict(target.point))
    assert checking._is_broadcast(WrongClaim("shape", "x", "", claimed), trial) is expected
    assert not checking._is_broadcast(WrongClaim("dtype", "x", "", claimed), trial)


def test_behind_one_claim_of_a_broadcast_shape_the_others_are_still_judged(monkeypatch):
    product = lambda x, w: (x * w, (x, w))  # noqa: E731
    row, options = np.ones((1, 3)), Options()
    first, second = gv.pair(product, stretched), gv.pair(product, lambda dy, cache: (2 * dy * cache[1], dy.sum(0)[None]))
    made = [t for pair in (first, second) for t in make_targets(pair, (X, row), options)]
    monkeypatch.setattr(checking, "make_targets", lambda *_: made)
    assert checking._fails_at(None, options, Counts(), ())
    monkeypatch.setattr(checking, "make_targets", lambda *_: made[:1])
    assert not checking._fails_at(None, options, Counts(), ())
