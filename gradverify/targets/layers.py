"""Objects with a forward and a backward method, parameters inside, gradients left wherever people leave them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, flatten, is_floating
from gradverify.targets.calling import (
    Call,
    Replay,
    as_leaf,
    make_call,
    named_outputs,
    overwritten,
    replay,
    substituted,
)
from gradverify.targets.gradients import (
    WrongClaim,
    as_gradient,
    assign,
    claimed_leaves,
    decorated,
    plain,
    unclaimed_notes,
)
from gradverify.targets.graph import arrays_of, clone, fetch, floating_of
from gradverify.targets.pairs import mirrored, returns_pullback
from gradverify.targets.record import Perturb, Pullback, Target
from gradverify.targets.specs import LayerSpec

FORWARD = (
    "forward",
    "forward_pass",
    "fprop",
    "forward_propagation",
    "feedforward",
    "compute",
    "loss",
    "fn",
    "call",
    "__call__",
)
BACKWARD = (
    "backward",
    "backward_pass",
    "bprop",
    "backprop",
    "back_propagation",
    "backward_propagation",
    "gradient",
    "grad",
    "derivative",
)
_CONTAINERS = {
    "params": ("grads", "gradients", "grad", "dparams", "dparams", "paramgrads", "g"),
    "parameters": ("grads", "gradients", "grad"),
}
_RATES = ("lr", "learning_rate", "eta", "rate", "alpha", "step_size")


@dataclass(frozen=True)
class _Methods:
    obj: Any
    forward: str
    backward: str
    params: Mapping[str, str | None]  # parameter path -> path of its gradient

    def leaves(self) -> Arrays:
        return {path: fetch(self.obj, path) for path in self.params}


def method_names(obj: Any, forward: str | None = None, backward: str | None = None) -> tuple[str, str] | None:
    """The pair of methods that make `obj` a layer, or None."""
    first = forward or next((n for n in FORWARD if _is_method(obj, n)), None)
    second = backward or next((n for n in BACKWARD if _is_method(obj, n)), None)
    return (first, second) if first and second else None


def _is_method(obj: Any, name: str) -> bool:
    return (
        callable(getattr(type(obj), name, None)) or callable(vars(obj).get(name))
        if hasattr(obj, "__dict__")
        else callable(getattr(obj, name, None))
    )


def layer_target(spec: LayerSpec, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Target:
    """A target whose leaves are the inputs and every parameter that has a gradient after a backward."""
    names = method_names(spec.obj, spec.forward, spec.backward)
    if names is None:
        raise TypeError(
            f"{spec.name}: no forward and backward method found; name them: gv.layer(obj, forward=, backward=)"
        )
    call, calm = make_call(getattr(spec.obj, names[0]), inputs), replay()
    trial = clone(spec.obj, {})
    with calm():
        result = getattr(trial, names[0])(*call.arguments(call.point), **kwargs)
        obj = (
            spec.obj
            if set(floating_of(trial)) == set(floating_of(spec.obj))
            else _warm(spec, names, call, kwargs)
        )
        if spec.params is None and not returns_pullback(result):
            _try_backward(trial, names, call, result)
    params = dict.fromkeys(spec.params or ()) if spec.params is not None else _find_parameters(obj, trial)
    if spec.grads is not None:
        params = dict(zip(params or _find_parameters(obj, trial), spec.grads, strict=False))
    return _build(_Methods(obj, *names, params), spec.name, call, calm, dict(kwargs))


def _warm(spec: LayerSpec, names: tuple[str, str], call: Call, kwargs: Mapping[str, Any]) -> Any:
    # Parameters may be made by the first forward; a second instance that has run once holds them.
    warm = clone(spec.obj, {})
    getattr(warm, names[0])(*call.arguments(call.point), **kwargs)
    return warm


def _try_backward(trial: Any, names: tuple[str, str], call: Call, result: Any) -> None:
    try:
        _backward(trial, names[1], call, _ones_like(result), call.arguments(call.point))
    except Exception:
        return


def _ones_like(result: Any) -> Any:
    leaves, rebuild = flatten(result, "out")
    return rebuild({n: np.ones_like(x) if is_floating(x) else x for n, x in leaves.items()})


def _find_parameters(obj: Any, trial: Any) -> dict[str, str | None]:
    """Arrays held before the forward that have a gradient after the backward, or that are declared."""
    before, after = floating_of(obj), arrays_of(trial)
    slots = {path: slot for path in before if (slot := _slot(path, after)) is not None}
    taken = set(slots.values())
    declared = {p: None for p in before if _in_container(p) and p not in slots}
    return {p: s for p, s in {**slots, **declared}.items() if p not in taken}


def _in_container(path: str) -> bool:
    parts = path.split(".")
    return len(parts) > 1 and parts[-2].split("[")[0].lower() in _CONTAINERS


def _slot(path: str, arrays: Mapping[str, Any]) -> str | None:
    head, _, name = path.rpartition(".")
    holder, _, container = head.rpartition(".")
    same = [p for p in arrays if p.rpartition(".")[0] == head and decorated(p.rpartition(".")[2], name)]
    if same:
        return same[0]
    base = holder if container.lower() in _CONTAINERS else head
    for other in arrays:
        place, _, key = other.rpartition(".")
        parent, _, box = place.rpartition(".")
        is_box = plain(box) in {g for grads in _CONTAINERS.values() for g in grads}
        if is_box and parent == base and (plain(key) == plain(name) or decorated(key, name)):
            return other
    return f"{path}.grad" if f"{path}.grad" in arrays else None


def _build(methods: _Methods, name: str, call: Call, calm: Replay, kwargs: dict[str, Any]) -> Target:
    own = methods.leaves()

    def instance(point: Mapping[str, Any]) -> Any:
        replaced = {id(array): as_leaf(point[path], array.dtype) for path, array in own.items()}
        twin = _written(methods.obj, own, replaced)
        _zero_gradients(twin, methods.params)
        return twin

    def run(point: Mapping[str, Any]) -> tuple[Any, Any, list[Any]]:
        twin, arguments = instance(point), call.arguments(point)
        with calm():
            return twin, getattr(twin, methods.forward)(*arguments, **kwargs), arguments

    def forward(point: Arrays) -> Arrays:
        result = run(point)[1]
        return named_outputs(result[0] if returns_pullback(result) else result)

    def linearize(point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
        twin, result, arguments = run(point)
        if returns_pullback(result):
            return named_outputs(result[0]), lambda u: mirrored(
                result[1](flatten(result[0], "out")[1](u)), call
            )
        if perturb is not None:
            _perturb_residuals(twin, perturb)
        outputs, rebuild = named_outputs(result), flatten(result, "out")[1]

        def pullback(u: Arrays) -> Arrays:
            layer = clone(twin, {})
            with calm():
                returned = _backward(layer, methods.backward, call, rebuild({**outputs, **u}), arguments)
            found = assign(returned, (*call.point, *own), {**call.point, **own}, call.names)
            return {**found, **_stored(layer, methods.params)}

        return outputs, pullback

    point = {**call.point, **{path: np.array(array) for path, array in own.items()}}
    claimed = claimed_leaves(linearize, point, tuple(own))
    return Target(
        name=name,
        point=point,
        claimed=claimed,
        findings=lambda: unclaimed_notes(point, claimed),
        dtype=_coarsest(call, own),
        forward=forward,
        linearize=linearize,
        cast=lambda dtype: _cast(methods, name, call, calm, kwargs, dtype),
        substitute=lambda other, dtype: substituted(
            other, call.cast(dtype) if dtype else call, calm, kwargs, tuple(own)
        ),
        overwritten=lambda point: overwritten(
            getattr(instance(point), methods.forward), call, point, calm, kwargs
        ),
        foreign=True,
    )


def _coarsest(call: Call, own: Arrays) -> str:
    return Call(call.names, {**call.point, **own}, {}, call.rebuild, frozenset()).dtype


def _cast(
    methods: _Methods, name: str, call: Call, calm: Replay, kwargs: dict[str, Any], dtype: str
) -> Target:
    # Buffers move along with the parameters: a float32 running mean would cap the twin's precision.
    wider = {id(a): a.astype(np.dtype(dtype)) for a in floating_of(methods.obj).values()}
    twin = _Methods(clone(methods.obj, wider), methods.forward, methods.backward, methods.params)
    return _build(twin, name, call.cast(dtype), calm, kwargs)


def _written(obj: Any, own: Arrays, replaced: Mapping[int, Any]) -> Any:
    """A copy at the new values.

    Values of the array's own kind are written in place for the moment of the copy, so that views
    into a parameter see them too; arrays of another arithmetic replace every reference.
    """
    native = {k: v for k, v in replaced.items() if isinstance(v, np.ndarray)}
    foreign = {k: v for k, v in replaced.items() if k not in native}
    saved = {path: array.copy() for path, array in own.items()}
    try:
        for array in own.values():
            if id(array) in native:
                array[...] = native[id(array)]
        return clone(obj, foreign)
    finally:
        for path, array in own.items():
            array[...] = saved[path]


def _zero_gradients(layer: Any, params: Mapping[str, str | None]) -> None:
    # A layer that adds into its gradients starts from zero, as after the user's own zero_grad.
    present = arrays_of(layer)
    for slot in params.values():
        if slot is not None and slot in present and present[slot].flags.writeable:
            present[slot][...] = 0


def _perturb_residuals(layer: Any, perturb: Perturb) -> None:
    for array in floating_of(layer).values():
        if array.flags.writeable:
            array[...] = perturb(array)


def _stored(layer: Any, params: Mapping[str, str | None]) -> Arrays:
    found: Arrays = {}
    for path, slot in params.items():
        if slot is None:
            continue
        try:
            found[path] = as_gradient(fetch(layer, slot))
        except (KeyError, IndexError) as error:
            raise WrongClaim("missing", path, f"after the backward there is no gradient at {slot}") from error
    return found


def _backward(layer: Any, name: str, call: Call, u: Any, arguments: list[Any]) -> Any:
    """Call the backward by what its parameters are named: cotangent, inputs again, or nothing."""
    method: Callable[..., Any] = getattr(layer, name)
    given = _required(method)
    by_name = dict(zip(call.names, arguments, strict=True))
    if not given:
        return _times(method(), u)
    if set(given) & set(_RATES):
        raise TypeError(
            f"{name}({', '.join(given)}) updates the parameters itself; say which gradients it leaves: gv.layer(...)"
        )
    if len(given) == len(call.names) > 1 and all(n in by_name for n in given):
        return _times(method(*arguments), u)
    values = [by_name[n] if n in by_name and len(given) > 1 else u for n in given]
    return method(*values)


def _required(method: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return ["dout"]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]
    return required or [p.name for p in parameters if p.kind in kinds][:1]


def _times(result: Any, u: Any) -> Any:
    """A loss's ``backward()`` is its gradient for an upstream gradient of one."""
    if np.size(u) != 1:
        raise TypeError("the backward takes no upstream gradient, but the output is not a scalar")
    scale = float(np.reshape(u, ()))
    leaves, rebuild = flatten(result, "g")
    return rebuild({n: None if x is None else np.asarray(x) * scale for n, x in leaves.items()})
