"""TensorFlow and Keras 3 on it: functions, `tf.custom_gradient`, `tf.function`, layers and models as targets."""

from __future__ import annotations

from typing import Any

from gradverify.records import Options
from gradverify.targets.record import Target


def make_target(obj: Any, inputs: tuple[Any, ...], options: Options) -> Target:
    """The target in `obj`; optimizers of Keras on another backend get by without TensorFlow."""
    from gradverify.frameworks.tensorflow.target import make_target as make

    return make(obj, inputs, options)
