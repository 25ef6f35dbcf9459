"""Trials of what a hand-written autograd records: arrays in and out, gradients from the objects that hold them.

A trial fixes how every argument is given: as an object of the project's tensor class, beside another one in a list, as
a bare array (labels), or as a constant (an axis, a power, an index). Runs in a worker only.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import islice, product
from types import ModuleType
from typing import Any

import numpy as np

from gradverify.audit.boxes import Box, Way, adds_up, box_of, boxes_beside, by_attribute, first_of, from_one, way_back
from gradverify.audit.guesses import is_setting, roles_of, settings_for
from gradverify.audit.inputs import Arguments
from gradverify.audit.load import NotTriable, beside, find_attribute, load
from gradverify.audit.readings import Reading, Trial
from gradverify.audit.record import Candidate
from gradverify.audit.search import silence
from gradverify.audit.sending import unsent, writes
from gradverify.audit.shapes import Whole
from gradverify.audit.variations import defaults_of
from gradverify.targets import function

Function = Callable[..., Any]

_MOST = 8  # ways of giving the arguments of one operator


@dataclass(frozen=True)
class Call:
    """An operator with the way in which each of its arguments is given: ``box``, ``raw``, ``list`` or ``star``.

    `constants` go where `names` has a None; `settings` are keywords. `twice` adds up two results of the same inputs,
    `narrow` gives all arrays but the first as their first row, which the operator has to broadcast.
    """

    box: Box
    operator: Function
    names: tuple[str | None, ...]
    manners: tuple[str, ...]
    constants: tuple[Any, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    twice: bool = False
    narrow: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the arguments that are arrays."""
        return tuple(name for name in self.names if name is not None)

    @property
    def signature(self) -> inspect.Signature:
        """Its arrays by name."""
        return inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in self.inputs])

    def boxes(self, arrays: Sequence[Any]) -> list[Any]:
        """The arrays as the operator wants them."""
        narrowed = [x[:1] if self.narrow and i and np.ndim(x) else x for i, x in enumerate(arrays)]
        return [self.box.make(x) if how != "raw" else x for x, how in zip(narrowed, self.manners, strict=True)]

    def result(self, boxes: Sequence[Any]) -> Any:
        """What the operator makes of them."""
        given, fixed = iter(zip(boxes, self.manners, strict=True)), iter(self.constants)
        parts = [[next(fixed)] if name is None else self._given(*next(given)) for name in self.names]
        values = [value for part in parts for value in part]
        out = self.operator(*values, **self.settings)
        return out + self.operator(*values, **self.settings) if self.twice else out

    def _given(self, value: Any, how: str) -> list[Any]:
        """An argument as the operator takes it: beside another tensor, where it takes several."""
        if how not in ("list", "star"):
            return [value]
        shape = np.shape(self.box.value_of(value))
        several = [value, self.box.make(np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape))]
        return several if how == "star" else [several]

    def forward(self, *arrays: Any) -> Any:
        """The array that the operator computes from arrays."""
        out = self.box.value_of(self.result(self.boxes(arrays)))
        return out if isinstance(out, np.ndarray) or np.ndim(out) else np.asarray(out)

    def pull(self, way: Way, *arguments: Any) -> Any:
        """The gradient of every array, for an upstream gradient that comes last."""
        *arrays, u = arguments
        boxes = self.boxes(arrays)
        way(self.box, first_of(self.result(boxes)), np.asarray(u))
        found = [self._gradient(b, x, how) for b, x, how in zip(boxes, arrays, self.manners, strict=True)]
        return found[0] if len(found) == 1 else tuple(found)

    def _gradient(self, boxed: Any, x: Any, how: str) -> Any:
        if how == "raw":
            return None
        shape = np.shape(self.box.value_of(boxed))
        g = self.box.gradient_of(boxed, shape)
        if g is None or shape == np.shape(x):
            return g
        whole = np.zeros(np.shape(x))
        whole[:1] = np.reshape(g, shape)
        return whole


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
    seen: set[Any] = set()
    for manners in _manners(needed, name):
        fixed = [p for p, how in zip(needed, manners, strict=True) if how == "constant"]
        choices = [_constants(p, name, alone=len(fixed) == 1) for p in fixed]
        for constants in islice(product(*choices), 3):
            key = (manners, repr(constants))
            if key in seen:
                continue
            seen.add(key)
            names = tuple(None if how == "constant" else _name(i, p, name)
                          for i, (p, how) in enumerate(zip(needed, manners, strict=True)))  # fmt: skip
            given = tuple(how for how in manners if how != "constant")
            call = Call(box, operator, names, given, constants)
            yield _trial(call, optional)
            # Some raise at None for all axes, and are right along one.
            yield from (_trial(replace(call, settings={n: 0}), {}) for n, value in optional.items()
                        if value is None and re.fullmatch(r"axis|dims?", n))  # fmt: skip


