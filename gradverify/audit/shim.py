"""An object of any convention behind the one that needs no telling: inputs in, output out, gradients by name.

`make_plan` runs a copy once, forward and backward, and notes where things are: the output (returned,
or left in an attribute), the gradient of each input and parameter (returned, left in an attribute,
or visible only as the step of an update in place). `shimmed` is a copy of the object, of a subclass
with two methods more, that follows the plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter, Signature
from typing import Any

import numpy as np

from gradverify.arrays import flatten, is_floating
from gradverify.audit.holding import NoGradient, filled, waits_in_delta
from gradverify.audit.losses import compared
from gradverify.audit.mined import kept_words, returned_words
from gradverify.audit.neighbours import linked
from gradverify.audit.placing import place_of_input, places_of_params
from gradverify.audit.preparing import RATE, Descent, has_rate
from gradverify.audit.roles import required_parameters, roles_of_backward
from gradverify.targets.calling import random_state, set_random_state
from gradverify.targets.gradients import flat, plain
from gradverify.targets.graph import fetch, floating_of
from gradverify.targets.left import output_name

_OUTPUTS = ("output", "out", "outputs", "o", "a", "y", "z", "h", "result", "activation", "activations", "yhat", "ypred",
            "probs", "prediction", "loss", "value", "outputdata")  # fmt: skip


_Answer = tuple[list[Any], list[Any]]  # the gradients of inputs and of parameters


@dataclass(frozen=True)
class Plan:
    """How an object is called and where its gradients are; `inputs` are names, `sources` one place for each leaf.

    A place is ``("returned", i)``, ``("key", name)``, ``("held", path)``, or ``("moved", path)``.
    """

    forward: str
    backward: str
    inputs: tuple[str, ...]
    output: str = ""  # attribute in which the forward leaves its output; empty where it returns it
    feed: str = ""  # attribute from which a forward without arguments takes its input
    cotangent: str = "given"  # given; one: asked for 1 and multiplied; onehot: each entry alone; prediction: the input
    joint: bool = False  # the forward returns (value, gradient)
    point: bool = False  # the backward takes the inputs of the forward
    label: str = ""  # attribute that takes the truth, the last input
    rate: float = RATE  # by which a step in place is larger than its gradient
    loss: str = ""  # what the backward differentiates, its targets being the last input
    logits: bool = False  # its output is probabilities, and its backward begins before the softmax that made them
    decay: bool = False  # its gradients hold a multiple of the parameter, that of a penalty, which is taken off
    of_input: tuple[tuple[str, Any] | None, ...] = ()
    of_params: tuple[tuple[str, tuple[str, Any]], ...] = ()

    @property
    def params(self) -> tuple[str, ...]:
        """The parameters whose gradients are known to be somewhere."""
        return tuple(path for path, _ in self.of_params)


def make_plan(obj: Any, plan: Plan, arguments: Sequence[Any], settings: Mapping[str, Any]) -> Plan:
    """The plan with every place filled in; raises `NoGradient`, or whatever the object raises."""
    twin = deepcopy(obj)
    kept, result, plan = _run_forward(twin, plan, arguments, settings)
    before = {path: array.copy() for path, array in floating_of(twin).items()}
    identities = {id(array) for array in floating_of(twin).values()}
    y = output_of(twin, result, plan)
    if plan.cotangent == "filled" and np.any(getattr(twin, "delta", 0)):
        raise NoGradient("its forward leaves a gradient of its own, where others find the upstream gradient")
    if plan.cotangent != "filled" and not plan.joint and waits_in_delta(twin, getattr(twin, plan.backward)):
        raise NoGradient("the layer holds the upstream gradient itself")
    returned = _call_backward(twin, plan, np.ones_like(y) if np.ndim(y) else np.float64(1.0), arguments, result)
    after = floating_of(twin)
    of_params = places_of_params(twin, kept=kept, returned=returned, before=before, inputs=plan.inputs)
    steps = {p: before[p] - after[p] for p, (how, _) in of_params.items() if how == "moved"}
    if steps and plan.cotangent == "given" and not plan.loss:
        of_params = {p: place for p, place in of_params.items()
                     if p not in steps or p in _linear_steps(obj, plan, arguments, settings, steps)}  # fmt: skip
    fresh = {p: a for p, a in after.items() if id(a) not in identities or _differs(a, before.get(p))}
    taken = {where for _, (_, where) in of_params.items()}
    free = {p: a for p, a in fresh.items() if p not in taken and p not in of_params}
    words = returned_words(getattr(obj, plan.backward)) if not plan.joint else ()
    named = zip(plan.inputs, arguments, strict=False)
    parts = {where for how, where in of_params.values() if how == "returned"}
    of_input = tuple(place_of_input(n, x, returned, free, plan.inputs, words, parts) for n, x in named)
    if not of_params and not any(of_input):
        raise NoGradient(f"{plan.backward} leaves nothing that could be a gradient")
    if plan.label and not has_rate(twin, getattr(twin, plan.backward)):
        plan = replace(plan, rate=1.0)
    if plan.logits and not is_probabilities(y):
        raise NoGradient("its output is no probabilities")
    plan = replace(plan, of_input=of_input, of_params=tuple(of_params.items()))
    if plan.decay and not _decays(obj, plan, arguments, settings):
        raise NoGradient("no upstream gradient at all leaves no multiple of a parameter as its gradient")
    return plan


def centred(z: Any) -> Any:
    """Rows without their mean: what of logits can be told from their softmax, and the upstream gradients it answers."""
    return z - np.mean(z, axis=-1, keepdims=True)


def is_probabilities(y: Any) -> bool:
    """Whether rows are positive and each adds up to one, as a softmax leaves them."""
    return bool(np.ndim(y) and np.shape(y)[-1] > 1 and np.all(y > 0) and np.allclose(np.sum(y, axis=-1), 1, atol=1e-5))


def _decays(obj: Any, plan: Plan, arguments: Sequence[Any], settings: Mapping[str, Any]) -> bool:
    """Whether an upstream gradient of zero gives parameters the gradient of a penalty on them, and nothing else."""
    twin = deepcopy(obj)
    _, result, plan = _run_forward(twin, plan, arguments, settings)
    object.__setattr__(twin, "_audited_call", (arguments, result, None))
    held = {path: np.array(fetch(twin, path)) for path in plan.params}
    inputs, params = _ask(twin, plan, np.zeros_like(output_of(twin, result, plan)))
    pairs = [(held[path], np.asarray(g)) for path, g in zip(plan.params, params, strict=True) if np.any(g)]
    return bool(pairs) and not any(np.any(g) for g in inputs if g is not None) and all(_is_multiple(*p) for p in pairs)


def _is_multiple(w: np.ndarray, g: np.ndarray) -> bool:
    """Whether g = a w + b sign(w) with positive factors, of which one may be zero: an L2 penalty, an L1, or both."""
    if w.shape != g.shape:
        return False
    basis = np.stack([w.ravel(), np.sign(w).ravel()], axis=1)
    for columns in ((0,), (1,), (0, 1)):
        part = basis[:, columns]
        factors = np.linalg.lstsq(part, g.ravel(), rcond=None)[0]
        if np.all(factors > 0) and np.allclose(part @ factors, g.ravel(), rtol=1e-6, atol=1e-12):
            return True
    return False


def _linear_steps(
    obj: Any, plan: Plan, arguments: Sequence[Any], settings: Mapping[str, Any], steps: Mapping[str, np.ndarray]
) -> set[str]:
    """The parameters that step twice as far under twice the cotangent: no other step shows a gradient."""
    twin = deepcopy(obj)
    _, result, plan = _run_forward(twin, plan, arguments, settings)
    y, before = output_of(twin, result, plan), {path: array.copy() for path, array in floating_of(twin).items()}
    _call_backward(twin, plan, np.full_like(y, 2.0) if np.ndim(y) else np.float64(2.0), arguments, result)
    after = floating_of(twin)
    return {p for p, once in steps.items() if np.all(np.abs(before[p] - after[p] - 2 * once) <= _ALMOST * _size(once))}


def _is_handed_on(
    twin: Any, result: Any, plan: Plan, arguments: Sequence[Any], before: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> bool:
    """Whether a loss without a cotangent hands its input on, and keeps its value in an attribute ``loss``."""
    if plan.loss or plan.point or not any(result is x for x in arguments):
        return False
    value, names = floating_of(twin).get("loss"), required_parameters(getattr(twin, plan.backward))
    moved = value is not None and not ("loss" in before and np.array_equal(before["loss"][1], value))
    return moved and "cotangent" not in roles_of_backward(names, plan.inputs)


def _size(step: np.ndarray) -> float:
    return float(np.max(np.abs(step), initial=0))


_ALMOST = 1e-6  # of a step, where rounding of weight and rate is 1e-10 and an optimizer of its own far off


def _run_forward(
    twin: Any, plan: Plan, arguments: Sequence[Any], settings: Mapping[str, Any]
) -> tuple[frozenset[str], Any, Plan]:
    before = {path: (array, array.copy()) for path, array in floating_of(twin).items()}
    result = _call_forward(twin, plan, arguments, settings)
    after = floating_of(twin)
    kept = frozenset(p for p, (a, old) in before.items() if after.get(p) is a and bool(np.all(a == old)))
    if not plan.output and _is_handed_on(twin, result, plan, arguments, before):
        plan = replace(plan, output="loss")
    if (result is None or result is twin) and not plan.output:
        fresh = {p: a for p, a in after.items() if p not in kept}
        plan = replace(plan, output=output_name(twin) or _left_output(fresh, arguments))
    return kept, result, plan


def _differs(array: np.ndarray, old: np.ndarray | None) -> bool:
    return old is not None and not np.array_equal(array, old)


def run_forward(twin: Any, plan: Plan, arguments: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    """The output of one forward of `twin`, wherever it leaves that."""
    _, result, found = _run_forward(twin, plan, arguments, settings)
    return output_of(twin, result[:1] if plan.joint and isinstance(result, tuple) else result, found)


def _call_forward(layer: Any, plan: Plan, arguments: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    method = getattr(layer, plan.forward)
    linked(layer, method, lists=False)  # an end of the chain has none after it
    if plan.label:
        setattr(layer, plan.label, arguments[-1])
    if plan.loss or plan.label:
        arguments = arguments[:-1]
    if plan.feed:
        setattr(layer, plan.feed, arguments[0])
        return method(**settings)
    return method(*arguments, **settings)


def _left_output(fresh: Mapping[str, np.ndarray], arguments: Sequence[Any]) -> str:
    """The attribute with the output: by its name, else the last array that is not the input itself."""
    others = [p for p, a in fresh.items() if not any(a is x or np.array_equal(a, x) for x in arguments)]
    named = [p for name in _OUTPUTS for p in fresh if plain(p.rsplit(".", maxsplit=1)[-1]) == name]
    if not (named or others):
        raise TypeError("the forward returned no floating array and left none behind")
    return (named or others[-1:])[0]


def output_of(layer: Any, result: Any, plan: Plan) -> Any:
    """The first floating array of what the forward returned, or of the attribute where it left it."""
    if plan.output:
        return np.asarray(fetch(layer, plan.output))
    if isinstance(result, list) and plan.loss:
        result = result[-1]  # the activations of all layers
    first = result[0] if isinstance(result, tuple) and result else result
    leaves = [leaf for leaf in flatten(first, "out")[0].values() if is_floating(leaf)]
    if not leaves:
        raise TypeError(f"the forward returned no floating array but {type(first).__name__}")
    return leaves[0]


def _call_backward(layer: Any, plan: Plan, u: Any, arguments: Sequence[Any], result: Any) -> Any:
    if plan.joint:
        return result[1] if len(result) == 2 else tuple(result[1:])
    method = getattr(layer, plan.backward)
    linked(layer, method, lists=True)
    if plan.cotangent == "filled":
        return filled(layer, method, u, arguments[0])
    if plan.cotangent == "prediction":
        u = np.array(arguments[0])
    if plan.cotangent == "inner":
        u = _inner_output(layer, arguments[0]).copy()
    if plan.feed:
        _feed_cotangent(layer, u)
    names = required_parameters(method)
    roles = roles_of_backward(names, plan.inputs, kept_words(getattr(layer, plan.forward), result))
    given = dict(zip(plan.inputs, arguments, strict=False))
    values = [_value(role, u, given, layer, result, plan) for role in roles]
    if plan.point:
        values = list(arguments)
    returned = method(*values)
    store = next((v for v, role in zip(values, roles, strict=False) if role == "store"), None)
    if store:
        return {**store, f"d{plan.inputs[0]}": returned}
    return None if returned is layer else _apart_from_loss(returned)


def _apart_from_loss(returned: Any) -> Any:
    """The dictionary in ``return loss, grads``; anything else as it is."""
    boxes = [part for part in returned if isinstance(part, Mapping)] if isinstance(returned, tuple) else []
    numbers = [part for part in returned if np.size(part) == 1] if len(boxes) == 1 else []
    return boxes[0] if boxes and len(numbers) == len(returned) else returned


def _inner_output(layer: Any, x: Any) -> np.ndarray:
    """An output of a layer inside, in the shape of the input: the probabilities of a softmax with its loss."""
    held = {p: a for p, a in floating_of(layer).items() if a.shape == np.shape(x) and not p.startswith("_audited")}
    other = {p: a for p, a in held.items() if not np.array_equal(a, x)}
    named = [p for p in other if plain(p.rsplit(".", maxsplit=1)[-1]) in _OUTPUTS]
    if not other:
        raise NoGradient("the forward keeps nothing in the shape of its input")
    return np.asarray(other[(named or list(other))[0]])


def _feed_cotangent(layer: Any, u: Any) -> None:
    names = [n for n in vars(layer) if _FED.fullmatch(plain(n))]
    for name in names[:1]:
        setattr(layer, name, u)


_GRADIENT = "(grad|gradient|delta|error)s?"
_FED = re.compile(rf"(dlossd|d)out(put)?|out(put)?\w*{_GRADIENT}|{_GRADIENT}out(put)?")


def _value(role: str, u: Any, given: Mapping[str, Any], layer: Any, result: Any, plan: Plan) -> Any:
    if role.startswith("input:"):
        return given[role.removeprefix("input:")]
    rest = result[1:] if isinstance(result, tuple) else ()
    if role.startswith("kept:"):
        return rest[int(role.removeprefix("kept:"))]
    if role == "cache":
        return rest[0] if len(rest) == 1 else (rest or tuple(given.values()))
    if role == "store":
        return {}
    if role == "label":
        return list(given.values())[-1]
    fixed: dict[str, Any] = {"cotangent": u, "rate": RATE, "optimizer": Descent(), "counter": 1, "penalty": 0.0}
    return fixed[role] if role in fixed else output_of(layer, result, plan)


def shimmed(obj: Any, plan: Plan) -> Any:
    """A copy of the object that follows the plan by the methods ``_audited_forward`` and ``_audited_backward``."""
    twin = deepcopy(obj)
    twin.__class__ = _subclass(type(obj), plan)
    return twin


def _subclass(cls: type, plan: Plan) -> type:
    def forward(self: Any, *arguments: Any, **settings: Any) -> Any:
        drawn = random_state() if plan.point else None
        result = _call_forward(self, plan, arguments, settings)
        y = output_of(self, result, plan)
        if plan.loss:
            y = compared(plan.loss, y, arguments[-1])
        y = centred(np.log(y)) if plan.logits else y
        object.__setattr__(self, "_audited_call", (arguments, result, drawn))
        return y

    def backward(self: Any, u: Any) -> Any:
        of_input, of_params = _gradients(self, plan, centred(u) if plan.logits else u)
        object.__setattr__(self, "_audited_gradients", of_params)
        return of_input[0] if len(of_input) == 1 else tuple(of_input)

    names = [Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in ("self", *plan.inputs)]
    star = Parameter("settings", Parameter.VAR_KEYWORD)
    forward.__signature__ = Signature([*names, star])  # type: ignore[attr-defined]
    body = {"_audited_forward": forward, "_audited_backward": backward, "__module__": cls.__module__,
            "audited_plan": plan,
            "__reduce_ex__": lambda self, _: (_rebuild, (cls, plan), dict(vars(self)))}  # fmt: skip
    return type(cls.__name__, (cls,), body)


def _rebuild(cls: type, plan: Plan) -> Any:
    twin: Any = object.__new__(cls)
    twin.__class__ = _subclass(cls, plan)
    return twin


def _gradients(layer: Any, plan: Plan, u: Any) -> _Answer:
    if plan.cotangent in ("given", "filled"):
        answer = _ask(layer, plan, u)
        return _without_decay(answer, _ask(layer, plan, np.zeros_like(u))) if plan.decay else answer
    if plan.cotangent in ("one", "prediction", "inner"):
        inputs, params = _ask(layer, plan, np.ones_like(u))
        return [_scaled(g, u) for g in inputs], [_scaled(g, u) for g in params]
    sums: _Answer | None = None
    for index in np.ndindex(np.shape(u)):
        single = np.zeros_like(u)
        single[index] = u[index]  # with its own size and sign, in which a pullback is linear
        inputs, params = ([None if g is None else np.array(g) for g in part] for part in _ask(layer, plan, single))
        sums = (inputs, params) if sums is None else (_added(sums[0], inputs), _added(sums[1], params))
    assert sums is not None
    return sums


def _without_decay(answer: _Answer, none: _Answer) -> _Answer:
    inputs, params = answer
    return inputs, [g if g is None or still is None else g - still for g, still in zip(params, none[1], strict=True)]


def _added(first: list[Any], second: list[Any]) -> list[Any]:
    return [b if a is None else a if b is None else a + b for a, b in zip(first, second, strict=True)]


def _scaled(g: Any, u: Any) -> Any:
    """A gradient for an upstream gradient of one, times u: of a scalar, or of values that each own a part of it."""
    if g is None or np.size(u) == 1:
        return g if g is None else np.asarray(g) * np.reshape(u, ())
    u = np.asarray(u)
    if np.shape(g)[: u.ndim] != u.shape:
        raise TypeError("the backward takes no upstream gradient, and the output is no scalar")
    return np.asarray(g) * u.reshape(u.shape + (1,) * (np.ndim(g) - u.ndim))


def _ask(layer: Any, plan: Plan, u: Any) -> _Answer:
    twin: Any = deepcopy(layer) if plan.cotangent == "onehot" or plan.decay else layer
    arguments, result, drawn = vars(twin)["_audited_call"]
    if drawn is not None:  # a gradient that runs the forward itself draws what the forward drew
        set_random_state(random_state(), drawn)
    old = {path: fetch(twin, path).copy() for path, (how, _) in plan.of_params if how == "moved"}
    returned = _call_backward(twin, plan, u, arguments, result)
    take = partial(_take, returned=returned, layer=twin, old=old, rate=plan.rate)
    return [None if where is None else take(where) for where in plan.of_input], [take(w) for _, w in plan.of_params]


def _take(where: tuple[str, Any], returned: Any, layer: Any, old: Mapping[str, np.ndarray], rate: float) -> Any:
    how, key = where
    if how == "moved":
        return (old[key] - fetch(layer, key)) / rate
    if how == "held":
        return fetch(layer, key)
    if how == "key":
        return returned[key]
    return returned if how == "whole" else flat(returned)[key]
