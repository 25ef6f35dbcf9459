"""Wrong entries are found in few questions: log2(n) + 2 for the first, whatever n is."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.localize import locate
from gradverify.records import Estimate


def located(right, wrong, seed=0):
    asked = []

    def ask(v):
        asked.append(v)
        return Estimate(float(np.sum(right * v)), 2.0**-52 * float(np.sum(np.abs(right * v))), 1, "complex")

    return locate("x", wrong, 2.0**-53 * np.abs(wrong), np.ones(right.shape), ask, seed), asked


@pytest.mark.parametrize("size", [1_000, 100_000, 1_000_000])
@pytest.mark.parametrize("end", ["first", "last", "any"])
def test_one_wrong_entry_is_asked_alone_within_log2_n_and_two_more(size, end):
    right = np.random.default_rng(size).normal(size=size)
    place = {"first": 0, "last": size - 1, "any": size // 3}[end]
    wrong = right.copy()
    wrong[place] *= 1 + 1e-6
    found, asked = located(right, wrong)
    alone = next(k for k, v in enumerate(asked) if np.count_nonzero(v) == 1 and v[place])
    assert alone + 1 <= np.log2(size) + 3
    assert [i for i, bad in zip(found.indices, found.wrong, strict=True) if bad] == [(place,)]


def test_two_wrong_entries_are_both_found():
    right = np.random.default_rng(1).normal(size=(100, 100))
    wrong = right.copy()
    wrong[3, 70] *= -1
    wrong[98, 2] = 0.0
    found, _ = located(right, wrong)
    assert {i for i, bad in zip(found.indices, found.wrong, strict=True) if bad} == {(3, 70), (98, 2)}


def test_a_right_gradient_has_no_wrong_entry():
    right = np.random.default_rng(2).normal(size=500)
    found, asked = located(right, right.copy())
    assert not found.wrong.any()
    assert np.count_nonzero(asked[0]) == 500
    assert all(np.count_nonzero(v) == 1 for v in asked[1:])
