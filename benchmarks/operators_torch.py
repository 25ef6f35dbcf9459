"""Operators and modules of PyTorch, each checked at a point of its own, beside gradcheck in the same run.

    python benchmarks/operators_torch.py [--only NAME]

Writes reports/operators-torch.md. gradcheck is asked in its slow and its fast mode with its defaults, in float64,
and for every fourth operator all three are asked again with the gradient of the first input made wrong: every entry
5e-4 too large, and one entry 20 % too large.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from operatortables import Outcome, Row, judge, write
from torch import nn
from torch.autograd.gradcheck import GradcheckError
from torch_rows import all_rows

warnings.simplefilter("ignore")
torch.set_num_threads(1)

COLUMNS = ("gradcheck slow", "s", "fast", "s", "5e-4 too large: gradverify, slow, fast", "one entry 20 %: the same")


class Enlarged(torch.autograd.Function):
    """The identity with a gradient that is made wrong on its way back."""

    @staticmethod
    def forward(ctx: Any, x: Any, change: Any) -> Any:
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return ctx.change(dy), None


def everywhere(dy: Any) -> Any:
    """5e-4 too large."""
    return dy * 1.0005


def somewhere(dy: Any) -> Any:
    """The largest entry, 20 % too large."""
    flat = dy.reshape(-1).clone()
    i = flat.abs().argmax()
    flat[i] = flat[i] * 1.2
    return flat.reshape(dy.shape)


def planted(row: Row, change: Callable[[Any], Any]) -> Row:
    """The same operator with the gradient of its first input made wrong."""

    def target(*inputs: Any) -> Any:
        first, *rest = inputs
        return row.target(Enlarged.apply(first, change), *rest)

    return Row(row.name, target, row.inputs)


def functional(row: Row) -> tuple[Callable[..., Any], list[Any]]:
    """What gradcheck takes: a function of tensors, parameters among them."""
    params = dict(row.target.named_parameters()) if isinstance(row.target, nn.Module) else {}

    def call(*tensors: Any) -> Any:
        inputs, values = tensors[: len(row.inputs)], tensors[len(row.inputs) :]
        torch.manual_seed(0)  # or dropout would be another function at every call
        if params:
            return torch.func.functional_call(row.target, dict(zip(params, values, strict=True)), inputs)
        return row.target(*inputs)

    given = [x.detach().clone().requires_grad_(x.is_floating_point() or x.is_complex()) for x in row.inputs]
    return call, given + [p.detach().clone().requires_grad_() for p in params.values()]


def gradcheck(row: Row, *, fast: bool) -> tuple[str, float]:
    """``passes``, ``fails`` or what it raises, and its CPU seconds."""
    started = time.process_time()
    try:
        call, tensors = functional(row)
        torch.autograd.gradcheck(call, tensors, fast_mode=fast)
        said = "passes"
    except GradcheckError:
        said = "fails"
    except Exception as error:  # it refuses some operators in its own way
        said = type(error).__name__
    return said, time.process_time() - started


def wrong(row: Row, change: Callable[[Any], Any]) -> str:
    """What all three say of the gradient made wrong."""
    bad = planted(row, change)
    bad_module = Row(row.name, bad.target, bad.inputs)
    verdict = judge(bad, mode="reverse").verdict
    return ", ".join((verdict, *(gradcheck(bad_module, fast=fast)[0] for fast in (False, True))))


def outcome(row: Row, number: int) -> Outcome:
    """One line of the table."""
    own = judge(row)
    slow, fast = gradcheck(row, fast=False), gradcheck(row, fast=True)
    differentiable = row.inputs[0].is_floating_point()
    plants = [wrong(row, change) for change in (everywhere, somewhere)] if number % 4 == 0 and differentiable else ["", ""]
    beside = (slow[0], f"{slow[1]:.2f}", fast[0], f"{fast[1]:.2f}", *plants)
    return Outcome(own.name, own.verdict, own.told, own.seconds, beside)


def notes(outcomes: list[Outcome]) -> list[str]:
    """The three compared in numbers."""
    total = sum(o.seconds for o in outcomes)
    slow, fast = (sum(float(o.beside[k]) for o in outcomes) for k in (1, 3))
    alarms = [sum(o.beside[k] != "passes" and o.verdict == "pass" for o in outcomes) for k in (0, 2)]
    lines = [f"CPU time: gradverify {total:.0f} s (forward mode included), gradcheck slow {slow:.0f} s, fast {fast:.0f} s.",
             f"Right gradients not passed by gradcheck: slow {alarms[0]}, fast {alarms[1]}."]
    for k, what in ((4, "every entry 5e-4 too large"), (5, "one entry 20 % too large")):
        said = [o.beside[k].split(", ") for o in outcomes if o.beside[k]]
        caught = [sum(one[i] in ("fail", "fails") for one in said) for i in range(3)]
        lines.append(f"Of {len(said)} gradients with {what}: gradverify fails {caught[0]}, gradcheck slow {caught[1]}, "
                     f"fast {caught[2]}.")
    return [line + "\n" for line in lines]


def main() -> None:
    """Run every row and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name contains this; nothing is written")
    only = parser.parse_args().only
    rows = [row for row in all_rows() if only in row.name]
    outcomes = []
    for number, row in enumerate(rows):
        outcomes.append(judge(row) if only else outcome(row, number))
        print(outcomes[-1], flush=True)
    if not only:
        write(Path("reports/operators-torch.md"), "Operators and modules of PyTorch", "python benchmarks/operators_torch.py",
              [f'PyTorch {torch.__version__}, float64, `search="none"`, one thread.\n', *notes(outcomes)], outcomes,
              {row.name: row for row in rows}, COLUMNS)


if __name__ == "__main__":
    main()
