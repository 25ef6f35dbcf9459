"""Up to which order a target can be differentiated, found out by trying."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradverify.arrays import Arrays
from gradverify.targets.record import Composed, Higher


def highest_order(higher: Higher, point: Arrays, outputs: Mapping[str, Any], wanted: int) -> int:
    """The highest order up to `wanted` for which one call at the point answers; a missing derivative raises.

    >>> highest_order(lambda x, u, directions: x, {"x": np.ones(2)}, {"out": np.ones(2)}, 3)
    3
    """
    ones = {name: np.ones(np.shape(x)) for name, x in point.items()}
    u = {name: np.ones(tuple(getattr(y, "shape", ()))) for name, y in outputs.items()}
    return next((n for n in range(wanted, 1, -1) if _answers(higher, point, u, [ones] * (n - 1))), 1)


def composed(modes: str, higher: Higher, highest: int) -> Composed | None:
    """Another way to higher derivatives, if it leads to any."""
    return Composed(modes, higher, highest) if highest > 1 else None


def _answers(higher: Higher, point: Arrays, u: Arrays, directions: list[Arrays]) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # made an error, one would read as "not claimed"
            higher(point, u, directions)
    except Exception:  # a missing derivative is reported in many ways
        return False
    return True
