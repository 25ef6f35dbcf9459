"""Traced code in mixed precision run in float64 throughout: its formula is judged apart from its roundings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradverify.frameworks.jax.leaves import floating
from gradverify.frameworks.jax.narrowing import parts

Evaluate = Callable[[Any, Sequence[Any], Sequence[Any]], list[Any]]

_WIDER: dict[Any, Any] = {np.dtype(narrow): np.dtype(np.float64) for narrow in (jnp.bfloat16, np.float16, np.float32)}
_WIDER[np.dtype(np.complex64)] = np.dtype(np.complex128)
_CALLED = ("jaxpr", "call_jaxpr")
# Their code is one operation on two numbers, in whatever dtype the array has.
_REDUCING = frozenset(("scatter", "scatter-add", "scatter-sub", "scatter-mul", "scatter-min", "scatter-max"))


def wide(value: Any) -> Any:
    """An array in float64, if it is of a coarser floating dtype."""
    dtype = getattr(value, "dtype", None)
    if isinstance(value, float):
        return jnp.asarray(value, jnp.float64)
    return jnp.asarray(value, _WIDER[dtype]) if isinstance(dtype, np.dtype) and dtype in _WIDER else value


def bind_wide(bind: Callable[[Any, Sequence[Any]], list[Any]], operation: Any, arguments: Sequence[Any]) -> list[Any]:
    """One operation of a trace on float64 numbers, which stay such whatever dtype it asks for.

    Raises `TypeError` where bits are read as numbers, and for an operation around code that cannot be rewritten.
    """
    name, given = str(operation.primitive), [wide(x) for x in arguments]
    run = partial(_evaluated, partial(bind_wide, bind))
    if name in _LOOPS:
        return list(_LOOPS[name](run, operation.params, given))
    inner = next((operation.params[key] for key in _CALLED if operation.params.get(key) is not None), None)
    if inner is not None and len(getattr(inner, "jaxpr", inner).invars) == len(given):
        return run(inner, given)
    if list(parts(operation)) and name not in _REDUCING:
        raise TypeError(f"{name} holds code of its own in a coarser dtype")
    if name == "bitcast_convert_type":
        if floating(given[0]):
            raise TypeError("reads the bits of numbers as others")
        return [wide(y) for y in bind(operation, given)]
    parameters = {key: _wider(value) for key, value in operation.params.items()}
    found = bind(operation.replace(params=parameters), given)
    if any(map(floating, given)) and any(getattr(y, "dtype", None) in _WIDER for y in found):
        raise TypeError(f"{name} answers in a coarser dtype, whatever it is given")
    return [wide(y) for y in found]


def _wider(parameter: Any) -> Any:
    return _WIDER.get(parameter, parameter) if isinstance(parameter, np.dtype) else parameter


def _evaluated(bind: Callable[[Any, Sequence[Any]], list[Any]], inner: Any, arguments: Sequence[Any]) -> list[Any]:
    jaxpr, constants = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], map(wide, [*constants, *arguments]), strict=True))

    def read(variable: Any) -> Any:
        return wide(variable.val) if hasattr(variable, "val") else known[variable]

    for operation in jaxpr.eqns:
        known.update(zip(operation.outvars, bind(operation, [read(v) for v in operation.invars]), strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _scan(run: Any, parameters: Any, given: Sequence[Any]) -> Sequence[Any]:
    ahead, carried = parameters["num_consts"], parameters["num_carry"]

    def body(carry: Any, row: Any) -> tuple[Any, Any]:
        found = run(parameters["jaxpr"], [*given[:ahead], *carry, *row])
        return found[:carried], found[carried:]

    start, rows = [*map(jnp.asarray, given[ahead : ahead + carried])], list(given[ahead + carried :])
    carry, made = jax.lax.scan(body, start, rows, length=parameters["length"], reverse=parameters["reverse"])
    return [*carry, *made]


def _while(run: Any, parameters: Any, given: Sequence[Any]) -> Sequence[Any]:
    first, second = parameters["cond_nconsts"], parameters["cond_nconsts"] + parameters["body_nconsts"]
    goes_on = lambda state: run(parameters["cond_jaxpr"], [*given[:first], *state])[0]  # noqa: E731
    step = lambda state: run(parameters["body_jaxpr"], [*given[first:second], *state])  # noqa: E731
    found: Sequence[Any] = jax.lax.while_loop(goes_on, step, [*map(jnp.asarray, given[second:])])
    return found


def _cond(run: Any, parameters: Any, given: Sequence[Any]) -> Sequence[Any]:
    branches = [lambda *rest, branch=branch: run(branch, rest) for branch in parameters["branches"]]
    found: Sequence[Any] = jax.lax.switch(jnp.asarray(given[0], jnp.int32), branches, *given[1:])
    return found


_LOOPS: dict[str, Callable[..., Sequence[Any]]] = {"scan": _scan, "while": _while, "cond": _cond}
