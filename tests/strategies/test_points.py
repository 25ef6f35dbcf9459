"""Points, upstream gradients and regimes: values from a seed, special entries, layouts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.errors import NoSuchExample

from gradverify.regimes import SPECIAL
from gradverify.strategies import (
    POOL,
    Found,
    Point,
    Regime,
    Upstream,
    entries,
    explore,
    initialisers,
    laid_out,
    learning_rates,
    minimal,
    optimizers,
    points,
    regimes,
    special_points,
    upstreams,
)
from gradverify.strategies.description import LAYOUTS

quick = settings(max_examples=50, database=None, deadline=None)
X = np.arange(12.0).reshape(3, 4)


@quick
@given(points())
def test_a_point_is_the_same_every_time_and_another_in_every_stream(point):
    np.testing.assert_array_equal(point.values((3,), 0), point.values((3,), 0))
    assert not np.array_equal(point.values((3,), 0), point.values((3,), 1))


@quick
@given(special_points())
def test_special_entries_are_among_the_values(point):
    values = point.values((40,), 0)
    assert set(point.entries) & set(values)
    assert not set(values) <= set(point.entries)


def test_points_shrink_to_the_first_seed_and_special_ones_to_a_zero():
    assert minimal(points()) == Point()
    assert minimal(special_points()) == Point(entries=(0.0,))
    assert minimal(upstreams(), lambda u: u.layout != "plain") == Upstream(layout="reversed")


def test_an_entry_shrinks_alone():
    found = minimal(entries((3,)), lambda x: x[1] < 0, 1000)
    assert found[[0, 2]].tolist() == [0.0, 0.0]
    assert found[1] in POOL


def test_negative_zero_can_be_asked_for():
    found = minimal(entries((2,)), lambda x: any(v == 0 and math.copysign(1, v) < 0 for v in x), 1000)
    assert sorted(np.signbit(found)) == [False, True]


def test_the_pool_has_both_zeros_and_saturation():
    assert {math.copysign(1, v) for v in POOL if v == 0} == {1.0, -1.0}
    assert max(POOL) > 1e3
    assert min(POOL) < -80


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_changes_strides_and_not_values(layout):
    new = laid_out(X, layout)
    assert new.shape == X.shape
    if layout == "expanded":
        assert set(new.strides) == {0}
        return
    np.testing.assert_array_equal(new, X)
    assert (new.strides == X.strides) == (layout == "plain")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_of_a_number_is_a_number(layout):
    assert laid_out(np.array(2.0), layout) == 2.0


@pytest.mark.parametrize("name", SPECIAL)
def test_a_regime_puts_its_values_in(name):
    assert not np.array_equal(Regime(name).apply(X + 0.5), X + 0.5)


@quick
@given(regimes())
def test_a_regime_keeps_the_shape_and_the_original(regime):
    before = X.copy()
    assert regime.apply(X).shape == X.shape
    np.testing.assert_array_equal(X, before)


def test_no_change_is_the_simplest_regime():
    assert minimal(regimes()) == Regime()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Regime("big"), "values='big'"),
    (lambda: Regime(layout="round"), "layout='round'"),
    (lambda: Upstream(layout="round"), "layout='round'"),
])
def test_names_that_do_not_exist_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@quick
@given(optimizers())
def test_an_optimizer_descends_from_a_slope(optimizer):
    params, grads = {"w": np.ones(2)}, {"w": np.ones(2)}
    after, _ = optimizer.step(params, grads, optimizer.init(params))
    assert np.all(after["w"] <= params["w"])


def test_rates_and_initialisers_shrink_to_the_plainest():
    assert minimal(learning_rates()) == 0.1
    assert minimal(initialisers()) == "zeros"


def test_exploring_counts_what_was_judged():
    judged = []
    assert explore(points(), judged.append, 25) is None
    assert len(judged) == 25


def test_exploring_finds_and_shrinks_the_same_every_time():
    first, second = (explore(points(), lambda p: p.seed > 100, 200, key=3) for _ in range(2))
    assert first == second
    assert isinstance(first, Found)
    assert first.example == Point(seed=101)
    assert 1 <= first.drawn <= first.ran


def test_nothing_to_find_is_said():
    with pytest.raises(NoSuchExample):
        minimal(points(), lambda p: p.seed < 0, 20)
