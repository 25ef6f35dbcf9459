"""What must fail fails, what must not fail does not: the cases of the first milestone, many seeds, beside gradcheck.

    python benchmarks/first_light.py [--seeds 200]

Writes reports/first-light.md. The peer is `torch.autograd.gradcheck` on the same formulas in float64, where
PyTorch is installed and the case can be put to it.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gradverify as gv

sys.path.insert(0, str(Path(__file__).parents[1]))  # the same formulas as the tests

from tests.formulas import layernorm, layernorm_vjp, sigmoid, softmax, softmax_vjp

RNG = np.random.default_rng(11)
X = RNG.normal(size=(4, 6))


def saved(f):
    def forward(x):
        y = f(x)
        return y, y

    return forward


TANH = gv.pair(saved(np.tanh), lambda dy, y: dy * (1 - y * y))
SIGMOID = gv.pair(saved(sigmoid), lambda dy, y: dy * y * (1 - y))
RELU = gv.function(lambda x: np.maximum(x, 0), derivative=lambda x: (x > 0).astype(float))
LAYERNORM = gv.function(layernorm, vjp=layernorm_vjp)
SOFTMAX = gv.function(softmax, vjp=softmax_vjp)


@dataclass(frozen=True)
class Row:
    note: str
    wrong: bool
    target: Any
    x: Any
    torch_module: Callable[[], Any] | None = None
    seeds: int = 5


def rows() -> list[Row]:
    wrong = [
        Row("exp with a factor 1 + 1e-7", True, gv.function(np.exp, derivative=lambda x: (1 + 1e-7) * np.exp(x)), X),
        Row("1e-9 x^3, sign flipped", True, gv.function(lambda x: 1e-9 * x**3, derivative=lambda x: -3e-9 * x**2), X),
        Row("LayerNorm, eps forgotten", True, gv.function(layernorm, vjp=lambda x, dy: layernorm_vjp(x, dy, 0.0)), X),
    ]
    right = [
        Row("relu at zeros(5)", False, RELU, np.zeros(5), seeds=0),
        Row("relu at zeros(50)", False, RELU, np.zeros(50), seeds=0),
        Row("abs at 0", False, gv.function(np.abs, derivative=np.sign), 0.0),
        Row("1e6 sin", False, gv.function(lambda x: 1e6 * np.sin(x), derivative=lambda x: 1e6 * np.cos(x)), X),
        Row("sin(1e4 x)", False, gv.function(lambda x: np.sin(1e4 * x), derivative=lambda x: 1e4 * np.cos(1e4 * x)), X),
        Row("LayerNorm through np.var", False, LAYERNORM, X),
        *[Row(f"tanh at {x:g}", False, TANH, np.full(3, x)) for x in (5.0, 12.0, 20.0, 40.0)],
        *[Row(f"sigmoid at {x:g}", False, SIGMOID, np.full(3, x)) for x in (5.0, 12.0, 20.0, 40.0, -40.0)],
        *[
            Row(f"{name} in float32", False, target, X.astype(np.float32))
            for name, target in (("tanh", TANH), ("LayerNorm", LAYERNORM), ("softmax", SOFTMAX))
        ],
    ]
    return wrong + right + torch_rows()


def torch_rows() -> list[Row]:
    try:
        import torch
    except ImportError:
        return []
    x = torch.tensor(X, dtype=torch.float32)
    zeros = torch.zeros(5, dtype=torch.float64)
    return [
        Row("torch: tanh in float32", False, torch.tanh, x),
        Row("torch: LayerNorm in float32", False, torch.nn.LayerNorm(6), x),
        Row("torch: softmax in float32", False, torch.nn.Softmax(-1), x),
        Row("torch: relu at zeros(5)", False, torch.nn.ReLU(), zeros),
        Row("torch: tanh at 5, 12, 20, 40", False, torch.tanh, torch.tensor([5.0, 12, 20, 40], dtype=torch.float64)),
    ]


def gradcheck(row: Row) -> str:
    """What torch's gradcheck says of the torch rows: the same callable, the same point, its defaults."""
    if not row.note.startswith("torch"):
        return ""
    import torch

    try:
        torch.autograd.gradcheck(row.target, (row.x.clone().requires_grad_(),))
    except Exception as error:  # a failed gradcheck is an exception, whatever its type
        return f"fails ({type(error).__name__})"
    return "passes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="seeds of the kink rows; the others get five")
    seeds = parser.parse_args().seeds
    lines = ["# First light", "", "`python benchmarks/first_light.py`", "",
             "| case | must | verdicts | cause or resolution | seconds a check | torch gradcheck |", "|---|---|---|---|---|---|"]
    broken = 0
    for row in rows():
        started, count = time.perf_counter(), row.seeds or seeds
        reports = [gv.check(row.target, row.x, seed=seed) for seed in range(count)]
        verdicts = collections.Counter(str(r.verdict) for r in reports)
        ok = set(verdicts) == {"fail"} if row.wrong else "fail" not in verdicts
        broken += not ok
        first = reports[0].checks[0]
        told = first.causes[0].name if first.causes else f"{max(c.resolution for c in reports[0].checks):.0e}"
        said = ", ".join(f"{n} {v}" for v, n in verdicts.items())
        each = (time.perf_counter() - started) / count
        lines.append(f"| {row.note} | {'fail' if row.wrong else 'not fail'} | {said} | {told} | {each:.2f} | {gradcheck(row)} |")
        print(lines[-1], flush=True)
    lines += ["", f"{broken} cases broken."]
    Path("reports/first-light.md").write_text("\n".join(lines) + "\n")
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
