"""Trials of what a hand-written autograd records: arrays in and out, gradients from the objects that hold them.

A trial fixes how every argument is given: as an object of the project's tensor class, beside another one in a list, as
a bare array (labels), or as a constant (an axis, a power, an index). Runs in a worker only.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice, product
from types import ModuleType
from typing import Any

import numpy as np

from gradverify.audit.boxes import (
    Box,
    Way,
    adds_up,
    box_of,
    boxes_beside,
    by_attribute,
    from_one,
    way_back,
    way_that_raises,
)
from gradverify.audit.graphcalls import Call
from gradverify.audit.guesses import IN
from gradverify.audit.inputs import Arguments
from gradverify.audit.load import NotTriable, beside, find_attribute, load
from gradverify.audit.manners import ASKED, TURNED, bounds_for, constants_for, manners_of, name_of
from gradverify.audit.readings import Reading, Trial
from gradverify.audit.record import Candidate
from gradverify.audit.search import silence
from gradverify.audit.sending import unsent, writes
from gradverify.audit.shapes import Whole
from gradverify.audit.variations import defaults_of
from gradverify.targets import function

Function = Callable[..., Any]

_MOST = 8  # ways of giving the arguments of one operator


def graph_trials(candidate: Candidate) -> Iterator[Trial]:
    """The trials of an operator; raises `NotTriable` where its class of tensors cannot be made of an array."""
    module = load(candidate.source)
    if not candidate.owner:
        operator = find_attribute(module, candidate.forward)
        boxes = list(tensors_beside(module))
    else:
        cls = find_attribute(module, candidate.owner)
        is_node = candidate.forward == "__init__"
        operator = cls if is_node else find_attribute(module, f"{candidate.owner}.{candidate.forward}")
        own = None if is_node else box_of(cls)
        boxes = [own] if own is not None else list(tensors_beside(module))
    if not boxes:
        raise NotTriable(f"no object of {candidate.owner or 'its tensors'} can be made of an array alone")
    for box in boxes:
        yield from islice(trials_of(box, operator, candidate.forward), _MOST)


def trials_of(box: Box, operator: Function, name: str) -> Iterator[Trial]:
    """A trial for each way of giving the arguments, likeliest first."""
    parameters = [p for p in _parameters(operator) if p.kind is not p.VAR_KEYWORD]
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    optional = {n: v for n, v in defaults_of(operator).items() if n not in {p.name for p in needed}}
    bounds = bounds_for(optional)
    seen: set[Any] = set()
    for manners in manners_of(needed, name):
        fixed = [p for p, how in zip(needed, manners, strict=True) if how == "constant"]
        for constants in islice(product(*constants_for(fixed, name)), 3):
            key = (manners, repr(constants))
            if key in seen:
                continue
            seen.add(key)
            given = tuple(how for how in manners if how != "constant")
            call = Call(box, operator, _names(needed, manners, name), given, constants)
            if bounds:
                yield _trial(replace(call, settings=bounds), {n: v for n, v in optional.items() if n not in bounds})
            yield _trial(call, optional)
            # Some raise at None for all axes, and are right along one.
            yield from (_trial(replace(call, settings={n: 0}), {}) for n, value in optional.items()
                        if value is None and re.fullmatch(r"axis|dims?", n))  # fmt: skip


def _names(needed: Sequence[inspect.Parameter], manners: Sequence[str], operator: str) -> tuple[str | None, ...]:
    """The names of the arguments that are arrays, None for a constant."""
    order = [p for p, how in zip(needed, manners, strict=True) if how != "constant"]
    return tuple(None if how == "constant" else name_of(order.index(p), p, operator)
                 for p, how in zip(needed, manners, strict=True))  # fmt: skip


def _parameters(operator: Function) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(operator).parameters.values())
    except (TypeError, ValueError):
        return []


_NARROW = {"broadcast": 1, "fewer_axes": 2}


def _trial(call: Call, optional: Mapping[str, Any]) -> Trial:
    """The trial of a call, and of the same at other values of its keywords, twice, and broadcast."""
    many = len(call.inputs) > 1 and set(call.manners) <= set(ASKED)
    settings = {**optional, "used_twice": False, **(dict.fromkeys(_NARROW, False) if many else {})}

    def varied(name: str, value: Any) -> Iterator[Trial]:
        if name == "used_twice":
            if adds_up(call.box):
                yield _trial(replace(call, twice=True), {})
        elif name in _NARROW:
            yield _trial(replace(call, narrow=_NARROW[name]), {})
        else:
            yield _trial(replace(call, settings={**call.settings, name: value}), {})

    def run(arguments: Arguments) -> Any:
        out = call.forward(*arguments.inputs)
        if call.narrow and np.shape(out) != np.shape(replace(call, narrow=0).forward(*arguments.inputs)):
            raise ValueError("it broadcasts nothing: less goes in, and less comes out")  # a table with fewer rows
        return out

    def claimed(_: Any, arguments: Arguments) -> tuple[str, ...]:
        constant = _constant(call, arguments)
        return tuple(n for n in call.asked if n not in constant)

    def notes(claimed: tuple[str, ...] | None) -> tuple[str, ...]:
        constant = [n for n in call.asked if n not in (claimed or ())]
        return tuple(f"{n}: it sends no gradient there, and none is judged" for n in constant)

    readings = (Reading(partial(_whole, call), "", claimed, notes),
                Reading(partial(_of_sum, call), ", asked for the gradient of its sum", claimed, notes),
                Reading(partial(_of_loss, call), ", which takes the upstream gradient to be one", claimed, notes))
    forward = _named(call)
    turned = any(TURNED in (constant, *constant) for constant in call.constants)
    # Turned back the wrong way a cube has the wrong numbers; anything else the wrong shape, which may be our mistake.
    stated = [Whole(())] * call.box.is_scalar + [Whole((IN, IN, IN))] * turned
    return Trial(forward, (), readings, run, settings=settings, varied=varied, code=call.operator, stated=tuple(stated))


def _constant(call: Call, arguments: Arguments) -> list[str]:
    """The objects that an operator sends no gradient to, unless it sends none to any; of ``a * b`` both get theirs."""
    boxed, operator = call.asked, call.operator
    if len(boxed) < 2 or getattr(operator, "__name__", "").startswith("__"):
        return []
    try:
        with silence():
            way, boxes = _way(call, arguments) or from_one, call.boxes(arguments.inputs)
            out = call.result(boxes)
            given = {n: b for n, b in zip(call.inputs, boxes, strict=True) if n in boxed}
            found = unsent(call.box, out, given)
            way(call.box, out, np.ones(np.shape(call.box.value_of(out))))
            arrived = {n for n in found if np.any(call.box.gradient_of(given[n]))}
    except Exception:  # the engine meets it too, and says so
        return []
    needed = [p.name for p in _parameters(operator) if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    written = dict(zip(call.names, needed, strict=False))
    found = [n for n in found if n not in arrived and not writes(operator, written.get(n, n), call.box.gradient)]
    return found if len(found) < len(boxed) else []


def _named(call: Call) -> Function:
    def forward(*arrays: Any) -> Any:
        return call.forward(*arrays)

    forward.__signature__ = call.signature  # type: ignore[attr-defined]
    forward.__name__ = getattr(call.operator, "__name__", "forward")
    return forward


def _way(call: Call, arguments: Arguments) -> Way | None:
    way = way_back(call.box, lambda: call.result(call.boxes(arguments.inputs)), np.random.default_rng(7))
    return None if way is by_attribute and not _begins_there(call, arguments) else way


def _begins_there(call: Call, arguments: Arguments) -> bool:
    """Whether a sweep begins with the gradient that its object holds: here, or at least behind a sum."""
    if adds_up(call.box):
        return True
    with silence():
        u = np.ones(np.shape(call.forward(*arguments.inputs)))
        found = [call.pull(by_attribute, *arguments.inputs, k * u) for k in (1, 2)]
    once, twice = (g if isinstance(g, tuple) else (g,) for g in found)
    return not all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True) if a is not None)


def _whole(call: Call, arguments: Arguments) -> Any:
    way = _way(call, arguments)
    if way is None and not _runs(call, arguments):
        way = way_that_raises(call.box, lambda: call.result(call.boxes(arguments.inputs)), np.random.default_rng(7))
    if way is None:
        raise NotTriable("no way was found to give its output an upstream gradient")
    return function(_named(call), vjp=partial(call.pull, way))


def _runs(call: Call, arguments: Arguments) -> bool:
    """Whether a sweep runs that is given nothing."""
    try:
        with silence():
            call.pull(from_one, *arguments.inputs, None)
    except Exception:
        return False
    return True


def _of_sum(call: Call, arguments: Arguments) -> Any:
    """The gradient of the sum of the output, where a sweep always begins with ones."""
    if _way(call, arguments) is not None:
        raise NotTriable("its output takes an upstream gradient")
    return _asked_for_one(call)


def _of_loss(call: Call, arguments: Arguments) -> Any:
    """A loss, of truth beside tensors, after which nothing comes: its upstream gradient is one."""
    if set(call.manners) <= set(ASKED) or np.size(call.forward(*arguments.inputs)) != 1:
        raise NotTriable("it is no loss")
    return _asked_for_one(call)


def _asked_for_one(call: Call) -> Any:
    def total(*arrays: Any) -> Any:
        return np.sum(call.forward(*arrays))

    def pull(*given: Any) -> Any:
        found = call.pull(from_one, *given)
        parts = found if isinstance(found, tuple) else (found,)
        scaled = [None if g is None else np.asarray(g) * np.reshape(given[-1], ()) for g in parts]
        return tuple(scaled) if isinstance(found, tuple) else scaled[0]

    total.__signature__ = call.signature  # type: ignore[attr-defined]
    return function(total, vjp=pull)


@cache
def tensors_beside(module: ModuleType) -> tuple[Box, ...]:
    """The classes of tensors that a module or its project has."""
    return tuple(islice(boxes_beside(module, beside(module)), _FEW))


_FEW = 3


def through_graph(obj: Any, forward: Function) -> list[Reading]:
    """Readings of an object whose forward takes arrays and whose call takes tensors: by the sweep of those."""
    module = sys.modules.get(type(obj).__module__)
    names = [p.name for p in _parameters(forward) if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if module is None or not names:
        return []
    calls = [Call(box, obj, tuple(names), ("box",) * len(names)) for box in tensors_beside(module)]
    return [Reading(partial(_whole, call), ", called with tensors") for call in calls]


def called_with_tensors(obj: Any, forward: str, boxes: Sequence[Box]) -> Iterator[Trial]:
    """Trials of an object that is called with tensors, with the arguments of its forward."""
    if callable(obj):
        for box in boxes:
            yield from islice(trials_of(box, _like(obj, getattr(obj, forward)), forward), _FEW)


def _like(obj: Any, forward: Function) -> Function:
    def call(*arguments: Any, **named: Any) -> Any:
        return obj(*arguments, **named)

    call.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    call.__name__ = type(obj).__name__
    return call
