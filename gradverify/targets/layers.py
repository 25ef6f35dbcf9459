"""Objects with a forward and a backward, parameters inside, gradients left wherever people leave them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, flatten, is_floating
from gradverify.targets.calling import (
    Call,
    Replay,
    State,
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
    claimed_leaves,
    named_gradients,
    unclaimed_notes,
)
from gradverify.targets.graph import arrays_of, clone, fetch, floating_of
from gradverify.targets.methods import call_backward, method_names, saves_in_cache
from gradverify.targets.pairs import mirrored, perturbed, returns_pullback
from gradverify.targets.parameters import find_parameters
from gradverify.targets.record import Perturb, Pullback, Target
from gradverify.targets.scalars import steps_itself, with_arrays_for_numbers
from gradverify.targets.specs import LayerSpec


@dataclass(frozen=True)
class _Methods:
    obj: Any
    forward: str
    backward: str
    params: Mapping[str, str | None]  # parameter path -> path of its gradient
    cached: bool = False  # the forward returns (out, cache)

    def outputs(self, result: Any) -> Any:
        """What a forward returned, without the cache."""
        if not self.cached:
            return result
        return result[0] if len(result) == 2 else result[:-1]

    def leaves(self) -> Arrays:
        return {path: fetch(self.obj, path) for path in self.params}


def layer_target(spec: LayerSpec, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Target:
    """A target whose leaves are the inputs and every parameter that has a gradient after a backward."""
    names = method_names(spec.obj, spec.forward, spec.backward)
    if names is None:
        raise TypeError(
            f"{spec.name}: no forward and backward method found; name them: gv.layer(obj, forward=, backward=)"
        )
    call, calm = make_call(getattr(spec.obj, names[0]), inputs), replay()
    methods, trial, returned = _tried(spec.obj, names, call, kwargs, calm, declared=spec.params is not None)
    obj, numbers = with_arrays_for_numbers(methods.obj, trial.layer)
    if numbers:
        methods, trial, returned = _tried(obj, names, call, kwargs, calm, declared=True)
    found = {**find_parameters(methods.obj, trial.layer, trial.kept, returned, call.names), **numbers}
    if spec.params is not None:
        found = {path: found.get(path) for path in spec.params}
    if spec.grads is not None:
        found = dict(zip(found, spec.grads, strict=True))
    return _build(_Bound(replace(methods, params=found), spec.name, call, calm, dict(kwargs), trial.kept))


def _tried(
    obj: Any, names: tuple[str, str], call: Call, kwargs: Mapping[str, Any], calm: Replay, *, declared: bool
) -> tuple[_Methods, _Trial, Any]:
    """How an object is used, a copy that has run forward and backward once, and what the latter returned."""
    trial = _after_forward(obj, names[0], call, kwargs, calm)
    if not trial.kept and not declared:
        # Parameters may be made by the first forward: an instance that has run once holds them.
        obj = clone(trial.layer, {})
        trial = _after_forward(obj, names[0], call, kwargs, calm)
    methods = _Methods(obj, *names, {}, saves_in_cache(obj, names[1], trial.result, call.names))
    return methods, trial, None if returns_pullback(trial.result) else _try_backward(trial, methods, call)


@dataclass(frozen=True)
class _Trial:
    """A copy that has run forward once; `kept` are the arrays that this left alone, the others are caches."""

    layer: Any
    result: Any
    arguments: list[Any]
    kept: frozenset[str]


def _after_forward(obj: Any, forward: str, call: Call, kwargs: Mapping[str, Any], calm: Replay) -> _Trial:
    layer, arguments = clone(obj, {}), call.arguments(call.point)
    held = {path: (array, array.copy()) for path, array in floating_of(layer).items()}
    with calm():
        result = getattr(layer, forward)(*arguments, **kwargs)
    after = floating_of(layer)
    kept = frozenset(p for p, (array, old) in held.items() if after.get(p) is array and bool(np.all(array == old)))
    return _Trial(layer, result, arguments, kept)


def _try_backward(trial: _Trial, methods: _Methods, call: Call) -> Any:
    cache = copy.deepcopy(trial.result[-1]) if methods.cached else None
    try:
        u = _ones_like(methods.outputs(trial.result))
        return call_backward(trial.layer, methods.backward, call, u, trial.arguments, cache)
    except Exception:
        return None


def _ones_like(result: Any) -> Any:
    leaves, rebuild = flatten(result, "out")
    return rebuild({n: np.ones_like(x) if is_floating(x) else x for n, x in leaves.items()})


@dataclass(frozen=True)
class _Ran:
    """An instance after its forward, and the random state that this left."""

    layer: Any
    result: Any
    arguments: list[Any]
    state: State


@dataclass(frozen=True)
class _Bound:
    """A layer together with how it is called: everything its target's closures need."""

    methods: _Methods
    name: str
    call: Call
    calm: Replay
    kwargs: dict[str, Any]
    kept: frozenset[str]

    def instance(self, point: Mapping[str, Any]) -> Any:
        own = self.methods.leaves()
        replaced = {id(array): as_leaf(point[path], array.dtype) for path, array in own.items()}
        twin = _written(self.methods.obj, own, replaced)
        _zero_gradients(twin, self.methods.params)
        return twin

    def run(self, point: Mapping[str, Any]) -> _Ran:
        twin, arguments = self.instance(point), self.call.arguments(point)
        with self.calm() as left:
            result = getattr(twin, self.methods.forward)(*arguments, **self.kwargs)
        return _Ran(twin, result, arguments, left[0])

    def forward(self, point: Arrays) -> Arrays:
        result = self.run(point).result
        return named_outputs(result[0] if returns_pullback(result) else self.methods.outputs(result))

    def linearize(self, point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
        ran = self.run(point)
        result = ran.result
        if returns_pullback(result):
            return named_outputs(result[0]), lambda u: mirrored(result[1](flatten(result[0], "out")[1](u)), self.call)
        if perturb is not None:
            _perturb_residuals(ran.layer, perturb)
            ran = replace(ran, result=_with_perturbed_cache(self.methods, result, perturb))
        return named_outputs(self.methods.outputs(result)), lambda u: self.pull(ran, clone(ran.layer, {}), u)

    def pull(self, ran: _Ran, layer: Any, u: Arrays) -> Arrays:
        """One backward of `layer`, as the forward left it."""
        own, out = self.methods.leaves(), self.methods.outputs(ran.result)
        dout = flatten(out, "out")[1]({**named_outputs(out), **u})
        cache = copy.deepcopy(ran.result[-1]) if self.methods.cached else None
        with self.calm(ran.state):
            returned = call_backward(layer, self.methods.backward, self.call, dout, ran.arguments, cache)
        backward = getattr(layer, self.methods.backward)
        found = named_gradients(backward, returned, {**self.call.point, **own}, self.call.names)
        return {**found, **_stored(layer, self.methods.params)}

    def twice(self, point: Arrays, u: Arrays) -> tuple[Arrays, Arrays]:
        """Two backward passes of one instance; of stored gradients only those that do not accumulate."""
        ran = self.run(point)
        before = {path: np.array(array) for path, array in floating_of(ran.layer).items() if path in self.kept}
        once = self.pull(ran, ran.layer, {n: x.copy() for n, x in u.items()})
        first = {n: np.array(g) for n, g in once.items() if g is not None}
        if steps_itself(ran.layer, before, self.methods.params):
            return {}, {}  # a second backward sees other parameters: it says nothing
        second = self.pull(ran, ran.layer, u)
        stored = [n for n in self.methods.params if n in first and second.get(n) is not None]
        doubled = {n for n in stored if np.allclose(second[n], 2 * first[n])}
        return {n: g for n, g in first.items() if n not in doubled}, second

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
        findings=lambda: (*unclaimed_notes(point, claimed), *_unjudged(bound)),
        twice=None if _returns_pullback(bound) else bound.twice,
        forward=bound.forward,
        linearize=bound.linearize,
        cast=lambda dtype: _cast(bound, dtype),
        substitute=bound.substitute,
        overwritten=bound.overwritten,
        foreign=True,
    )


