"""``gradverify check``: one object at given inputs."""

from __future__ import annotations

from typing import Annotated

import typer

from gradverify.cli import options as given
from gradverify.cli.outcome import Sinks, finish, refusing

HELP = """Check one object at given inputs.

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


def check(
    *,
    target: given.Target,
    inputs: given.Inputs = None,
    derivative: given.Derivative = None,
    gradient: given.Gradient = None,
    jacobian: given.Jacobian = None,
    backward: given.Backward = None,
    wrt: given.Wrt = None,
    order: given.Order = 1,
    mode: given.Mode = "auto",
    search: Annotated[str, typer.Option(help="none, quick or deep.")] = "quick",
    require: given.Require = None,
    seed: given.Seed = 0,
    json: given.Json = None,
    html: given.Html = None,
    strict: given.Strict = False,
    quiet: given.Quiet = False,
) -> None:
    """Check the object, show the report, and leave by its verdict."""
    from gradverify.cli.single import judge

    claims = {"derivative": derivative, "gradient": gradient, "jacobian": jacobian, "backward": backward}
    options = {
        "wrt": wrt or None, "order": order, "mode": mode, "search": search, "require": require, "seed": seed,
    }  # fmt: skip
    with refusing():
        report = judge(target, inputs or [], claims, options)
    finish(report, Sinks(json, html, quiet), strict=strict)
