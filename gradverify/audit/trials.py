"""What can be tried of a candidate: a forward to feed, and the readings of its backward, likeliest first."""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.boxed import unboxed
from gradverify.audit.contexts import context_trials, takes_context
from gradverify.audit.functions import claim, of_functions
from gradverify.audit.graphtrials import called_with_tensors, tensors_beside, through_graph
from gradverify.audit.handed import handed
from gradverify.audit.holding import NoGradient
from gradverify.audit.inputs import Arguments, required_names
from gradverify.audit.load import Made, find_attribute, instances, load, made_by
from gradverify.audit.losses import LOSSES, labels_for
from gradverify.audit.mined import forgotten, hands_back, tree_of
from gradverify.audit.neighbours import is_linked
from gradverify.audit.optimizing import ADDED, Heard, lacks_optimizer, with_optimizers
from gradverify.audit.preparing import in_training, with_visible_steps
from gradverify.audit.readings import Reading, Trial
from gradverify.audit.record import Candidate
from gradverify.audit.roles import is_label, required_parameters, roles_of_backward
from gradverify.audit.search import silence
from gradverify.audit.settingup import awaited_label, required_of
from gradverify.audit.shapes import Whole, stated_shapes
from gradverify.audit.shim import Plan, make_plan, run_forward, shimmed
from gradverify.audit.signatures import of_names
from gradverify.audit.wired import is_wired, wired_or
from gradverify.records import Options
from gradverify.targets import layer, make_targets
from gradverify.targets.calling import argument_names
from gradverify.targets.gradients import decorated, plain
from gradverify.targets.graph import floating_of
from gradverify.targets.left import OF_AN_INPUT

Function = Callable[..., Any]


def trials(candidate: Candidate, seed: int, make: Callable[[type], Any] | None = None) -> Iterator[Trial]:
    """The trials of a candidate: one for each instance that can be guessed, or for the one that `make` makes."""
    module = load(candidate.source)
    if not candidate.owner:
        yield of_functions(candidate, lambda name: find_attribute(module, name), ())
        return
    cls = find_attribute(module, candidate.owner)
    candidate = _public(candidate, cls)
    static = all(_is_static(cls, name) for name in {candidate.forward, candidate.backward} if "=" not in name)
    forward, backward = (getattr(cls, name, None) for name in (candidate.forward, candidate.backward))
    if static and callable(forward) and callable(backward) and takes_context(forward, backward):
        yield from context_trials(forward, backward, tensors_beside(module))
        return
    if static:
        yield of_functions(candidate, lambda name: getattr(cls, name), ())
        return
    found = instances(cls, seed, candidate.source.path) if make is None else made_by(cls, make)
    of_instances = (trial for made in found for trial in _of_made_for(candidate, made, module, seed))
    wired = candidate.kind == "layer" and make is None and is_wired(cls, candidate.forward, candidate.backward)
    yield from (wired_or(candidate, cls, module, of_instances) if wired else of_instances)


def _of_made_for(candidate: Candidate, made: Made, module: ModuleType, seed: int) -> Iterator[Trial]:
    """The trials of an instance: on arrays, or on the objects of its project that its forward asks for."""
    on_handed = handed(made.obj, candidate.forward, candidate.backward, module) if candidate.kind == "layer" else []
    if on_handed:
        yield from on_handed
        return
    on_arrays = unboxed(made.obj, candidate.forward, candidate.backward, module) if candidate.kind != "joint" else None
    if on_arrays is None:
        yield _of_made(candidate, made, seed)
        return
    if candidate.kind == "layer":
        yield of_object(candidate, on_arrays)
    yield from called_with_tensors(made.obj, candidate.forward, tensors_beside(module))


def _public(candidate: Candidate, cls: type) -> Candidate:
    """``forward`` for ``_forward``, where a base of another file calls the one through the other.

    ``__forward`` is what Python makes of it within the class.
    """
    private = {name: _mangled(cls, name) for name in (candidate.forward, candidate.backward)}
    candidate = replace(candidate, forward=private[candidate.forward], backward=private[candidate.backward])
    names = (candidate.forward, candidate.backward)
    if not all(name.startswith("_") and not name.startswith("__") for name in names):
        return candidate
    public = all(callable(getattr(cls, name, None)) for name in ("forward", "backward"))
    return replace(candidate, forward="forward", backward="backward") if public else candidate


