"""The readings of two functions, or two methods that share no state: pairs, derivatives, values with their gradient."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.inputs import Arguments, required_names
from gradverify.audit.kernels import kernel_readings, returning_buffer, writes_only
from gradverify.audit.load import NotTriable
from gradverify.audit.mined import kept_words, returned_words
from gradverify.audit.names import BEFORE
from gradverify.audit.placing import is_called_for
from gradverify.audit.readings import Reading, Trial
from gradverify.audit.record import Candidate
from gradverify.audit.roles import is_called_cotangent, required_parameters, roles_of_backward
from gradverify.audit.search import silence, twin_call
from gradverify.audit.shim import Plan, output_of
from gradverify.audit.signatures import built, normalised, parts_of, returning
from gradverify.targets import function, pair
from gradverify.targets.calling import argument_names
from gradverify.targets.gradients import names_gradient_of

Function = Callable[..., Any]


def of_functions(candidate: Candidate, fetch: Callable[[str], Any], held: tuple[np.ndarray, ...]) -> Trial:
    """The trial of a candidate whose two names `fetch` turns into functions."""
    forward = fetch(candidate.forward)
    backward = forward if candidate.kind in ("joint", "flag") else fetch(candidate.backward)
    if getattr(forward, "__self__", None) is None:
        forward, backward = _normalised(forward, backward, candidate.kind)
    if candidate.kind == "pair" and writes_only(forward):
        forward = returning_buffer(forward)
    makers = {"pair": _pair_readings, "layer": _pair_readings, "joint": _joint_readings, "flag": _flag_readings}
    readings = makers.get(candidate.kind, _point_readings)(forward, backward, candidate)
    run = partial(twin_call, forward)
    if candidate.kind == "joint":
        index = -1 if BEFORE in candidate.backward else 0
        return Trial(forward, held, readings, lambda arguments: run(arguments)[index])
    return Trial(forward, held, readings, run)


def _normalised(forward: Function, backward: Function, kind: str) -> tuple[Function, Function]:
    if forward is not backward:
        forward, backward = built({"forward": forward, "backward": backward}, 0).values()
    parts = parts_of(forward)
    backward = normalised(backward, parts) if parts or kind == "point" else backward
    return normalised(forward, parts), backward


def _pair_readings(forward: Function, pullback: Function, candidate: Candidate) -> tuple[Reading, ...]:
    taken = required_parameters(pullback)
    if _LOCAL.fullmatch(candidate.backward) and not any(map(is_called_cotangent, taken)) and len(taken) > 2:
        raise NotTriable(f"{candidate.backward}({', '.join(taken)}) takes something, and no upstream gradient")
    kernels = kernel_readings(forward, pullback)
    return (*kernels, *_whole_pair_readings(forward, pullback))


_LOCAL = re.compile(r"_*(df|f_?prime|prime|deriv\w*|diff)", re.IGNORECASE)  # a slope, if nothing says otherwise


def _whole_pair_readings(forward: Function, pullback: Function) -> tuple[Reading, ...]:
    backward = returning(pullback)
    natural = function(forward, vjp=backward) if _takes_cotangent_last(backward) else pair(forward, backward)
    roles = roles_of_backward(required_parameters(backward), tuple(required_names(forward)))
    pull = partial(_pull_by_roles, forward, backward, False)
    if "cotangent" not in roles:  # sigmoid_prime(z, a): a derivative that reads the output too
        derivative = lambda *arguments, **settings: pull(*arguments, None, **settings)  # noqa: E731
        return (Reading(lambda arguments: claim(_first_output(forward), derivative, arguments)),)
    by_roles = function(_first_output(forward), vjp=pull)
    readings: tuple[Reading, ...] = (Reading(lambda _: natural), Reading(lambda _: by_roles))
    if set(_guessed(backward, required_names(forward))):  # softmax_backward(s, grad) of softmax(x)
        at_output = function(_first_output(forward), vjp=partial(_pull_by_roles, forward, backward, True))
        readings = (*readings, Reading(lambda _: at_output, " of the output"))
    if required_parameters(backward) == required_names(forward):  # relu_backward(x) of relu(x) is its slope
        at_input = Reading(lambda arguments: claim(forward, backward, arguments), ", the derivative at the input")
        return (*readings, at_input)
    return readings


def _first_output(forward: Function) -> Function:
    return _picked(forward, lambda result: output_of(None, result, _NO_PLAN))


def _picked(forward: Function, pick: Function) -> Function:
    def picked(*arguments: Any, **settings: Any) -> Any:
        return pick(forward(*arguments, **settings))

    picked.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    picked.__qualname__ = getattr(forward, "__qualname__", "forward")
    return picked


_NO_PLAN = Plan("", "", ())


def _guessed(backward: Function, inputs: Sequence[str]) -> list[str]:
    """The arguments of a backward that are taken for an input though none is called so."""
    names = required_parameters(backward)
    roles = roles_of_backward(names, tuple(inputs))
    return [n for n, role in zip(names, roles, strict=True) if role.startswith("input:") and n not in inputs]


def _pull_by_roles(forward: Function, backward: Function, of_output: bool, *arguments: Any, **settings: Any) -> Any:
    *inputs, u = arguments
    result = forward(*inputs, **settings)
    known = dict(zip(argument_names(forward, len(inputs)), inputs, strict=False))
    values: dict[str, Any] = {"cotangent": u, "rate": 1.0, "counter": 1, "output": output_of(None, result, _NO_PLAN)}
    rest = result[1:] if isinstance(result, tuple) else ()
    values["cache"] = rest[0] if len(rest) == 1 else (rest or values["output"])
    values |= {"label": inputs[-1], **{f"input:{name}": x for name, x in known.items()}}
    shared = {n: v for n, v in settings.items() if n in inspect.signature(backward).parameters}
    needed = required_parameters(backward)
    kept = kept_words(forward, result)
    values |= {f"kept:{i}": part for i, part in enumerate(rest)}
    roles = iter(roles_of_backward([n for n in needed if n not in shared], tuple(known), kept))
    wanted = [shared[name] if name in shared else values[next(roles)] for name in needed]
    if of_output:
        guessed = _guessed(backward, tuple(known))
        wanted = [values["output"] if n in guessed else value for n, value in zip(needed, wanted, strict=True)]
    return backward(*wanted, **{n: v for n, v in shared.items() if n not in needed})


def _joint_readings(forward: Function, _: Function, candidate: Candidate) -> tuple[Reading, ...]:
    names = required_names(forward)
    words, __, behind = candidate.backward.partition(BEFORE)

    def gradients_of(result: Any) -> tuple[Any, ...]:
        gradients = result[:-1] if behind else result[1:]  # loss, dW, db
        return tuple(gradients) if len(result) > 2 else (gradients[0],)

    def gradient(owners: list[str], *arguments: Any, **settings: Any) -> Any:
        parts = gradients_of(forward(*arguments, **settings))
        if len(parts) == 1 and isinstance(parts[0], Mapping):
            return _by_keys(parts[0], names)
        return dict(zip(owners, parts, strict=False))

    def build(arguments: Arguments) -> Any:
        with silence():
            parts = gradients_of(twin_call(forward, arguments))
            owners = _owners(words, parts, names, arguments.inputs)
            unnamed = len(parts) == 1 and not isinstance(parts[0], Mapping)
            if unnamed and not any(names_gradient_of(words.strip(), n) for n in names):
                owners = [_nearest(value, parts[0], arguments, names) or owners[0]]
        return function(value, gradient=partial(gradient, owners))

    value = _picked(forward, itemgetter(-1 if behind else 0))
    return (Reading(build),)


def _nearest(value: Function, gradient: Any, arguments: Arguments, names: list[str]) -> str:
    """The input along which a function changes most nearly as a gradient without a name says; empty for none."""
    off: dict[str, float] = {}
    for i, (name, x) in enumerate(zip(names, arguments.inputs, strict=False)):
        if not is_floating(x) or np.shape(x) != np.shape(gradient) or not np.size(x):
            continue
        step = 1e-5 * np.random.default_rng(i).standard_normal(np.shape(x))
        ends = [replace(arguments, inputs=(*arguments.inputs[:i], x + s, *arguments.inputs[i + 1 :]))
                for s in (step, -step)]  # fmt: skip
        up, down = (float(np.sum(twin_call(value, end))) for end in ends)
        off[name] = abs((up - down) / 2 - float(np.sum(gradient * step)))
    return min(off, key=lambda name: off[name], default="")


def _by_keys(gradients: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """``{"dw": ..., "db": ...}`` under the names of the inputs."""
    owners = {key: [n for n in names if names_gradient_of(key, n)] for key in map(str, gradients)}
    return {(owners[str(key)] or [str(key)])[0]: g for key, g in gradients.items()}


def _owners(stated: str, parts: tuple[Any, ...], names: list[str], arguments: tuple[Any, ...]) -> list[str]:
    """Whose gradient each returned array is: by the name it is returned under, else by shape."""
    owners = []
    for word, part in zip(stated.split(","), parts, strict=False):
        floating = [(n, x) for n, x in zip(names, arguments, strict=False) if is_floating(x)]
        fitting = [n for n, x in floating if np.shape(x) == np.shape(part) and n not in owners]
        named = [n for n in names if names_gradient_of(word.strip(), n)]
        named = named or [n for n in fitting if is_called_for(word.strip(), n)]
        owners.append((named or fitting or names)[0])
    return owners


def _flag_readings(forward: Function, _: Function, candidate: Candidate) -> tuple[Reading, ...]:
    flag = candidate.backward.split("=", maxsplit=1)[0]
    return _point_readings(forward, partial(forward, **{flag: True}), candidate)


def _point_readings(forward: Function, backward: Function, candidate: Candidate) -> tuple[Reading, ...]:
    # tanh_prime(a) = 1 - a^2 is a right derivative that wants the output: a convention, not a bug.
    unary = len(required_names(forward)) == 1
    plain = Reading(lambda arguments: claim(forward, backward, arguments))
    if not unary:
        return (plain,)
    at_output = lambda x: backward(forward(copy.copy(x)))  # noqa: E731 - forwards that work in place keep off x
    of_output = Reading(lambda arguments: claim(forward, at_output, arguments), " of the output")
    return plain, of_output


def claim(forward: Function, derivative: Function, arguments: Arguments) -> Any:
    """The derivative under the name its shape gives it: elementwise, gradient of a scalar, or Jacobian."""
    with silence():
        out = np.asarray(twin_call(forward, arguments))
        result = twin_call(derivative, arguments)
    if isinstance(result, (tuple, list)) and out.ndim == 0 and len(result) > 1:
        return _several(forward, derivative, arguments)
    if isinstance(result, tuple) and [np.shape(g) for g in result] == [out.shape] * len(arguments.inputs):
        return function(forward, vjp=partial(_partials, forward, derivative))
    if isinstance(result, (Mapping, tuple, list)) or result is None:
        raise NotTriable("the derivative returns several arrays")
    claimed = np.shape(result)
    leaf = next((np.shape(x) for x in arguments.inputs if is_floating(x)), ())
    if out.ndim == 0 and leaf != ():
        return function(forward, gradient=derivative)
    if out.ndim and claimed in (out.shape + leaf, (out.size, int(np.prod(leaf)))) and claimed != leaf:
        return function(forward, jacobian=derivative)
    if out.ndim and claimed == (*out.shape, *out.shape[-1:]) and out.shape == leaf:
        return function(forward, vjp=lambda *a, **k: np.einsum("...ij,...i->...j", derivative(*a[:-1], **k), a[-1]))
    if out.ndim < len(leaf) and claimed == leaf and leaf[: out.ndim] == out.shape:
        return function(forward, vjp=lambda *a, **k: _times_rows(derivative(*a[:-1], **k), a[-1]))
    return function(forward, derivative=derivative)


def _partials(forward: Function, derivative: Function, *arguments: Any, **settings: Any) -> tuple[Any, ...]:
    """``return x / 10, 2 * y``: one partial derivative for each input, entry by entry, times the upstream gradient."""
    *inputs, u = arguments
    parts, names = tuple(derivative(*inputs, **settings)), required_names(forward)
    words = ",".join(returned_words(derivative)) or "," * (len(parts) - 1)
    found = dict(zip(_owners(words, parts, names, tuple(inputs)), parts, strict=True))
    return tuple(found[n] * u for n in names)


def _several(forward: Function, derivative: Function, arguments: Arguments) -> Any:
    """``return dw, db``: gradients of some of the inputs, told by the names they are returned under, else by shape."""
    names = required_names(forward)
    words = ", ".join(returned_words(derivative))

    def gradient(*values: Any, **settings: Any) -> Any:
        parts = tuple(derivative(*values, **settings))
        return dict(zip(_owners(words or "," * len(parts), parts, names, values), parts, strict=False))

    with silence():
        parts = tuple(twin_call(derivative, arguments))
    owners = _owners(words or "," * len(parts), parts, names, arguments.inputs)
    if len(set(owners)) < len(parts):
        raise NotTriable("the derivative returns several arrays, and nothing says whose gradient each is")
    return function(forward, gradient=gradient)


def _times_rows(g: Any, u: Any) -> Any:
    """The gradient of one value for each sample, times the upstream gradient of that value."""
    return np.asarray(g) * np.reshape(u, np.shape(u) + (1,) * (np.ndim(g) - np.ndim(u)))


def _takes_cotangent_last(backward: Function) -> bool:
    """Whether ``relu_backward(x, dout)`` has its arguments in the order of a VJP."""
    names = required_names(backward)
    first, last = names[0].lower(), names[-1].lower()
    return last.startswith(_FIRST_LETTERS) and not first.startswith((*_FIRST_LETTERS, "cache"))


_FIRST_LETTERS = ("d", "g", "up", "delta")
