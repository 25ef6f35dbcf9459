"""What a pass costs: `search="none"` on networks of a million parameters, in units of one forward plus backward.

    python benchmarks/cost.py

Writes reports/cost.md. CPU seconds of one thread, medians; gradcheck's fast and slow mode in the same run, on the
same `nn.Module` in float64; memory is the growth of the resident set while a check runs, in copies of the parameters.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import gradverify as gv

torch.set_num_threads(1)


def median(run: Callable[[], Any], times: int = 5) -> float:
    """CPU seconds."""
    seconds = []
    for _ in range(times):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return float(np.median(seconds))


def resident() -> int:
    """Bytes in memory now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def peak(run: Callable[[], Any]) -> int:
    """By how much the resident set grows at most."""
    before, highest, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(5e-4):
            highest[0] = max(highest[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return max(highest[0] - before, 0)


def network(width: int, depth: int, act: type[nn.Module]) -> nn.Module:
    """A multilayer perceptron in float64: two parameter tensors a layer."""
    torch.manual_seed(0)
    return nn.Sequential(*[part for _ in range(depth) for part in (nn.Linear(width, width), act())]).double()


def functional(net: nn.Module, x: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The same for gradcheck."""
    names = [name for name, _ in net.named_parameters()]

    def call(x: Any, *params: Any) -> Any:
        return torch.func.functional_call(net, dict(zip(names, params, strict=True)), (x,))

    return call, (x.clone().requires_grad_(), *net.parameters())


def torch_row(width: int, depth: int, act: type[nn.Module], batch: int, *, slow: bool = False) -> str:
    """One network of PyTorch."""
    net, x = network(width, depth, act), torch.randn(batch, width, dtype=torch.float64)
    count = sum(p.numel() for p in net.parameters())

    def both() -> None:
        net.zero_grad()
        net(x).sum().backward()

    call, tensors = functional(net, x)
    unit = median(both, 15)
    report = gv.check(net, x, search="none")
    own = median(lambda: gv.check(net, x, search="none"))
    peer = median(lambda: torch.autograd.gradcheck(call, tensors, fast_mode=not slow), 1 if slow else 3)
    grown = peak(lambda: gv.check(net, x, search="none")) / (8 * count)
    name = f"PyTorch, {act.__name__}, {2 * depth} tensors, {count:,} parameters"
    memory = f"{grown:.1f}" if count > 500_000 else ""
    return (f"| {name} | {report.verdict} | {1e3 * unit:.2f} | {1e3 * own:.0f} | {own / unit:.1f} | {memory} | "
            f"{'slow' if slow else 'fast'}: {1e3 * peer:.0f} ms, {peer / own:.1f} x ours |")


class Perceptron:
    """A network in NumPy with a backward of its own."""

    def __init__(self, width: int, depth: int) -> None:
        rng = np.random.default_rng(0)
        self.params = {f"W{i}": rng.standard_normal((width, width)) / np.sqrt(width) for i in range(depth)}
        self.params |= {f"b{i}": np.zeros(width) for i in range(depth)}
        self.depth = depth

    def forward(self, x: Any) -> Any:
        self.kept = [x]
        for i in range(self.depth):
            x = np.tanh(x @ self.params[f"W{i}"] + self.params[f"b{i}"])
            self.kept.append(x)
        return x

    def backward(self, dy: Any) -> Any:
        self.grads = {}
        for i in reversed(range(self.depth)):
            dy = dy * (1 - self.kept[i + 1] ** 2)
            self.grads[f"W{i}"], self.grads[f"b{i}"] = self.kept[i].T @ dy, dy.sum(axis=0)
            dy = dy @ self.params[f"W{i}"].T
        return dy


def numpy_row(width: int, depth: int, batch: int) -> str:
    """One network in NumPy."""
    net, x = Perceptron(width, depth), np.random.default_rng(1).standard_normal((batch, width))
    dy = np.ones((batch, width))

    def both() -> None:
        net.forward(x)
        net.backward(dy)

    unit = median(both, 15)
    report = gv.check(net, x, search="none")
    own = median(lambda: gv.check(net, x, search="none"), 3)
    count = sum(p.size for p in net.params.values())
    grown = peak(lambda: gv.check(net, x, search="none")) / (8 * count)
    return (f"| NumPy, {2 * depth} leaves, {count:,} parameters | {report.verdict} | {1e3 * unit:.2f} | {1e3 * own:.0f} | "
            f"{own / unit:.1f} | {grown:.1f} | |")


def main() -> None:
    """Measure, and write the page."""
    lines = ["# What a pass costs", "", "`python benchmarks/cost.py`", "", "CPU time of one thread, medians; a check is `gv.check`",
             'with `search="none"`, forward mode included. The unit is one forward plus backward.', "",
             "| network | verdict | unit, ms | check, ms | check / unit | memory, copies of the parameters | gradcheck |",
             "|---|---|---|---|---|---|---|"]
    rows: list[Callable[[], str]] = [
        lambda: torch_row(285, 12, nn.ReLU, 32), lambda: torch_row(285, 12, nn.Tanh, 32),
        lambda: torch_row(31, 10, nn.Tanh, 4, slow=True), lambda: numpy_row(445, 5, 64), lambda: numpy_row(100, 100, 64),
    ]
    for row in rows:
        lines.append(row())
        print(lines[-1], flush=True)
        Path("reports/cost.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
