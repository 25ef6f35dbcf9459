"""Networks whose flow is known, for the tests of this folder."""

from __future__ import annotations

import numpy as np

from gradverify.reference import Activation, Dense, sequential


def mlp(activation, variance, depth, width=64, seed=0):
    """A deep network with weights of this variance over fan-in: network, params, inputs."""
    rng = np.random.default_rng(seed)
    layers, params = [], []
    for _ in range(depth):
        layers += [Dense(width, width), Activation(activation)]
        W = rng.normal(0, np.sqrt(variance / width), (width, width))
        params += [{"W": W, "b": np.zeros(width)}, {}]
    return sequential(*layers, Dense(width, width)), (*params, params[0]), rng.normal(size=(32, width))