def _parameters(operator: Function) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(operator).parameters.values())
    except (TypeError, ValueError):
        return []


def _name(position: int, parameter: inspect.Parameter, operator: str) -> str:
    """The name that tells the search its shape: of a product of matrices the second is a weight."""
    if position == 1 and re.fullmatch(r"_*r?(mat_?mul|dot|mm)_*", operator):
        return "weight"
    if position == 1 and len(parameter.name) == 1:  # t and y are tensors here, and no truth to compare with
        return "other"
    return "x" if parameter.name in ("self", "cls") else parameter.name


def _manners(needed: Sequence[inspect.Parameter], operator: str) -> Iterator[tuple[str, ...]]:
    """How the arguments are given: as their names say; the others as arrays, as constants, as lists of tensors."""
    first = [_manner(i, p, operator) for i, p in enumerate(needed)]
    yield tuple(first)
    if first and first[0] == "box":
        for other in ("raw", "constant"):
            yield tuple(other if i and how == "box" else how for i, how in enumerate(first))
            yield tuple(other if i and how == "raw" else how for i, how in enumerate(first))
        yield ("box", *("box" if how != "box" else how for how in first[1:]))
        yield ("list", *first[1:])


def _manner(position: int, parameter: inspect.Parameter, operator: str) -> str:
    said = str(parameter.annotation)
    if position == 0 and parameter.kind is parameter.VAR_POSITIONAL:
        return "star"
    if position == 0:
        several = _SEVERAL.fullmatch(parameter.name) or re.search(r"\b([lL]ist|Sequence|Iterable)\[", said)
        return "list" if several else "box"
    typed = re.search(r"\b(int|float|tuple|Tuple|str|slice|bool|list|List|Sequence)\b", said) and not re.search(
        r"[A-Z]\w*(ensor|ariable|alue|xpr)|ndarray|NDArray", said)  # fmt: skip
    if typed or parameter.kind is parameter.VAR_POSITIONAL or operator in _WITH_CONSTANTS:
        return "constant"
    if is_setting(parameter.name) or _CONSTANT.fullmatch(parameter.name.strip("_")):
        return "constant"
    is_label = roles_of(["x", parameter.name])[1] in ("label", "index") and len(parameter.name) > 1
    return "raw" if is_label else "box"


_SEVERAL = re.compile(
    r"_*(tensors|arrays|xs|variables|vars|values|nodes|exprs|inputs_list|tensor_list|ts|children)", re.IGNORECASE
)
_WITH_CONSTANTS = ("__pow__", "__rpow__", "__getitem__", "reshape", "view", "transpose", "permute")
_CONSTANT = re.compile(
    r"axis|axes|dims?|dim\d?|shape|new_?shape|newshape|size|key|item|slices?|power|exponent|exp|n|k|scalar|const\w*"
    r"|start\w*|end\w*|min\w*|max\w*|a_min|a_max|low|high|repeats?|perm\w*|order|dtype|name|num_\w+|eps", re.IGNORECASE)


def _constants(parameter: inspect.Parameter, operator: str, *, alone: bool) -> list[Any]:
    """Values to try for a constant: by the operator, by the name, then a number."""
    if operator in _BY_OPERATOR and alone:
        return _BY_OPERATOR[operator]
    name = parameter.name.strip("_")
    named = next((v for pattern, v in _BY_NAME if re.fullmatch(pattern, name, re.IGNORECASE)), None)
    if named is not None:
        return named
    found = settings_for(parameter, np.random.default_rng(0)) if is_setting(parameter.name) else []
    return [*found, 2.0, 2, 0][:3]


