"""What an audit needs to feed JAX code: its arrays from NumPy's, and back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def owns(value: Any) -> bool:
    """Whether a value is an array of JAX."""
    return isinstance(value, jax.Array)


def from_host(value: Any) -> Any:
    """An array as one of JAX; anything else as it is."""
    return jnp.asarray(value) if isinstance(value, np.ndarray) else value


def to_numpy(result: Any) -> Any:
    """A result with NumPy's arrays in the place of JAX's."""
    return jax.tree_util.tree_map(np.asarray, result)


def parameters_of(module: Any) -> list[np.ndarray]:
    """The floating leaves of a module that is a pytree."""
    return [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(module) if owns(leaf)]
