"""``gradverify fuzz``: a deep search of one object, round after round, until something is wrong or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradverify.cli import options as given
from gradverify.cli.outcome import Sinks, UsageError, finish, refusing

if TYPE_CHECKING:
    from gradverify.records import Check, Report

HELP = """Search one object deeply for inputs at which its gradient is wrong.

Every round draws other inputs and varies their values, memory layouts and shapes; what fails is made as simple
as it gets, and the search ends. Ctrl-C ends it too, with what was seen so far.
OBJECT and the inputs are those of 'gradverify check'.

[bold]Examples[/bold]

  gradverify fuzz layers:swish --derivative swish_prime --input x=float64\\[20]

  gradverify fuzz 'layers:Dense(3, 7)' --input x=float64\\[5,3] --time 60

  gradverify fuzz layers:relu --derivative relu_prime --input x=float64\\[4,4] --rounds 200 --json fuzz.json
"""
Judge = Callable[[int], "Report"]
Tick = Callable[[int], object]


def fuzz(
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
    require: given.Require = None,
    rounds: Annotated[int, typer.Option("--rounds", "-n", min=1, help="How many rounds at most.")] = 20,
    seconds: Annotated[
        float | None, typer.Option("--time", min=0.1, help="Start no round after so many seconds.")
    ] = None,
    seed: given.Seed = 0,
    jobs: given.Jobs = 1,
    dask: given.Dask = None,
    json: given.Json = None,
    html: given.Html = None,
    strict: given.Strict = False,
    quiet: given.Quiet = False,
) -> None:
    """Search, show what was found or how far it came, and leave by the verdict."""
    claims = {"derivative": derivative, "gradient": gradient, "jacobian": jacobian, "backward": backward}
    chosen = {"wrt": wrt or None, "order": order, "mode": mode, "require": require, "search": "deep"}

    one = partial(_judged, target, tuple(inputs or ()), claims, chosen, seed)
    sinks = Sinks(json, html, quiet)
    with refusing(), _progress(rounds, shown=sinks.progress) as tick:
        report = search(one, rounds, seconds, tick, jobs, dask)
    finish(report, sinks, strict=strict)


def _judged(
    target: str, inputs: tuple[str, ...], claims: dict[str, str | None], chosen: dict[str, Any], seed: int, number: int
) -> Report:
    from gradverify.cli.single import judge

    return judge(target, inputs, claims, {**chosen, "seed": seed + number})


def search(
    judge: Judge, rounds: int, seconds: float | None, tick: Tick, jobs: int = 1, dask: str | None = None
) -> Report:
    """The first failure, or all rounds in one report: each check as bad as it ever was.

    Only the first round is at inputs that the user described down to their seed; where a later one
    leaves the domain or decides nothing it is counted as skipped.
    """
    from gradverify.sharing import each

    started, whole = time.monotonic(), judge(0)
    done, later = 1, each(partial(_again, judge), range(1, rounds), jobs, dask)
    try:
        while done < rounds and _may_go_on(whole, started, seconds):
            tick(done)
            whole = _with(whole, next(later), done)
            done += 1
    except KeyboardInterrupt:
        return replace(whole, notes=(*whole.notes, f"interrupted after {done} of {rounds} rounds"))
    finally:
        later.close()
    return replace(whole, notes=(*whole.notes, f"a deep search of {done} of {rounds} rounds"))


def _may_go_on(whole: Report, started: float, seconds: float | None) -> bool:
    from gradverify.records import Verdict

    in_time = seconds is None or time.monotonic() - started < seconds
    return in_time and whole.verdict is not Verdict.FAIL


def _again(judge: Judge, number: int) -> Report | None:
    try:
        return judge(number)
    except UsageError:  # the forward refuses what was drawn for it
        return None


def _with(whole: Report, more: Report | None, number: int) -> Report:
    from gradverify.records import Verdict

    if more is not None and more.verdict is Verdict.FAIL:
        return more
    if more is None or not more.ok:
        return replace(whole, skipped=(*whole.skipped, f"round {number}"))
    return replace(
        whole, checks=_worst(whole.checks, more.checks), forwards=whole.forwards + more.forwards,
        backwards=whole.backwards + more.backwards, seconds=whole.seconds + more.seconds,
    )  # fmt: skip


def _worst(first: tuple[Check, ...], second: tuple[Check, ...]) -> tuple[Check, ...]:
    """The checks of the first report, each with the coarsest resolution that it had in either."""
    others = {_key(check): check for check in second}
    return tuple(_coarser(check, others.get(_key(check))) for check in first)


def _key(check: Check) -> tuple[Any, ...]:
    return check.wrt, check.output, check.order, check.mode, check.regime


def _coarser(check: Check, other: Check | None) -> Check:
    return other if other is not None and check.ok and other.resolution > check.resolution else check


@contextmanager
def _progress(rounds: int, *, shown: bool) -> Iterator[Tick]:
    """Rounds, their rate and the time left, on a terminal; nothing where standard error is not one."""
    from gradverify.cli.screen import bar

    with bar("searching", shown=shown) as (progress, task):
        progress.update(task, total=rounds)
        yield lambda done: progress.update(task, completed=done)
