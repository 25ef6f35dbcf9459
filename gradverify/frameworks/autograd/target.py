"""Code written with `autograd.numpy` as a target: plain on plain arrays, taped for its derivatives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from autograd.tracer import isbox

from gradverify.arrays import EPS, Arrays, dtype_name
from gradverify.frameworks.autograd.complexparts import on_parts, parted
from gradverify.frameworks.autograd.tape import Run, pullback, pushforward
from gradverify.records import Options
from gradverify.targets.calling import Call, Replay, as_leaf, make_call, named_outputs, overwritten, replay, substituted
from gradverify.targets.orders import highest_order
from gradverify.targets.record import Perturb, Pullback, Target
from gradverify.targets.specs import name_of


@dataclass(frozen=True)
class Code:
    """A function, its arguments as leaves, and the random state that each call starts from."""

    function: Callable[..., Any]
    call: Call
    calm: Replay
    kwargs: Mapping[str, Any]
    name: str

    def run(self, values: Mapping[str, Any]) -> Arrays:
        """The named outputs at values that may be boxes of a tape."""
        result = self.function(*self.call.arguments(values), **self.kwargs)
        return named_outputs(parted(_opened(result)))

    def values(self, point: Mapping[str, Any]) -> Arrays:
        """The leaves as the function is given them: arrays, or scalars where it was given scalars."""
        arrays = {name: as_leaf(point[name], own.dtype) for name, own in self.call.point.items()}
        return {name: x[()] if name in self.call.scalars else x for name, x in arrays.items()}


def make_target(obj: Any, inputs: tuple[Any, ...], options: Options) -> Target:
    """The target of a function written with `autograd.numpy`, or of a primitive with rules of its own.

    Only the leaves that all rules on their way speak of are claimed. Raises what the first plain
    forward raises, and `TypeError` where there is nothing to check.
    """
    split = parted(inputs)
    call = make_call(_written(obj), split)
    if not call.point:
        raise TypeError(f"nothing to check: {_name(obj)} has no floating input (integers and booleans are constants)")
    code = Code(on_parts(obj), call, replay(), dict(options.kwargs or {}), _name(obj))
    target = _target(code, options)
    if target.linearize is None and target.pushforward is None:
        raise TypeError(f"nothing to check: {target.name} has neither a VJP nor a JVP with respect to its inputs")
    return target


def _target(code: Code, options: Options) -> Target:
    outputs, call = _forward(code, code.call.point), code.call
    claimed = _claimed(code)
    ones = {name: np.ones_like(x) for name, x in call.point.items()}
    push, higher = partial(_pushforward, code), partial(_higher, code, claimed)
    highest = highest_order(higher, call.point, outputs, options.order) if claimed else 1
    return Target(
        name=code.name,
        point=call.point,
        dtype=max([call.dtype, *map(dtype_name, outputs.values())], key=EPS.__getitem__),
        forward=partial(_forward, code),
        linearize=partial(_linearize, code, claimed) if claimed else None,
        redrawn=lambda point, u: _linearize(code, claimed, point, redraws=True)[1](u),
        pushforward=push if options.mode != "reverse" and _works(push, call.point, ones) else None,
        higher=higher if highest > 1 else None,
        highest=highest,
        by_upstream=partial(_by_upstream, code, claimed),
        cast=lambda dtype: _cast(code, options, dtype),
        substitute=lambda other, dtype: substituted(
            on_parts(other), call.cast(dtype) if dtype else call, code.calm, code.kwargs
        ),
        # An imaginary step would mix with imaginary parts of the code's own.
        foreign=not any(name.endswith((".real", ".imag")) for name in (*call.point, *outputs)),
        overwritten=lambda point: overwritten(code.function, call, point, code.calm, code.kwargs),
        claimed=claimed or None,
    )


def _written(obj: Any) -> Any:
    """The function that somebody wrote, with its own name and signature, inside a primitive."""
    return obj.fun if getattr(obj, "_is_autograd_primitive", False) else obj


def _name(obj: Any) -> str:
    written = _written(obj)
    full, own = name_of(written), str(getattr(written, "__name__", ""))
    return full if full.endswith(own) else own  # the operators of autograd name what they return by __name__


def _forward(code: Code, point: Arrays) -> Arrays:
    with code.calm():
        return code.run(point)


def _linearize(
    code: Code, claimed: tuple[str, ...], point: Arrays, perturb: Perturb | None = None, *, redraws: bool = False
) -> tuple[Arrays, Pullback]:
    """The outputs and `u -> J^T u`; `perturb` reaches the arguments and answers that rules are given.

    The pullback's random numbers are those after the forward's, or if it `redraws` the same ones.
    """
    values = code.values(point)
    with code.calm() as left:
        outputs, pull = pullback(
            lambda taped: code.run({**values, **taped}), {n: values[n] for n in claimed}, perturb
        )

    def calm_pull(u: Arrays) -> Arrays:
        with code.calm(None if redraws else left[0]):
            return pull(u)

    return outputs, calm_pull


def _pushforward(code: Code, point: Arrays, v: Arrays) -> Arrays:
    with code.calm():
        return pushforward(code.run, code.values(point), v)


def _higher(code: Code, claimed: tuple[str, ...], point: Arrays, u: Arrays, directions: Sequence[Arrays]) -> Arrays:
    """``H v = H^T v`` of ``<u, f>`` by a backward pass through its backward pass, and so on through that one."""
    values = code.values(point)

    def outputs(taped: Mapping[str, Any]) -> Arrays:
        return code.run({**values, **taped})

    found: Run = outputs
    for seeds in (u, *directions):
        found = partial(_pulled, found, claimed, seeds)
    with code.calm():
        gradients = found({n: values[n] for n in claimed})
        return {name: gradients.get(name) for name in claimed}


def _by_upstream(code: Code, claimed: tuple[str, ...], point: Arrays, v: Arrays) -> Arrays:
    """``<J^T u, v>`` differentiated by u: J v by a backward pass through the backward pass."""
    values, outputs = code.values(point), _forward(code, point)

    def gradients(seeds: Mapping[str, Any]) -> Arrays:
        return _pulled(lambda taped: code.run({**values, **taped}), claimed, dict(seeds), values)

    still = {name: np.zeros(np.shape(y)) for name, y in outputs.items()}
    with code.calm():
        found = _pulled(gradients, tuple(outputs), v, {name: np.ones(np.shape(y)) for name, y in outputs.items()})
    return {**still, **found}


def _pulled(run: Run, claimed: tuple[str, ...], seeds: Arrays, values: Mapping[str, Any]) -> Arrays:
    """The gradient of ``<seeds, run(values)>``, without the leaves that it does not depend on."""
    outputs, pull = pullback(run, {n: values[n] for n in claimed})
    found = pull({name: seeds[name] for name in outputs if name in seeds})
    return {name: g for name, g in found.items() if g is not None}


def _claimed(code: Code) -> tuple[str, ...]:
    """The leaves with respect to which every rule on the way is defined."""
    together = tuple(code.call.point)
    if _taped(code, together):
        return together
    return tuple(name for name in together if _taped(code, (name,)))


def _taped(code: Code, leaves: tuple[str, ...]) -> bool:
    try:
        _linearize(code, leaves, code.call.point)
    except NotImplementedError:
        return False
    return True


def _works(derivative: Callable[[Arrays, Arrays], Arrays], point: Arrays, v: Arrays) -> bool:
    """Whether one call at the point answers: most primitives have one kind of rule only."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # made an error, one would read as "not claimed"
            derivative(point, v)
    except Exception:  # a missing rule is reported in several ways
        return False
    return True


def _cast(code: Code, options: Options, dtype: str) -> Target | None:
    """The target on leaves of another dtype, or None if it raises there or answers in another."""
    if dtype == "bfloat16":
        return None
    moved = replace(code, call=code.call.cast(dtype))
    try:
        outputs = _forward(moved, moved.call.point)
        return _target(moved, options) if {*map(dtype_name, outputs.values())} == {dtype} else None
    except Exception:  # LAPACK refuses half and extended precision in its own way
        return None


def _opened(result: Any) -> Any:
    """A result whose boxed tuples, lists and dicts are plain ones of boxes."""
    inside = result._value if isbox(result) else result  # noqa: SLF001 - the tape
    if isinstance(inside, dict):
        return {key: _opened(result[key]) for key in inside}
    if isinstance(inside, (tuple, list)):
        parts = [_opened(result[i]) for i in range(len(inside))]
        return type(inside)(*parts) if hasattr(inside, "_fields") else type(inside)(parts)
    return result
