"""The command line: ``gradverify audit``, ``check``, ``again`` and ``selftest``.

Exit codes: 0 nothing failed, 1 something failed, 2 usage, 5 nothing found to check.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from gradverify import __version__
from gradverify.cli.selftest import HELP as SELFTEST_HELP
from gradverify.cli.selftest import selftest

FAILED, USAGE, NOTHING = 1, 2, 5

app = typer.Typer(
    name="gradverify",
    help="Verdicts on gradients: pass, fail or inconclusive, decided by measured error, not a tolerance.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 nothing failed, 1 something failed, 2 usage, 5 nothing found to check.",
)

Json = Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.", dir_okay=False)]
Html = Annotated[Path | None, typer.Option("--html", help="Write the report as one page.", dir_okay=False)]
Strict = Annotated[
    bool, typer.Option("--strict", help="What is inconclusive or was not tried counts as failed.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]

_AUDIT_HELP = """Find everything in PATH... that carries a derivative, and check it.

PATH is a file, a folder or a module.
Found by name: classes with forward and backward, functions f_forward and f_backward, f and f_prime.
Code under audit runs in worker processes; no configuration is needed.

[bold]Examples[/bold]

  gradverify audit src/

  gradverify audit layers.py --json audit.json --strict

  gradverify audit mypackage.nn --jobs 4 --quiet
"""

_CHECK_HELP = """Check one object at given inputs.

OBJECT is module:object or file.py:object: a layer, a function with --derivative, a forward with --backward.
'module:Dense(3, 7)' makes an instance; so does a function without parameters.

An input is name=dtype\\[shape] (standard normal; integers are 0 or 1, or below n with <n), name=file.npy,
name=file.npz:key, or name=0.5.

[bold]Examples[/bold]

  gradverify check 'layers:Dense(3, 7)' --input x=float64\\[5,3]

  gradverify check layers:swish --derivative swish_prime --input x=float64\\[20]

  gradverify check layers:conv_forward --backward conv_backward --input x=data.npz:images \
--input w=float64\\[4,3,3,3] --input b=float64\\[4]
"""


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


@app.command("audit", help=_AUDIT_HELP)
def _audit(
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
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only the failures and the last line.")
    ] = False,
) -> None:
    from gradverify.audit import audit
    from gradverify.cli import screen

    try:
        with screen.progress(shown=not quiet) as tick:
            report = audit(*paths, jobs=jobs, seed=seed, timeout=timeout, progress=tick)
    except ValueError as error:
        _refuse(str(error))
    _write(report, json, html)
    if not report.entries:
        typer.echo(f"gradverify: nothing found to check in {', '.join(paths)}", err=True)
        raise typer.Exit(NOTHING)
    screen.show_audit(report, quiet=quiet)
    failed = report.failed or report.interrupted or (strict and not report.ok)
    raise typer.Exit(FAILED if failed and not exit_zero else 0)


@app.command("check", help=_CHECK_HELP)
def _check(
    *,
    target: Annotated[str, typer.Argument(metavar="OBJECT", help="module:object or file.py:object")],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input, in any order.")
    ] = None,
    derivative: Annotated[
        str | None, typer.Option(metavar="OBJECT", help="Its elementwise derivative.")
    ] = None,
    gradient: Annotated[
        str | None, typer.Option(metavar="OBJECT", help="Its gradient; its output is a scalar.")
    ] = None,
    jacobian: Annotated[str | None, typer.Option(metavar="OBJECT", help="Its Jacobian.")] = None,
    backward: Annotated[
        str | None, typer.Option(metavar="OBJECT", help="backward(dout, cache) of a forward.")
    ] = None,
    wrt: Annotated[
        list[str] | None, typer.Option(metavar="LEAF", help="Only these leaves; may be repeated.")
    ] = None,
    order: Annotated[int, typer.Option(help="1, 2 or 3: the highest derivative.")] = 1,
    mode: Annotated[str, typer.Option(help="auto, reverse, forward or both.")] = "auto",
    search: Annotated[str, typer.Option(help="none, quick or deep.")] = "quick",
    require: Annotated[
        float | None, typer.Option(help="The relative error that a pass must exclude.")
    ] = None,
    seed: Seed = 0,
    json: Json = None,
    html: Html = None,
    strict: Strict = False,
) -> None:
    from gradverify.cli.single import judge
    from gradverify.cli.values import UsageError

    claims = {"derivative": derivative, "gradient": gradient, "jacobian": jacobian, "backward": backward}
    options = {
        "wrt": wrt or None,
        "order": order,
        "mode": mode,
        "search": search,
        "require": require,
        "seed": seed,
    }
    try:
        report = judge(target, inputs or [], claims, options)
    except UsageError as error:
        _refuse(str(error))
    _finish(report, json, html, strict=strict)


@app.command("again")
def _again(
    *,
    name: Annotated[
        str, typer.Argument(metavar="ID", help="What the report of the failure says after 'again'.")
    ],
    json: Json = None,
    html: Html = None,
    strict: Strict = False,
) -> None:
    """Run a saved failure again, at the very point where it failed."""
    from gradverify.cli.single import rerun
    from gradverify.cli.values import UsageError

    try:
        report = rerun(name)
    except UsageError as error:
        _refuse(str(error))
    _finish(report, json, html, strict=strict)


app.command("selftest", help=SELFTEST_HELP)(selftest)


def _finish(report: Any, json: Path | None, html: Path | None, *, strict: bool) -> NoReturn:
    from gradverify.cli import screen
    from gradverify.records import Verdict

    _write(report, json, html)
    screen.show_report(report)
    if not report.checks:
        raise typer.Exit(NOTHING)
    failed = report.verdict is Verdict.FAIL or (strict and not report.ok)
    raise typer.Exit(FAILED if failed else 0)


def _write(report: Any, json: Path | None, html: Path | None) -> None:
    try:
        if json is not None:
            report.to_json(json)
        if html is not None:
            report.to_html(html)
    except OSError as error:
        _refuse(f"the report cannot be written: {error}")


def _refuse(message: str) -> NoReturn:
    """One line on standard error, exit code 2."""
    typer.echo(f"gradverify: {' '.join(message.split())}", err=True)
    raise typer.Exit(USAGE)


def main() -> None:
    """Run the command line; what the console script calls."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a name in any script must not end the run
    app()
