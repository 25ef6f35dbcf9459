"""Kernels: functions that write to a buffer they are given, and one backward for each input by itself.

``mul_backward_a(dout, buffer, shape, b)`` is told by its name whose gradient it is, by the names of its arguments what
to give it: the upstream gradient, an input again, a shape, a size, or an array of zeros that it adds the gradient to.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.guesses import roles_of
from gradverify.audit.inputs import required_names
from gradverify.audit.readings import Reading
from gradverify.audit.roles import is_called_cotangent, required_parameters, roles_of_backward
from gradverify.targets import function
from gradverify.targets.calling import argument_names

Function = Callable[..., Any]

_BUFFER = re.compile(
    r"\w*buf(fer)?\w*|(out|result|res|dst|dest|output)(_?(flat|arr|array|data|grad_in))?", re.IGNORECASE
)
_GRADIENT_BUFFER = re.compile(
    r"(grad|d)_?(x|a|b|w|in(put)?s?|left|right|weights?|src)\w*|\w*_grad_(in|x)\w*", re.IGNORECASE
)
_SIZE = re.compile(r"n|size|length|numel|count|num(_elements)?", re.IGNORECASE)
_PLAIN = re.compile(r"_?(data|arr(ay)?|flat|val(ue)?|np|tensor)$", re.IGNORECASE)


def writes_only(forward: Function) -> bool:
    """Whether a forward takes a buffer among its arguments, and returns nothing."""
    names = required_names(forward)
    text = _source(forward)
    return any(_BUFFER.fullmatch(n) for n in names[1:]) and re.search(r"^\s+return\s+\S", text, re.MULTILINE) is None


def _source(code: Function) -> str:
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return ""


def returning_buffer(forward: Function) -> Function:
    """The forward without its buffer and its sizes: it returns what it wrote to an array of the shape of its first."""
    given = required_names(forward)
    rest = [n for n in given if not (_BUFFER.fullmatch(n) and n != given[0]) and not _SIZE.fullmatch(n)]

    def call(*arrays: Any, **settings: Any) -> Any:
        known = dict(zip(rest, arrays, strict=False)) | settings
        out = np.zeros_like(arrays[0])
        values = [known[n] if n in known else len(arrays[0]) if _SIZE.fullmatch(n) else out for n in given]
        forward(*values)
        return out

    parameters = [p for n, p in inspect.signature(forward).parameters.items() if n in rest or p.default is not p.empty]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__name__ = call.__qualname__ = getattr(forward, "__name__", "forward")
    return call


def owner_of(forward: Function, backward: Function) -> str:
    """The input whose gradient a backward is by the end of its name: ``b`` of mul_backward_b; empty for all of them."""
    match = _suffix(backward)
    if match is None:
        return ""
    names = required_names(forward)
    exact = [n for n in names if n.lower() == match[1] or _bare(n) == match[1]]
    roles = dict(zip(names, roles_of([_bare(n) for n in names]), strict=True))
    exact = exact or [n for n in names if match[1] in ("w", "b") and roles[n] == {"w": "weight", "b": "bias"}[match[1]]]
    starting = [n for n in names if _bare(n).startswith(match[1]) or match[1].startswith(_bare(n))]
    return (exact or starting or [""])[0]


def _suffix(backward: Function) -> re.Match[str] | None:
    name = getattr(backward, "__name__", "").lower()
    return re.search(r"(?:backward|bwd|grad(?:ient)?)_(?:wrt_|g|d)?(\w+?)(?:_internal|_naive|_fast)?$", name)


def _is_of_another(forward: Function, backward: Function) -> bool:
    """Whether a backward is by a letter or two of one input, and nothing tells of which."""
    match = _suffix(backward)
    return match is not None and len(match[1]) <= _LETTERS and not owner_of(forward, backward)


_LETTERS = 2


def _bare(name: str) -> str:
    return _PLAIN.sub("", name.lower())


def kernel_readings(forward: Function, backward: Function) -> tuple[Reading, ...]:
    """The reading of a backward of one input, or into a buffer; none where it is neither."""
    names, taken = required_names(forward), required_parameters(backward)
    owner = owner_of(forward, backward)
    buffered = any(_BUFFER.fullmatch(n) or _GRADIENT_BUFFER.fullmatch(n) for n in taken[1:])
    shaped = any("shape" in n.lower() for n in taken)
    if not (owner or buffered or shaped) or _is_of_another(forward, backward):
        return ()
    if not any(map(is_called_cotangent, taken)):
        return ()  # without an upstream gradient among its arguments it is something else
    owner = owner or names[0]
    claimed = (owner,)

    def pull(*arguments: Any, **settings: Any) -> Any:
        *inputs, u = arguments
        known = dict(zip(argument_names(forward, len(inputs)), inputs, strict=False))
        gradient = _called(forward, backward, taken, known, owner, u, settings)
        return tuple(gradient if n == owner else None for n in known) if len(known) > 1 else gradient

    return (Reading(lambda _: function(forward, vjp=pull), "", lambda *_: claimed),)


def _called(
    forward: Function, backward: Function, taken: Sequence[str], known: dict[str, Any], owner: str, u: Any, given: Any
) -> Any:
    """The gradient of one input: returned, or what the backward wrote into the buffer."""
    buffer = np.zeros(np.shape(known[owner]), np.asarray(known[owner]).dtype)  # in C order, as code allocates
    free = [n for n in taken if n not in given]
    roles = dict(zip(free, roles_of_backward(free, tuple(known)), strict=True))
    asked = {name: given[name] if name in given else _value(name, roles[name], known, owner, u) for name in taken}
    values = {n: buffer if v is _BUFFERED or (v is _READ and _writes(backward, n)) else v for n, v in asked.items()}
    values = {n: forward(*known.values(), **given) if v is _READ else v for n, v in values.items()}
    optional = {n: v for n, v in given.items() if n in inspect.signature(backward).parameters and n not in values}
    result = backward(*values.values(), **optional)
    if result is None and not any(value is buffer for value in values.values()):
        raise TypeError(f"{getattr(backward, '__name__', 'it')} returns nothing, and none of its arguments is a buffer")
    if result is None:
        return buffer
    return result if is_floating(result) else result[0]


_BUFFERED, _READ = object(), object()


def _value(name: str, role: str, known: dict[str, Any], owner: str, u: Any) -> Any:
    """What a kernel is given for an argument: `_BUFFERED` for its buffer, `_READ` for the output or that."""
    like = [n for n in known if _bare(n) == _bare(name)]
    if name in known or (like and role != "cotangent"):
        return known[name if name in known else like[0]]
    if role == "cotangent" and not _BUFFER.fullmatch(name):
        return u
    if "shape" in name.lower():
        return np.shape(known[owner])
    if _SIZE.fullmatch(name):
        return len(np.atleast_1d(u))
    return _READ if role == "output" or _BUFFER.fullmatch(name) else _BUFFERED


@cache
def _writes(backward: Function, name: str) -> bool:
    """Whether a function assigns to an argument, as a whole or in part, or calls it a buffer."""
    assigned = rf"\b{re.escape(name)}(\[[^\n]*\])?\s*[-+*/]?=(?!=)"
    return "buf" in name.lower() or re.search(assigned, _source(backward)) is not None