_BY_OPERATOR: dict[str, list[Any]] = {
    "__pow__": [3, 3.0], "pow": [3, 3.0], "power": [3, 3.0], "__rpow__": [2.0],
    "__getitem__": [(slice(None), 1), slice(0, 2), 0],
    "reshape": [(-1,), -1], "view": [(-1,), -1], "transpose": [(1, 0), (0, 2, 1)], "permute": [(1, 0), (0, 2, 1)],
}  # fmt: skip
_BY_NAME: tuple[tuple[str, list[Any]], ...] = (
    (r"axis|dims?|dim\d?", [0, -1, 1]),
    (r"axes|perm\w*|order", [(1, 0), (0, 2, 1)]),
    (r"(new_?)?shape|size", [(-1,), (2, 5, 3)]),
    (r"min\w*|a_min|low|start\w*", [-0.5, 0]),
    (r"max\w*|a_max|high|end\w*", [0.5, 1]),
    (r"idx|index|key|item|slices?", [slice(0, 2), 0]),
)


def _trial(call: Call, optional: Mapping[str, Any]) -> Trial:
    """The trial of a call, and of the same at other values of its keywords, twice, and broadcast."""
    many = len(call.inputs) > 1 and "raw" not in call.manners
    settings = {**optional, "used_twice": False, **({"broadcast": False} if many else {})}

    def varied(name: str, value: Any) -> Iterator[Trial]:
        if name == "used_twice":
            if adds_up(call.box):
                yield _trial(replace(call, twice=True), {})
        elif name == "broadcast":
            yield _trial(replace(call, narrow=True), {})
        else:
            yield _trial(replace(call, settings={**call.settings, name: value}), {})

    def run(arguments: Arguments) -> Any:
        return call.forward(*arguments.inputs)

    def claimed(_: Any, arguments: Arguments) -> tuple[str, ...]:
        constant = _constant(call, arguments)
        return tuple(n for n in _boxed(call) if n not in constant)

    def notes(claimed: tuple[str, ...] | None) -> tuple[str, ...]:
        constant = [n for n in _boxed(call) if n not in (claimed or ())]
        return tuple(f"{n}: it sends no gradient there, and none is judged" for n in constant)

    readings = (Reading(partial(_whole, call), "", claimed, notes),
                Reading(partial(_of_sum, call), ", asked for the gradient of its sum", claimed, notes),
                Reading(partial(_of_loss, call), ", which takes the upstream gradient to be one", claimed, notes))
    forward = _named(call)
    stated = (Whole(()),) if call.box.is_scalar else ()
    return Trial(forward, (), readings, run, settings=settings, varied=varied, code=call.operator, stated=stated)


def _boxed(call: Call) -> list[str]:
    return [n for n, how in zip(call.inputs, call.manners, strict=True) if how != "raw"]


def _constant(call: Call, arguments: Arguments) -> list[str]:
    """The objects that an operator sends no gradient to, unless it sends none to any; of ``a * b`` both get theirs."""
    boxed, operator = _boxed(call), call.operator
    if len(boxed) < 2 or getattr(operator, "__name__", "").startswith("__"):
        return []
    try:
        with silence():
            way, boxes = _way(call, arguments) or from_one, call.boxes(arguments.inputs)
            out = first_of(call.result(boxes))
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
    if way is None:
        raise NotTriable("no way was found to give its output an upstream gradient")
    return function(_named(call), vjp=partial(call.pull, way))


def _of_sum(call: Call, arguments: Arguments) -> Any:
    """The gradient of the sum of the output, where a sweep always begins with ones."""
    if _way(call, arguments) is not None:
        raise NotTriable("its output takes an upstream gradient")
    return _asked_for_one(call)


def _of_loss(call: Call, arguments: Arguments) -> Any:
    """A loss, of truth beside tensors, after which nothing comes: its upstream gradient is one."""
    if "raw" not in call.manners or np.size(call.forward(*arguments.inputs)) != 1:
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
