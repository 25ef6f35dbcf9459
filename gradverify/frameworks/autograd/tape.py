"""A computation recorded by autograd: several inputs at once, and residuals within reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from autograd.core import JVPNode, VJPNode, add_outgrads
from autograd.tracer import isbox, new_box, notrace_primitives, trace_stack
from autograd.util import toposort

from gradverify.arrays import Arrays, is_floating
from gradverify.targets.record import Perturb

Run = Callable[[Mapping[str, Any]], Arrays]


class PerturbedNode(VJPNode):
    """A step of the tape whose rule is given its arguments and answer perturbed: they are its residuals."""

    __slots__ = ("perturb",)

    def __init__(
        self, value: Any, fun: Any, args: Any, kwargs: Any, parent_argnums: Any, parents: Any
    ) -> None:
        self.perturb = parents[0].perturb
        moved = tuple(_moved(self.perturb, x) for x in args)
        super().__init__(_moved(self.perturb, value), fun, moved, kwargs, parent_argnums, parents)


notrace_primitives[PerturbedNode] = notrace_primitives[VJPNode]


def _moved(perturb: Perturb, value: Any) -> Any:
    if not isinstance(value, (np.ndarray, np.floating)) or not is_floating(value):
        return value
    moved = perturb(np.array(value))
    return moved if isinstance(value, np.ndarray) else moved[()]


def pullback(run: Run, values: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Callable[[Arrays], Arrays]]:
    """The outputs and ``u -> J^T u``, None for an input that no output depends on.

    Each input has a root of its own: a gradient comes back as the last rule returned it, of whatever
    shape, where one tuple of all inputs would broadcast it into place.
    """
    roots = {name: _root(perturb) for name in values}
    outputs, ends = _record(run, values, roots)

    def pull(u: Arrays) -> Arrays:
        asked = {name: node for name, node in ends.items() if u.get(name) is not None}
        found = _pull(list(asked.values()), [u[name] for name in asked])
        return {name: found.get(root) for name, root in roots.items()}

    return outputs, pull


def _root(perturb: Perturb | None) -> Any:
    if perturb is None:
        return VJPNode.new_root()
    root = PerturbedNode.new_root()
    root.perturb = perturb
    return root


def pushforward(run: Run, values: Arrays, v: Arrays) -> Arrays:
    """``J v``; a leaf without a tangent is a constant."""
    roots = {name: JVPNode.new_root(v[name]) for name in values if name in v}
    outputs, ends = _record(run, values, roots)
    return {name: ends[name].g if name in ends else np.zeros(np.shape(y)) for name, y in outputs.items()}


def _record(run: Run, values: Arrays, roots: Mapping[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """The outputs, and the last node of each that depends on an input."""
    with trace_stack.new_trace() as level:
        boxes = {name: new_box(values[name], level, root) for name, root in roots.items()}
        found = run({**values, **boxes})
    mine = {name: isbox(y) and y._trace == level for name, y in found.items()}  # noqa: SLF001 - the tape
    outputs = {name: y._value if mine[name] else y for name, y in found.items()}  # noqa: SLF001
    return outputs, {name: y._node for name, y in found.items() if mine[name]}  # noqa: SLF001


def _pull(ends: list[Any], seeds: list[Any]) -> dict[Any, Any]:
    """What arrives at every node, as `autograd.core.backward_pass` from several ends."""
    start = VJPNode.new_root()
    start.parents, start.vjp = ends, lambda g: g
    arriving: dict[Any, Any] = {start: (seeds, False)}
    arrived = {}
    for node in toposort(start):
        arrived[node] = arriving.pop(node)[0]
        for parent, part in zip(node.parents, node.vjp(arrived[node]), strict=False):
            arriving[parent] = add_outgrads(arriving.get(parent), part)
    return arrived
