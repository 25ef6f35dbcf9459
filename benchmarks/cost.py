"""What a pass costs: `search="none"` on networks of a million parameters, in units of one forward plus backward.

    python benchmarks/cost.py

Writes reports/cost.md. CPU seconds of one thread, medians; gradcheck's fast and slow mode in the same run, on the
same `nn.Module` in float64. Memory is that of a process of its own for each network (`cost.py --memory NAME`): by how much the
largest resident set during a check exceeds the one before it, in copies of the parameters.
"""

from __future__ import annotations

import subprocess
import sys
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


def status(field: str) -> int:
    """Bytes, as Linux counts them for this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def memory(name: str) -> str:
    """By how much a check's largest resident set exceeds the one before it, measured in a process of its own."""
    command = [sys.executable, __file__, "--memory", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def print_memory(name: str) -> None:
    """The other side of `memory`: a small check first, so that whatever loads late has been loaded."""
    make, count = MEMORY[name]
    net, x = make(100, 2, 4)
    gv.check(net, x, search="none")
    net, x = make(*count)
    parameters = net.params.values() if isinstance(net, Perceptron) else net.parameters()
    size = 8 * sum(int(np.prod(p.shape)) for p in parameters)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the largest resident set starts anew
    before = status("VmRSS")
    gv.check(net, x, search="none")
    print(f"{(status('VmHWM') - before) / size:.1f}")


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
    name = f"PyTorch, {act.__name__}, {2 * depth} tensors, {count:,} parameters"
    grown = "" if slow else memory(act.__name__)
    return (f"| {name} | {report.verdict} | {1e3 * unit:.2f} | {1e3 * own:.0f} | {own / unit:.1f} | {grown} | "
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


SECONDS: dict[int, float] = {}  # of a check, by the number of leaves


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
    SECONDS[2 * depth] = own
    return (f"| NumPy layer, {2 * depth} leaves, {count:,} parameters | {report.verdict} | {1e3 * unit:.2f} | {1e3 * own:.0f} | "
            f"{own / unit:.1f} | {memory(f'{2 * depth} leaves')} | |")


def function_row() -> str:
    """A function of a million numbers and its gradient."""
    x = np.random.default_rng(1).standard_normal(1_000_000)
    value, gradient = (lambda x: np.sum(np.tanh(x) ** 2)), (lambda x: 2 * np.tanh(x) * (1 - np.tanh(x) ** 2))
    unit = median(lambda: (value(x), gradient(x)), 15)
    target = gv.function(value, gradient=gradient)
    report = gv.check(target, x, search="none")
    own = median(lambda: gv.check(target, x, search="none"))
    return (f"| NumPy function of {x.size:,} numbers | {report.verdict} | {1e3 * unit:.2f} | {1e3 * own:.0f} | "
            f"{own / unit:.1f} | | |")


def torch_network(act: type[nn.Module]) -> Callable[[int, int, int], tuple[Any, Any]]:
    """Network and input of a width, depth and batch."""
    return lambda width, depth, batch: (network(width, depth, act), torch.randn(batch, width, dtype=torch.float64))


def numpy_network(width: int, depth: int, batch: int) -> tuple[Any, Any]:
    """The same in NumPy."""
    return Perceptron(width, depth), np.random.default_rng(1).standard_normal((batch, width))


MEMORY: dict[str, tuple[Callable[[int, int, int], tuple[Any, Any]], tuple[int, int, int]]] = {
    "ReLU": (torch_network(nn.ReLU), (285, 12, 32)), "Tanh": (torch_network(nn.Tanh), (285, 12, 32)),
    "10 leaves": (numpy_network, (445, 5, 64)), "200 leaves": (numpy_network, (100, 100, 64)),
}


def main() -> None:
    """Measure, and write the page."""
    lines = ["# What a pass costs", "", "`python benchmarks/cost.py`", "", "CPU time of one thread, medians; a check is `gv.check`",
             'with `search="none"`, forward mode included. The unit is one forward plus backward; of a function, its value and its',
             "gradient. Memory: by how much the largest resident set of a fresh process grows while it checks.", "",
             "| network | verdict | unit, ms | check, ms | check / unit | memory, copies of the parameters | gradcheck |",
             "|---|---|---|---|---|---|---|"]
    rows: list[Callable[[], str]] = [
        lambda: torch_row(285, 12, nn.ReLU, 32), lambda: torch_row(285, 12, nn.Tanh, 32),
        lambda: torch_row(31, 10, nn.Tanh, 4, slow=True), lambda: numpy_row(445, 5, 64), lambda: numpy_row(100, 100, 64),
        function_row,
    ]
    for row in rows:
        lines.append(row())
        print(lines[-1], flush=True)
        Path("reports/cost.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    few, many = (SECONDS[n] for n in (10, 200))
    lines += ["", f"Of a million numbers in NumPy a check of 200 leaves takes {many / few:.2f} times what one of 10 takes."]
    print(lines[-1])
    Path("reports/cost.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    print_memory(sys.argv[2]) if sys.argv[1:2] == ["--memory"] else main()
