"""What code makes a constant of its inputs (``detach``, ``stop_gradient``), held as it was at one point.

``x + (round(x) - x).detach()`` has the slope 1 for whoever differentiates it, and steps for whoever only looks at
its values. With the detached part held, its values have the slope that is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradverify.arrays import Arrays

Forward = Callable[[Arrays], Arrays]
Holding = Callable[[Arrays], Forward]


@dataclass
class Kept:
    """The constants in the order in which a first run makes them; later runs are handed those in place of their own."""

    values: list[Any] = field(default_factory=list)
    following: int | None = None  # in a later run, the number of the next one

    def __call__(self, value: Any) -> Any:
        """The constant to go on with; `TypeError` where a later run makes another one than the first."""
        if self.following is None:
            self.values.append(value)
            return value
        self.following += 1
        if self.following > len(self.values) or np.shape(self.values[self.following - 1]) != np.shape(value):
            raise TypeError("surrogate=: it detaches other parts beside the point than at it, so that they cannot be "
                            "held; write the function whose plain derivative is meant")
        return self.values[self.following - 1]

    def again(self) -> Kept:
        """The same constants for one more run."""
        return Kept(self.values, 0)
