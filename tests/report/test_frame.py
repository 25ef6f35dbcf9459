"""The checks as a pandas frame."""

from __future__ import annotations

import math
from dataclasses import fields

import pandas as pd
import pytest

from gradverify.records import Check
from gradverify.report.frame import COLUMNS, checks_frame, write_table


def test_every_field_of_a_check_has_a_column():
    renamed = {"causes": "cause"}
    expected = {renamed.get(field.name, field.name) for field in fields(Check)} - {"entries", "sampled", "sweep"}
    assert set(COLUMNS) == expected


def test_a_row_a_check_in_order(failed, passed):
    frame = checks_frame([failed(), passed(entrywise=None)])
    assert list(frame.columns) == list(COLUMNS)
    assert frame["verdict"].tolist() == ["fail", "pass"]
    assert frame["worst"].tolist() == ["x[3, 1]: computed 0.842183, expected 0.841372", ""]
    assert frame["cause"].tolist() == ["other-derivative", ""]
    assert frame["shape"].tolist() == [(5, 10), (3, 4)]
    assert math.isnan(frame["entrywise"][1])


def test_no_checks_make_a_frame_with_the_same_columns_and_types(failed):
    empty, full = checks_frame([]), checks_frame([failed()])
    assert len(empty) == 0
    assert (empty.dtypes == full.dtypes).all()


def test_numbers_are_numbers_where_all_are_missing(passed):
    frame = checks_frame([passed(entrywise=None)])
    assert frame["entrywise"].dtype == "float64"
    assert frame["order"].dtype == "int64"


def test_the_report_gives_its_frame(gelu):
    assert len(gelu.frame()) == 1


def test_a_table_is_written_as_csv_and_as_parquet(gelu, affine, tmp_path):
    checks = (*gelu.checks, *affine.checks)
    write_table(checks, tmp_path / "t.csv")
    csv = pd.read_csv(tmp_path / "t.csv")
    assert (len(csv), csv["shape"][0], csv["resolution"][0]) == (4, "5 x 10", gelu.checks[0].resolution)
    pytest.importorskip("pyarrow")
    write_table(checks, tmp_path / "t.parquet")
    assert pd.read_parquet(tmp_path / "t.parquet")["computed"].tolist() == csv["computed"].tolist()
