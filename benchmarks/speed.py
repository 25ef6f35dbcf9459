"""What an oracle costs, in forwards: processor time, the smallest of several runs in turn.

    python benchmarks/speed.py

Writes reports/speed.md. A run is one evaluation of the forward in the oracle's arithmetic; an estimate takes
several, so that it knows its own error.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: threads that wait are counted as processor time

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, seed, settings

from gradverify.arithmetic.complextable import Watch
from gradverify.arithmetic.quadarray import quadruple
from gradverify.arrays import Arrays, dot
from gradverify.oracles.certified import certified, enclose
from gradverify.oracles.complexstep import _Question as Question
from gradverify.oracles.complexstep import complex_step
from gradverify.oracles.finite import finite
from gradverify.oracles.line import Line
from gradverify.oracles.multiprecision import multiprecision
from gradverify.oracles.quad import quad
from gradverify.strategies import cases

REPORT = Path(__file__).parents[1] / "reports" / "speed.md"
WIDE = (100, 100)
STEP = 2.0**-200
ROUNDS = 15
LONG = 4e-3  # seconds


@dataclass(frozen=True)
class Asked:
    """One forward and one question about it."""

    name: str
    forward: Callable[[Arrays], Arrays]
    point: Arrays
    u: Arrays
    v: Arrays

    def along(self, t: float) -> float:
        moved = {name: x + t * self.v[name] for name, x in self.point.items()}
        return dot(self.forward(moved), self.u)


def elementwise(name: str, f: Callable[[Any], Any]) -> Asked:
    rng = np.random.default_rng(0)
    x, u, v = (rng.normal(size=WIDE) for _ in range(3))
    return Asked(name, lambda p: {"y": f(p["x"])}, {"x": x}, {"y": u}, {"x": v})


def mlp(*sizes: int, batch: int) -> Asked:
    rng = np.random.default_rng(0)
    point = {"x": rng.normal(size=(batch, sizes[0]))}
    point |= {f"w{i}": rng.normal(size=s) / np.sqrt(s[0]) for i, s in enumerate(pairwise(sizes))}

    def forward(p: Arrays) -> Arrays:
        y = p["x"]
        for i in range(len(sizes) - 1):
            y = np.tanh(y @ p[f"w{i}"])
        return {"y": y}

    v = {name: rng.normal(size=x.shape) for name, x in point.items()}
    name = f"MLP {'-'.join(map(str, sizes))}, batch {batch}"
    return Asked(name, forward, point, {"y": rng.normal(size=(batch, sizes[-1]))}, v)


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def layer_norm(x: Any) -> Any:
    return (x - np.mean(x, axis=-1, keepdims=True)) / np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-5)


ASKED = (
    elementwise("tanh of 10,000", np.tanh), elementwise("softplus of 10,000", lambda x: np.log1p(np.exp(x))),
    elementwise("GELU (tanh) of 10,000", lambda x: 0.5 * x * (1 + np.tanh(0.79788 * (x + 0.044715 * x * x * x)))),
    elementwise("softmax of 100 rows", softmax), elementwise("layer norm of 100 rows", layer_norm),
    mlp(64, 128, 64, batch=32), mlp(256, 256, 256, batch=64),
)


def clock(*runs: Callable[[], object]) -> list[float]:
    """The least processor time of each, asked in turn so that all meet the same machine."""
    least = [np.inf] * len(runs)
    times = [_times(run) for run in runs]
    for _ in range(ROUNDS):
        for k, run in enumerate(runs):
            run()  # once to fill the caches
            started = time.process_time()
            for _ in range(times[k]):
                run()
            least[k] = min(least[k], (time.process_time() - started) / times[k])
    return least


def _times(run: Callable[[], object]) -> int:
    """How often to run it, so that a measurement is long beside the clock's ticks."""
    run()
    started = time.process_time()
    run()
    return max(1, min(200, int(LONG / max(time.process_time() - started, 1e-7))))


def costs(asked: Asked) -> list[str]:
    """A row: a plain forward, and what each oracle takes in units of it."""
    question = Question(asked.forward, asked.point, asked.u, asked.v)
    small = sum(np.size(x) for x in asked.point.values()) < 50_000
    line, numbers = Line(asked.forward, asked.point, asked.u, asked.v), quadruple()
    plain, one, numpys, whole, native, single = clock(
        lambda: asked.forward(asked.point), lambda: question.run(STEP, Watch()),
        lambda: asked.forward({name: x + 1j * STEP * asked.v[name] for name, x in asked.point.items()}),
        lambda: complex_step(asked.forward, asked.point, asked.u, asked.v), lambda: finite(asked.along, require=1e-6),
        (lambda: line.at(numbers, None)) if small else (lambda: None),
    )
    estimate = clock(lambda: quad(asked.forward, asked.point, asked.u, asked.v))[0] if small else np.nan
    return [asked.name, f"{plain * 1e3:.3f}", f"{native / plain:.0f}", f"{one / plain:.2f}", f"{numpys / plain:.1f}", f"{whole / plain:.0f}",
            f"{single / plain:.0f}" if small else "", f"{estimate:.2f}" if small else ""]


HEAD = ("forward", "ms", "finite differences to 1e-6", "complex step, one run", "NumPy's complex128, one run",
        "complex step, estimate", "quad, one run", "quad, estimate, s")


def certify() -> str:
    asked = mlp(32, 32, 32, 8, batch=4)
    question = (asked.forward, asked.point, asked.u, asked.v)
    ball = enclose(Line(*question), bits=128).ball
    certified_s, mpmath_s = clock(lambda: certified(*question), lambda: multiprecision(*question))
    return (f"Certified, {asked.name}: relative radius {float(ball.rad() / abs(ball)):.1e} at 128 bits, an estimate in "
            f"{certified_s:.2f} s; mpmath at 50 digits and more in {mpmath_s:.2f} s.")


def drawn(count: int = 500) -> str:
    """Networks drawn by Hypothesis and run forward."""
    ran = []

    @seed(0)
    @settings(max_examples=count, deadline=None, database=None, derandomize=False)
    @given(cases())
    def run(case: Any) -> None:
        with np.errstate(all="ignore"):
            case.architecture.build().forward(case.params(), case.x())
        ran.append(1)

    started = time.process_time()
    run()
    return f"{len(ran)} random networks drawn and run, {len(ran) / (time.process_time() - started):.0f} a second."


def settle_allocator() -> None:
    """A large array made and dropped, as in any longer program: until then glibc returns each array freed at once."""
    np.ones(2_000_000)


def main() -> None:
    settle_allocator()
    rows = [HEAD, ("---",) * len(HEAD), *(costs(asked) for asked in ASKED)]
    machine = f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} cores, others at work"
    lines = ["# What an oracle costs", "", f"`python benchmarks/speed.py` on {machine}: processor time in forwards.", "",
             *("| " + " | ".join(row) + " |" for row in rows), "", certify(), "", drawn(), ""]
    REPORT.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
