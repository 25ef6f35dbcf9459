"""Every wrong gradient of the catalogue fails at its leaf and is explained; every right one does not fail."""

from __future__ import annotations

import pytest
from catalogue import Claims, marked, read_tables, right_rows, wrong_rows

CLAIMS = Claims(read_tables())


@pytest.mark.parametrize("note", marked(wrong_rows(CLAIMS.rows), "finding"))
def test_a_wrong_gradient_fails_at_its_leaf(note):
    CLAIMS.fails_at_its_leaf(note)


@pytest.mark.parametrize("note", marked(wrong_rows(CLAIMS.rows), "finding", "misnamed"))
def test_a_wrong_gradient_is_explained(note):
    CLAIMS.is_explained(note)


@pytest.mark.parametrize("note", marked(right_rows(CLAIMS.rows), "finding"))
def test_a_right_gradient_passes_or_at_least_does_not_fail(note):
    CLAIMS.is_not_failed(note)


def test_no_two_rows_share_a_note():
    assert len(CLAIMS.rows) == len(read_tables())


def test_a_row_with_the_wrong_expectation_is_noticed():
    right = next(note for note, row in CLAIMS.rows.items() if row in right_rows(CLAIMS.rows))
    with pytest.raises(AssertionError):
        CLAIMS.fails_at_its_leaf(right)
