"""``forward(x, w, b) -> (out, cache)`` with ``backward(dout, cache)``, and functions that return a pullback."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, Rebuild, flatten
from gradverify.targets.calling import (
    Call,
    Replay,
    State,
    argument_names,
    make_call,
    named_outputs,
    overwritten,
    replay,
    stepped,
    substituted,
)
from gradverify.targets.gradients import WrongClaim, asked_once, claimed_leaves, named_gradients, unclaimed_notes
from gradverify.targets.record import Perturb, Pullback, Target
from gradverify.targets.specs import PairSpec

_CACHE_FIRST = ("cache", "ctx", "context", "saved", "residuals", "res", "memory", "tape", "state")


def pair_target(spec: PairSpec, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Target:
    """A target from two functions; the cache is copied for every backward, so none can spoil the next."""
    return _build(spec, make_call(spec.forward, inputs), replay(), dict(kwargs))


def _build(spec: PairSpec, call: Call, calm: Replay, kwargs: dict[str, Any]) -> Target:
    def run(point: Mapping[str, Any], *, fresh: bool = False) -> tuple[Any, Any, State]:
        arguments = call.arguments(point, fresh=fresh)
        with calm() as left:
            result = spec.forward(*arguments, **kwargs)
        if not isinstance(result, tuple):
            return result, _Inputs(tuple(arguments)), left[0]
        *outputs, cache = result
        return (outputs[0] if len(outputs) == 1 else tuple(outputs)), cache, left[0]

    def linearize(point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
        out, cache, state = run(point)
        if perturb is not None:
            cache = perturbed(cache, perturb)
        _, rebuild = flatten(out, "out")

        def pullback(u: Arrays) -> Arrays:
            return pull(u, rebuild, copy.deepcopy(cache), state)

        return named_outputs(out), pullback

    def pull(u: Arrays, rebuild: Rebuild, cache: Any, state: State) -> Arrays:
        with calm(state):
            result = _call_backward(spec.backward, rebuild(u), cache)
        return named_gradients(spec.backward, result, call.point, call.names)

    def twice(point: Arrays, u: Arrays) -> tuple[Arrays, Arrays]:
        out, cache, state = run(point)
        rebuild = flatten(out, "out")[1]
        first = pull({n: x.copy() for n, x in u.items()}, rebuild, cache, state)
        return {n: np.array(g) for n, g in first.items() if g is not None}, pull(u, rebuild, cache, state)

    claimed = claimed_leaves(partial(asked_once, linearize, call.point), call.point)
    return Target(
        name=spec.name,
        point=call.point,
        claimed=claimed,
        findings=lambda: unclaimed_notes(call.point, claimed),
        dtype=call.dtype,
        forward=lambda point: named_outputs(run(point)[0]),
        line=lambda point, v: lambda t: named_outputs(run(stepped(point, v, t, call.point), fresh=True)[0]),
        linearize=linearize,
        cast=lambda dtype: _build(spec, call.cast(dtype), calm, kwargs),
        substitute=lambda other, dtype: substituted(other, call.cast(dtype) if dtype else call, calm, kwargs),
        overwritten=lambda point: overwritten(spec.forward, call, point, calm, kwargs),
        twice=twice,
        foreign=True,
    )


class _Inputs(tuple[Any, ...]):
    """The inputs themselves, where a forward returned no cache."""

    __slots__ = ()


def _call_backward(backward: Callable[..., Any], dout: Any, cache: Any) -> Any:
    if isinstance(cache, _Inputs):
        return backward(dout, *cache)
    if isinstance(dout, tuple) and _takes(backward, len(dout) + 1):
        return backward(*dout, cache)  # forward -> (h, c, cache), backward(dh, dc, cache)
    first = argument_names(backward, 2)[0]
    return backward(cache, dout) if first.lower() in _CACHE_FIRST else backward(dout, cache)


def _takes(function: Callable[..., Any], count: int) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return sum(p.default is inspect.Parameter.empty for p in parameters) == count


def perturbed(tree: Any, perturb: Perturb) -> Any:
    """The same tree with every array passed through `perturb`."""
    leaves, rebuild = flatten(tree, "cache")
    return rebuild({name: perturb(leaf) for name, leaf in leaves.items()})


def returns_pullback(result: Any) -> bool:
    """Whether a forward answered ``(y, pullback)``."""
    return isinstance(result, tuple) and len(result) == 2 and callable(result[1])


def pullback_target(
    function: Callable[..., Any], name: str, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Target:
    """A target from ``f(*inputs) -> (y, pullback)``, where ``pullback(dy)`` mirrors the inputs."""
    return _build_pullback(function, name, make_call(function, inputs), replay(), dict(kwargs))


def _build_pullback(
    function: Callable[..., Any], name: str, call: Call, calm: Replay, kwargs: dict[str, Any]
) -> Target:
    def run(point: Mapping[str, Any], *, fresh: bool = False) -> tuple[Any, Any]:
        with calm():
            result: tuple[Any, Any] = function(*call.arguments(point, fresh=fresh), **kwargs)
        return result

    def linearize(point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
        out, backward = run(point)
        if perturb is not None:
            backward = with_perturbed_closure(backward, perturb)
        _, rebuild = flatten(out, "out")

        def pullback(u: Arrays) -> Arrays:
            with calm():
                result = backward(rebuild(u))
            return mirrored(result, call)

        return named_outputs(out), pullback

    claimed = claimed_leaves(partial(asked_once, linearize, call.point), call.point)
    return Target(
        name=name,
        point=call.point,
        claimed=claimed,
        findings=lambda: unclaimed_notes(call.point, claimed),
        dtype=call.dtype,
        forward=lambda point: named_outputs(run(point)[0]),
        line=lambda point, v: lambda t: named_outputs(run(stepped(point, v, t, call.point), fresh=True)[0]),
        linearize=linearize,
        cast=lambda dtype: _build_pullback(function, name, call.cast(dtype), calm, kwargs),
        substitute=lambda other, dtype: substituted(other, call.cast(dtype) if dtype else call, calm, kwargs),
        overwritten=lambda point: overwritten(function, call, point, calm, kwargs),
        foreign=True,
    )


def mirrored(result: Any, call: Call) -> Arrays:
    """Gradients given as nests that mirror the inputs, in their order; a lone one is the first's."""
    parts = result if isinstance(result, (tuple, list)) and len(call.names) > 1 else (result,)
    if len(parts) > len(call.names):
        raise WrongClaim(
            "shape",
            call.names[0],
            f"the pullback returned {len(parts)} gradients for {len(call.names)} inputs",
        )
    named = [flatten(part, name)[0] for part, name in zip(parts, call.names, strict=False)]
    found = {name: leaf for leaves in named for name, leaf in leaves.items()}
    return {name: np.asarray(found[name]) for name in call.point if found.get(name) is not None}


def with_perturbed_closure(function: Any, perturb: Perturb, depth: int = 6) -> Any:
    """A copy of a closure whose captured arrays, and captured closures' arrays, went through `perturb`.

    Residuals of a pullback live in its cells. What is not a plain Python closure stays as it is.
    """
    cells = getattr(function, "__closure__", None)
    if not cells or depth == 0:
        return function
    fresh = tuple(type(cell)(_perturb_cell(cell, perturb, depth)) for cell in cells)
    twin = type(function)(function.__code__, function.__globals__, function.__name__, function.__defaults__, fresh)
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


def _perturb_cell(cell: Any, perturb: Perturb, depth: int) -> Any:
    try:
        content = cell.cell_contents
    except ValueError:  # an empty cell: a name never bound
        return None
    if callable(content):
        return with_perturbed_closure(content, perturb, depth - 1)
    leaves, rebuild = flatten(content, "cell")
    return rebuild(
        {k: with_perturbed_closure(x, perturb, depth - 1) if callable(x) else perturb(x) for k, x in leaves.items()}
    )
