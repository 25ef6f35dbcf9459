"""What GitHub Actions reads: annotations on standard output, and the summary of a step in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from gradverify.records import Report, Verdict
from gradverify.report import text, words

LEVELS = {Verdict.FAIL: "error", Verdict.INCONCLUSIVE: "warning", Verdict.PASS: "notice"}
MOST_TEXTS = 20  # a summary may have a megabyte, and nobody reads the twenty-first failure there


def annotation(report: Report, file: str, line: int) -> str:
    """The workflow command that puts a report beside a line of the code."""
    where = f"file={_property(file)},line={line},title={_property('gradverify: ' + words.cut(report.target, 60))}"
    message = f"{words.cut(report.target, 60)}  {text.result_text(report)}"
    return f"::{LEVELS[report.verdict]} {where}::{_data(message)}"


def _data(message: str) -> str:
    return message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


def step_summary(reports: Sequence[Report]) -> str:
    """A heading with the count, a table of what did not pass, and the text of each failure to unfold."""
    open_ = [report for report in reports if not report.ok]
    lines = [f"### gradverify: {text.summary_line(reports)}", ""]
    if open_:
        lines += ["| verdict | target | result |", "|---|---|---|"]
        lines += [f"| {text.HEADS[r.verdict]} | {_cell(r.target)} | {_cell(text.result_text(r))} |" for r in open_]
    for report in open_[:MOST_TEXTS]:
        lines += ["", f"<details><summary>{_html(words.cut(report.target, 80))}</summary>",
                  f"<pre>{_html(str(report))}</pre></details>"]
    return "\n".join(lines) + "\n"


def _cell(value: str) -> str:
    """Text that stays one cell and is read neither as Markdown nor as HTML."""
    plain = _html(words.clean(value))
    return "".join(f"\\{char}" if char in r"\`*_[]|~" else char for char in plain)


def _html(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