def _mangled(cls: type, name: str) -> str:
    """The name under which the class, or one of its bases, keeps its ``__name``; any other name as it is."""
    if not name.startswith("__") or name.endswith("__"):
        return name
    spelled = (f"_{base.__name__.lstrip('_')}{name}" for base in cls.__mro__)
    return next((other for other in spelled if hasattr(cls, other)), name)


def _is_static(cls: type, name: str) -> bool:
    """A static or class method, or a function in a class that takes no ``self``."""
    value = inspect.getattr_static(cls, name, None)
    if isinstance(value, (staticmethod, classmethod)):
        return True
    code = getattr(value, "__code__", None)
    return code is not None and code.co_varnames[:1] not in (("self",), ("cls",), ("this",)) and code.co_argcount > 0


def _of_made(candidate: Candidate, made: Made, seed: int) -> Trial:
    trial = of_object(candidate, made.obj)

    def varied(name: str, value: Any) -> Iterator[Trial]:
        yield from (of_object(candidate, other.obj) for other in made.again(name, value, seed))

    shapes = stated_shapes(made.obj, [made.shape, *made.settings.values()])
    return replace(trial, settings=made.settings, varied=varied, code=type(made.obj), stated=shapes)


def of_object(candidate: Candidate, obj: Any) -> Trial:
    """The trial of an instance, as its training has it."""
    obj = in_training(obj)
    held = tuple(floating_of(obj).values())
    if candidate.kind == "training":
        return _of_training(candidate, obj, held)
    awaited = awaited_label(obj, candidate.forward) if candidate.kind == "layer" else ""
    if awaited:
        return _of_told_labels(candidate, obj, held, awaited)
    if candidate.kind in ("layer", "joint"):
        return _of_layer(candidate, obj, held)
    trial = of_functions(candidate, lambda name: getattr(obj, name), held)
    forward = getattr(obj, candidate.forward)
    names = tuple(argument_names(forward, len(required_names(forward)))) if candidate.kind == "point" else ()
    if not names or len(names) != len(required_names(getattr(obj, candidate.backward))):
        return trial
    plan = Plan(candidate.forward, candidate.backward, names, point=True)
    of_parameters = Reading(partial(_shim, obj, plan, "one"), "", _claimed_by_shim)
    return Trial(trial.forward, held, (*trial.readings, of_parameters), trial.run)


def _of_layer(candidate: Candidate, obj: Any, held: tuple[np.ndarray, ...]) -> Trial:
    forward = getattr(obj, candidate.forward)
    feed = _fed_attribute(obj, forward)
    names = (feed,) if feed else tuple(argument_names(forward, len(required_names(forward)))) or ("x",)
    plan = Plan(candidate.forward, candidate.backward, names, feed=feed, joint=candidate.kind == "joint")
    asked = plan.joint or any(map(is_label, names))
    label = "" if asked else _held_label(obj, getattr(obj, candidate.backward))
    if label:
        return _of_held_labels(candidate, obj, held, replace(plan, inputs=(*names, label), label=label))
    hands_on = not plan.joint and is_linked(obj, getattr(obj, candidate.backward))
    natural = Reading(
        lambda _: layer(obj, forward=candidate.forward, backward=candidate.backward), wrt=partial(_claimed, candidate)
    )
    roles = () if plan.joint else roles_of_backward(required_parameters(getattr(obj, plan.backward)), names)
    plain = not (plan.joint or feed or hands_on or _keeps_loss(obj, roles))
    readings = [natural] if set(roles) <= {"cotangent"} and plain else []
    modes = _COTANGENTS if "cotangent" in roles or feed else (("one", ""),)
    if "cotangent" in roles and any(map(is_label, (*names, *required_parameters(getattr(obj, plan.backward))))):
        modes = (*modes, *_INSTEAD)
    readings += [Reading(partial(_shim, obj, plan, mode), suffix, _claimed_by_shim) for mode, suffix in modes]
    if roles == ("cotangent",):
        more = ", which adds to the array it is given"
        readings.append(Reading(partial(_shim, obj, plan, "filled"), more, _claimed_by_shim))
    if "cotangent" in roles:
        readings.append(Reading(partial(_shim, obj, replace(plan, logits=True), "given"), OF_LOGITS, _claimed_by_shim))
    if "cotangent" in roles and held and "penalty" not in roles:  # one that it is told is none here
        readings.append(Reading(partial(_shim, obj, replace(plan, decay=True), "given"), DECAYING, _claimed_by_shim))
    if held and lacks_optimizer(obj):
        readings.append(Reading(partial(_of_added_steps, obj, plan, modes[0][0]), ADDED, _claimed_by_shim))
    if roles == ("cotangent",) and not (held or feed):
        backward = getattr(obj, plan.backward)
        readings.append(Reading(lambda a: claim(forward, backward, a), ", the derivative at the input"))
    if feed:
        forward = _fed(feed)
    if callable(obj) and not (plan.joint or feed):
        readings += through_graph(obj, forward)
    return Trial(forward, held, tuple(readings), lambda arguments: _run(obj, plan, arguments))


