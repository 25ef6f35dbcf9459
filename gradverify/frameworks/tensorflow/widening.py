"""The same objects run in another precision: other values in place of their variables, for one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import tensorflow as tf

from gradverify.frameworks.tensorflow.operations import op_by_op
from gradverify.frameworks.tensorflow.reached import Held, Reached, raw


@contextmanager
def in_place_of(reached: Reached, values: Mapping[str, Any], dtype: str) -> Iterator[dict[str, Any]]:
    """Code inside finds these tensors where its variables were, and layers that compute in `dtype`.

    Variables of Keras are looked up in a scope; those of TensorFlow are replaced in every attribute, closure
    and global that holds them. Traced functions hold variables of their own, so they run as Python.
    """
    with ExitStack() as stack:
        stack.enter_context(op_by_op())
        stack.enter_context(_scope(reached, values))
        for name, value in values.items():
            _replaced(stack, reached.variables[name], name, value)
        for layer in reached.layers:
            _set(stack, layer, "dtype_policy", keras.DTypePolicy(dtype))
            for part in (*(getattr(layer, "_inputs", None) or ()), *_input_layer(layer)):
                _set(stack, part, "_dtype", dtype if tf.as_dtype(part.dtype).is_floating else part.dtype)
        yield dict(values)


def _input_layer(layer: Any) -> tuple[Any, ...]:
    """Models cast what they are given to the dtype of their symbolic inputs and of their input layer."""
    return (layer,) if isinstance(layer, keras.layers.InputLayer) else ()


def _scope(reached: Reached, values: Mapping[str, Any]) -> Any:
    scope = keras.StatelessScope()
    for name, value in values.items():
        if isinstance(reached.variables[name].variable, keras.Variable):
            scope.add_update((reached.variables[name].variable, value))
    return scope


def _replaced(stack: ExitStack, held: Held, name: str, value: Any) -> None:
    if isinstance(held.variable, keras.Variable):
        _set(stack, held.variable, "_dtype", value.dtype.name)  # what updates of a moving average are cast to
        return
    if not held.puts:
        raise TypeError(f"{name}: no attribute, closure or global that holds it can be given another value")
    for put in held.puts:
        stack.callback(put, raw(held.variable))
        put(value)


def _set(stack: ExitStack, thing: Any, name: str, value: Any) -> None:
    stack.callback(setattr, thing, name, getattr(thing, name))
    setattr(thing, name, value)
