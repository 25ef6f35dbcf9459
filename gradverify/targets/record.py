"""What every adapter makes of the user's object: a point, a forward, and claimed derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradverify.arrays import EPS, Arrays
from gradverify.targets.settings import Setting

Pullback = Callable[[Arrays], Arrays]
Perturb = Callable[[Any], Any]
Substitute = Callable[[Callable[..., Any], str | None], Callable[[Arrays], Arrays]]
Higher = Callable[[Arrays, Arrays, Sequence[Arrays]], Arrays]
Linearize = Callable[[Arrays, Perturb | None], tuple[Arrays, Pullback]]


@dataclass(frozen=True)
class Composed:
    """Higher derivatives by another composition of `modes` than `Target.higher` is, up to the order `highest`."""

    modes: str
    higher: Higher
    highest: int


@dataclass(frozen=True)
class Target:
    """A forward computation and the derivatives it claims, as functions of named arrays.

    `point` holds the differentiable leaves as host arrays; whatever else the computation needs is
    inside the closures. Every function takes such a point, leaves it unchanged and may be called
    any number of times with the same result.

    forward(point) -> outputs. With `foreign`, also on arrays of another arithmetic.
    linearize(point, perturb) -> (outputs, pullback), and pullback(u) -> {leaf: gradient or None}.
        `perturb`, if given, is applied to every residual the forward saved for the backward.
        The layout (strides) of u reaches the user's code.
    pushforward(point, v) -> J v, as outputs.
    higher(point, u, directions) -> the gradient of ``<u, f>`` differentiated along each direction before: ``H v`` along
        one, of order 2; along two of order 3. `highest` is the highest order it answers for.
    composed: the same by forward over reverse, say, where the framework has that too.
    by_upstream(point, v) -> J v once more, as outputs: the derivative of <J^T u, v> by u, as a backward pass through a
        backward pass reaches the upstream gradient. Asked where higher derivatives are.
    cast(dtype) -> the same target in another dtype, or None where it cannot be.
    twice(point, u) -> the gradients of two backward passes after one forward, nothing copied between them.
    overwritten(point) -> (leaf, before, after) for each input that a forward changes in place.
    counterpart(function, dtype) -> forward and pullback, as `linearize`, of another function in that dtype.
    line(point, v) -> (t -> outputs at x + t v), nothing copied that need not be; None where `forward` is as good.
    imaginary(point, v, h, key) -> (outputs, derivatives along v) of the forward run at x + ihv; raises where it cannot.
    subset(point, u, leaves) -> their gradients where no other leaf asks for one.
    unhooked(leaf) -> {what was left out: (point, u) -> gradients} without the hooks that the user put on tensors and
        modules: first without any, then without each that may reach the leaf.
    redrawn(point, u) -> the gradients where the backward draws the random numbers that its forward drew.
    batched(points, us) -> (outputs, gradients) of each, all in one call of the framework's vmap; raises without a rule.
    substitute(function, dtype) -> the forward of another function of the same inputs and parameters.
    holding(function) -> (point -> its forward with what it detaches held as at that point), or None if that is nothing.
    anchored(point) -> the forward, what it detaches held as at that point; `forward`, where there is no such thing.
    """

    name: str
    point: Arrays
    dtype: str
    forward: Callable[[Arrays], Arrays]
    linearize: Linearize | None = None
    pushforward: Callable[[Arrays, Arrays], Arrays] | None = None
    higher: Higher | None = None
    highest: int = 1
    composed: Composed | None = None
    by_upstream: Callable[[Arrays, Arrays], Arrays] | None = None
    cast: Callable[[str], Target | None] | None = None
    substitute: Substitute | None = None
    holding: Callable[[Callable[..., Any]], Callable[[Arrays], Callable[[Arrays], Arrays]] | None] | None = None
    anchored: Callable[[Arrays], Callable[[Arrays], Arrays]] | None = None
    overwritten: Callable[[Arrays], list[tuple[str, Any, Any]]] | None = None
    twice: Callable[[Arrays, Arrays], tuple[Arrays, Arrays]] | None = None
    counterpart: Callable[[Callable[..., Any], str], Linearize] | None = None
    trusted: tuple[Linearize, Linearize] | None = None  # a reference in float64, and in the target's own dtype
    line: Callable[[Arrays, Arrays], Callable[[float], Arrays] | None] | None = None
    imaginary: Callable[[Arrays, Arrays, float, int | None], tuple[Arrays, Arrays]] | None = None
    subset: Callable[[Arrays, Arrays, tuple[str, ...]], Arrays] | None = None
    batched: Callable[[Sequence[Arrays], Sequence[Arrays]], list[tuple[Arrays, Arrays]]] | None = None
    unhooked: Callable[[str], Mapping[str, Callable[[Arrays, Arrays], Arrays]]] | None = None
    redrawn: Callable[[Arrays, Arrays], Arrays] | None = None
    forward_eps: float | None = None  # spacing of the forward's dtype, where a reference stands in for it
    foreign: bool = False
    recorded: tuple[str, ...] | None = None  # the outputs that gradients are asked of, if others are constants
    strided: bool = False  # the framework itself sends a backward upstream gradients in any layout
    start: Arrays | None = None  # the outputs at `point`, where they have been computed already
    claimed: tuple[str, ...] | None = None  # the leaves whose gradient is claimed; None: all
    constants: tuple[float, ...] = ()  # numbers written in its code: where it may branch
    settings: Callable[[], tuple[Setting, ...]] = tuple  # numbers its forward reads, which can be changed
    findings: Callable[[], tuple[str, ...]] = field(default=lambda: ())

    @property
    def eps(self) -> float:
        """Spacing of the target's dtype at 1."""
        return EPS[self.dtype]

    def outputs(self, point: Arrays) -> Arrays:
        """What `forward` gives; at the target's own point it is run once."""
        if self.start is not None and all(point.get(n) is x for n, x in self.point.items()):
            return self.start
        return self.forward(point)
