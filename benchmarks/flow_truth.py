"""Which networks train: each is trained from three seeds at a grid of learning rates, by SGD and by Adam.

    python benchmarks/flow_truth.py reports/flow-truth.csv [--networks 400] [--first 0]

A network is one line of numbers (`Spec`), drawn from its own number, so that `benchmarks/flow.py` builds the same
ones. The task: 32 examples, 16 numbers each, four classes given by a random teacher; full batches, float32. A seed
counts as trained if at some rate of the grid the loss fell below half of log 4 within STEPS steps. All rates and
seeds of one network are trained together, as one batch of matrix products. (Of networks 0 to 93 and 200 to 229 the loss
was looked at every 25 steps; of the others every 10.)
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as nn

FAMILIES = ("mlp", "residual", "convolutional", "recurrent")
# sw2 at which gradients neither vanish nor explode where lengths have settled: flow.theory.critical_variance
CRITICAL = {"relu": 2.0, "leaky_relu": 1.9231, "tanh": 1.0, "sigmoid": 103.01, "gelu": 2.3517, "silu": 2.8108,
            "elu": 1.0, "selu": 0.4768}
TORCH = {"relu": torch.relu, "leaky_relu": lambda x: nn.leaky_relu(x, 0.2), "tanh": torch.tanh,
         "sigmoid": torch.sigmoid, "gelu": nn.gelu, "silu": nn.silu, "elu": nn.elu, "selu": nn.selu}
INPUTS, CLASSES, EXAMPLES, SPACE, SEEDS = 16, 4, 32, 8, 3
RATES = {"sgd": (1e-4, 1e-3, 1e-2, 1e-1, 1.0), "adam": (1e-4, 1e-3, 1e-2, 5e-2)}
STEPS, LOOK = 300, 10
SUCCESS = 0.5 * math.log(CLASSES)
COLUMNS = ("number", "family", "activation", "depth", "width", "gain", "sgd", "adam")


@dataclass(frozen=True)
class Spec:
    """One network: `gain` multiplies the critical deviation of its hidden weights."""

    number: int
    family: str
    activation: str
    depth: int
    width: int
    gain: float


def draw_spec(number: int) -> Spec:
    rng = np.random.default_rng([2024, number])
    family = FAMILIES[number % 4]
    widths = (16, 24) if family == "convolutional" else (16, 32, 64, 128)
    odds = (0.5, 0.5) if family == "convolutional" else (0.3, 0.4, 0.2, 0.1)
    depth = round(math.exp(rng.uniform(math.log(4), math.log(60))))
    return Spec(number, family, str(rng.choice(list(CRITICAL))), depth, int(rng.choice(widths, p=odds)),
                float(math.exp(rng.uniform(math.log(0.2), math.log(5)))))


def draw_weights(spec: Spec, seed: int) -> dict[str, np.ndarray]:
    """Readouts and first layers keep lengths; the hidden weights are `gain` times critical."""
    rng = np.random.default_rng([7, spec.number, seed])
    n, sw = spec.width, spec.gain * math.sqrt(CRITICAL[spec.activation])
    taps = 3 if spec.family == "convolutional" else 1
    first = INPUTS // SPACE * taps if taps == 3 else INPUTS
    weights = {"first": rng.normal(0, 1 / math.sqrt(first), (first, n))}
    hidden = 1 if spec.family == "recurrent" else spec.depth - 2
    for k in range(hidden):
        weights[f"hidden{k}"] = rng.normal(0, sw / math.sqrt(taps * n), (taps * n, n))
    weights["last"] = rng.normal(0, 1 / math.sqrt(n), (n, CLASSES))
    biases = {name.replace("first", "b_first").replace("hidden", "b_hidden").replace("last", "b_last"):
              np.zeros((1, W.shape[1])) for name, W in weights.items()}
    return {name: W.astype(np.float32) for name, W in {**weights, **biases}.items()}


def task() -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels, the same for every network."""
    rng = np.random.default_rng(11)
    x = rng.normal(size=(EXAMPLES, INPUTS))
    hidden = np.tanh(x @ rng.normal(size=(INPUTS, 32)) / 2)
    return x.astype(np.float32), np.argmax(hidden @ rng.normal(size=(32, CLASSES)), axis=1)