def _of_told_labels(candidate: Candidate, obj: Any, held: tuple[np.ndarray, ...], label: str) -> Trial:
    """A loss that hears the truth from a method of its own, ``set_labels(y)``: its forward takes the scores alone."""
    names = required_names(getattr(obj, candidate.forward))
    plan = Plan(candidate.forward, candidate.backward, (*names, "labels"), label=label)
    modes = _COTANGENTS if required_of(getattr(obj, candidate.backward)) else _COTANGENTS[1:2]
    readings = tuple(Reading(partial(_shim, obj, plan, mode), suffix, _claimed_by_shim) for mode, suffix in modes)
    return Trial(_fed(*plan.inputs), held, readings, lambda arguments: _run(obj, plan, arguments))


def _claimed(candidate: Candidate, spec: Any, arguments: Arguments) -> tuple[str, ...] | None:
    """What the engine finds; of a backward that returns nothing also what it computes and forgets to return.

    Raises `NoGradient` where that is nothing: it hands nothing back at all.
    """
    backward = getattr(spec.obj, candidate.backward)
    code = getattr(backward, "__func__", backward)
    if not hands_back(code):
        target = make_targets(spec, arguments.inputs, Options(kwargs=dict(arguments.kwargs)))[0]
        if any(plain(n) in OF_AN_INPUT or any(decorated(n, leaf) for leaf in target.point) for n in forgotten(code)):
            return tuple(target.point)
        if target.claimed is None:
            raise NoGradient(f"{candidate.backward} leaves nothing that could be a gradient")
    return None


OF_LOGITS = " of a softmax that leaves its derivative to the loss"
DECAYING = ", with weight decay in the gradients"

def _keeps_loss(obj: Any, roles: Sequence[str]) -> bool:
    """Whether a loss may keep its value to itself: its backward takes no cotangent, and it has an attribute for it."""
    return "cotangent" not in roles and isinstance(getattr(obj, "loss", None), (float, np.ndarray))


_COTANGENTS = (
    ("given", ""),
    ("one", ", which takes the upstream gradient to be one"),
    ("onehot", ", which takes the upstream gradient to be one-hot"),
)


def _of_training(candidate: Candidate, obj: Any, held: tuple[np.ndarray, ...]) -> Trial:
    """A network whose backward takes targets: the loss it differentiates is one of those that people use."""
    forward = getattr(obj, candidate.forward)
    taken = required_parameters(getattr(obj, candidate.backward))
    label = next((n for n in taken if is_label(n) and n not in required_names(forward)), "y")
    inputs = argument_names(forward, len(required_names(forward)))
    roles = zip(taken, roles_of_backward(taken, ()), strict=True)
    given = [name for name, role in roles if name != label and role in ("cotangent", "")]
    names = tuple(given) if len(given) == len(inputs) else inputs
    plan = Plan(candidate.forward, candidate.backward, (*names, label))

    def with_labels(arguments: Arguments) -> list[Arguments]:
        with silence():
            y = _run(obj, plan, arguments)
        return [Arguments((*arguments.inputs, t), arguments.kwargs) for t in labels_for(y, 0)]

    def run(arguments: Arguments) -> Any:
        return _run(obj, plan, Arguments(arguments.inputs[: len(inputs)], arguments.kwargs))

    return Trial(forward, held, _of_losses(obj, plan), run, with_labels, own_loss=True)


