"""What the tables of operators share: a row, its verdict, and the page they are written to."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradverify as gv


@dataclass(frozen=True)
class Row:
    """An operator at a point of one's own; `known` says why it does not pass, in words that can be checked by hand."""

    name: str
    target: Callable[..., Any]
    inputs: Sequence[Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    known: str = ""


ABSENT = "the framework has no such derivative, or raises in it: its own checker meets the same"
BRANCH = ("the rule compares what it saved with a bound, exactly; moved by one rounding, to measure noise, it takes the "
          "other branch, and the right gradient looks like noise")


@dataclass(frozen=True)
class Outcome:
    """One line of a table: what the check came to, and what stands beside it."""

    name: str
    verdict: str
    told: str
    seconds: float
    beside: tuple[str, ...] = ()


def judge(row: Row, **options: Any) -> Outcome:
    """The row checked; an exception is an outcome too."""
    started = time.process_time()
    try:
        report = gv.check(row.target, *row.inputs, **{"search": "none", **row.options, **options})
    except Exception as error:  # the table shows it
        said = f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"
        return Outcome(row.name, "raises", said, time.process_time() - started)
    return Outcome(row.name, str(report.verdict), _told(report), time.process_time() - started)


def _told(report: gv.Report) -> str:
    if report.ok:
        finite = [c.resolution for c in report.checks if c.resolution < float("inf")]
        entries = [c.entrywise for c in report.checks if c.mode == "reverse" and c.entrywise is not None]
        each = f"{max(finite):.0e}" if finite else "zero"
        return each + (f", any entry {max(entries):.0e}" if entries else "")
    worst = next((c for c in report.checks if c.verdict is report.verdict), report.checks[0])
    cause = worst.causes[0].name if worst.causes else worst.reason
    return f"{worst.wrt}: {cause}, off by {worst.discrepancy:.1e}, bar {worst.bar:.1e}"


def write(page: Path, title: str, command: str, notes: Iterable[str], outcomes: Sequence[Outcome],
          rows: Mapping[str, Row], columns: Sequence[str] = ()) -> None:
    """The table, how many came out how, and every line that is no pass explained."""
    counts = collections.Counter(outcome.verdict for outcome in outcomes)
    head = ["operator", "verdict", "resolution, or what was found", "CPU seconds", *columns]
    lines = [f"# {title}", "", f"`{command}`", "", *notes, "",
             f"{len(outcomes)} operators: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common()) + ".", ""]
    odd = [outcome for outcome in outcomes if outcome.verdict != "pass"]
    if odd:
        lines += ["## What did not pass, and why", "", "| operator | verdict | found | explanation |", "|---|---|---|---|"]
        lines += [f"| {o.name} | {o.verdict} | {o.told} | {rows[o.name].known or '**unexplained**'} |" for o in odd]
        lines.append("")
    lines += ["## All of them", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join([o.name, o.verdict, o.told, f'{o.seconds:.2f}', *o.beside])} |" for o in outcomes]
    page.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
