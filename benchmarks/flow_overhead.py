"""What it costs to watch the gradient flow at every step of a training loop, over a forward plus a backward pass.

    python benchmarks/flow_overhead.py          # writes reports/flow-overhead.md

Steps are timed in turn, plain, watched, and with the hooks that people write by hand (`register_full_backward_hook` on
every module, a norm read to the host at once), in processor time; the table has the medians, so that other work on the
machine hits all three alike. Watching includes beginning anew and reading all steps at the end.
"""

from __future__ import annotations

import statistics
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import nn

import gradverify as gv

REPORT = Path(__file__).parents[1] / "reports" / "flow-overhead.md"
BLOCKS, SECONDS = 16, 0.2  # of which each is made of as many steps as take so long, at least 5


def mlp(depth, width, batch):
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, 10)), torch.randn(batch, width)


def convolutional():
    def block(inputs, units):
        return nn.Conv2d(inputs, units, 3, padding=1), nn.BatchNorm2d(units), nn.ReLU()

    parts = [*block(3, 32), *block(32, 32), nn.MaxPool2d(2), *block(32, 64), *block(64, 64)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)), torch.randn(32, 3, 24, 24)


def transformer():
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), nn.Linear(64, 10)), torch.randn(16, 32, 64)


NETWORKS = {
    "MLP, 8 layers of 256, batch 128": lambda: mlp(8, 256, 128),
    "MLP, 8 layers of 512, batch 64": lambda: mlp(8, 512, 64),
    "MLP, 4 layers of 64, batch 32 (small on purpose)": lambda: mlp(4, 64, 32),
    "convolutions with batch norms, 24 x 24, batch 32": convolutional,
    "transformer, 3 layers of 64, 32 tokens, batch 16": transformer,
}


def step(network, x):
    network.zero_grad(set_to_none=True)
    network(x).square().mean().backward()


def plain(network, x, steps):
    for _ in range(steps):
        step(network, x)


def watched(network, x, steps):
    with gv.monitor_flow(network) as monitor:
        plain(network, x, steps)
        monitor.history()


def by_hand(network, x, steps):
    sizes = []
    with ExitStack() as stack:
        for module in network.modules():
            if not list(module.children()):
                hook = module.register_full_backward_hook(lambda m, dx, dy: sizes.append(dy[0].norm().item()))
                stack.callback(hook.remove)
                stack.callback(module.register_forward_hook(lambda m, a, y: sizes.append(y.norm().item())).remove)
        plain(network, x, steps)


def timed(way, network, x, steps):
    """Processor time of a step."""
    start = time.process_time()
    way(network, x, steps)
    return (time.process_time() - start) / steps


def row(name, make):
    torch.manual_seed(0)
    network, x = make()
    ways = (plain, watched, by_hand)
    times = {way: [] for way in ways}
    timed(plain, network, x, 5)
    steps = max(5, round(SECONDS / timed(plain, network, x, 5)))
    for block in range(BLOCKS + 1):
        for way in ways:
            found = timed(way, network, x, steps)
            if block:  # the first warms up
                times[way].append(found)
    base = statistics.median(times[plain])
    more = [statistics.median(t / p for t, p in zip(times[way], times[plain], strict=True)) - 1 for way in ways[1:]]
    return f"| {name} | {1e3 * base:.1f} | {more[0]:+.0%} | {more[1]:+.0%} |"


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the hooks by hand have no input that needs a gradient in the first layer
    rows = [row(name, make) for name, make in NETWORKS.items()]
    text = ["# Watching gradient flow in a training loop", "",
            "`python benchmarks/flow_overhead.py` makes this page: one thread, on a machine that did other work too.", "",
            "A step is a forward plus a backward pass, in processor time. Medians of",
            f"{BLOCKS} blocks of about {SECONDS:g} s, the three ways in turn.", "",
            "| network | ms a step | `monitor_flow` | hooks by hand |", "|---|---|---|---|", *rows, ""]
    REPORT.write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
