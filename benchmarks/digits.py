"""A small convolutional network, trained on scikit-learn's digits by the reference's own gradients.

    python benchmarks/digits.py

Writes reports/digits.md and the loss curve, reports/digits.svg (with matplotlib: the extra `plots`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from gradverify.reference import (
    Activation,
    Adam,
    BatchNorm,
    Conv,
    CosineDecay,
    CrossEntropy,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    evaluating,
    sequential,
    train,
)

REPORTS = Path(__file__).parents[1] / "reports"
NETWORK = sequential(
    Conv(1, 16, (3, 3), padding=1, initialiser="he_normal"), BatchNorm(16), Activation("relu"), MaxPool((2, 2)),
    Conv(16, 32, (3, 3), padding=1, initialiser="he_normal"), BatchNorm(32), Activation("relu"), MaxPool((2, 2)),
    Flatten(), Dropout(0.3), Dense(128, 10),
)


def digits(seed):
    """Images (n, 1, 8, 8) in 0..1 and their labels: 1437 to train on, 360 to test on, split at random."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, order = images.reshape(-1, 1, 8, 8) / 16, np.random.default_rng(seed).permutation(len(labels))
    return (x[order[:-360]], labels[order[:-360]]), (x[order[-360:]], labels[order[-360:]])


def accuracy(params, x, labels):
    """The share of right answers of the network as it is used after training."""
    return float(np.mean(np.argmax(evaluating(NETWORK).forward(params, x)[0], axis=1) == labels))


def fit(seed, epochs):
    """History, accuracies on the training and the test images, seconds of training, by the clock and of processors."""
    (x, labels), test = digits(seed)
    rng, started, used = np.random.default_rng(seed), time.perf_counter(), time.process_time()
    steps = epochs * -(-len(x) // 64)
    params, history = train(NETWORK, NETWORK.init(rng), x, labels, loss=CrossEntropy(), batch_size=64, epochs=epochs,
                            optimizer=Adam(CosineDecay(0.005, steps)), rng=rng, validation=test)
    seconds = time.perf_counter() - started, time.process_time() - used
    return history, accuracy(params, x, labels), accuracy(params, *test), seconds


def draw(history, path):
    """The loss of every step, and after every epoch on all images."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "gradverify"  # else every run writes another file
    axes = (figure := Figure(figsize=(7, 4), layout="constrained")).subplots()
    ends = [0] + [last for last, _ in _ends(history)]
    axes.semilogy(history.losses, color="0.8", label="each step, its mini-batch")
    axes.semilogy(ends, history.epoch_losses, "o-", label="training images")
    axes.semilogy(ends, history.validation_losses, "s-", label="test images")
    axes.set(xlabel="step", ylabel="cross-entropy", title="A convolutional network learns digits")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def _ends(history):
    return {step.epoch: (step.step + 1, step.loss) for step in history.steps}.values()


def page(runs, epochs):
    """The report."""
    rows = [f"| {seed} | {right:.2%} | {right_new:.2%} | {seconds[0]:.0f} | {seconds[1]:.0f} | {history.epoch_losses[0]:.3f} | "
            f"{history.epoch_losses[-1]:.4f} | {history.validation_losses[-1]:.4f} |"
            for seed, (history, right, right_new, seconds) in runs.items()]
    return "\n".join([
        "# A convolutional network on scikit-learn's digits", "",
        "Two convolutions with batch normalisation, ReLU and pooling, dropout, one dense layer;",
        f"Adam, {epochs} epochs, mini-batches of 64; 1437 images to train on, 360 to test on, split by the seed.",
        "Seconds of training by the clock, and of both processors together, on a machine with two that others used too.",
        "`python benchmarks/digits.py` makes this page.", "",
        "| seed | accuracy, training | accuracy, test | seconds | processor | loss before | training loss | test loss |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |", *rows, "", "![loss curve of the first seed](digits.svg)", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    runs = {seed: fit(seed, options.epochs) for seed in options.seeds}
    text = page(runs, options.epochs)
    (REPORTS / "digits.md").write_text(text, encoding="utf-8")
    draw(next(iter(runs.values()))[0], REPORTS / "digits.svg")
    print(text)


if __name__ == "__main__":
    main()
