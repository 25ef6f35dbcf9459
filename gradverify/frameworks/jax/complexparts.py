"""Complex arrays as pairs of real ones: ``z.real`` and ``z.imag``.

The pairs are made whole inside the traced function, by `lax.complex`, and outputs are taken apart there. So JAX
itself turns its convention (the cotangent of z is dL/da - i dL/db) into gradients of the parts, and a rule of
the user is still asked in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gradverify.arrays import dtype_name

REAL = {"complex64": "float32", "complex128": "float64"}


def is_complex(value: Any) -> bool:
    """Whether this is an array, or array scalar, of complex numbers."""
    return hasattr(value, "dtype") and dtype_name(value) in REAL


def split(path: str, value: Any) -> dict[str, Any]:
    """The array, or its two parts, by name."""
    if not is_complex(value):
        return {path: value}
    return {f"{path}.real": jnp.real(value), f"{path}.imag": jnp.imag(value)}


def joined(values: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The values with the arrays of these paths made whole again."""
    return {**values, **{p: jax.lax.complex(values[f"{p}.real"], values[f"{p}.imag"]) for p in paths}}
