"""The rule itself, at its edges: numbers in, a verdict out."""

from __future__ import annotations

import pytest

from gradverify.records import Estimate, Verdict
from gradverify.verdict import Scales, decide

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
