"""The user's object as one function of named tensors: its inputs and the variables it reaches."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from gradverify.arrays import Arrays, dtype_name, flatten, is_floating
from gradverify.frameworks.tensorflow.reached import Reached, bound_to, is_variable, plain, raw, reach
from gradverify.frameworks.tensorflow.state import State, make_state
from gradverify.frameworks.tensorflow.tensors import (
    floating,
    from_host,
    is_complex,
    is_tensor,
    joined,
    refuse_composite,
    split,
    to_host,
)
from gradverify.frameworks.tensorflow.widening import in_place_of
from gradverify.targets.calling import argument_names, replay

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Program:
    """A forward as `call(values) -> result`, where `values` are the tensors among the arguments, by name.

    `leaves` are differentiated: floating tensors among the arguments and trainable variables. Variables get
    their values by assignment, so that traced functions see them too. With a `dtype`, which is not the leaves' own,
    tensors stand in place of variables (`frozen` of those that are no leaves), and everything runs as Python.
    """

    name: str
    tensors: dict[str, Any]
    reached: Reached
    leaves: dict[str, Any]  # as tensors, at the point given
    inputs: tuple[str, ...]  # the leaves that are arguments
    call: Callable[[Values], Any]
    state: State
    arguments: tuple[Sequence[Any], Mapping[str, Any]]  # as the user gave them
    notes: tuple[str, ...] = ()
    frozen: Values = field(default_factory=dict)
    dtype: str = ""

    @property
    def point(self) -> Arrays:
        """The leaves as host arrays."""
        return {name: to_host(leaf) for name, leaf in self.leaves.items()}

    def values(self, point: Values) -> dict[str, Any]:
        """The leaves as tensors at a point."""
        return {name: from_host(point[name], leaf.dtype, leaf.device) for name, leaf in self.leaves.items()}

    def in_dtype(self, dtype: str) -> Program:
        """The same program with leaves, frozen variables and floating constants of another dtype."""
        leaves = {name: _cast(leaf, dtype) for name, leaf in self.leaves.items()}
        tensors = {name: _cast(value, dtype) if floating(value) else value for name, value in self.tensors.items()}
        own = {name: raw(held.variable) for name, held in self.reached.variables.items() if name not in leaves}
        frozen = {name: _cast(variable, dtype) for name, variable in own.items() if is_floating(variable)}
        return replace(self, leaves=leaves, tensors=tensors, frozen=frozen, dtype=dtype)

    @contextmanager
    def running(self, values: Values, *, again: bool = False) -> Iterator[dict[str, Any]]:
        """The user's code runs here, from one state and at these values; yields what gradients are taken of."""
        with self.state.frozen(again=again), self.placed(values) as own:
            yield {name: own.get(name, value) for name, value in values.items()}

    def given(self, sources: Values) -> dict[str, Any]:
        """What the code is called with; variables reach it by themselves."""
        return {name: source for name, source in sources.items() if name in self.tensors}

    def placed(self, values: Values) -> Any:
        """The variables hold these values inside; yields what their gradients are taken of."""
        own = {name: held.variable for name, held in self.reached.variables.items() if name in values}
        if self.dtype:
            return in_place_of(self.reached, {**self.frozen, **{name: values[name] for name in own}}, self.dtype)
        for name, variable in own.items():
            raw(variable).assign(values[name])
        return nullcontext({name: raw(variable) for name, variable in own.items()})


def _cast(value: Any, dtype: str) -> Any:
    return from_host(value.numpy(), tf.as_dtype(dtype), value.device)


