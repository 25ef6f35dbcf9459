"""The figures of a failure: where every point and every square stands."""

from __future__ import annotations

import re

import pytest

from gradverify.records import Sampled, Step
from gradverify.report import figures


def asked(entries, expected=1.0, bar=1e-12):
    """Entries that were asked: index -> computed."""
    size = len(entries)
    return Sampled(tuple(entries), tuple(entries.values()), (expected,) * size, (bar,) * size)


def off(drawn):
    return drawn.panels[-1].paths


def test_the_map_draws_each_entry_where_it_is(failed):
    wrong = {(0, 0): 2.0, (0, 1): 2.0, (1, 1): 1.0, (1, 2): 1.0 + 1e-6}
    drawn = figures.maps(failed(sampled=asked(wrong), shape=(2, 3)))
    assert (drawn.width, drawn.height) == (3, 2)
    assert off(drawn) == (("", "M1 1h1v1h-1z"), ("h3", "M2 1h1v1h-1z"), ("h9", "M0 0h2v1h-2z"))


def test_leading_axes_of_the_map_are_stacked(failed):
    drawn = figures.maps(failed(sampled=asked({(1, 0, 0): 2.0, (1, 1, 0): 2.0}), shape=(2, 2, 4)))
    assert drawn.height == 4
    assert off(drawn) == (("h9", "M0 2h1v1h-1zM0 3h1v1h-1z"),)


def test_computed_and_expected_share_one_scale(failed):
    computed, expected, _ = figures.maps(failed(sampled=asked({(0,): 4.0, (1,): -2.0}), shape=(2,))).panels
    assert (computed.title, computed.paths) == ("computed", (("m2", "M1 0h1v1h-1z"), ("p4", "M0 0h1v1h-1z")))
    assert (expected.title, expected.paths) == ("expected", (("p1", "M0 0h2v1h-2z"),))


def test_a_square_of_a_large_leaf_shows_the_worst_of_its_entries(failed):
    entries = {(0, 0): 1.0, (3, 1): 2.0, (999, 999): 1.0}
    drawn = figures.maps(failed(sampled=asked(entries), shape=(1000, 1000)))
    assert (drawn.width, drawn.height, drawn.note[:23]) == (63, 63, "a square covers 16 x 16")
    assert off(drawn) == (("", "M62 62h1v1h-1z"), ("h9", "M0 0h1v1h-1z"))


def test_entries_of_a_second_derivative_have_a_map_of_their_own_shape(failed):
    drawn = figures.maps(failed(sampled=asked({(0, 0): 1.0, (1, 2): 2.0}), shape=(3,)))
    assert (drawn.width, drawn.height) == (3, 2)


@pytest.mark.parametrize("sampled", [None, asked({(): 1.0 }), asked({(0,): 1.0})])
def test_a_map_needs_two_entries(failed, sampled):
    assert figures.maps(failed(sampled=sampled, shape=(2,))) is None


def test_an_entry_that_is_not_finite_is_marked(failed):
    computed, *_ = figures.maps(failed(sampled=asked({(0,): float("nan"), (1,): 1.0}), shape=(2,))).panels
    assert ("n", "M0 0h1v1h-1z") in computed.paths


@pytest.mark.parametrize(("size", "level"), [
    (float("nan"), 9), (float("inf"), 9), (1.0, 9), (0.1, 8), (1e-9, 0), (1e-30, 0), (0.0, 0)])
def test_heat_is_a_level_a_decade(size, level):
    assert figures.heat(size) == level


def points(path):
    return [tuple(map(int, point.split())) for point in re.split("[ML]", path)[1:]]


def test_the_curve_falls_towards_expected_and_stays_away_from_computed(failed):
    drawn = figures.curve(failed(computed=3.0, expected=2.0, sweep=tuple(
        Step(10.0**-k, 2.0 + 2 * 10.0 ** (-2 * k)) for k in range(5))))
    near, far = points(drawn.to_expected), points(drawn.to_computed)
    assert [x for x, _ in near] == [300, 225, 150, 75, 0]
    assert sorted(y for _, y in near) == [y for _, y in near]  # down the page as the step gets smaller
    assert max(y for _, y in far[1:]) < 20
    assert drawn.caption.endswith("At their best, h = 0.0001, they are 6.7e-9 from expected and 33 % from computed.")


def test_ticks_stand_at_decades(failed):
    drawn = figures.curve(failed())
    assert [tick.label for tick in drawn.steps] == ["1e-12", "1e-8", "1e-4", "1"]
    assert all(0 <= tick.at <= drawn.height for tick in drawn.errors)


@pytest.mark.parametrize("fields", [{"sweep": ()}, {"computed": 0.0, "expected": 0.0}, {"expected": float("nan")},
                                    {"computed": float("inf")}])
def test_without_steps_or_a_scale_there_is_no_curve(failed, fields):
    assert figures.curve(failed(**fields)) is None
