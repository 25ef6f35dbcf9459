"""Batch, mini-batch and stochastic gradient descent on one problem, as facts to read.

    python examples/descent.py                 prints the facts
    python examples/descent.py descent.svg     and draws the three curves
"""

from __future__ import annotations

import itertools
import sys

import numpy as np

import gradverify as gv
from gradverify.records import Curve, Figure
from gradverify.reference import MSE, SGD, Dense, InverseTime, Objective, train

N, PASSES = 120, 30
WAYS = {"batch": None, "mini-batch of 12": 12, "stochastic": 1}


def problem():
    """A straight line in three dimensions, seen through noise: its best loss is known exactly."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 3))
    return x, x @ np.array([[1.0], [-2.0], [0.5]]) + 0.3 + 0.2 * rng.normal(size=(N, 1))


def floor(x, y):
    """The smallest loss there is, by least squares."""
    columns = np.hstack([x, np.ones((N, 1))])
    best, *_ = np.linalg.lstsq(columns, y, rcond=None)
    return float(np.mean((columns @ best - y) ** 2))


def runs(x, y, rate=0.05):
    """The three ways, each from zero with the same rate and as many passes over the data."""
    layer, start = Dense(3, 1), {"W": np.zeros((3, 1)), "b": np.zeros(1)}
    return {name: train(layer, start, x, y, loss=MSE(), optimizer=SGD(rate), epochs=PASSES, batch_size=size,
                        rng=np.random.default_rng(1))[1] for name, size in WAYS.items()}


def mean_of_batches(x, y):
    """How far the mean gradient of all 15 pairs out of 6 examples is from the gradient of the six."""
    layer, params = Dense(3, 1), {"W": np.ones((3, 1)), "b": np.zeros(1)}

    def gradient(rows):
        return Objective(layer, MSE(), y[rows]).forward(params, x[rows])[1](1.0)[0]["W"]

    pairs = [gradient(list(rows)) for rows in itertools.combinations(range(6), 2)]
    return float(np.max(np.abs(np.mean(pairs, axis=0) - gradient(list(range(6))))))


def figure(histories):
    """The loss over the passes."""
    curves = tuple(Curve(name, tuple(map(float, range(PASSES + 1))), h.epoch_losses) for name, h in histories.items())
    return Figure("Three ways to descend", "passes over the data", "loss", curves, log_y=True)


def main(path=None):
    x, y = problem()
    best, histories = floor(x, y), runs(x, y)
    print(f"the smallest loss there is: {best:.4f}")
    for name, history in histories.items():
        above = np.array(history.epoch_losses) / best - 1
        wobble = float(np.std(np.diff(above[-10:])))
        print(f"{name:<17} {len(history.steps):>5} steps  {above[1]:8.2%} above it after 1 pass, {above[-1]:7.2%} "
              f"after {PASSES}, wobble {wobble:.1e}  {gv.check_training(history).verdict}")
    layer, start = Dense(3, 1), {"W": np.zeros((3, 1)), "b": np.zeros(1)}
    shrinking = SGD(InverseTime(0.05, 300.0))
    _, cooled = train(layer, start, x, y, loss=MSE(), optimizer=shrinking, epochs=PASSES, batch_size=1,
                      rng=np.random.default_rng(1))
    print(f"stochastic with a rate that shrinks like 1 / t: {cooled.epoch_losses[-1] / best - 1:.2%} above it")
    print(f"the mean gradient over all mini-batches is the full one to {mean_of_batches(x, y):.0e}")
    if path:
        from gradverify.report.plots import save

        save(figure(histories), path)


if __name__ == "__main__":
    main(*sys.argv[1:2])
