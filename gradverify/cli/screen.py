"""What the commands show: progress with rate and time left, tables, and the failures in full."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from gradverify.audit.record import AuditEntry, AuditReport
from gradverify.records import Report
from gradverify.report import text, words

_WIDE = 160  # columns where the output goes to a file: a table that wraps cannot be searched

Tick = Callable[[int, int, AuditEntry], None]


def console(*, stderr: bool = False) -> Console:
    """A console that prints names as they are: no markup, no emoji codes, no guessed colours."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr, width=None if terminal else _WIDE, markup=False, highlight=False, emoji=False
    )


class _Rate(ProgressColumn):
    """How many a second, over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


@contextmanager
def bar(what: str, *, shown: bool) -> Iterator[tuple[Progress, TaskID]]:
    """A line on the terminal with rate and time left; nothing where standard error is not one."""
    screen = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True, disable=not (shown and screen.is_terminal)) as line:
        yield line, line.add_task(what, total=None)


@contextmanager
def progress(*, shown: bool) -> Iterator[Tick]:
    """The line of an audit: how far it is, and what it is at."""
    with bar("auditing", shown=shown) as (line, task):

        def tick(done: int, total: int, entry: AuditEntry) -> None:
            line.update(task, completed=done, total=total, description=words.cut(entry.symbol, 30))

        yield tick


def show_audit(report: AuditReport, *, quiet: bool) -> None:
    """The table of what was tried, the failures and what is undecided in full, the rest with its reasons."""
    screen = console()
    tried = [entry.as_report() for entry in report.entries if entry.report is not None]
    if tried and not quiet:
        screen.print(text.table(tried))
        screen.print()
    for entry in report.failed if quiet else (*report.failed, *report.undecided):
        show_lines(screen, str(entry.as_report()))
        screen.print(f"      at     {words.clean(entry.path)}:{entry.line}", style="dim", soft_wrap=True)
        screen.print()
    for entry in () if quiet else report.untried:
        _show_untried(screen, entry)
    screen.print(report.summary, style="bold red" if report.failed else "bold", soft_wrap=True)


def show_report(report: Report, *, quiet: bool = False) -> None:
    """One report in full; a pass in quiet leaves nothing to read."""
    if not (quiet and report.ok):
        show_lines(console(), str(report))


def show_lines(screen: Console, lines: str) -> None:
    """Text laid out already: no wrapping, the verdict at the start of a line in its colour."""
    styles = {"FAIL": "bold red", "pass": "green", "?": "yellow"}
    for line in lines.splitlines():
        head = line[:4].strip()
        shown = Text(line)
        if line[:1] != " " and head in styles:
            shown.stylize(styles[head], 0, len(head))
        screen.print(shown, soft_wrap=True)


def _show_untried(screen: Console, entry: AuditEntry) -> None:
    why = words.clean(entry.reason)
    screen.print(f"-     {words.cut(entry.symbol, 60)}  not tried: {why}", soft_wrap=True)
    if entry.remedy:
        screen.print(f"      try    {words.clean(entry.remedy)}", soft_wrap=True)
