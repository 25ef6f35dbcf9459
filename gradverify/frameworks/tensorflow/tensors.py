"""Tensors to host arrays and back: exact values, correct rounding, the device they were on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from gradverify.arrays import dtype_name, is_floating
from gradverify.frameworks.rounding import rounded_to_odd

COMPOSITE = (tf.SparseTensor, tf.RaggedTensor, tf.IndexedSlices)


def is_tensor(value: Any) -> bool:
    """Whether this is a dense tensor, of an eager run or of a graph that is being traced."""
    return isinstance(value, tf.Tensor)


def floating(value: Any) -> bool:
    """Whether this is a tensor of a real floating dtype that has a known rounding unit."""
    return is_tensor(value) and is_floating(value)


def is_complex(value: Any) -> bool:
    """Whether this is a tensor of complex numbers."""
    return is_tensor(value) and bool(value.dtype.is_complex)


def refuse_composite(path: str, value: Any) -> None:
    """Raise a `TypeError` for the tensors that are made of several."""
    if isinstance(value, COMPOSITE):
        raise TypeError(f"{path} is a {type(value).__name__}: only dense tensors are supported; "
                        "pass its values, and build it inside the function")


def split(path: str, value: Any) -> dict[str, Any]:
    """The tensor, or its real and its imaginary part, by name.

    The pairs are made whole again inside the recorded code, so that TensorFlow itself turns its
    convention for complex gradients into gradients of the parts.
    """
    if not is_complex(value):
        return {path: value}
    return {f"{path}.real": tf.math.real(value), f"{path}.imag": tf.math.imag(value)}


def joined(values: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The values with the complex tensors of these paths made whole again."""
    return {**values, **{p: tf.complex(values[f"{p}.real"], values[f"{p}.imag"]) for p in paths}}


def to_host(value: Any) -> np.ndarray:
    """The same numbers as a new NumPy array of the same dtype; bfloat16 as float32, which holds them."""
    plain = value.numpy()
    return np.array(plain, np.float32 if dtype_name(plain) == "bfloat16" else plain.dtype)


def to_host64(value: Any) -> np.ndarray:
    """The same numbers as a new float64 array."""
    return np.array(value.numpy(), np.float64)


def from_host(array: Any, dtype: Any, device: str = "") -> Any:
    """A new tensor with these numbers, rounded to nearest once."""
    with np.errstate(over="ignore", invalid="ignore"):
        host = rounded_to_odd(array) if dtype == tf.bfloat16 else np.asarray(array)
        rounded = host.astype(dtype.as_numpy_dtype)
    with tf.device(device):
        return tf.constant(rounded)


def dense(gradient: Any) -> np.ndarray:
    """A gradient as a float64 array; the rows of `IndexedSlices` that come twice are added.

    >>> dense(tf.IndexedSlices(tf.constant([1.0, 2.0]), tf.constant([1, 1]), tf.constant([3]))).tolist()
    [0.0, 3.0, 0.0]
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return to_host64(gradient)
    rows = to_host64(gradient.values)
    shape = rows.shape if gradient.dense_shape is None else tuple(int(n) for n in gradient.dense_shape)
    whole = np.zeros(shape)
    np.add.at(whole, gradient.indices.numpy(), rows)
    return whole
