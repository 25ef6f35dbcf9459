"""``gradverify again``: a saved failure, at the very point where it failed."""

from __future__ import annotations

from typing import Annotated

import typer

from gradverify.cli.options import Html, Json, Quiet, Strict
from gradverify.cli.outcome import Sinks, finish, refusing

HELP = """Run a saved failure again, at the very point where it failed.

[bold]Examples[/bold]

  gradverify again 3f9a1c07

  gradverify again 3f9a1c07 --html failure.html
"""


def again(
    *,
    name: Annotated[
        str, typer.Argument(metavar="ID", help="What the report of the failure says after 'again'.")
    ],
    json: Json = None,
    html: Html = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Run it again, show the report, and leave by its verdict."""
    from gradverify.cli.single import rerun

    with refusing():
        report = rerun(name)
    finish(report, Sinks(json, html, quiet), strict=strict)
