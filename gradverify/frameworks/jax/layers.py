"""The layers of a JAX program, found in its jaxpr: every product of a parameter with something that is none.

The program is run operation by operation, as JAX itself would without jit, and whichever library wrote it. At three
places of each layer something may be added (`Run.taps`): to what others see too (`source`), to the layer's own copy of
that (`x`), and to its output with the bias (`y`). Loops (`scan`) are run step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from jax import numpy as jnp

from gradverify.frameworks.jax.tracing import CALLS, bind

Key: TypeAlias = tuple[Any, ...]
Axes: TypeAlias = tuple[int, ...]
PRODUCTS = ("dot_general", "conv_general_dilated")


@dataclass(frozen=True)
class Traced:
    """A value on its way: whether no input is in it, and which parameter alone it is made of."""

    value: Any
    constant: bool = False
    leaf: str | None = None


@dataclass
class Layer:
    """One product with a parameter; `side` is the operand that is its input, the axes are those of the units.

    That of `y` may differ from that of the product, if axes were turned before the bias was added.
    """

    key: Key
    leaf: str
    operation: Any
    side: int
    source: Any
    x: Any
    weights: Any
    x_axis: int
    y_axis: int
    product_axis: int
    y: Any = None
    bias: str | None = None

    def again(self, x: Any) -> Any:
        """The product with another input, without the bias."""
        return bind(self.operation, (x, self.weights) if self.side == 0 else (self.weights, x))[0]


@dataclass
class Run:
    """One pass through a program: what is added on the way, and the layers that were met."""

    taps: Mapping[Key, Any]
    layers: list[Layer] = field(default_factory=list)

    def tapped(self, value: Any, key: Key) -> Any:
        return value + self.taps[key] if key in self.taps else value


def interpreted(
    jaxpr: Any, constants: Sequence[Traced], arguments: Sequence[Traced], run: Run, path: Key = ()
) -> list[Traced]:
    """The outputs of a jaxpr; the layers it meets are left in `run`."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))
    ends, waiting = _ends(jaxpr, {v for v, t in known.items() if t.constant}), dict[int, tuple[Layer, Axes]]()
    for number, operation in enumerate(jaxpr.eqns):
        given = [Traced(v.val, constant=True) if hasattr(v, "val") else known[v] for v in operation.invars]
        layer = _product(operation, given, (*path, number), run)
        results = [layer.y] if layer is not None else _applied(operation, given, (*path, number), run)
        if layer is not None:
            end, turned = ends.get(number, (number, ()))
            waiting[end] = layer, turned
        if number in waiting:
            results = [_finished(*waiting[number], results[0], given, run)]
        known.update(zip(operation.outvars, (_derived(r, given) for r in results), strict=True))
    return [Traced(v.val, constant=True) if hasattr(v, "val") else known[v] for v in jaxpr.outvars]


def _derived(result: Any, given: Sequence[Traced]) -> Traced:
    """What is made of one parameter alone is still that parameter: a transposed or a converted one."""
    if isinstance(result, Traced):
        return result
    constant, leaves = all(t.constant for t in given), {t.leaf for t in given if t.leaf is not None}
    return Traced(result, constant, leaves.pop() if constant and len(leaves) == 1 else None)


def _ends(jaxpr: Any, constant: set[Any]) -> dict[int, tuple[int, Axes]]:
    """For each product that a sum with a constant alone uses: where that sum is, and how axes were turned before."""
    users: dict[Any, list[int]] = {}
    fixed = set(constant)
    for number, operation in enumerate(jaxpr.eqns):
        names = [v for v in operation.invars if not hasattr(v, "val")]
        fixed |= set(operation.outvars) if fixed.issuperset(names) else set()
        for v in names:
            users.setdefault(v, []).append(number)
    ends = {number: _end(jaxpr, users, fixed, operation.outvars[0])
            for number, operation in enumerate(jaxpr.eqns) if str(operation.primitive) in PRODUCTS}
    return {number: end for number, end in ends.items() if end is not None}


def _end(jaxpr: Any, users: Mapping[Any, list[int]], fixed: set[Any], y: Any) -> tuple[int, Axes] | None:
    turned: Axes = tuple(range(y.aval.ndim))
    while len(using := users.get(y, [])) == 1:
        operation = jaxpr.eqns[using[0]]
        if str(operation.primitive) == "add":
            others = [v for v in operation.invars if v is not y]
            bias = all(hasattr(v, "val") or v in fixed for v in others)
            return (using[0], turned) if bias else None
        if str(operation.primitive) != "transpose":
            return None
        turned = tuple(turned[k] for k in operation.params["permutation"])
        y = operation.outvars[0]
    return None


def _applied(operation: Any, given: Sequence[Traced], here: Key, run: Run) -> list[Any]:
    name = str(operation.primitive)
    if name in CALLS and "jaxpr" in operation.params:
        inner = operation.params["jaxpr"]
        return interpreted(inner.jaxpr, [Traced(c, constant=True) for c in inner.consts], given, run, here)
    if name == "scan" and any(t.leaf for t in given):
        return _unrolled(operation.params, given, here, run)
    return bind(operation, [t.value for t in given])


def _unrolled(how: Mapping[str, Any], given: Sequence[Traced], here: Key, run: Run) -> list[Any]:
    """A loop step by step."""
    fixed, rest = given[: how["num_consts"]], given[how["num_consts"] :]
    state, xs = list(rest[: how["num_carry"]]), rest[how["num_carry"] :]
    own = [Traced(c, constant=True) for c in how["jaxpr"].consts]
    steps, rows = range(how["length"]), dict[int, list[Any]]()
    for t in reversed(steps) if how["reverse"] else steps:
        now = [Traced(x.value[t], x.constant, x.leaf) for x in xs]
        found = interpreted(how["jaxpr"].jaxpr, own, [*fixed, *state, *now], run, (*here, t))
        state, rows[t] = found[: how["num_carry"]], [y.value for y in found[how["num_carry"] :]]
    return [*state, *(jnp.stack(ys) for ys in zip(*(rows[t] for t in steps), strict=True))]


def _product(operation: Any, given: Sequence[Traced], here: Key, run: Run) -> Layer | None:
    """The layer that this operation is, or None."""
    if str(operation.primitive) not in PRODUCTS or given[0].constant == given[1].constant:
        return None
    side = 1 if given[0].constant else 0
    weights = given[1 - side]
    if weights.leaf is None:
        return None
    source = run.tapped(given[side].value, (*here, "source"))
    x = run.tapped(source, (*here, "x"))
    x_axis, y_axis = _unit_axes(operation, side)
    layer = Layer(here, weights.leaf, operation, side, source, x, weights.value, x_axis, y_axis, y_axis)
    layer.y = layer.again(x)
    return layer


def _unit_axes(operation: Any, side: int) -> tuple[int, int]:
    how = operation.params["dimension_numbers"]
    if str(operation.primitive) == "conv_general_dilated":
        return how.lhs_spec[1], how.out_spec[1]
    contracted, (batch, _) = how
    return contracted[side][0], -1 if side == 0 else len(batch)


def _finished(layer: Layer, turned: Axes, y: Any, given: Sequence[Traced], run: Run) -> Any:
    """The layer's output, its bias included; axis k of it is axis turned[k] of the product."""
    if turned:
        layer.y_axis = turned.index(layer.y_axis % len(turned))
    layer.bias = next((t.leaf for t in given if t.leaf not in (None, layer.leaf)), None)
    layer.y = run.tapped(y, (*layer.key, "y"))
    run.layers.append(layer)
    return layer.y
