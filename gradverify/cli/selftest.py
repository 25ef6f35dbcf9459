"""``gradverify selftest``: the reference on trial, or a bug planted in it and hunted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from gradverify.cli import options as given
from gradverify.cli.outcome import Sinks, deliver, leave

if TYPE_CHECKING:
    from gradverify.selftest import Tally

HELP = """Judge the gradients of random networks: layers, losses and points of the reference, by complex step.

Stops at the first failure and shrinks it to the smallest network. With --mutate a bug is planted in a pullback
first: exit code 0 then says that it was found. With --against the same networks are built in that framework too,
and all gradients compared pair by pair.

[bold]Examples[/bold]

  gradverify selftest --examples 2000

  gradverify selftest --time 60 --seed 7 --jobs 4 --json selftest.json

  gradverify selftest --mutate --seed 3

  gradverify selftest --against torch --against jax --examples 100
"""
POOL = 400  # networks on which a mutant must be shown to be wrong before it counts


def selftest(
    *,
    examples: Annotated[int, typer.Option("--examples", "-n", min=1, help="How many networks.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    time: Annotated[float | None, typer.Option(min=0.1, help="Stop after so many seconds.")] = None,
    mutate: Annotated[bool, typer.Option("--mutate", help="Plant a bug, find it and shrink it.")] = False,
    against: Annotated[list[str] | None, typer.Option(help="torch, jax, keras: compare with it; repeatable.")] = None,
    jobs: given.Jobs = 1,
    dask: given.Dask = None,
    json: given.Json = None,
    html: given.Html = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Run it, print what was seen, and leave with 1 where something failed."""
    if against:
        raise typer.Exit(0 if _agreed(against, examples, seed, shown=not quiet) else 1)
    if mutate:
        raise typer.Exit(0 if _hunted(min(examples, 200), seed) else 1)
    from gradverify import selftest as reference_on_trial

    sinks = Sinks(json, html, quiet)
    with _progress(examples, shown=sinks.progress) as tick:
        report = reference_on_trial.selftest(examples, seed, time, tick, jobs=jobs, dask=dask)
    deliver(report, sinks, lambda: typer.echo(str(report)))
    leave(failed=report.failure is not None)


def _agreed(against: list[str], examples: int, seed: int, *, shown: bool) -> bool:
    """Whether the reference and the frameworks agree about every network drawn."""
    from gradverify.cli.screen import bar
    from gradverify.selftest.crossing import cross_examine

    with bar("comparing", shown=shown) as (line, task):
        line.update(task, total=examples)
        try:
            report = cross_examine(against, examples, seed, lambda n: line.update(task, completed=n))
        except (ValueError, ModuleNotFoundError) as error:
            raise typer.BadParameter(str(error)) from error
    typer.echo(str(report))
    return report.ok


def _hunted(examples: int, seed: int) -> bool:
    """Whether the first mutant of this seed that is a bug at all was found."""
    from gradverify.selftest import hunt, make_pool, shuffled, status

    pool = make_pool(POOL, seed)
    for mutant in shuffled(seed):
        verdict = status(mutant, pool)
        if verdict == "different":
            result = hunt(mutant, examples, seed)
            typer.echo(str(result))
            return result.found
        typer.echo(f"skipped  {mutant}\n         {verdict}: no gradient is wrong by it")
    return False


@contextmanager
def _progress(examples: int, *, shown: bool) -> Iterator[Callable[[Tally], object]]:
    """A bar on the terminal; nothing where standard error is not one."""
    from gradverify.cli.screen import bar

    with bar("judging", shown=shown) as (line, task):
        line.update(task, total=examples)
        yield lambda tally: line.update(task, completed=tally.networks, description=_so_far(tally))


def _so_far(tally: Tally) -> str:
    worst = f", worst {tally.worst.agreement:.0e}" if tally.worst is not None else ""
    return f"pass {tally.verdicts['pass']} of {tally.networks}{worst}"
