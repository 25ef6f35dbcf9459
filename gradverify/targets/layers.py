"""Objects with a forward and a backward, parameters inside, gradients left wherever people leave them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from gradverify.targets.graph import arrays_of, clone, fetch, floating_of, paths_of
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
_CONTAINERS = ("params", "parameters", "weights", "p", "theta")
_GRADIENT_BOXES = ("grads", "gradients", "grad", "dparams", "paramgrads", "paramsgrads", "dweights", "g", "dtheta")
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
    obj, trial, kept = spec.obj, *_after_forward(spec.obj, names[0], call, kwargs, calm)
    if not kept and spec.params is None:
        # Parameters may be made by the first forward: an instance that has run once holds them.
        obj = clone(trial.layer, {})
        trial, kept = _after_forward(obj, names[0], call, kwargs, calm)
    if not returns_pullback(trial.result):
        _try_backward(trial.layer, names, call, trial.result)
    params = _parameters(spec, obj, trial.layer, kept)
    return _build(_Bound(_Methods(obj, *names, params), spec.name, call, calm, dict(kwargs)))


@dataclass(frozen=True)
class _Run:
    layer: Any
    result: Any


def _after_forward(
    obj: Any, forward: str, call: Call, kwargs: Mapping[str, Any], calm: Replay
) -> tuple[_Run, frozenset[str]]:
    """A copy that has run forward once, and the arrays that this left alone: the others are caches."""
    layer = clone(obj, {})
    held = {path: (array, array.copy()) for path, array in floating_of(layer).items()}
    with calm():
        result = getattr(layer, forward)(*call.arguments(call.point), **kwargs)
    after = floating_of(layer)
    kept = frozenset(p for p, (array, old) in held.items() if after.get(p) is array and np.array_equal(array, old))
    return _Run(layer, result), kept


def _parameters(spec: LayerSpec, obj: Any, trial: Any, kept: frozenset[str]) -> dict[str, str | None]:
    """The parameters, as spelled out or as found, and where the gradient of each is."""
    found = _find_parameters(obj, trial, kept)
    if spec.params is not None:
        found = {path: found.get(path) for path in spec.params}
    return found if spec.grads is None else dict(zip(found, spec.grads, strict=True))


def _try_backward(trial: Any, names: tuple[str, str], call: Call, result: Any) -> None:
    try:
        _backward(trial, names[1], call, _ones_like(result), call.arguments(call.point))
    except Exception:
        return


def _ones_like(result: Any) -> Any:
    leaves, rebuild = flatten(result, "out")
    return rebuild({n: np.ones_like(x) if is_floating(x) else x for n, x in leaves.items()})


def _find_parameters(obj: Any, trial: Any, kept: frozenset[str]) -> dict[str, str | None]:
    """Arrays that a forward keeps and that have a gradient after the backward, or that are declared."""
    before = {path: array for path, array in floating_of(obj).items() if path in kept}
    after, aliases = _all_paths(trial), paths_of(obj)
    names = {path: sorted(aliases[id(array)], key=len) for path, array in before.items()}
    slots = {path: slot for path in before if (slot := _first_slot(names[path], after)) is not None}
    taken = set(slots.values())
    declared = {p: None for p in before if p not in slots and any(_in_container(alias) for alias in names[p])}
    return {p: s for p, s in {**slots, **declared}.items() if p not in taken}


def _all_paths(obj: Any) -> tuple[str, ...]:
    return tuple(path for paths in paths_of(obj).values() for path in paths)


def _first_slot(names: list[str], paths: tuple[str, ...]) -> str | None:
    return next((slot for name in names if (slot := _slot(name, paths)) is not None), None)


def _in_container(path: str) -> bool:
    head, name = _split(path)
    return bool(head) and (_split(head)[1].lower() in _CONTAINERS or name.split("[")[0].lower() in _CONTAINERS)


def _split(path: str) -> tuple[str, str]:
    """``layers[0].params.W`` -> (``layers[0].params``, ``W``); ``params[1]`` -> (``params``, ``[1]``)."""
    if path.endswith("]"):
        cut = path.rindex("[")
        return path[:cut], path[cut:]
    head, _, name = path.rpartition(".")
    return head, name


def _slot(path: str, paths: tuple[str, ...]) -> str | None:
    """The path of the gradient: a sibling ``dW``, ``grads.W`` beside ``params.W``, ``grads[0]`` for ``params[0]``."""
    head, name = _split(path)
    siblings = [p for p in paths if _split(p)[0] == head and not name.startswith("[") and decorated(_split(p)[1], name)]
    if siblings:
        return siblings[0]
    holder, container = _split(head)
    base = holder if container.lower() in _CONTAINERS else head
    if name.startswith("[") and container.lower() not in _CONTAINERS:
        return None
    for other in paths:
        place, key = _split(other)
        parent, box = _split(place)
        same = plain(key) == plain(name) or decorated(key, name)
        if same and parent == base and plain(box) in _GRADIENT_BOXES:
            return other
    return f"{path}.grad" if f"{path}.grad" in paths else None


@dataclass(frozen=True)
class _Bound:
    """A layer together with how it is called: everything its target's closures need."""

    methods: _Methods
    name: str
    call: Call
    calm: Replay
    kwargs: dict[str, Any]

    def instance(self, point: Mapping[str, Any]) -> Any:
        own = self.methods.leaves()
        replaced = {id(array): as_leaf(point[path], array.dtype) for path, array in own.items()}
        twin = _written(self.methods.obj, own, replaced)
        _zero_gradients(twin, self.methods.params)
        return twin

    def run(self, point: Mapping[str, Any]) -> tuple[Any, Any, list[Any]]:
        twin, arguments = self.instance(point), self.call.arguments(point)
        with self.calm():
            return twin, getattr(twin, self.methods.forward)(*arguments, **self.kwargs), arguments

    def forward(self, point: Arrays) -> Arrays:
        result = self.run(point)[1]
        return named_outputs(result[0] if returns_pullback(result) else result)

    def linearize(self, point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
        twin, result, arguments = self.run(point)
        if returns_pullback(result):
            return named_outputs(result[0]), lambda u: mirrored(result[1](flatten(result[0], "out")[1](u)), self.call)
        if perturb is not None:
            _perturb_residuals(twin, perturb)
        outputs, rebuild = named_outputs(result), flatten(result, "out")[1]
        return outputs, lambda u: self.pull(twin, rebuild({**outputs, **u}), arguments)

    def pull(self, twin: Any, u: Any, arguments: list[Any]) -> Arrays:
        """One backward on a copy of the layer as the forward left it."""
        layer, own = clone(twin, {}), self.methods.leaves()
        with self.calm():
            returned = _backward(layer, self.methods.backward, self.call, u, arguments)
        found = assign(returned, (*self.call.point, *own), {**self.call.point, **own}, self.call.names)
        return {**found, **_stored(layer, self.methods.params)}

    def overwritten(self, point: Arrays) -> list[tuple[str, Any, Any]]:
        method = getattr(self.instance(point), self.methods.forward)
        return overwritten(method, self.call, point, self.calm, self.kwargs)

    def substitute(self, other: Callable[..., Any], dtype: str | None) -> Callable[[Arrays], Arrays]:
        call = self.call.cast(dtype) if dtype else self.call
        return substituted(other, call, self.calm, self.kwargs, tuple(self.methods.params))


def _build(bound: _Bound) -> Target:
    own = bound.methods.leaves()
    point = {**bound.call.point, **{path: np.array(array) for path, array in own.items()}}
    claimed = claimed_leaves(bound.linearize, point, tuple(own))
    return Target(
        name=bound.name,
        point=point,
        dtype=_coarsest(bound.call, own),
        claimed=claimed,
        findings=lambda: unclaimed_notes(point, claimed),
        forward=bound.forward,
        linearize=bound.linearize,
        cast=lambda dtype: _cast(bound, dtype),
        substitute=bound.substitute,
        overwritten=bound.overwritten,
        foreign=True,
    )


def _coarsest(call: Call, own: Arrays) -> str:
    return Call(call.names, {**call.point, **own}, {}, call.rebuild, frozenset()).dtype


def _cast(bound: _Bound, dtype: str) -> Target:
    # Buffers move along with the parameters: a float32 running mean would cap the twin's precision.
    wider = {id(a): a.astype(np.dtype(dtype)) for a in floating_of(bound.methods.obj).values()}
    twin = replace(bound.methods, obj=clone(bound.methods.obj, wider))
    return _build(replace(bound, methods=twin, call=bound.call.cast(dtype)))


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
