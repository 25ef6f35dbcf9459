"""``gradverify converge``: a loss curve in a file, an optimizer, or the Taylor remainders of a target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gradverify.cli import options as given
from gradverify.cli.outcome import FAILED, STDOUT, UsageError, refuse, refusing

HELP = """Does it converge? A loss curve, an optimizer, or a derivative's Taylor remainders.

WHAT is a .csv or .json file with columns loss and perhaps val_loss; or module:object or file.py:object: an optimizer or
step function with --optimizer, a function of (x, y) or of nothing that trains and returns its losses, or, with --input,
a target as for 'gradverify check'.

[bold]Examples[/bold]

  gradverify converge history.csv

  gradverify converge steps.py:adam_step --optimizer --rule adam --rate 0.1

  gradverify converge layers.py:swish --derivative swish_prime --input x=float64\\[20]
"""


def converge(
    *,
    what: Annotated[str, typer.Argument(metavar="WHAT", help="history.csv, module:object or file.py:object")],
    optimizer: Annotated[bool, typer.Option("--optimizer", help="It is an optimizer or a step function.")] = False,
    rule: Annotated[str | None, typer.Option(help="The rule the optimizer is meant to follow: sgd, adam ...")] = None,
    rate: Annotated[float | None, typer.Option(help="The learning rate it is meant to have.")] = None,
    classes: Annotated[int | None, typer.Option(help="Of a classifier: its first loss is held against log C.")] = None,
    inputs: given.Inputs = None,
    derivative: given.Derivative = None,
    gradient: given.Gradient = None,
    backward: given.Backward = None,
    order: Annotated[int, typer.Option(help="1 or 2: the highest derivative.")] = 1,
    seed: given.Seed = 0,
    json: given.Json = None,
    html: given.Html = None,
) -> None:
    """Judge it, show the report, and leave with 1 where it is not as it should be."""
    with refusing(also=ValueError):
        try:
            if inputs:
                claims = {"derivative": derivative, "gradient": gradient, "backward": backward}
                report = _taylor(what, inputs, claims, order, seed)
            else:
                report = _optimizer(what, rule, rate) if optimizer else _training(what, classes)
        except TypeError as error:
            raise UsageError(str(error)) from error
    _deliver(report, json, html)


def _taylor(what: str, inputs: list[str], claims: dict[str, str | None], order: int, seed: int) -> Any:
    from gradverify.cli.single import prepared
    from gradverify.convergence.taylor import check_taylor

    target, values, keywords = prepared(what, inputs, claims, seed)
    return check_taylor(target, *values, order=order, seed=seed, kwargs=keywords or None)


def _optimizer(what: str, rule: str | None, rate: float | None) -> Any:
    from gradverify.cli.values import instance_of, resolve
    from gradverify.convergence.optimizers import check_optimizer

    return check_optimizer(instance_of(resolve(what)), rule=rule, learning_rate=rate)


def _training(what: str, classes: int | None) -> Any:
    from gradverify.cli.values import resolve
    from gradverify.convergence.training import check_training

    found = _read(Path(what)) if Path(what).suffix in (".csv", ".json") else resolve(what).value
    return check_training(found, classes=classes)


def _read(path: Path) -> Any:
    """The columns of a file of losses."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if path.suffix == ".json":
        from json import loads

        return loads(path.read_text(encoding="utf-8"))
    import pandas as pd

    return pd.read_csv(path)


def _deliver(report: Any, json: Path | None, html: Path | None) -> None:
    try:
        if json is not None and json != STDOUT:
            report.to_json(json)
        if html is not None:
            report.to_html(html)
    except OSError as error:
        refuse(f"the report cannot be written: {error}")
    typer.echo(_as_json(report) if json == STDOUT else str(report))
    raise typer.Exit(0 if report.ok or report.verdict == "inconclusive" else FAILED)


def _as_json(report: Any) -> str:
    from json import dumps

    from gradverify.report.sheet import to_dict

    return dumps(to_dict(report.sheet()), allow_nan=False, indent=1)
