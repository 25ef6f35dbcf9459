"""The command line: one module a command, registered here.

Exit codes: 0 nothing failed, 1 something failed, 2 usage, 5 nothing found to check.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gradverify import __version__
from gradverify.cli import again, audit, check, converge, flow, fuzz, report, selftest

app = typer.Typer(
    name="gradverify",
    help="Verdicts on gradients: pass, fail or inconclusive, decided by measured error, not a tolerance.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 nothing failed, 1 something failed, 2 usage, 5 nothing found to check.",
)

# A command's module loads typer and nothing else until the command runs: help and completion stay instant.
app.command("audit", help=audit.HELP)(audit.audit)
app.command("check", help=check.HELP)(check.check)
app.command("converge", help=converge.HELP)(converge.converge)
app.command("again", help=again.HELP)(again.again)
app.command("flow", help=flow.HELP)(flow.flow)
app.command("fuzz", help=fuzz.HELP)(fuzz.fuzz)
app.command("report", help=report.HELP)(report.report)
app.command("selftest", help=selftest.HELP)(selftest.selftest)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"gradverify {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda value: _version(wanted=value),
            is_eager=True,
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


def main() -> None:
    """Run the command line; what the console script calls."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a name in any script must not end the run
    app()
