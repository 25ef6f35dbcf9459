"""The rows of the catalogue that need PyTorch."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from catalogue import Claims, marked, read_tables, right_rows, wrong_rows

CLAIMS = Claims(read_tables("cases_torch"))


@pytest.mark.parametrize("note", marked(wrong_rows(CLAIMS.rows), "finding"))
def test_a_wrong_gradient_fails_at_its_leaf(note):
    CLAIMS.fails_at_its_leaf(note)


@pytest.mark.parametrize("note", marked(wrong_rows(CLAIMS.rows), "finding", "misnamed"))
def test_a_wrong_gradient_is_explained(note):
    CLAIMS.is_explained(note)


@pytest.mark.parametrize("note", marked(right_rows(CLAIMS.rows), "finding"))
def test_a_right_gradient_passes_or_at_least_does_not_fail(note):
    CLAIMS.is_not_failed(note)
