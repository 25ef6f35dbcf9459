"""The backpropagation inside scikit-learn's MLPClassifier and MLPRegressor.

    python examples/scikit_learn_mlp.py

`_loss_grad_lbfgs` returns the loss of a network and its gradient by all weights, packed into one vector.
The classifiers clip their probabilities before the logarithm, in the value only: the derivative that is meant is
that of the cross-entropy itself, so `surrogate=` names it. One gradient is wrong, which reports/real-libraries.md
shows by hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
from facts import Fact, show
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.neural_network._multilayer_perceptron import _pack

import gradverify as gv

Network = MLPClassifier | MLPRegressor


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A dozen flowers and a dozen patients, scaled."""
    flowers, species = load_iris(return_X_y=True)
    patients, progress = load_diabetes(return_X_y=True)
    return (flowers - flowers.mean(axis=0))[::12], species[::12], 20 * patients[:12, :4], (progress[:12] - 150) / 80


def started(network: Network, X: np.ndarray, y: np.ndarray) -> tuple[Network, np.ndarray, np.ndarray]:
    """A network after one step, its targets as the loss takes them, and its packed weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one step is all that is wanted
        network.set_params(solver="lbfgs", max_iter=1, random_state=0, alpha=0.1).fit(X, y)
    binarizer = getattr(network, "_label_binarizer", None)
    targets = y if binarizer is None else binarizer.transform(y)
    packed = _pack(network.coefs_, network.intercepts_)
    return network, np.reshape(targets, (len(X), -1)).astype(X.dtype), packed.astype(X.dtype)


def backprop(network: Network, X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None = None) -> Callable:
    """The loss and its gradient as a function of the packed weights."""

    def value_and_grad(packed):
        layers = network.n_layers_ - 1
        scratch = [[None] * layers for _ in range(3)]
        return network._loss_grad_lbfgs(packed, X, Y, weights, [X, *[None] * layers], *scratch)  # noqa: SLF001

    return value_and_grad


def cross_entropy(network: MLPClassifier, X: np.ndarray, Y: np.ndarray) -> Callable:
    """The loss of a classifier in exact arithmetic, no probability clipped."""

    def value(packed):
        network._unpack(packed)  # noqa: SLF001
        network.out_activation_, kept = "identity", network.out_activation_
        logits = network._forward_pass_fast(X, check_input=False)  # noqa: SLF001
        network.out_activation_ = kept
        logs = _log_likelihood(logits, Y) if kept == "softmax" else _log_odds(logits, Y)
        penalty = sum(np.sum(np.square(W)) for W in network.coefs_)
        return (0.5 * network.alpha * penalty - np.sum(logs)) / len(X)

    return value


def _log_likelihood(logits, Y):
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    return Y * (shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True)))


def _log_odds(logits, Y):
    return -Y * np.logaddexp(0.0, -logits) - (1 - Y) * np.logaddexp(0.0, logits)


def classifiers() -> Iterator[tuple[str, Network, np.ndarray, np.ndarray]]:
    X, species, *_ = data()
    for activation in ("identity", "logistic", "tanh", "relu"):
        yield f"MLPClassifier {activation}", MLPClassifier((4, 3), activation=activation), X, species
    yield "MLPClassifier tanh, two classes", MLPClassifier((4,), activation="tanh"), X, (species > 0).astype(int)
    both = np.stack([species > 0, species > 1], axis=1).astype(int)
    yield "MLPClassifier tanh, two labels", MLPClassifier((4,), activation="tanh"), X, both


def regressors() -> Iterator[tuple[str, Network, np.ndarray, np.ndarray]]:
    *_, X, y = data()
    for activation in ("identity", "logistic", "tanh", "relu"):
        yield f"MLPRegressor {activation}", MLPRegressor(hidden_layer_sizes=(4, 3), activation=activation), X, y
    poisson = MLPRegressor(loss="poisson", hidden_layer_sizes=(4,), activation="tanh")
    yield "MLPRegressor tanh, Poisson loss", poisson, X, np.abs(y)
    narrow = MLPRegressor(hidden_layer_sizes=(4,), activation="tanh")
    yield "MLPRegressor tanh, float32", narrow, X.astype(np.float32), y.astype(np.float32)


def facts() -> Iterator[Fact]:
    for name, network, X, y in regressors():
        network, Y, packed = started(network, X, y)  # noqa: PLW2901
        search = "quick" if "tanh" in name else "none"
        yield Fact(name, gv.check(gv.function(value_and_grad=backprop(network, X, Y)), packed, search=search))
    for name, network, X, y in classifiers():
        network, Y, packed = started(network, X, y)  # noqa: PLW2901
        claim, search = gv.function(value_and_grad=backprop(network, X, Y)), "quick" if "relu" in name else "none"
        yield Fact(name, gv.check(claim, packed, surrogate=cross_entropy(network, X, Y), search=search))
    *_, X, y = data()
    network, Y, packed = started(MLPRegressor(hidden_layer_sizes=(4,), activation="tanh"), X, y)
    weighted = backprop(network, X, Y, np.linspace(0.5, 2.0, len(X)))
    report = gv.check(gv.function(value_and_grad=weighted), packed, search="none")
    yield Fact("MLPRegressor tanh, weighted samples", report)
    pairs = np.stack([y, y**2], axis=1)
    network, Y, packed = started(MLPRegressor(hidden_layer_sizes=(4,), activation="tanh"), X, pairs)
    two = gv.function(value_and_grad=backprop(network, X, Y))
    yield Fact("MLPRegressor tanh, two outputs", gv.check(two, packed), shown="MLPRegressor")


if __name__ == "__main__":
    show(facts())
