"""``gradverify audit``: everything in a file, a folder or a module that carries a derivative."""

from __future__ import annotations

from typing import Annotated

import typer

from gradverify.cli.options import Html, Json, Quiet, Seed, Strict
from gradverify.cli.outcome import NOTHING, Sinks, deliver, leave, refusing

HELP = """Find everything in PATH... that carries a derivative, and check it.

PATH is a file, a folder or a module.
Found by name: classes with forward and backward, functions f_forward and f_backward, f and f_prime.
Code under audit runs in worker processes; no configuration is needed.

[bold]Examples[/bold]

  gradverify audit src/

  gradverify audit layers.py --json audit.json --strict

  gradverify audit mypackage.nn --jobs 4 --quiet
"""


def audit(
    *,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders or modules.")],
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; one per core.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one candidate may take.")] = 60.0,
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

    sinks = Sinks(json, html, quiet)
    with refusing(ValueError), screen.progress(shown=sinks.progress) as tick:
        report = run(*paths, jobs=jobs, seed=seed, timeout=timeout, progress=tick)
    if report.entries:
        deliver(report, sinks, lambda: screen.show_audit(report, quiet=quiet))
        failed = report.failed or report.interrupted or (strict and not report.ok)
        leave(failed=bool(failed) and not exit_zero)
    deliver(report, sinks, lambda: None)
    typer.echo(f"gradverify: nothing found to check in {', '.join(paths)}", err=True)
    raise typer.Exit(NOTHING)
