"""The same random networks in the reference, PyTorch, JAX and Keras: gradients compared pair by pair.

    python benchmarks/crossing.py [--torch 2000] [--keras 1000] [--jax 60] [--all 40]

Writes reports/crossing.md.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import keras
import numpy as np
import tensorflow as tf
import torch
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from gradverify.selftest.crossing import cross_examine

X = [-0.5, -0.1, 0.7]


def by_torch(function: object) -> list[float]:
    """The gradient at X in float64."""
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    function(x).sum().backward()
    return x.grad.tolist()


def by_hand() -> list[str]:
    """What the frameworks themselves compute where they were found to differ, beside the formula in Python floats."""
    celu, exact = by_torch(lambda x: F.celu(x, 0.3)), [math.exp(x / 0.3) if x < 0 else 1.0 for x in X]
    hard = by_torch(F.hardsigmoid)
    leaky = keras.activations.leaky_relu(tf.constant(X, tf.float64), 0.01).numpy()
    gelu = keras.activations.gelu(tf.constant(X, tf.float64)).numpy()
    true = [x / 2 * math.erfc(-x / math.sqrt(2)) for x in X]
    rows = [
        ("gradient of `F.celu(x, 0.3)`", celu, exact, "the backward takes 1 / alpha from a float32 alpha"),
        ("gradient of `F.hardsigmoid(x)`", hard, [1 / 6] * 3, "1 / 6 in float32"),
        ("value of `keras.activations.leaky_relu(x, 0.01)`", leaky, [0.01 * x if x < 0 else x for x in X], "the slope is a float32 attribute"),
        ("value of `keras.activations.gelu(x)`", gelu, true, "the root of 2 goes through float32"),
    ]
    return [f"| {what} | {max(abs(a / b - 1) for a, b in zip(found, expected, strict=True)):.1e} | {why} |"
            for what, found, expected, why in rows]


def main() -> None:
    """Run them and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("torch", 2000), ("keras", 1000), ("jax", 60), ("all", 40)):
        parser.add_argument(f"--{name}", type=int, default=count)
    counts = vars(parser.parse_args())
    reports = [str(cross_examine([name] if name != "all" else ["torch", "jax", "keras"], n, seed=2026)) for name, n in counts.items()]
    lines = [
        "# Cross-examination", "", "`python benchmarks/crossing.py`", "",
        (f"torch {torch.__version__}, jax {jax.__version__}, tensorflow {tf.__version__}, keras {keras.__version__}, numpy {np.__version__}. "
        "One description, the same parameters, input and upstream gradient in each; a disagreement is a difference of more than four bars, "
        "a bar being eight times the noise of both. What a framework has no layer for, or refuses, is counted. JAX compiles every operation "
        "for every new shape, hence fewer networks."), "",
        *(f"```text\n{report}\n```\n" for report in reports),
        "## Found on the way", "",
        ("At first the frameworks did disagree, in float64, by the rounding of float32. Each is theirs, by hand at x = -0.5, -0.1, 0.7; the "
        "networks above use another form of these four."), "",
        "| what | off, relative | because |", "|---|---|---|", *by_hand(),
    ]
    Path("reports/crossing.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
