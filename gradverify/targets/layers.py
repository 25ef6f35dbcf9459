"""Objects with a forward and a backward, parameters inside, gradients left wherever people leave them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, flatten, is_floating
from gradverify.targets.calling import (
    Call,
    Replay,
    State,
    make_call,
    named_outputs,
    overwritten,
    replay,
    stepped,
    substituted,
)
from gradverify.targets.gradients import (
    WrongClaim,
    as_gradient,
    asked_once,
    claimed_leaves,
    named_gradients,
    unclaimed_notes,
)
from gradverify.targets.graph import clone, fetch, floating_of, forget_appended
from gradverify.targets.instances import Held
from gradverify.targets.left import Places, left_gradients, left_output, left_places, slots
from gradverify.targets.methods import call_backward, ignores_upstream, method_names, saves_in_cache
from gradverify.targets.pairs import mirrored, perturbed, returns_pullback
from gradverify.targets.parameters import find_parameters
from gradverify.targets.record import Perturb, Pullback, Target
from gradverify.targets.scalars import steps_itself, with_arrays_for_numbers
from gradverify.targets.specs import LayerSpec


@dataclass(frozen=True)
class _Methods:
    forward: str
    backward: str
    cached: bool = False  # the forward returns (out, cache)

    def outputs(self, result: Any) -> Any:
        """What a forward returned, without the cache."""
        if not self.cached:
            return result
        return result[0] if len(result) == 2 else result[:-1]


def layer_target(spec: LayerSpec, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Target:
    """A target whose leaves are the inputs and every parameter that has a gradient after a backward."""
    names = method_names(spec.obj, spec.forward, spec.backward)
    if names is None:
        raise TypeError(
            f"{spec.name}: no forward and backward method found; name them: gv.layer(obj, forward=, backward=)"
        )
    call, calm = make_call(getattr(spec.obj, names[0]), inputs), replay()
    obj, methods, trial = _tried(spec.obj, names, call, kwargs, calm, declared=spec.params is not None)
    obj, numbers = with_arrays_for_numbers(obj, trial.layer)
    if numbers:
        obj, methods, trial = _tried(obj, names, call, kwargs, calm, declared=True)
    returned = trial.returned.value if trial.returned is not None else None
    found = {**find_parameters(obj, trial.layer, trial.kept, returned, call.names), **numbers}
    if spec.params is not None:
        found = {path: found.get(path) for path in spec.params}
    if spec.grads is not None:
        found = dict(zip(found, spec.grads, strict=True))
    pulls = returns_pullback(trial.result)
    bound = _Bound(Held(obj, found), methods, spec.name, call, calm, dict(kwargs), trial.kept, pulls, trial.left)
    answer = partial(asked_once, bound.linearize, bound.point)
    if trial.returned is not None:  # what the trial has shown is not run again
        answer = partial(bound.gradients, trial.layer, returned)
    return _build(bound, claimed_leaves(answer, bound.point, tuple(bound.held.own)), trial.start)


def _tried(
    obj: Any, names: tuple[str, str], call: Call, kwargs: Mapping[str, Any], calm: Replay, *, declared: bool
) -> tuple[Any, _Methods, _Trial]:
    """An object, how it is used, and a copy that has run forward and, if it can, backward once."""
    trial = _after_forward(obj, names[0], call, kwargs, calm)
    if not trial.kept and not declared:
        # Parameters may be made by the first forward: an instance that has run once holds them.
        obj = clone(trial.layer, {})
        forget_appended(obj, _after_forward(obj, names[0], call, kwargs, calm).layer)
        trial = _after_forward(obj, names[0], call, kwargs, calm)
    methods = _Methods(*names, saves_in_cache(obj, names[1], trial.result, call.names))
    return obj, methods, trial if returns_pullback(trial.result) else _after_backward(trial, methods, call)


@dataclass(frozen=True)
class _Returned:
    value: Any


@dataclass(frozen=True)
class _Trial:
    """A copy that has run once; `kept` are the arrays that its forward left alone, the others are caches.

    `start` are the outputs before the backward, `returned` is what that answered; None where it did not end well.
    `left` says where it left the gradients of inputs instead.
    """

    layer: Any
    result: Any
    arguments: list[Any]
    kept: frozenset[str]
    start: Arrays | None = None
    returned: _Returned | None = None
    left: Places = field(default_factory=dict)


def _after_forward(obj: Any, forward: str, call: Call, kwargs: Mapping[str, Any], calm: Replay) -> _Trial:
    layer, arguments = clone(obj, {}), call.arguments(call.point)
    held = {path: (array, array.copy()) for path, array in floating_of(layer).items()}
    with calm():
        result = left_output(layer, getattr(layer, forward)(*arguments, **kwargs), arguments)
    after = floating_of(layer)
    kept = frozenset(p for p, (array, old) in held.items() if after.get(p) is array and bool(np.all(array == old)))
    return _Trial(layer, result, arguments, kept)


def _after_backward(trial: _Trial, methods: _Methods, call: Call) -> _Trial:
    cache = copy.deepcopy(trial.result[-1]) if methods.cached else None
    try:
        out = methods.outputs(trial.result)
        start = {name: copy.copy(y) for name, y in named_outputs(out).items()}
        before = slots(trial.layer)
        returned = call_backward(trial.layer, methods.backward, call, _ones_like(out), trial.arguments, cache)
        left = left_places(trial.layer, before, call.point) if returned is None else {}
    except Exception:
        return trial
    return replace(trial, start=start, returned=_Returned(returned), left=left)


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

    held: Held
    methods: _Methods
    name: str
    call: Call
    calm: Replay
    kwargs: dict[str, Any]
    kept: frozenset[str]
    pulls: bool  # its forward returns a pullback
    left: Places  # where its backward leaves the gradients of inputs that it does not return

    @cached_property
    def point(self) -> Arrays:
        """The inputs and the parameters."""
        return {**self.call.point, **{path: np.array(array) for path, array in self.held.own.items()}}

    def run(self, point: Mapping[str, Any], *, fresh: bool = False) -> _Ran:
        twin, arguments = self.held.instance(point, fresh=fresh), self.call.arguments(point, fresh=fresh)
        with self.calm() as left:
            result = left_output(twin, getattr(twin, self.methods.forward)(*arguments, **self.kwargs), arguments)
        return _Ran(twin, result, arguments, left[0])

    def forward(self, point: Mapping[str, Any], *, fresh: bool = False) -> Arrays:
        result = self.run(point, fresh=fresh).result
        return named_outputs(result[0] if returns_pullback(result) else self.methods.outputs(result))

    def line(self, point: Arrays, v: Arrays) -> Callable[[float], Arrays]:
        own = {**self.call.point, **self.held.own}
        return lambda t: self.forward(stepped(point, v, t, own), fresh=True)

    def linearize(self, point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
        ran = self.run(point)
        result = ran.result
        if returns_pullback(result):
            return named_outputs(result[0]), lambda u: mirrored(result[1](flatten(result[0], "out")[1](u)), self.call)
        # Copied before any backward: one that writes into a saved output would change the value too.
        values = {name: np.array(y) for name, y in named_outputs(self.methods.outputs(result)).items()}
        if perturb is not None:
            self.held.perturb_residuals(ran.layer, perturb)
            ran = replace(ran, result=_with_perturbed_cache(self.methods, result, perturb))
        unused = [ran]

        def pullback(u: Arrays) -> Arrays:
            # A backward may use up what its forward saved. A copy of that costs as much as the forward: run it again.
            if not unused:
                return self.linearize(point, perturb)[1](u)
            return self.pull(unused[0], unused.pop().layer, u)

        return values, pullback

    def pull(self, ran: _Ran, layer: Any, u: Arrays) -> Arrays:
        """One backward of `layer`, as the forward left it."""
        out = self.methods.outputs(ran.result)
        dout = flatten(out, "out")[1]({**named_outputs(out), **u})
        cache = copy.deepcopy(ran.result[-1]) if self.methods.cached else None
        with self.calm(ran.state):
            returned = call_backward(layer, self.methods.backward, self.call, dout, ran.arguments, cache)
        return self.gradients(layer, returned, dout)

    def gradients(self, layer: Any, returned: Any, u: Any = 1.0) -> Arrays:
        """What a backward returned and what it left in `layer` for the upstream gradient `u`, by leaf."""
        backward, leaves = getattr(layer, self.methods.backward), {**self.call.point, **self.held.own}
        found = named_gradients(backward, returned, leaves, self.call.names)
        left = left_gradients(layer, self.left) if returned is None else {}
        if left and ignores_upstream(backward, self.call):  # a loss: for an upstream gradient of one
            left = {name: g * float(np.reshape(u, ())) for name, g in left.items()}
        return {**left, **found, **_stored(layer, self.held.params)}

    def twice(self, point: Arrays, u: Arrays) -> tuple[Arrays, Arrays]:
        """Two backward passes of one instance; of stored gradients only those that do not accumulate."""
        ran = self.run(point)
        before = {path: np.array(array) for path, array in floating_of(ran.layer).items() if path in self.kept}
        once = self.pull(ran, ran.layer, {n: x.copy() for n, x in u.items()})
        first = {n: np.array(g) for n, g in once.items() if g is not None}
        if steps_itself(ran.layer, before, self.held.params):
            return {}, {}  # a second backward sees other parameters: it says nothing
        second = self.pull(ran, ran.layer, u)
        stored = [n for n in self.held.params if n in first and second.get(n) is not None]
        doubled = {n for n in stored if np.allclose(second[n], 2 * first[n])}
        return {n: g for n, g in first.items() if n not in doubled}, second

    def overwritten(self, point: Arrays) -> list[tuple[str, Any, Any]]:
        method = getattr(self.held.instance(point), self.methods.forward)
        return overwritten(method, self.call, point, self.calm, self.kwargs)

    def substitute(self, other: Callable[..., Any], dtype: str | None) -> Callable[[Arrays], Arrays]:
        call = self.call.cast(dtype) if dtype else self.call
        return substituted(other, call, self.calm, self.kwargs, tuple(self.held.params))


def _build(bound: _Bound, claimed: tuple[str, ...] | None, start: Arrays | None = None) -> Target:
    return Target(
        name=bound.name,
        point=bound.point,
        dtype=_coarsest(bound.call, bound.held.own),
        start=start,
        claimed=claimed,
        findings=lambda: (*unclaimed_notes(bound.point, claimed), *_unjudged(bound)),
        twice=None if bound.pulls else bound.twice,
        forward=bound.forward,
        linearize=bound.linearize,
        cast=lambda dtype: _cast(bound, claimed, dtype),
        substitute=bound.substitute,
        overwritten=bound.overwritten,
        line=bound.line,
        foreign=True,
    )


def _unjudged(bound: _Bound) -> Iterator[str]:
    """A word on every array of the object that the output depends on and no gradient was found for."""
    slots = {*bound.held.params, *bound.held.params.values()}
    others = sorted(bound.kept - slots)
    if len(others) > 1 and not _matter(bound, others):
        return
    for path in others:
        if _matter(bound, [path]):
            text = "the output depends on it and no gradient of it was found; name it in gv.layer(obj, params=...)"
            yield f"{path}: {text}"


def _matter(bound: _Bound, paths: list[str]) -> bool:
    """Whether the output is another one where these arrays are moved; what may not be moved is no parameter."""
    arrays = [fetch(bound.held.obj, path) for path in paths]
    moved = clone(bound.held.obj, {id(array): array * 1.25 + 0.125 for array in arrays})
    other = replace(bound, held=replace(bound.held, obj=moved))
    point = {**bound.call.point, **bound.held.own}
    try:
        after = other.forward(point)
    except Exception:  # of several, one may be to blame
        return len(paths) > 1
    return any(not np.array_equal(after[n], y) for n, y in bound.forward(point).items())


def _with_perturbed_cache(methods: _Methods, result: Any, perturb: Perturb) -> Any:
    return (*result[:-1], perturbed(result[-1], perturb)) if methods.cached else result


def _coarsest(call: Call, own: Arrays) -> str:
    return Call(call.names, {**call.point, **own}, {}, call.rebuild, frozenset()).dtype


def _cast(bound: _Bound, claimed: tuple[str, ...] | None, dtype: str) -> Target:
    # Buffers move along with the parameters: a float32 running mean would cap the twin's precision.
    wider = {id(a): a.astype(np.dtype(dtype)) for a in floating_of(bound.held.obj).values()}
    twin = replace(bound.held, obj=clone(bound.held.obj, wider))
    return _build(replace(bound, held=twin, call=bound.call.cast(dtype)), claimed)


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
