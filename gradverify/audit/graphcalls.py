"""A call of an operator of a hand-written autograd: arrays in and out, gradients from the objects that hold them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradverify.audit.boxes import Box, Way, first_of
from gradverify.audit.manners import ASKED, Mask
from gradverify.audit.signatures import of_names

Function = Callable[..., Any]


@dataclass(frozen=True)
class Call:
    """An operator with the way in which each of its arguments is given, in the words of `manners`.

    `constants` go where `names` has a None, each as so many arguments as it has; `settings` are keywords. `twice` adds
    up two results of the same inputs, `narrow` gives all arrays but the first as their first row, with the axis of the
    rows (1) or without it (2), which the operator has to broadcast.
    """

    box: Box
    operator: Function
    names: tuple[str | None, ...]
    manners: tuple[str, ...]
    constants: tuple[tuple[Any, ...], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    twice: bool = False
    narrow: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the arguments that are arrays."""
        return tuple(name for name in self.names if name is not None)

    @property
    def asked(self) -> tuple[str, ...]:
        """The names of the arrays that are asked for their gradient."""
        return tuple(n for n, how in zip(self.inputs, self.manners, strict=True) if how in ASKED)

    @property
    def signature(self) -> inspect.Signature:
        """Its arrays by name."""
        return of_names(*self.inputs)

    def boxes(self, arrays: Sequence[Any]) -> list[Any]:
        """The arrays as the operator wants them."""
        row = (slice(None), slice(1), 0)[self.narrow]
        narrowed = [x[row] if self.narrow and i and np.ndim(x) >= self.narrow else x for i, x in enumerate(arrays)]
        makers = {"raw": lambda x: x, "truth": self.box.constant}
        return [makers.get(how, self.box.make)(x) for x, how in zip(narrowed, self.manners, strict=True)]

    def result(self, boxes: Sequence[Any]) -> Any:
        """What the operator makes of them."""
        given, fixed = iter(zip(boxes, self.manners, strict=True)), iter(self.constants)
        parts = [self._fixed(next(fixed), boxes) if n is None else self._given(*next(given)) for n in self.names]
        values = [value for part in parts for value in part]
        once, *more = (self._first(self.operator(*values, **self.settings), boxes) for _ in range(1 + self.twice))
        return once + more[0] if more else once

    def _first(self, out: Any, boxes: Sequence[Any]) -> Any:
        """The first output: of several, and of those that a record keeps, as ``Max(values, indices)`` does."""
        first = first_of(out)
        kept = [] if self.box.holds(first) else list(getattr(first, "__dict__", {}).values())
        return next((v for v in kept if self.box.holds(v) and not any(v is b for b in boxes)), first)

    def _fixed(self, constant: tuple[Any, ...], boxes: Sequence[Any]) -> list[Any]:
        """A constant as the operator takes it: a condition is as large as the first array."""
        first = boxes[0] if boxes else np.zeros(())
        shape = np.shape(self.box.value_of(first) if self.box.holds(first) else first)
        return [value.of(self.box, shape) if isinstance(value, Mask) else value for value in constant]

    def _given(self, value: Any, how: str) -> list[Any]:
        """An argument as the operator takes it: beside another tensor, where it takes several."""
        if how not in ("list", "star"):
            return [value]
        shape = np.shape(self.box.value_of(value))
        several = [value, self.box.make(np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape))]
        return several if how == "star" else [several]

    def forward(self, *arrays: Any) -> Any:
        """The array that the operator computes from arrays."""
        out = self.box.value_of(self.result(self.boxes(arrays)))
        return out if isinstance(out, np.ndarray) or np.ndim(out) else np.asarray(out)

    def pull(self, way: Way, *arguments: Any) -> Any:
        """The gradient of every array, for an upstream gradient that comes last."""
        *arrays, u = arguments
        boxes = self.boxes(arrays)
        way(self.box, self.result(boxes), np.asarray(u))
        found = [self._gradient(b, x, how) for b, x, how in zip(boxes, arrays, self.manners, strict=True)]
        return found[0] if len(found) == 1 else tuple(found)

    def _gradient(self, boxed: Any, x: Any, how: str) -> Any:
        if how not in ASKED:
            return None
        shape = np.shape(self.box.value_of(boxed))
        g = self.box.gradient_of(boxed, shape)
        if g is None or shape == np.shape(x):
            return g
        whole = np.zeros(np.shape(x))
        whole[:1] = np.reshape(g, shape)
        return whole
