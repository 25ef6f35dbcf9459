"""JAX arrays to host arrays and back: exact values, correct rounding, the device they were on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradverify.arrays import dtype_name, is_floating


@dataclass(frozen=True)
class Leaf:
    """A differentiable value: its numbers on the host, and what the user's code gets them as.

    A `weak` one is a Python float to JAX: it takes the dtype of whatever it meets.
    """

    host: np.ndarray
    dtype: str
    weak: bool
    place: Any = None  # the sharding of an array that was put somewhere on purpose

    def in_dtype(self, dtype: str) -> Leaf:
        """The same value in another dtype, rounded to nearest where that is coarser."""
        return replace(self, host=to_host(rounded(self.host, dtype)), dtype=dtype)



def on_device(leaves: Mapping[str, Leaf], point: Mapping[str, Any]) -> dict[str, Any]:
    """What the user's code is given for these leaves at a point, in one transfer."""
    arrays = {name: leaf for name, leaf in leaves.items() if not leaf.weak}
    values = {name: rounded(np.asarray(point[name]), leaf.dtype) for name, leaf in arrays.items()}
    placed = jax.device_put(values, {name: leaf.place for name, leaf in arrays.items()})
    return {name: float(point[name]) if leaf.weak else placed[name] for name, leaf in leaves.items()}


def make_leaf(path: str, value: Any) -> Leaf:
    """The leaf of a floating value, in the dtype that JAX will compute with."""
    if dtype_name(value) == "longdouble":
        raise TypeError(f"{path} is longdouble: jax has no such dtype; pass float64")
    weak = isinstance(value, float) and not isinstance(value, np.generic)
    weak = weak or (np.ndim(value) == 0 and bool(getattr(value, "weak_type", False)))
    dtype = str(jax.dtypes.canonicalize_dtype(value.dtype if hasattr(value, "dtype") else float))
    place = value.sharding if getattr(value, "committed", False) else None
    return Leaf(to_host(rounded(np.asarray(value), dtype)), dtype, weak, place)


def numeric(value: Any) -> bool:
    """Whether this is an array or array scalar, of JAX (traced or not) or of NumPy."""
    return isinstance(value, (jax.Array, np.ndarray, np.generic))


def floating(value: Any) -> bool:
    """Whether this is an array of a real floating dtype that has a known rounding unit."""
    return numeric(value) and is_floating(value)


def to_host(array: Any) -> np.ndarray:
    """The same numbers as a new NumPy array of the same dtype; bfloat16 as float32, which holds them."""
    plain = np.asarray(array)
    return np.array(plain, np.float32 if dtype_name(plain) == "bfloat16" else plain.dtype)


def to_host64(array: Any) -> np.ndarray:
    """The same numbers as a new float64 array."""
    return np.array(array, np.float64)


def from_host(array: Any, dtype: str, place: Any = None) -> Any:
    """A new JAX array with these numbers, rounded to nearest once."""
    return jax.device_put(rounded(np.asarray(array), dtype), place)


def like(array: Any, other: np.ndarray) -> Any:
    """Other numbers, perhaps in another shape, as an array of the same dtype in the same place."""
    place = array.sharding if getattr(array, "committed", False) and np.ndim(array) == other.ndim else None
    return from_host(other, dtype_name(array), place)


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """A new NumPy array with the numbers of that dtype that are nearest, ties to even.

    To bfloat16 NumPy goes by way of float32 and rounds twice. Rounding to odd there (any discarded
    bit sets the last kept one) leaves the second rounding as the only one that counts.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype != "bfloat16":
            return array.astype(np.dtype(dtype))
        near = array.astype(np.float32)
        other = np.nextafter(near, np.where(array > near, np.inf, -np.inf).astype(np.float32))
        inexact = (near != array) & np.isfinite(near)
        even = near.view(np.uint32) % 2 == 0
        return np.asarray(np.where(inexact & even, other, near).astype(jnp.bfloat16))
