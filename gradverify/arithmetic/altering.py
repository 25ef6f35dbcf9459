"""A run of which some operations carry another derivative than their own: what a mistaken backward amounts to.

Every operation on arrays that move is counted, in the order of execution; an *edge* is one moving operand of
one of them. A change says what an edge hands on instead of what it should: nothing, or the product with
another factor. Operations within an operation (the pieces of `numpy.var`) are none of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradverify.arithmetic.functions import is_wrapper
from gradverify.arithmetic.sites import Site, find_site

Edge = tuple[int, int]  # the operation's number, and which of its operands
Change = Callable[["Operation", "Altering"], Any]  # of the operation in its run: a derivative
WHOLE = -1  # in the place of an operand: the change says what the result's derivative is altogether


@dataclass
class Operation:
    """One operation as it was met: its operands, and its result once there is one."""

    number: int
    func: Any
    operands: Sequence[Any]
    moving: tuple[int, ...]
    site: Site | None = None
    result: Any = None
    values: Any = None
    slopes: Any = None

    def is_made_of(self, result: Any, operand: int) -> bool:
        """Whether an operand is another operation's result, or a view of all of it."""
        own = self.operands[operand].planes.real
        return own.size == result.planes.real.size and np.shares_memory(own, result.planes.real)

    def with_slope(self, operand: int, slope: Any) -> Any:
        """The result's derivative where this operand alone moves, and like that."""
        moved = self.operands[operand]
        values = np.broadcast_to(moved.planes.real, np.broadcast_shapes(moved.shape, slope.shape))
        moved = moved.made(values.copy(), np.broadcast_to(slope, values.shape).copy(), 0.0)
        still = [moved if j == operand else _still(x) if is_wrapper(x) else x for j, x in enumerate(self.operands)]
        return self.func(*still).planes.imag


@dataclass
class Altering:
    """The operations of a run so far, `changes` made to some edges; with `records` told where they stand.

    `known` are the operations of an earlier run at the same point: the values of what is still to come.
    """

    changes: Mapping[Edge, Change] = field(default_factory=dict)
    known: Sequence[Operation] = ()
    records: bool = False
    operations: list[Operation] = field(default_factory=list)
    inside: bool = False

    def call(self, func: Any, operands: Sequence[Any], answer: Callable[[Sequence[Any]], Any]) -> Any:
        """``answer(operands)``, with the changes that are due at this operation."""
        moving = tuple(i for i, x in enumerate(operands) if is_wrapper(x) and np.any(x.planes.imag))
        site = find_site() if self.records else None
        operation = Operation(len(self.operations), func, operands, moving, site)
        self.operations.append(operation)
        due = {i: self.changes[operation.number, i] for i in moving if (operation.number, i) in self.changes}
        self.inside = True
        try:
            result = answer([_still(x) if i in due else x for i, x in enumerate(operands)])
            if is_wrapper(result):
                result = self._finish(operation, result, due)
        finally:
            self.inside = False
        return result

    def _finish(self, operation: Operation, result: Any, due: dict[int, Change]) -> Any:
        """The result with what the changes say of its derivative, noted."""
        if (operation.number, WHOLE) in self.changes:
            due = {WHOLE: self.changes[operation.number, WHOLE]}
        operation.values = result.planes.real.copy()
        slopes = np.zeros(result.shape) if WHOLE in due else result.planes.imag
        for change in due.values():
            slopes = slopes + change(operation, self)
        if due:
            result = result.made(result.planes.real, np.broadcast_to(slopes, result.shape).copy(), 0.0)
        operation.result, operation.slopes = result, result.planes.imag.copy()
        return result


def _still(x: Any) -> Any:
    """The same values, not moving."""
    return x.made(x.planes.real, np.zeros_like(x.planes.imag), 0.0)
