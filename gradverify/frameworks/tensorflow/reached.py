"""The variables that a callable reaches, by the names its code has for them, and the places that hold them."""

from __future__ import annotations

import contextlib
import dis
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import tensorflow as tf

Put = Callable[[Any], None]

_GENERATORS = (tf.random.Generator, keras.random.SeedGenerator)
# Where Keras keeps a second list of what attributes hold already, or what is no part of a forward.
_LISTS = frozenset("""
    _functional _inbound_nodes _layers _losses _metrics _non_trainable_variables _outbound_nodes _seed_generators
    _tracked _tracker _trainable_variables build optimizer quantize
""".split())
_DEPTH = 8


@dataclass
class Held:
    """A variable, and how to put another value in its place wherever an attribute, closure or global holds it."""

    variable: Any
    puts: list[Put] = field(default_factory=list)


@dataclass(frozen=True)
class Reached:
    """What the code of a callable can get at without taking it as an argument."""

    variables: dict[str, Held]
    layers: tuple[Any, ...]  # Keras layers, those inside others included
    holders: tuple[Any, ...]  # whatever has attributes that a call may change


def is_variable(value: Any) -> bool:
    """Whether this is a variable of TensorFlow or of Keras."""
    return isinstance(value, (tf.Variable, keras.Variable))


def raw(variable: Any) -> Any:
    """The `tf.Variable` that a variable of Keras is kept in, or the variable itself."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def reach(obj: Any, arguments: dict[str, Any]) -> Reached:
    """Everything reached from a callable and from layers and modules among its arguments."""
    walk = _Walk()
    for name, value, put in _roots(obj):
        walk.visit(name, value, put)
    for name, value in arguments.items():
        walk.visit(name, value, None)
    variables = {name: held for held, name in zip(walk.held.values(), _unique(walk.names.values()), strict=True)}
    return Reached(variables, tuple(walk.layers), tuple(walk.holders))


def _unique(names: Any) -> list[str]:
    found: list[str] = []
    for name in names:
        found.append(name if name not in found else f"{name}#{found.count(name) + 1}")
    return found


class _Walk:
    """Follows attributes, lists and dicts; a variable met twice keeps its first name and collects its places."""

    def __init__(self) -> None:
        self.held: dict[int, Held] = {}
        self.names: dict[int, str] = {}
        self.layers: list[Any] = []
        self.holders: list[Any] = []
        self._seen: set[int] = set()

    def visit(self, name: str, value: Any, put: Put | None, depth: int = _DEPTH) -> None:
        """Take down a variable, or look into anything that may hold some."""
        if is_variable(value):
            held = self.held.setdefault(id(raw(value)), Held(value))
            self.names.setdefault(id(raw(value)), name)
            held.puts += [put] if put is not None else []
        elif depth and id(value) not in self._seen and _may_hold(value):
            self._seen.add(id(value))
            self._note(value)
            for part in _parts(name, value):
                self.visit(*part, depth - 1)

    def _note(self, value: Any) -> None:
        if isinstance(value, keras.Layer):
            self.layers.append(value)
        if hasattr(value, "__dict__"):
            self.holders.append(value)


def _may_hold(value: Any) -> bool:
    return isinstance(value, (list, tuple, dict, keras.Layer, tf.Module, *_GENERATORS))


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any, Put | None]]:
    dot = f"{name}." if name else ""
    if isinstance(value, dict):
        yield from ((f"{dot}{key}", part, partial(value.__setitem__, key)) for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        puts = [partial(value.__setitem__, i) if isinstance(value, list) else None for i in range(len(value))]
        yield from ((f"{name}[{i}]", part, puts[i]) for i, part in enumerate(value))
    elif isinstance(value, _GENERATORS):
        yield f"{dot}state", value.state, None
    else:
        yield from _attributes(dot, value)
        if isinstance(value, keras.Layer):
            yield from _further(dot, value)


def _attributes(dot: str, value: Any) -> Iterator[tuple[str, Any, Put | None]]:
    for key, part in list(vars(value).items()):
        if key not in _LISTS and not key.startswith("_self_"):
            own = part.name if isinstance(part, keras.Variable) else key.removeprefix("_")
            yield f"{dot}{own}", part, partial(vars(value).__setitem__, key)


def _further(dot: str, layer: Any) -> Iterator[tuple[str, Any, None]]:
    """The layers of a model in their order, the graph that runs them, then whatever else a layer says it has."""
    yield from ((f"{dot}layers[{i}]", part, None) for i, part in enumerate(getattr(layer, "layers", ())))
    yield f"{dot}functional", getattr(layer, "_functional", None), None
    yield from ((f"{dot}{variable.path}", variable, None) for variable in layer.variables)


def _roots(obj: Any) -> Iterator[tuple[str, Any, Put | None]]:
    if isinstance(obj, (keras.Layer, tf.Module)):
        yield "", obj, None
        return
    if isinstance(obj, partial):
        yield from _roots(obj.func)
        yield from ((f"args[{i}]", value, None) for i, value in enumerate(obj.args))
        yield from ((key, value, partial(obj.keywords.__setitem__, key)) for key, value in obj.keywords.items())
        return
    function = plain(obj)
    holder = bound_to(function, obj)
    if isinstance(holder, (keras.Layer, tf.Module)):
        yield "", holder, None
    elif not isinstance(holder, type) and not inspect.isroutine(holder) and hasattr(holder, "__dict__"):
        yield from _attributes("", holder)
    yield from _free_variables(getattr(function, "__func__", function))


def bound_to(function: Any, obj: Any) -> Any:
    """The object of a method; `tf.function` binds it to a stand-in that refers to it weakly."""
    holder = getattr(function, "__self__", obj)
    return holder.target if hasattr(holder, "weakrefself_target__") else holder


def plain(function: Any) -> Any:
    """The Python function inside `tf.function`, `tf.custom_gradient` and other wrappers that name it."""
    for _ in range(_DEPTH):
        inner = getattr(function, "python_function", None) or getattr(function, "__wrapped__", None)
        if inner is None:
            break
        function = inner
    return function


def _free_variables(function: Any) -> Iterator[tuple[str, Any, Put]]:
    if not inspect.isfunction(function):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell
            yield name, cell.cell_contents, partial(setattr, cell, "cell_contents")
    # co_names also lists attributes; only what is loaded as a global is one.
    loaded = dict.fromkeys(i.argval for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL")
    space = function.__globals__
    yield from ((name, space[name], partial(space.__setitem__, name)) for name in loaded if name in space)
