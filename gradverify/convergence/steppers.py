"""Anything that takes optimizer steps, as two functions of named arrays: `start` and `step`.

What fits: a step function ``(params, grad, state) -> (params, state)``; an object with ``init`` and ``step``, as the
reference's optimizers; an object that changes parameters in place, ``step(params, grads)`` or ``update(params,
grads)``; optimizers of torch, optax and Keras, which need an adapter in their framework's folder.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np

from gradverify.arrays import Arrays

State = Any
Step = Callable[[Arrays, Arrays, State], tuple[Arrays, State]]
_ADAPTERS = {"torch": "torch", "optax": "jax", "keras": "tensorflow"}  # top module of the class -> framework's folder
SHAPES = {"w": (3, 2), "b": (2, 2)}  # matrices: some rules (Muon) take nothing else


@dataclass(frozen=True)
class Stepper:
    """An optimizer without its parameters: ``start(params) -> state``, ``step(params, grads, state)``.

    `copy` saves a state and loads it again, in the way the library would. `declared` holds what the object says
    of itself: the name of its `rule`, its `learning_rate`. `library` is set for the classes of a framework.
    `maximizing` is the same optimizer told to maximise, where it can be told. `precision` is that of its constants.
    """

    name: str
    start: Callable[[Arrays], State]
    step: Step
    copy: Callable[[State], State] = deepcopy
    declared: dict[str, Any] = field(default_factory=dict)
    library: bool = False
    maximizing: Stepper | None = None
    precision: float = 1e-6


def make_stepper(obj: Any, init: Any = None) -> Stepper:
    """The stepper in an object, a class's instance or a function; TypeError for what is none."""
    framework = _framework_of(obj)
    if framework is not None:
        adapter: Stepper = import_module(f"gradverify.frameworks.{framework}.optimizers").make_stepper(obj)
        return adapter
    if isinstance(obj, type):
        raise TypeError(f"{obj.__name__}: a class; give an instance of it, {obj.__name__}(...)")
    if callable(getattr(obj, "init", None)) and callable(getattr(obj, "step", None)):
        return Stepper(_name(obj), obj.init, obj.step, declared=_constants(obj))
    for method in ("step", "update"):
        if callable(getattr(obj, method, None)):
            return _in_place(obj, method)
    if not callable(obj):
        raise TypeError(f"{obj!r:.80}: neither a step function (params, grad, state) nor an optimizer")
    return _of_factory(obj) or _of_function(obj, init)


def _framework_of(obj: Any) -> str | None:
    """By the class, or the class that a `functools.partial` would make; nothing is imported for it."""
    made = getattr(obj, "func", obj)
    bases = made.__mro__ if isinstance(made, type) else type(made).__mro__
    tops = [base.__module__.partition(".")[0] for base in bases]
    return next((_ADAPTERS[top] for top in tops if top in _ADAPTERS), None)


def _name(obj: Any) -> str:
    return str(getattr(obj, "__name__", type(obj).__name__))


def _constants(obj: Any) -> dict[str, Any]:
    """What an object says of itself, by the names people give these things."""
    found: dict[str, Any] = {}
    for keyword, names in {"learning_rate": ("learning_rate", "lr", "eta"), "weight_decay": ("weight_decay",)}.items():
        value = next((getattr(obj, name) for name in names if hasattr(obj, name)), None)
        if isinstance(value, (int, float)):
            found[keyword] = float(value)
    return found


def _in_place(obj: Any, method: str) -> Stepper:
    """An object whose method changes a dict of arrays; its attributes are the state."""

    def step(params: Arrays, grads: Arrays, state: State) -> tuple[Arrays, State]:
        own = {name: np.array(x) for name, x in params.items()}
        back = getattr(state, method)(own, grads)
        return (back if isinstance(back, dict) and back.keys() == own.keys() else own), state

    return Stepper(_name(obj), lambda params: deepcopy(obj), step, declared=_constants(obj))


def _of_factory(make: Callable[..., Any]) -> Stepper | None:
    """A function of one argument makes an optimizer for the parameters it is given: ``lambda p: SGD(p, lr=0.1)``."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return None
    if len([p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]) != 1:
        return None
    adapter: Stepper = import_module("gradverify.frameworks.torch.optimizers").make_stepper(make)
    return adapter


def _of_function(function: Callable[..., Any], init: Any) -> Stepper:
    """A step function, called in the way it turns out to want: with a dict, a list or an array, and its first state."""
    zeros = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    tried: list[str] = []
    for wrap, start in product((_as_tree, _as_list, _each_alone), _starts(init)):
        stepper: Stepper = wrap(function, start)
        try:
            fits = _steps_twice(stepper, zeros)
        except Exception as error:
            tried.append(f"{type(error).__name__}: {error}")
            continue
        if fits:
            return stepper
    why = tried[0] if tried else "the shapes of the parameters changed"
    raise TypeError(f"{_name(function)}: could not be called as step(params, grad, state) ({why}); "
                    "say how its state begins: init=callable(params) or a value")


def _steps_twice(stepper: Stepper, zeros: Arrays) -> bool:
    """Whether two steps keep the shapes; the second is the first to see what the first one made of the state."""
    moved, state = dict(zeros), stepper.start(zeros)
    for _ in range(2):
        moved, state = stepper.step(moved, {n: x + 1.0 for n, x in zeros.items()}, state)
    return {n: np.shape(x) for n, x in moved.items()} == SHAPES


def _starts(init: Any) -> Iterable[Callable[[Any], State]]:
    if callable(init):
        return [init]
    if init is not None:
        return [lambda params: deepcopy(init)]
    return [lambda params: None, lambda params: {}, lambda params: 0]


def _as_tree(function: Callable[..., Any], start: Callable[[Any], State]) -> Stepper:
    return Stepper(_name(function), start, lambda p, g, s: _pair(function(p, g, s)))


def _as_list(function: Callable[..., Any], start: Callable[[Any], State]) -> Stepper:
    def step(params: Arrays, grads: Arrays, state: State) -> tuple[Arrays, State]:
        moved, state = _pair(function(list(params.values()), list(grads.values()), state))
        return dict(zip(params, moved, strict=True)), state

    return Stepper(_name(function), lambda params: start(list(params.values())), step)


def _each_alone(function: Callable[..., Any], start: Callable[[Any], State]) -> Stepper:
    """A function of one array: every leaf is stepped with a state of its own."""

    def step(params: Arrays, grads: Arrays, state: State) -> tuple[Arrays, State]:
        found = {name: _pair(function(x, grads[name], state[name])) for name, x in params.items()}
        return {name: x for name, (x, _) in found.items()}, {name: s for name, (_, s) in found.items()}

    return Stepper(_name(function), lambda params: {name: start(x) for name, x in params.items()}, step)


def _pair(back: Any) -> tuple[Any, State]:
    if not isinstance(back, tuple) or len(back) != 2:
        raise TypeError(f"step returned {type(back).__name__}, not (params, state)")
    return back