def patches(h):
    """(K, B, S, C) to (K, B, S, 3 C): each place with its neighbours, zero beyond the ends."""
    padded = nn.pad(h, (0, 0, 1, 1))
    return torch.cat([padded[:, :, k : k + h.shape[2]] for k in range(3)], dim=-1)


def forward(spec: Spec, w, x):
    """Logits (K, B, CLASSES) of K copies of a network with weights (K, in, out)."""
    f = TORCH[spec.activation]

    def affine(h, name):
        shape = h.shape
        z = torch.baddbmm(w["b_" + name], h.reshape(shape[0], -1, shape[-1]), w[name])
        return z.reshape(*shape[:-1], -1)

    if spec.family == "convolutional":
        h = affine(patches(x.reshape(*x.shape[:2], SPACE, -1)), "first")
        for k in range(spec.depth - 2):
            h = affine(patches(f(h)), f"hidden{k}")
        return affine(f(h).mean(dim=2), "last")
    h = affine(x, "first")
    for k in range(spec.depth - 2):
        if spec.family == "residual":
            h = h + affine(f(h), f"hidden{k}")
        else:
            h = affine(f(h), "hidden0" if spec.family == "recurrent" else f"hidden{k}")
    return affine(f(h), "last")


def adam(m, v, g, t):
    """The direction of Adam's step, its moments updated in place."""
    m.mul_(0.9).add_(g, alpha=0.1)
    v.mul_(0.999).addcmul_(g, g, value=0.001)
    return (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)


def train(spec: Spec, optimizer: str) -> tuple[bool, ...]:
    """Whether each seed trained at some rate.

    All copies are rows of one matrix. One that is no longer finite, or whose seed has trained, is trained no further.
    """
    x, labels = (torch.tensor(a) for a in task())
    start = [draw_weights(spec, seed) for seed in range(SEEDS)]
    shapes = {name: W.shape for name, W in start[0].items()}
    sizes = [math.prod(shape) for shape in shapes.values()]
    rows = torch.tensor(np.stack([np.concatenate([W.ravel() for W in own.values()]) for own in start]))
    seeds = torch.arange(SEEDS).repeat(len(RATES[optimizer]))
    eta = torch.tensor(RATES[optimizer]).repeat_interleave(SEEDS)[:, None]
    w = rows[seeds]
    m, v, trained = torch.zeros_like(w), torch.zeros_like(w), torch.zeros(SEEDS, dtype=torch.bool)
    for step in range(STEPS + 1):
        w.requires_grad_()
        parts = zip(shapes.items(), w.split(sizes, dim=1), strict=True)
        named = {name: part.reshape(-1, *shape) for (name, shape), part in parts}
        logits = forward(spec, named, x.expand(len(w), -1, -1))
        losses = nn.cross_entropy(logits.reshape(-1, CLASSES), labels.repeat(len(w)), reduction="none").reshape(len(w), -1).mean(1)
        if step % LOOK == 0:
            trained[seeds[losses.detach() < SUCCESS]] = True
        (g,) = torch.autograd.grad(losses.sum(), w)
        with torch.no_grad():
            w = w.detach() - eta * (adam(m, v, g, step + 1) if optimizer == "adam" else g)
            if step % LOOK == 0:
                kept = torch.isfinite(losses.detach()) & ~trained[seeds]
                if not kept.any():
                    break
                w, m, v, eta, seeds = w[kept], m[kept], v[kept], eta[kept], seeds[kept]
    return tuple(trained.tolist())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path, help="rows are added to it; networks that it holds are not trained again")
    parser.add_argument("--networks", type=int, default=400)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # numbers below 1e-38 are slow on a CPU and help nobody
    start = time.process_time()
    held = _held(given.path)
    with given.path.open("a", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS)
        if not file.tell():
            rows.writeheader()
        for number in range(given.first, given.first + given.networks):
            if number in held:
                continue
            spec = draw_spec(number)
            outcome = {o: "".join("01"[t] for t in train(spec, o)) for o in RATES}
            rows.writerow({**asdict(spec), **outcome})
            file.flush()
            print(number, spec.family, spec.activation, spec.depth, spec.width, f"{spec.gain:.2f}", outcome,
                  f"{time.process_time() - start:.0f} s", flush=True)


def _held(path):
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {int(row["number"]) for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()
