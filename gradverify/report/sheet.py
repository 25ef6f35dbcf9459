"""A sheet as text, data frame, JSON and page: the reports that are tables with a verdict."""

from __future__ import annotations

import json
import math
import textwrap
from os import PathLike
from typing import TYPE_CHECKING, Any

from gradverify.records import Cause, Sheet
from gradverify.report import html, jsonfile, plots, words
from gradverify.report.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

WIDTH, MOST_ROWS, MOST_FINDINGS, CELL = 110, 40, 4, 60


def frame(sheet: Sheet) -> pd.DataFrame:
    """One row of the table a row, the columns also of an empty one."""
    import pandas as pd

    return pd.DataFrame([dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows], columns=list(sheet.columns))


def to_dict(sheet: Sheet) -> dict[str, Any]:
    """What the file holds, in the manner of `jsonfile`."""
    return {"schema_version": jsonfile.SCHEMA_VERSION, "gradverify": words.version(), **jsonfile.encode(sheet)}


def write_json(sheet: Sheet, path: str | PathLike[str]) -> None:
    """Write the sheet as JSON; an older file is replaced in one step."""
    write_whole(path, dumps(sheet))


def dumps(sheet: Sheet) -> str:
    """The text of the file."""
    return json.dumps(to_dict(sheet), allow_nan=False, indent=1) + "\n"


def text(sheet: Sheet) -> str:
    """The verdict and its sentence, what was found and what to do, then the table."""
    mark = "" if sheet.ok or sheet.verdict in ("fail", "inconclusive") else "  (not ok)"
    lines = _fold(f"{_head(sheet)}  {words.cut(sheet.target, 40)}{mark}  ", words.clean(sheet.headline))
    for cause in sheet.findings[:MOST_FINDINGS]:
        lines += _finding(cause)
    lines += [f"      note   {words.cut_end(words.clean(note), WIDTH - 13)}" for note in sheet.notes[:MOST_FINDINGS]]
    return "\n".join([*lines, *_table(sheet)])


def _head(sheet: Sheet) -> str:
    return {"fail": "FAIL", "inconclusive": "?   ", "pass": "pass"}.get(sheet.verdict, sheet.verdict)


def _fold(first: str, rest: str) -> list[str]:
    return textwrap.wrap(rest, WIDTH, initial_indent=first, subsequent_indent=" " * 13, break_on_hyphens=False) or [
        first.rstrip()
    ]


def _finding(cause: Cause) -> list[str]:
    said = _fold("      cause  ", words.clean(f"{cause.name}: {cause.text} ({cause.evidence})"))
    return said + (_fold("      try    ", words.clean(cause.remedy)) if cause.remedy else [])


def _table(sheet: Sheet) -> list[str]:
    """Columns as wide as their cells; numbers to four digits."""
    rows = [sheet.columns, *(tuple(cell(value) for value in row) for row in sheet.rows[:MOST_ROWS])]
    if not sheet.rows:
        return []
    widths = [max(map(words.columns, column)) for column in zip(*rows, strict=True)]
    lines = ["      " + "  ".join(_pad(value, width) for value, width in zip(row, widths, strict=True)) for row in rows]
    more = [f"      and {len(sheet.rows) - MOST_ROWS} more"] if len(sheet.rows) > MOST_ROWS else []
    return [words.cut_end(line.rstrip(), WIDTH + 30) for line in lines] + more


def _pad(value: str, width: int) -> str:
    return value + " " * (width - words.columns(value))


def cell(value: Any) -> str:
    """A cell as people read it: numbers to four digits, nothing for None and NaN."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else words.cut(value, CELL)


def fragment(sheet: Sheet) -> str:
    """The page's content without a page around it, for notebooks."""
    return str(html.environment().get_template("sheet_body.html").render(**_values(sheet)))


def write_html(sheet: Sheet, path: str | PathLike[str]) -> None:
    """Write the page; an older one is replaced in one step."""
    write_whole(path, page(sheet))


def page(sheet: Sheet) -> str:
    """One self-contained page: the verdict, the findings, the figures, the table."""
    return str(html.environment().get_template("sheet.html").render(
        **_values(sheet), version=words.version(), style=html.asset("style.css"),
        style_hash=html.digest("style.css")))  # fmt: skip


def _values(sheet: Sheet) -> dict[str, Any]:
    drawn = plots.drawn(sheet.figures)
    return {
        "sheet": sheet, "target": words.cut(sheet.target, 200), "headline": words.clean(sheet.headline),
        "tone": "pass" if sheet.ok else "inconclusive" if sheet.verdict == "inconclusive" else "fail",
        "rows": [[cell(value) for value in row] for row in sheet.rows], "figures": drawn,
        "undrawn": bool(sheet.figures) and not drawn, "notes": [words.clean(note) for note in sheet.notes],
    }  # fmt: skip
