"""The records of the catalogue of wrong gradients, how its tables are read, and what holds for a row.

A `Wrong` stands beside the `Right` it was made from. `finding` names an open finding on the engine: the
row is then expected not to hold. `misnamed` does so for the first cause alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradverify as gv

HERE = Path(__file__).parent
NONE: Mapping[str, Any] = {"search": "none"}
QUICK: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Wrong:
    """A wrong gradient, the leaf that must fail and the cause that must come first (several: ``a|b``)."""

    note: str
    target: Any
    inputs: Any  # a tuple of them, or a lone one
    leaf: str
    cause: str
    options: Mapping[str, Any] = field(default_factory=lambda: NONE)
    finding: str = ""
    misnamed: str = ""


@dataclass(frozen=True)
class Right:
    """A right gradient; `may` says why it may be inconclusive, otherwise it must pass."""

    note: str
    target: Any
    inputs: Any
    options: Mapping[str, Any] = field(default_factory=lambda: QUICK)
    may: str = ""
    finding: str = ""


Row = Wrong | Right


def read_tables(*names: str) -> list[Row]:
    """The rows of the tables named, or of every one that needs NumPy alone."""
    found = [p.stem for p in sorted(HERE.glob("cases_*.py")) if "torch" not in p.stem]
    modules = [import_module(name) for name in names or (*found, "right_but_difficult")]
    return [row for module in modules for row in module.CASES]


def judge(row: Row) -> gv.Report:
    """The report on a row; those that draw from NumPy's global generator draw the same every time."""
    np.random.seed(0)
    inputs = row.inputs if isinstance(row.inputs, tuple) else (row.inputs,)
    return gv.check(row.target, *inputs, **row.options)


def failing(row: Wrong, report: gv.Report) -> list[gv.Check]:
    """The failures at the row's own leaf."""
    return [c for c in report.checks if c.verdict is gv.Verdict.FAIL and c.wrt == row.leaf]


def wrong_rows(rows: Mapping[str, Row]) -> list[Row]:
    return [row for row in rows.values() if isinstance(row, Wrong)]


def right_rows(rows: Mapping[str, Row]) -> list[Row]:
    return [row for row in rows.values() if isinstance(row, Right)]


def marked(rows: Iterable[Row], *fields: str) -> list[Any]:
    """Rows as parameters; one that meets an open finding must not hold, so that a fix shows up."""
    params = []
    for row in rows:
        known = [getattr(row, name) for name in fields if getattr(row, name)]
        marks = [pytest.mark.xfail(reason=", ".join(known), strict=True)] if known else []
        params.append(pytest.param(row.note, id=row.note, marks=marks))
    return params


class Claims:
    """What holds for the rows of some tables; each is judged once for all its tests."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = {row.note: row for row in rows}
        self.reports: dict[str, gv.Report] = {}

    def report(self, note: str) -> gv.Report:
        if note not in self.reports:
            self.reports[note] = judge(self.rows[note])
        return self.reports[note]

    def fails_at_its_leaf(self, note: str) -> None:
        report = self.report(note)
        assert report.verdict is gv.Verdict.FAIL, str(report)
        assert failing(self.rows[note], report), str(report)

    def is_explained(self, note: str) -> None:
        checks = failing(self.rows[note], self.report(note))
        first = [check.causes[0].name for check in checks if check.causes]
        assert first, str(self.report(note))
        assert first[0] in self.rows[note].cause.split("|"), str(self.report(note))

    def is_not_failed(self, note: str) -> None:
        allowed = {gv.Verdict.PASS} | ({gv.Verdict.INCONCLUSIVE} if self.rows[note].may else set())
        assert self.report(note).verdict in allowed, str(self.report(note))
