"""The rule itself, at its edges: numbers in, a verdict out."""

from __future__ import annotations

import math

import pytest

from gradverify.records import Estimate, Verdict
from gradverify.verdict import Scales, as_flat, as_rounding_permits, decide

ROWS = [
    # computed, expected, error, scale of the leaf, of the values, verdict
    ("a rounding beside a true zero", 5.6e-17, 0.0, 4e-19, 5.6e-17, 1.6, Verdict.PASS),
    ("more than a rounding beside a true zero", 5.6e-12, 0.0, 4e-19, 5.6e-12, 1.6, Verdict.FAIL),
    ("a tiny gradient with its sign flipped", -1e-17, 1e-17, 1e-30, 1e-17, 1.6, Verdict.FAIL),
    ("within the bar, and the bar is fine", 1.0, 1.0 + 1e-15, 1e-14, 1.0, 1.0, Verdict.PASS),
    ("between one bar and four", 1.0, 1.0 + 2e-14, 1e-14, 1.0, 1.0, Verdict.INCONCLUSIVE),
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_two_error_bars_decide(row):
    _, computed, expected, error, leaf, values, verdict = row
    estimate = Estimate(expected, error, 5, "complex")
    assert decide(computed, estimate, 0.0, Scales(leaf, values), 1e-6).verdict is verdict


TOLERATED = [
    # discrepancy, error, tolerate, verdict
    ("between one bar and four, and tolerated", 2e-9, 1e-9, 1e-5, Verdict.PASS),
    ("between one bar and four, and more than is tolerated", 2e-9, 1e-9, 1e-9, Verdict.INCONCLUSIVE),
    ("beyond four bars, and tolerated", 8e-9, 1e-9, 1e-5, Verdict.PASS),
    ("beyond four bars, and more than is tolerated", 8e-9, 1e-9, 1e-9, Verdict.FAIL),
    ("between one bar and four, and the bar too coarse for a pass", 2e-5, 1e-5, 1e-4, Verdict.INCONCLUSIVE),
]


@pytest.mark.parametrize("row", TOLERATED, ids=[row[0] for row in TOLERATED])
def test_what_is_tolerated_passes_where_a_larger_error_would_fail(row):
    _, gap, error, tolerate, verdict = row
    decision = decide(1.0 + gap, Estimate(1.0, error, 5, "finite"), 0.0, Scales(1.0, 1.0), 1e-6, tolerate)
    assert decision.verdict is verdict
    assert (decision.reason == "negligible") is (verdict is Verdict.PASS)


PERMITTED = [
    # discrepancy, oracle's error, noise, scale of the leaf, of the values, passes
    ("roundings of cancelled terms, an exact estimate within them", 1e-15, 1e-20, 1e-15, 1e-9, 1.0, True),
    ("beyond the bar", 2e-14, 1e-20, 1e-15, 1e-9, 1.0, False),
    ("the estimate is what limits", 1e-15, 2e-14, 1e-15, 1e-9, 1.0, False),
    ("fewer than three digits of the gradient", 1e-15, 1e-20, 1e-15, 5e-12, 1.0, False),
    ("more than roundings of the values: another dtype inside", 1e-9, 1e-12, 1e-8, 1e-3, 1.0, False),
]


@pytest.mark.parametrize("row", PERMITTED, ids=[row[0] for row in PERMITTED])
def test_a_gradient_that_its_own_rounding_limits_passes_to_what_that_leaves(row):
    _, gap, error, noise, leaf, values, passes = row
    estimate, scales = Estimate(leaf, error, 5, "quad"), Scales(leaf, values)
    undecided = decide(leaf + gap, estimate, noise, scales, 1e-6)
    decided = as_rounding_permits(undecided, estimate, noise, scales)
    assert undecided.verdict is Verdict.INCONCLUSIVE
    assert (decided.verdict is Verdict.PASS) is passes
    assert decided.resolution == undecided.resolution > 1e-6


def test_differences_alone_permit_nothing():
    estimate, scales = Estimate(1e-9, 1e-20, 5, "finite"), Scales(1e-9, 1.0)
    undecided = decide(1e-9, estimate, 1e-15, scales, 1e-6)
    assert as_rounding_permits(undecided, estimate, 1e-15, scales).verdict is Verdict.INCONCLUSIVE


FLAT = [
    # computed, foreign, trend, passes
    ("nothing beside the values", 1e-20, 1e-20, 1e-13, True),
    ("the foreign estimate disagrees", 2e-20, 1e-20, 1e-13, False),
    ("a flight of steps: the values move after all", 1e-20, 1e-20, 0.5, False),
    ("a straight-through gradient", 1.0, 0.0, 0.0, False),
]


@pytest.mark.parametrize("row", FLAT, ids=[row[0] for row in FLAT])
def test_a_forward_that_moves_by_less_than_its_roundings_is_flat(row):
    _, computed, foreign, trend, passes = row
    scales = Scales(abs(computed), 1.0)
    stairs = decide(computed, Estimate(0.0, math.inf, 9, "finite", "staircase"), 1e-25, scales, 1e-6)
    decided = as_flat(stairs, Estimate(foreign, 1e-24, 5, "complex"), 1e-25, trend, scales)
    assert (decided.verdict is Verdict.PASS) is passes
