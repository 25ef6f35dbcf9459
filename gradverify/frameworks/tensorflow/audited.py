"""What an audit needs to feed TensorFlow code: tensors from arrays, arrays from tensors, a layer's variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from gradverify.frameworks.tensorflow.tensors import is_tensor


def owns(value: Any) -> bool:
    """Whether a value is a dense tensor."""
    return is_tensor(value)


def from_host(value: Any) -> Any:
    """An array as a tensor; anything else as it is."""
    return tf.constant(value) if isinstance(value, np.ndarray) else value


def to_numpy(result: Any) -> Any:
    """A result with NumPy's arrays in the place of its tensors."""
    return tf.nest.map_structure(lambda y: y.numpy() if hasattr(y, "numpy") else y, result)


def parameters_of(layer: Any) -> list[np.ndarray]:
    """The weights of a Keras layer that has been built."""
    return [np.asarray(weight) for weight in layer.trainable_weights]
