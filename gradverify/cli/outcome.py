"""How a command ends: what it writes and shows, and its exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer

FAILED, USAGE, NOTHING = 1, 2, 5
STDOUT = Path("-")


class UsageError(Exception):
    """What was typed makes no sense; the message is one line for the person who typed it."""


@dataclass(frozen=True)
class Sinks:
    """Where a report goes beside the screen; JSON on standard output takes the screen's place."""

    json: Path | None = None
    html: Path | None = None
    quiet: bool = False

    @property
    def progress(self) -> bool:
        """Whether a person may be watching."""
        return not self.quiet and self.json != STDOUT


@contextmanager
def refusing(also: type[Exception] = UsageError) -> Iterator[None]:
    """A UsageError, or one of this kind too, becomes one line on standard error and exit code 2."""
    try:
        yield
    except (UsageError, also) as error:
        refuse(str(error))


def refuse(message: str) -> NoReturn:
    """One line on standard error, exit code 2."""
    typer.echo(f"gradverify: {' '.join(message.split())}", err=True)
    raise typer.Exit(USAGE)


def finish(report: Any, sinks: Sinks, *, strict: bool) -> NoReturn:
    """Write and show one report of a target, and leave by its verdict."""
    from gradverify.cli import screen
    from gradverify.records import Verdict

    deliver(report, sinks, lambda: screen.show_report(report, quiet=sinks.quiet))
    if not report.checks:
        raise typer.Exit(NOTHING)
    leave(failed=report.verdict is Verdict.FAIL or (strict and not report.ok))


def leave(*, failed: bool) -> NoReturn:
    """Exit with 1 where something failed, else with 0."""
    raise typer.Exit(FAILED if failed else 0)


def deliver(report: Any, sinks: Sinks, show: Callable[[], object]) -> None:
    """Write the files that were asked for, then show the report, or print its JSON instead."""
    try:
        if sinks.json not in (None, STDOUT):
            report.to_json(sinks.json)
        if sinks.html is not None:
            report.to_html(sinks.html)
    except OSError as error:
        refuse(f"the report cannot be written: {error}")
    if sinks.json == STDOUT:
        print_json(report)
    else:
        show()


def print_json(report: Any) -> None:
    """The report's JSON on standard output, for the next program of a pipe."""
    from gradverify.report.jsonfile import dumps

    if hasattr(report, "sheet"):
        from gradverify.report import sheet

        sys.stdout.write(sheet.dumps(report.sheet()))
        return
    sys.stdout.write(dumps(report.reports() if hasattr(report, "reports") else (report,)))