def _returns_pullback(bound: _Bound) -> bool:
    return returns_pullback(bound.run(bound.methods.leaves() | bound.call.point).result)


def _unjudged(bound: _Bound) -> Iterator[str]:
    """A word on every array of the object that the output depends on and no gradient was found for."""
    own = bound.methods.leaves()
    before = bound.forward({**bound.call.point, **own})
    for path in sorted(bound.kept - set(bound.methods.params)):
        array = fetch(bound.methods.obj, path)
        moved = clone(bound.methods.obj, {id(array): array * 1.25 + 0.125})
        other = replace(bound, methods=replace(bound.methods, obj=moved))
        try:
            after = other.forward({**bound.call.point, **own})
        except Exception:  # noqa: S112 - an array that may not be moved is none to differentiate by
            continue
        if any(not np.array_equal(after[n], y) for n, y in before.items()):
            text = "the output depends on it and no gradient of it was found; name it in gv.layer(obj, params=...)"
            yield f"{path}: {text}"


def _with_perturbed_cache(methods: _Methods, result: Any, perturb: Perturb) -> Any:
    return (*result[:-1], perturbed(result[-1], perturb)) if methods.cached else result


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
            gradient = as_gradient(fetch(layer, slot))
            found[path] = gradient.reshape(()) if gradient.size == 1 and not np.ndim(fetch(layer, path)) else gradient
        except (KeyError, IndexError) as error:
            raise WrongClaim("missing", path, f"after the backward there is no gradient at {slot}") from error
    return found
