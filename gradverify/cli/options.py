"""Options that several commands take, each with one spelling and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[
    Path | None,
    typer.Option("--json", help="Write the report as JSON; - prints it instead of the report.", dir_okay=False),
]
Html = Annotated[Path | None, typer.Option("--html", help="Write the report as one page.", dir_okay=False)]
Strict = Annotated[
    bool, typer.Option("--strict", help="What is inconclusive or was not tried counts as failed.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only what failed, and the last line.")]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input, in any order.")
]
Target = Annotated[str, typer.Argument(metavar="OBJECT", help="module:object or file.py:object")]
Derivative = Annotated[str | None, typer.Option(metavar="OBJECT", help="Its elementwise derivative.")]
Gradient = Annotated[str | None, typer.Option(metavar="OBJECT", help="Its gradient; its output is a scalar.")]
Jacobian = Annotated[str | None, typer.Option(metavar="OBJECT", help="Its Jacobian.")]
Backward = Annotated[str | None, typer.Option(metavar="OBJECT", help="backward(dout, cache) of a forward.")]
Wrt = Annotated[list[str] | None, typer.Option(metavar="LEAF", help="Only these leaves; may be repeated.")]
Order = Annotated[int, typer.Option(help="1, 2 or 3: the highest derivative.")]
Mode = Annotated[str, typer.Option(help="auto, reverse, forward or both.")]
Require = Annotated[float | None, typer.Option(help="The relative error that a pass must exclude.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Worker processes.")]
Dask = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Scheduler of a Dask cluster.")]
