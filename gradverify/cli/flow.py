"""``gradverify flow``: does the gradient get back through a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from gradverify.cli import options as given
from gradverify.cli.outcome import Sinks, UsageError, deliver, leave, refusing

HELP = """Whether the gradient gets back through a network: vanishing, exploding, dead, saturated, or healthy.

OBJECT is module:object or file.py:object: a PyTorch module, a class of one ('nets:Net(64)'), a function without
parameters that makes one, or a network of gradverify.reference, whose parameters are drawn. Inputs as for
[bold]gradverify check[/bold].

[bold]Examples[/bold]

  gradverify flow 'nets:Net(64)' --input x=float32\\[32,16]

  gradverify flow nets:make_network --input x=float64\\[32,16] --optimizer adam --html flow.html
"""


def flow(
    *,
    network: given.Target,
    inputs: given.Inputs = None,
    optimizer: Annotated[str, typer.Option(help="Who uses the gradient: sgd, momentum, adam ...")] = "sgd",
    seed: given.Seed = 0,
    json: given.Json = None,
    html: given.Html = None,
) -> None:
    """Measure it, show the report, and leave with 1 unless it is healthy."""
    with refusing():
        report = measured(network, inputs or [], optimizer, seed)
    deliver(report, Sinks(json, html), lambda: typer.echo(str(report)))
    leave(failed=not report.ok)


def measured(network: str, inputs: Sequence[str], optimizer: str, seed: int) -> Any:
    """The report for words of the command line; UsageError for what makes no sense."""
    import numpy as np

    from gradverify.cli.single import native
    from gradverify.cli.values import instance_of, read_inputs, resolve
    from gradverify.flow.checking import check_flow

    values = read_inputs(inputs, seed)
    obj = instance_of(resolve(network))
    if isinstance(obj, type) or not values:
        raise UsageError(f"{network}: give an instance and at least one --input")
    own = (obj.init(np.random.default_rng(seed)),) if hasattr(obj, "pushforward") else ()
    try:
        return check_flow(obj, *own, *(native(obj, v) for v in values.values()), optimizer=optimizer, seed=seed)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
