"""What every report that has a sheet does with it. The reports take these functions as their own methods."""

from __future__ import annotations

from os import PathLike
from typing import Any, Protocol

from gradverify.records import Sheet


class HasSheet(Protocol):
    """A report that puts all it has to say into one sheet."""

    def sheet(self) -> Sheet:
        """The table with its verdict, findings and figures."""


def frame(report: HasSheet) -> Any:
    """A `pandas.DataFrame` of the report's table."""
    return report.sheet().frame()


def to_json(report: HasSheet, path: str | PathLike[str]) -> None:
    """Write all of the report as JSON, with its ``schema_version``."""
    report.sheet().to_json(path)


def to_html(report: HasSheet, path: str | PathLike[str]) -> None:
    """Write one self-contained page with the table, the findings and the figures."""
    report.sheet().to_html(path)


def text(report: HasSheet) -> str:
    """The report for a terminal."""
    return str(report.sheet())


def fragment(report: HasSheet) -> str:
    """The report for a notebook."""
    return report.sheet()._repr_html_()
