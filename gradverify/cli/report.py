"""``gradverify report``: the JSON of earlier runs merged, compared and rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradverify.cli.options import Html, Json, Quiet, Strict
from gradverify.cli.outcome import NOTHING, STDOUT, UsageError, leave, refusing

if TYPE_CHECKING:
    from gradverify.records import Report
    from gradverify.report.compare import Comparison

HELP = """Merge, compare and render the JSON reports of earlier runs.

Several files become one report: the shards of a parallel run, the jobs of a matrix.
With --against the run is compared with an older one: exit code 1 then says that something is newly wrong.

[bold]Examples[/bold]

  gradverify report run.json --html run.html

  gradverify report shard-*.json --json all.json --table all.parquet

  gradverify report today.json --against yesterday.json --markdown -
"""


def report(
    *,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="JSON reports.", exists=True, dir_okay=False)
    ],
    against: Annotated[
        Path | None, typer.Option(help="The JSON report of an older run.", exists=True, dir_okay=False)
    ] = None,
    json: Json = None,
    html: Html = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write it as Markdown; - prints it.", dir_okay=False)
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write one row a check, as .csv or .parquet.", dir_okay=False)
    ] = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Read, write what was asked for, show the rest, and leave by the verdict or the comparison."""
    from gradverify.records import Verdict
    from gradverify.report.compare import compare

    with refusing(ValueError):
        reports = _read(files)
        found = compare(_read([against]), reports) if against is not None else None
        _write(reports, found, Files(json, html, markdown, table))
    if STDOUT not in (json, markdown):
        _show(reports, found, quiet=quiet)
    if not reports:
        raise typer.Exit(NOTHING)
    verdicts = {one.verdict for one in reports}
    bad = found.worse if found is not None else Verdict.FAIL in verdicts
    leave(failed=bad or (strict and verdicts != {Verdict.PASS}))


@dataclass(frozen=True)
class Files:
    """Where each format goes, if anywhere."""

    json: Path | None
    html: Path | None
    markdown: Path | None
    table: Path | None


def _read(files: Sequence[Path]) -> tuple[Report, ...]:
    from gradverify.report.compare import merged
    from gradverify.report.jsonfile import read

    return merged(read(file) for file in files)


def _write(reports: Sequence[Report], found: Comparison | None, files: Files) -> None:
    from gradverify.report import frame, html, jsonfile, markdown

    try:
        if files.html is not None:
            html.write(reports, files.html)
        if files.table is not None:
            frame.write_table([check for report in reports for check in report.checks], files.table)
        said = markdown.render(reports) if found is None else markdown.render_comparison(found)
        _file_or_print(files.markdown, lambda path: markdown.write(said, path), said)
        content = jsonfile.dumps(reports) if files.json == STDOUT else ""
        _file_or_print(files.json, lambda path: jsonfile.write(reports, path), content)
    except (OSError, ImportError) as error:
        raise UsageError(f"the report cannot be written: {error}") from error


def _file_or_print(path: Path | None, write: Callable[[Path], object], content: str) -> None:
    if path == STDOUT:
        typer.echo(content)
    elif path is not None:
        write(path)


def _show(reports: Sequence[Report], found: Comparison | None, *, quiet: bool) -> None:
    from gradverify.cli import screen
    from gradverify.report import text

    console = screen.console()
    if found is not None:
        screen.show_lines(console, found.summary if quiet else str(found))
        return
    for report in reports:
        if not report.ok:
            screen.show_lines(console, str(report))
    if not quiet:
        console.print(text.table(reports))
    console.print(text.summary_line(reports), soft_wrap=True)
