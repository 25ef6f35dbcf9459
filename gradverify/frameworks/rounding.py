"""Rounding once where NumPy and the frameworks would round twice."""

from __future__ import annotations

import numpy as np


def rounded_to_odd(array: np.ndarray) -> np.ndarray:
    """The float32 numbers from which rounding to nearest gives the bfloat16 nearest to the array.

    By way of the nearest float32 a number would be rounded twice. Any bit discarded here sets the
    last kept one, which leaves float32 to bfloat16 as the only rounding that counts.

    >>> rounded_to_odd(np.array([1.0 + 2.0**-30])).tolist()
    [1.0000001192092896]
    """
    with np.errstate(over="ignore", invalid="ignore"):
        near = np.asarray(array).astype(np.float32)
        other = np.nextafter(near, np.where(array > near, np.inf, -np.inf).astype(np.float32))
        inexact = (near != array) & np.isfinite(near)
        return np.array(np.where(inexact & (near.view(np.uint32) % 2 == 0), other, near), np.float32)
