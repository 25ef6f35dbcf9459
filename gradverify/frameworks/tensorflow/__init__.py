"""TensorFlow and Keras 3 on it: functions, `tf.custom_gradient`, `tf.function`, layers and models as targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradverify.records import Options
from gradverify.targets.record import Target


def make_target(obj: Any, inputs: tuple[Any, ...], options: Options) -> Target:
    """The target in `obj`; optimizers of Keras on another backend get by without TensorFlow."""
    from gradverify.frameworks.tensorflow.target import make_target as make

    return make(obj, inputs, options)


def to_host(value: Any) -> np.ndarray:
    """The same numbers as a new NumPy array of the same dtype."""
    from gradverify.frameworks.tensorflow.tensors import to_host as host

    return host(value)


def like(leaf: Any, array: np.ndarray) -> Any:
    """An array as a tensor of the dtype and on the device of another."""
    from gradverify.frameworks.tensorflow.tensors import from_host

    return from_host(array, leaf.dtype, getattr(leaf, "device", ""))