def _of_losses(obj: Any, plan: Plan) -> tuple[Reading, ...]:
    return tuple(Reading(partial(_shim, obj, replace(plan, loss=loss), "one"), f" of {loss}", _claimed_by_shim)
                 for loss in LOSSES)  # fmt: skip


def _held_label(obj: Any, backward: Function) -> str:
    """The attribute with the truth that a backward without arguments compares the output with; empty for any other."""
    if required_parameters(backward):
        return ""
    read = {n.attr for n in ast.walk(tree_of(getattr(backward, "__func__", backward))) if isinstance(n, ast.Attribute)}
    held = getattr(obj, "__dict__", {})
    return next((n for n in held if n in read and is_label(n.strip("_")) and is_floating(held[n])), "")


def _of_held_labels(candidate: Candidate, obj: Any, held: tuple[np.ndarray, ...], plan: Plan) -> Trial:
    """A network that keeps inputs and truth, ``NeuralNetwork(x, y)``: its backward differentiates a loss of its own."""
    forward = _fed(plan.feed) if plan.feed else getattr(obj, candidate.forward)
    truth = np.shape(getattr(obj, plan.label))

    def with_labels(arguments: Arguments) -> list[Arguments]:
        with silence():
            y = _run(obj, plan, Arguments((*arguments.inputs, getattr(obj, plan.label)), arguments.kwargs))
        return [Arguments((*arguments.inputs, t), arguments.kwargs) for t in labels_for(y, 0) if t.shape == truth]

    def run(arguments: Arguments) -> Any:
        inputs = (*arguments.inputs[: len(plan.inputs) - 1], getattr(obj, plan.label))
        return _run(obj, plan, Arguments(inputs, arguments.kwargs))

    stated = (Whole(np.shape(getattr(obj, plan.feed))),) if plan.feed else ()
    return Trial(forward, held, _of_losses(obj, plan), run, with_labels, own_loss=True, stated=stated)


def _claimed_by_shim(spec: Any, _: Arguments) -> tuple[str, ...]:
    plan: Plan = type(spec.obj).audited_plan
    return (*(n for n, where in zip(plan.inputs, plan.of_input, strict=False) if where is not None), *plan.params)


# Losses whose backward is given predictions under the name of an upstream gradient.
_INSTEAD = (
    ("prediction", ", which takes the prediction again"),
    ("inner", ", which takes the probabilities it computed"),
)


def _fed_attribute(obj: Any, forward: Function) -> str:
    """The attribute that a forward without arguments reads its input from."""
    if required_names(forward):
        return ""
    return next((n for n in getattr(obj, "__dict__", {}) if n.strip("_").lower() in _INPUT_NAMES), "")


_INPUT_NAMES = ("input", "x", "inputs", "input_data", "data")


def _fed(*names: str) -> Function:
    def forward(*x: Any) -> None: ...

    forward.__signature__ = of_names(*names)  # type: ignore[attr-defined]
    return forward


def _shim(obj: Any, plan: Plan, cotangent: str, arguments: Arguments, heard: Heard | None = None) -> Any:
    with silence():
        obj, plan = with_visible_steps(obj), replace(plan, cotangent=cotangent)
        try:
            filled = make_plan(obj, plan, arguments.inputs, arguments.kwargs)
        except AttributeError as error:
            if "'NoneType' object" not in str(error):
                raise
            obj = with_optimizers(obj, heard)  # its network would have given it one
            filled = make_plan(obj, plan, arguments.inputs, arguments.kwargs)
    twin = shimmed(obj, filled)
    grads = tuple(f"_audited_gradients[{i}]" for i in range(len(filled.params)))
    return layer(twin, params=filled.params, grads=grads, forward="_audited_forward", backward="_audited_backward")


def _of_added_steps(obj: Any, plan: Plan, cotangent: str, arguments: Arguments) -> Any:
    """An object that adds the step of an optimizer which it does not have yet: that one returns it downhill."""
    heard = Heard()
    target = _shim(obj, plan, cotangent, arguments, heard)
    if not heard:
        raise NoGradient("it adds no step of an optimizer that is None")
    return target


def _run(obj: Any, plan: Plan, arguments: Arguments) -> Any:
    twin = copy.deepcopy(obj)
    return run_forward(twin, plan, copy.deepcopy(arguments.inputs), copy.deepcopy(dict(arguments.kwargs)))
