"""Sheets: one table with a verdict, as text, frame, JSON and page."""

from __future__ import annotations

import json
import math

import pytest

from gradverify.records import Cause, Curve, Figure, Sheet
from gradverify.report import plots, sheet

CAUSE = Cause("rate-too-large", "the learning rate exceeds 2/L", "rate x L = 2.4", "divide it by two", 1.0)
FIGURE = Figure("loss", "step", "loss", (Curve("training", (1.0, 2.0), (3.0, 4.0)),), log_y=True)
SHEET = Sheet("training", "<script>alert(1)</script>", "diverging", False, "the loss grows", ("name", "value", "held"),
              (("first", math.nan, True), ("second", 0.123456, None)), (CAUSE,), (FIGURE,), ("a note",))


def test_the_text_says_verdict_cause_remedy_and_table():
    said = str(SHEET)
    assert said.startswith("diverging")
    for part in ("rate-too-large", "divide it by two", "0.1235", "a note"):
        assert part in said


def test_the_frame_has_the_columns_also_without_rows():
    assert list(SHEET.frame().columns) == ["name", "value", "held"]
    assert SHEET.frame()["held"].tolist() == [True, None]
    empty = Sheet("training", "x", "stalled", False, "nothing", ("a", "b")).frame()
    assert list(empty.columns) == ["a", "b"]


def test_json_is_strict_and_has_a_schema_version(tmp_path):
    SHEET.to_json(tmp_path / "sheet.json")
    content = json.loads((tmp_path / "sheet.json").read_text(), parse_constant=pytest.fail)
    assert content["schema_version"] == 1
    assert (content["kind"], content["verdict"], content["rows"][0][1]) == ("training", "diverging", "nan")


def test_the_page_escapes_names_and_carries_its_figures(tmp_path):
    pytest.importorskip("matplotlib")
    SHEET.to_html(tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text()
    assert "<script>" not in page
    assert "data:image/svg+xml;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_without_matplotlib_the_page_says_what_its_figures_need(monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: False)
    assert "gradverify[plots]" in sheet.page(SHEET)
    assert "gradverify[plots]" not in sheet.page(Sheet("training", "x", "converged", True, "fine"))


def test_a_figure_is_the_same_bytes_every_time():
    pytest.importorskip("matplotlib")
    assert plots.svg(FIGURE) == plots.svg(FIGURE)


def test_a_row_with_a_cell_too_few_is_refused():
    with pytest.raises(ValueError, match="2 cells for 3 columns"):
        Sheet("training", "x", "converged", True, "", ("a", "b", "c"), ((1, 2),))
