"""``gradverify audit``: everything in a file, a folder or a module that carries a derivative."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gradverify.cli.options import Html, Json, Quiet, Seed, Strict
from gradverify.cli.outcome import NOTHING, STDOUT, Sinks, deliver, leave, refuse, refusing

if TYPE_CHECKING:
    from gradverify.audit.grading import Grade

HELP = """Find everything in PATH... that carries a derivative, and check it.

PATH is a file, a folder, a notebook or a module.
Found by name: classes with forward and backward, functions f_forward and f_backward, f and f_prime,
losses that return their gradient, autograd.Function, custom_vjp, custom_jvp, custom_gradient, defvjp.
Code under audit runs in worker processes; no configuration is needed.

[bold]Examples[/bold]

  gradverify audit src/

  gradverify audit layers.py --json audit.json --strict

  gradverify audit mypackage.nn --jobs 4 --quiet

  gradverify audit src/ --shard 2/8 --json part2.json

  gradverify audit --each 'submissions/*' --spec hw2.toml --csv grades.csv --hints place
"""

_Jobs = Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; one per core.")]
_Shard = Annotated[str | None, typer.Option(metavar="K/N", help="Only the k-th of n equal parts: 2/8.")]
_Dask = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Run on the Dask cluster of this scheduler.")]
_Each = Annotated[str | None, typer.Option(metavar="GLOB", help="Grade everything this matches, by --spec.")]


def audit(
    *,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Files, folders or modules.")
    ] = None,
    jobs: _Jobs = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one candidate may take.")] = 60.0,
    memory: Annotated[float, typer.Option(min=0.1, help="GiB that the data of a worker may take.")] = 4.0,
    shard: _Shard = None,
    dask: _Dask = None,
    each: _Each = None,
    spec: Annotated[Path | None, typer.Option(help="TOML: a [[function]] with symbol and points for each.")] = None,
    hints: Annotated[str, typer.Option(help="What a grade says: none, place or cause.")] = "none",
    csv: Annotated[Path | None, typer.Option(help="Write a table: a row an entry, or a grade.")] = None,
    seed: Seed = 0,
    json: Json = None,
    html: Html = None,
    strict: Strict = False,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit with 0 even if something failed.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Audit, show what was found, and leave with 1 where something failed, with 5 where nothing was found."""
    from gradverify import audit as run
    from gradverify.cli import screen

    sinks, places = Sinks(json, html, quiet), paths or []
    if each is not None:
        _grade(each, spec, csv, hints, jobs, timeout, memory, dask, sinks)
    if not places:
        refuse("no PATH given")
    journal = json.with_name(f".{json.name}.partial") if json is not None and json != STDOUT else None
    with refusing(ValueError), screen.progress(shown=sinks.progress) as tick:
        report = run(
            *places, jobs=jobs, seed=seed, timeout=timeout, memory=memory, shard=shard, dask=dask, journal=journal,
            progress=tick,
        )  # fmt: skip
    if csv is not None:
        report.to_csv(csv)
    if report.entries:
        deliver(report, sinks, lambda: screen.show_audit(report, quiet=quiet))
        failed = report.failed or report.interrupted or (strict and not report.ok)
        leave(failed=bool(failed) and not exit_zero)
    deliver(report, sinks, lambda: None)
    typer.echo(f"gradverify: nothing found to check in {', '.join(places)}", err=True)
    raise typer.Exit(NOTHING)


def _grade(
    each: str, spec: Path | None, csv: Path | None, hints: str, jobs: int | None, timeout: float, memory: float,
    dask: str | None, sinks: Sinks,
) -> NoReturn:  # fmt: skip
    """Grade submissions; what they got is no failure of the command."""
    from gradverify.audit.grading import as_report, grade, read_spec, write_grades
    from gradverify.audit.pool import Plan, default_jobs
    from gradverify.cli import screen

    if spec is None:
        refuse("--each needs --spec")
    with refusing(ValueError), screen.progress(shown=sinks.progress) as tick:
        wanted = read_spec(spec)
        plan = Plan(jobs or default_jobs(), wanted.seed, timeout, memory, dask)
        grades = grade(each, wanted, plan, hints, tick)
        if csv is not None:
            write_grades(grades, csv)
    deliver(as_report(grades), sinks, lambda: _show_grades(grades, rows=csv is None))
    raise typer.Exit(0)


def _show_grades(grades: Sequence[Grade], *, rows: bool) -> None:
    for row in grades if rows else ():
        typer.echo(f"{row.submission}  {row.symbol}  {row.outcome}  {row.points:g}/{row.possible:g}  {row.hint}")
    submissions = len({row.submission for row in grades})
    typer.echo(f"{submissions} submissions, {len(grades)} rows, {sum(row.points for row in grades):g} points given")
