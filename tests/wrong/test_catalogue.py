"""Every wrong gradient of the catalogue fails at its leaf and is explained; every right one does not fail."""

from __future__ import annotations

from functools import cache

import pytest
from catalogue import Right, Wrong, read_tables

import gradverify as gv

ROWS = {row.note: row for row in read_tables()}
WRONG = [row for row in ROWS.values() if isinstance(row, Wrong)]
RIGHT = [row for row in ROWS.values() if isinstance(row, Right)]


def _marked(rows, *fields):
    """Rows as parameters; one that meets an open finding must not hold, so that a fix shows up."""
    params = []
    for row in rows:
        known = [getattr(row, name) for name in fields if getattr(row, name)]
        marks = [pytest.mark.xfail(reason=", ".join(known), strict=True)] if known else []
        params.append(pytest.param(row.note, id=row.note, marks=marks))
    return params


@cache
def _report(note):
    row = ROWS[note]
    return gv.check(row.target, *row.inputs, **row.options)


def _failing(note):
    return [c for c in _report(note).checks if c.verdict is gv.Verdict.FAIL]


@pytest.mark.parametrize("note", _marked(WRONG, "finding"))
def test_a_wrong_gradient_fails_at_its_leaf(note):
    assert ROWS[note].leaf in {c.wrt for c in _failing(note)}, str(_report(note))


@pytest.mark.parametrize("note", _marked(WRONG, "finding", "misnamed"))
def test_a_wrong_gradient_is_explained(note):
    first = [c.causes[0].name for c in _failing(note) if c.wrt == ROWS[note].leaf and c.causes]
    assert first, str(_report(note))
    assert first[0] in ROWS[note].cause.split("|"), str(_report(note))


@pytest.mark.parametrize("note", _marked(RIGHT, "finding"))
def test_a_right_gradient_passes_or_at_least_does_not_fail(note):
    allowed = {gv.Verdict.PASS} | ({gv.Verdict.INCONCLUSIVE} if ROWS[note].may else set())
    assert _report(note).verdict in allowed, str(_report(note))


def test_no_two_rows_share_a_note():
    rows = read_tables()
    assert len({row.note for row in rows}) == len(rows)