def make_program(obj: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any], seed: int) -> Program:
    """What `check(obj, *inputs, kwargs=...)` runs; raises `TypeError` where its values are unfit."""
    given, arguments = _arguments(obj, inputs, kwargs)
    reached = _built(obj, given, arguments)
    tensors = {name: value for name, value in given.items() if is_tensor(value)}
    others = {name: value for name, value in given.items() if name not in tensors}
    pairs = [name for name, value in tensors.items() if is_complex(value)]
    parts = {name: part for path, value in tensors.items() for name, part in split(path, value).items()}
    reached = _beside(reached, frozenset(parts))
    trained = {name: raw(held.variable) for name, held in reached.variables.items() if _is_trained(held.variable)}

    def call(values: Values) -> Any:
        args, keywords = arguments({**others, **joined({**parts, **values}, pairs)})
        return obj(*args, **keywords)

    free = {name: part for name, part in parts.items() if floating(part)}
    known = {id(raw(value)): name for name, value in others.items() if is_variable(value)}
    return Program(
        name=_name(obj),
        tensors=parts,
        reached=reached,
        leaves=free | {name: tf.identity(variable) for name, variable in trained.items()},
        inputs=(*free, *(name for name, variable in trained.items() if id(variable) in known)),
        call=call,
        state=make_state(reached, list(others.values()), seed),
        arguments=(inputs, kwargs),
        notes=_autocast(obj, inputs),
    )


def _is_trained(variable: Any) -> bool:
    return bool(variable.trainable) and is_floating(raw(variable))


def _arguments(obj: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The leaves of all arguments by path, and how to make the arguments of them again."""
    if not callable(obj):
        raise TypeError(f"target={obj!r}: must be callable")
    names = argument_names(obj.call if isinstance(obj, keras.Layer) else plain(obj), len(inputs))
    trees = [flatten(value, name) for name, value in zip(names, inputs, strict=True)]
    named = {key: flatten(value, key) for key, value in kwargs.items()}
    given = {path: _as_tensor(obj, leaf) for part, _ in [*trees, *named.values()] for path, leaf in part.items()}
    for path, value in given.items():
        refuse_composite(path, value)

    def rebuild(leaves: Values) -> tuple[list[Any], dict[str, Any]]:
        return [build(leaves) for _, build in trees], {key: build(leaves) for key, (_, build) in named.items()}

    return given, rebuild


def _as_tensor(obj: Any, value: Any) -> Any:
    """Floating arrays as tensors, in the dtype that a layer of Keras would cast them to."""
    tensor = tf.convert_to_tensor(value) if isinstance(value, np.ndarray) and is_floating(value) else value
    wanted = _input_dtype(obj)
    return _cast(tensor, wanted) if wanted and floating(tensor) and dtype_name(tensor) != wanted else tensor


def _input_dtype(obj: Any) -> str:
    casts = isinstance(obj, keras.Layer) and obj.autocast
    return obj.input_dtype if casts and obj.input_dtype in {"float64", "float32", "float16", "bfloat16"} else ""


def _autocast(obj: Any, inputs: Sequence[Any]) -> tuple[str, ...]:
    wanted = _input_dtype(obj)
    found = {dtype_name(x) for x in flatten(list(inputs), "x")[0].values() if is_floating(x) and hasattr(x, "dtype")}
    other = sorted(found - {wanted})
    return (f"Keras casts inputs of {', '.join(other)} to {wanted} here: judged at the cast values",) \
        if wanted and other else ()


def _built(obj: Any, given: dict[str, Any], arguments: Any) -> Reached:
    """What the code reaches once every layer has its variables: Keras makes them in the first call."""
    holders = {name: value for name, value in given.items() if not is_tensor(value)}
    reached = reach(obj, holders)
    if all(layer.built for layer in reached.layers):
        return reached
    with replay()():
        args, keywords = arguments(given)
        obj(*args, **keywords)
    return reach(obj, holders)


def _beside(reached: Reached, taken: frozenset[str]) -> Reached:
    """The same; a variable named like an argument is another one."""
    named = {f"self.{name}" if name in taken else name: held for name, held in reached.variables.items()}
    return replace(reached, variables=named)


def _name(obj: Any) -> str:
    if isinstance(obj, partial):
        return _name(obj.func)
    function = plain(obj)
    if inspect.ismethod(function):
        return f"{type(bound_to(function, obj)).__name__}.{function.__name__}"
    return str(getattr(function, "__name__", type(obj).__name__))
