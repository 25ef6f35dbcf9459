"""A forward in JAX with what goes through `stop_gradient` held as it was at one point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import tree_util

from gradverify.frameworks.holding import Kept
from gradverify.frameworks.jax.narrowing import operations, parts
from gradverify.frameworks.jax.tracing import bind

STOP = "stop_gradient"
_INNER = ("jaxpr", "call_jaxpr")  # where operations that only call keep what they call


def held(function: Callable[..., Any]) -> Callable[..., Any]:
    """``(kept, *arguments) -> function(*arguments)``, every stopped value handed to `kept`; run operation by operation.

    Raises `TypeError` for a `stop_gradient` inside a loop whose length is not known beforehand, and the like.
    """

    def run(kept: Kept, *arguments: Any) -> Any:
        structures: list[Any] = []

        def flat(*given: Any) -> list[Any]:
            leaves, structure = tree_util.tree_flatten(function(*given))
            structures.append(structure)
            return leaves

        traced = jax.make_jaxpr(flat)(*arguments)
        leaves = _run(traced.jaxpr, traced.consts, tree_util.tree_leaves(arguments), kept)
        return tree_util.tree_unflatten(structures[-1], leaves)

    return run


def _run(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any], kept: Kept) -> list[Any]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

    def read(variable: Any) -> Any:
        return variable.val if hasattr(variable, "val") else known[variable]

    for operation in jaxpr.eqns:
        results = _applied(operation, [read(variable) for variable in operation.invars], kept)
        known.update(zip(operation.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _applied(operation: Any, arguments: Sequence[Any], kept: Kept) -> list[Any]:
    name, parameters = str(operation.primitive), operation.params
    if name == STOP:
        return [kept(x) for x in arguments]
    if name.startswith("custom_") or not stops(operation):  # a rule of its own says what such a call's derivative is
        return bind(operation, arguments)
    if name == "scan":
        return _unrolled(parameters, arguments, kept)
    if name == "cond":
        return _called(parameters["branches"][int(arguments[0])], arguments[1:], kept)
    inner = next((parameters[key] for key in _INNER if key in parameters), None)
    if inner is None or len(getattr(inner, "jaxpr", inner).invars) != len(arguments):
        raise TypeError(f"surrogate=: stop_gradient inside {name} cannot be held; write it outside, or give the "
                        "function whose plain derivative is meant")
    return _called(inner, arguments, kept)


def stops(operation: Any) -> bool:
    """Whether anything in an operation stops a gradient."""
    return any(str(op.primitive) == STOP for part in parts(operation) for op in operations(part))


def _called(inner: Any, arguments: Sequence[Any], kept: Kept) -> list[Any]:
    return _run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), arguments, kept)


def _unrolled(parameters: Any, arguments: Sequence[Any], kept: Kept) -> list[Any]:
    """A scan, step by step."""
    ahead, carried = parameters["num_consts"], parameters["num_carry"]
    constants, carry, each = arguments[:ahead], arguments[ahead : ahead + carried], arguments[ahead + carried :]
    steps = range(parameters["length"])
    made = []
    for i in reversed(steps) if parameters["reverse"] else steps:
        found = _called(parameters["jaxpr"], [*constants, *carry, *(x[i] for x in each)], kept)
        carry, rows = found[:carried], found[carried:]
        made.append(rows)
    if parameters["reverse"]:
        made.reverse()
    return [*carry, *(jax.numpy.stack(column) for column in zip(*made, strict=True))]
