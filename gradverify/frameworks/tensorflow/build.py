"""A described network in Keras: its layers, run on the reference's parameters and differentiated by TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from gradverify.arrays import Arrays
from gradverify.frameworks.described import leaves_of, run
from gradverify.frameworks.tensorflow.layers import operate
from gradverify.frameworks.tensorflow.tensors import dense


def differentiate(layer: Any, params: Any, x: Any, u: np.ndarray) -> tuple[np.ndarray, Arrays]:
    """The output, and the gradient of every leaf for the upstream gradient u; TypeError where Keras has no such layer.

    >>> from gradverify.reference import Dense
    >>> params = {"W": np.array([[2.0]]), "b": np.array([1.0])}
    >>> y, gradients = differentiate(Dense(1, 1), params, np.array([[3.0]]), np.ones((1, 1)))
    >>> y.item(), gradients["params.W"].item()
    (7.0, 3.0)
    """
    moving, everything, rebuild = leaves_of(params, x)
    sources = {name: tf.constant(np.array(leaf)) for name, leaf in moving.items()}
    with tf.GradientTape() as tape:
        tape.watch(list(sources.values()))
        tree = rebuild({**everything, **sources})
        y = run(operate, layer, tree["params"], tree["x"])
    found = tape.gradient(y, sources, output_gradients=tf.constant(np.array(u)))
    return y.numpy(), {name: dense(g) for name, g in found.items() if g is not None}
