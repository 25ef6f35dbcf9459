"""A described network in JAX: the same layers and parameters, computed by JAX's operators and differentiated by it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradverify.arrays import Arrays
from gradverify.frameworks.described import leaves_of, run
from gradverify.frameworks.jax.operators import operate
from gradverify.frameworks.jax.program import scoped_x64


def differentiate(layer: Any, params: Any, x: Any, u: np.ndarray) -> tuple[np.ndarray, Arrays]:
    """The output, and the gradient of every leaf for the upstream gradient u; TypeError where JAX has no such layer.

    >>> from gradverify.reference import Dense
    >>> params = {"W": np.array([[2.0]]), "b": np.array([1.0])}
    >>> y, gradients = differentiate(Dense(1, 1), params, np.array([[3.0]]), np.ones((1, 1)))
    >>> y.item(), gradients["params.W"].item()
    (7.0, 3.0)
    """
    moving, everything, rebuild = leaves_of(params, x)

    def forward(values: Arrays) -> Any:
        tree = rebuild({**everything, **values})
        return run(operate, layer, tree["params"], tree["x"])

    with scoped_x64():
        y, pullback = jax.vjp(forward, {name: jnp.asarray(leaf) for name, leaf in moving.items()})
        (gradients,) = pullback(jnp.asarray(u))
        return np.asarray(y), {name: np.asarray(g) for name, g in gradients.items()}
