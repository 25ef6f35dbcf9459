"""Training programs that are wrong in the ways people get them wrong, and their right twins, drawn from a seed.

The truth is known by construction: each family changes one thing in a right program. Seeds vary data, sizes,
activation, loss and optimizer.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradverify import reference as r
from gradverify.arrays import flatten
from gradverify.convergence.program import Program


def data(seed, regression, n=96, d=6, classes=3):
    rng = np.random.default_rng((seed, 1))
    x = rng.normal(size=(n, d))
    scores = x @ rng.normal(size=(d, classes)) + 0.3 * rng.normal(size=(n, classes))
    return (x, np.tanh(scores[:, :1])) if regression else (x, scores.argmax(axis=1))


def right(seed, *, regression=None, activation=None, adam=None, rate=None, last=(), depth=1, epochs=40, units=16, clean=False):
    """A program that works: two layers, a rate that suits its optimizer."""
    rng = np.random.default_rng((seed, 2))
    regression = bool(rng.integers(2)) if regression is None else regression
    activation = activation or str(rng.choice(["relu", "tanh", "gelu"]))
    adam = bool(rng.integers(2)) if adam is None else adam
    drawn = float(rng.uniform(0.005, 0.02) if adam else rng.uniform(0.1, 0.3))
    x, y = data(seed, regression)
    hidden = [layer for k in range(depth) for layer in (r.Dense(x.shape[1] if k == 0 else units, units), r.Activation(activation))]
    network = r.sequential(*hidden, r.Dense(units, 1 if regression else 3), *last)
    optimizer = (r.Adam if adam else r.SGD)(rate or drawn)
    loss = r.MSE() if regression else r.CrossEntropy()
    return Program.of_network(network, network.init(rng), x, y, loss=loss, optimizer=optimizer, epochs=epochs,
                              batch_size=int(rng.choice([16, 32])), seed=seed)


def scaled_gradient(factor):
    def change(p):
        def gradient(w, x, y):
            leaves, rebuild = flatten(p.gradient(w, x, y), "g")
            return rebuild({name: factor(len(x)) * g for name, g in leaves.items()})

        return replace(p, gradient=gradient)

    return change


def sum_for_mean(seed):
    p = right(seed, adam=True)
    return replace(scaled_gradient(lambda n: n)(p), loss=lambda w, x, y: len(x) * p.loss(w, x, y))


def gradient_not_averaged(seed):
    return scaled_gradient(lambda n: n)(right(seed, adam=True))


def mean_of_means(seed):
    p = right(seed)

    def gradient(w, x, y, parts=4):
        size = max(1, len(x) // parts)
        found = [flatten(p.gradient(w, x[k : k + size], y[k : k + size]), "g") for k in range(0, len(x), size)]
        return found[0][1]({n: sum(leaves[n] for leaves, _ in found) / len(found) for n in found[0][0]})

    return replace(p, gradient=gradient)


def missing_zero_grad(seed):
    p, kept = right(seed), {}

    def gradient(w, x, y):
        leaves, rebuild = flatten(p.gradient(w, x, y), "g")
        for name, g in leaves.items():
            kept[name] = kept.get(name, 0.0) + g
        return rebuild({name: kept[name].copy() for name in leaves})

    return replace(p, gradient=gradient)


def wrong_sign(seed):
    p = right(seed)

    def step(w, g, s):
        leaves, rebuild = flatten(g, "g")
        return p.step(w, rebuild({name: -x for name, x in leaves.items()}), s)

    return replace(p, step=step)


def frozen(seed):
    p = right(seed)

    def step(w, g, s):
        moved, s = p.step(w, g, s)
        return (w[0], *moved[1:]), s

    return replace(p, step=step)


def detached(seed):
    p = right(seed)

    def gradient(w, x, y):
        first, *rest = p.gradient(w, x, y)
        return ({name: np.zeros_like(g) for name, g in first.items()}, *rest)

    return replace(p, gradient=gradient)


def shuffled_labels(seed):
    p = right(seed)
    return replace(p, y=p.y[np.random.default_rng((seed, 3)).permutation(len(p.y))])


def dead_relu(seed):
    p = right(seed, activation="relu")
    first, *rest = p.params
    return replace(p, params=({**first, "b": first["b"] - 30.0}, *rest))


def twice_softmax(seed):
    return right(seed, regression=False, last=(r.Softmax(),))


def unnormalised(seed):
    p = right(seed, adam=False)
    rng = np.random.default_rng((seed, 4))
    return replace(p, x=p.x * np.where(rng.permutation(p.x.shape[1]) < 3, 300.0, 0.01) + 5.0)


def leaking(seed):
    p = right(seed)
    x, y = p.x, p.y
    return replace(p, x=x[:72], y=y[:72], validation=(np.concatenate([x[60:72], x[72:]]), np.concatenate([y[60:72], y[72:]])))


def symmetric(seed):
    p = right(seed)
    return replace(p, params=tuple({k: np.full_like(w, 0.1) for k, w in layer.items()} for layer in p.params))


def dropout_on(seed):
    p = right(seed)
    rng = np.random.default_rng((seed, 5))
    return replace(p, predict=lambda w, x: p.predict(w, x * (rng.random(x.shape) > 0.5) * 2))


def statistics_of_the_batch(seed):
    p = right(seed)

    def centred(x):
        return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-5)

    return replace(p, predict=lambda w, x: p.predict(w, centred(x)))


def sorted_data(seed):
    p = right(seed)
    order = np.argsort(np.ravel(p.y), kind="stable")
    return replace(p, x=p.x[order], y=p.y[order], shuffle=False)


def strong_decay(seed):
    p = right(seed)

    def step(w, g, s):
        moved, s = p.step(w, g, s)
        (new, rebuild), (old, _) = flatten(moved, "p"), flatten(w, "p")
        return rebuild({n: x - 0.2 * old[n] for n, x in new.items()}), s

    return replace(p, step=step)


def blind(seed):
    p = right(seed)
    return replace(p, loss=lambda w, x, y: p.loss(w, 0 * x, y), gradient=lambda w, x, y: p.gradient(w, 0 * x, y))


def overfitted(seed):
    rng = np.random.default_rng((seed, 6))
    p = right(seed, regression=True, activation="tanh", adam=True, rate=0.01, epochs=300, units=64)
    y = p.y + 0.7 * rng.normal(size=p.y.shape)
    return replace(p, x=p.x[:24], y=y[:24], batch_size=None, validation=(p.x[24:], y[24:]))


def too_large(seed):
    return right(seed, adam=False, rate=float(np.random.default_rng((seed, 7)).uniform(8, 30)))


def too_small(seed):
    return right(seed, adam=False, rate=float(np.random.default_rng((seed, 8)).uniform(3e-5, 3e-4)))


FAMILIES = {
    "loss summed, not averaged": (sum_for_mean, "wrong-reduction"),
    "gradient not averaged": (gradient_not_averaged, "wrong-reduction"),
    "mean of means": (mean_of_means, "wrong-reduction"),
    "gradients never zeroed": (missing_zero_grad, "missing-zero-grad"),
    "step up the gradient": (wrong_sign, "wrong-sign"),
    "layer not given to the optimizer": (frozen, "frozen-layer"),
    "layer detached": (detached, "frozen-layer"),
    "labels shuffled": (shuffled_labels, "shuffled-labels"),
    "dead ReLU": (dead_relu, "dead-units"),
    "softmax twice": (twice_softmax, "softmax-twice"),
    "inputs not normalised": (unnormalised, "unnormalised-inputs"),
    "validation examples trained on": (leaking, "leakage"),
    "units all alike": (symmetric, "symmetric-initialisation"),
    "dropout left on": (dropout_on, "dropout-in-evaluation"),
    "batch statistics in evaluation": (statistics_of_the_batch, "batch-leakage"),
    "sorted and not shuffled": (sorted_data, "not-shuffled"),
    "weight decay too strong": (strong_decay, "decay-too-strong"),
    "inputs multiplied by zero": (blind, "inputs-ignored"),
    "overfitting": (overfitted, "overfitting"),
    "rate too large": (too_large, "rate-too-large"),
    "rate too small": (too_small, "rate-too-small"),
}


def twin(name, seed):
    """The same program without the mistake."""
    if name in {"rate too large", "rate too small", "inputs not normalised"}:
        return right(seed, adam=False)
    if name == "softmax twice":
        return right(seed, regression=False)
    if name == "dead ReLU":
        return right(seed, activation="relu")
    if name == "validation examples trained on":
        p = right(seed)
        return replace(p, x=p.x[:72], y=p.y[:72], validation=(p.x[72:], p.y[72:]), epochs=12)
    if name == "overfitting":
        p = right(seed, regression=True, activation="tanh", adam=True, rate=0.01, units=64)
        return replace(p, x=p.x[:64], y=p.y[:64], validation=(p.x[64:], p.y[64:]), epochs=12)
    if name == "sorted and not shuffled":
        p = sorted_data(seed)
        return replace(p, shuffle=True)
    if name in {"mean of means", "dropout left on"}:
        return right(seed, depth=2)
    return right(seed)
