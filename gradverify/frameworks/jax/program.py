"""The user's object as one function of named arrays: its inputs and, if it is a pytree, its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
from jax import tree_util

from gradverify.arrays import Arrays
from gradverify.frameworks.jax.complexparts import is_complex, joined, split
from gradverify.frameworks.jax.leaves import Leaf, floating, make_leaf, numeric, on_device
from gradverify.targets.calling import Replay, argument_names, replay

Call = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Program:
    """A forward as `call(values) -> result`, where `values` are the leaves by name.

    Everything else (integers, keys, functions inside a module) is inside `call`. `inputs` are the
    leaves that are arguments, not parts of the object. With `x64` it runs as if jax_enable_x64 were
    set; without, as the user has set it.
    """

    name: str
    leaves: dict[str, Leaf]
    inputs: tuple[str, ...]
    call: Call
    calm: Replay
    arguments: tuple[Sequence[Any], Mapping[str, Any]]  # as the user gave them
    numbers: bool  # whether Python floats among the inputs are leaves
    x64: bool = False
    widened: bool = False  # whatever asks for a coarser dtype than float64 gets that one

    @property
    def point(self) -> Arrays:
        """The leaves as host arrays."""
        return {name: leaf.host.copy() for name, leaf in self.leaves.items()}

    def values(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """What the user's code is given at a point."""
        return on_device(self.leaves, point)

    def in_dtype(self, dtype: str) -> Program:
        """The same program on leaves of another dtype; float64 where need be under scoped x64."""
        leaves = {name: leaf.in_dtype(dtype) for name, leaf in self.leaves.items()}
        return replace(self, leaves=leaves, x64=self.x64 or dtype == "float64")

    @contextmanager
    def running(self) -> Iterator[None]:
        """The user's code runs here: from one random state, in 64 bits if so decided."""
        with self.calm(), scoped_x64() if self.x64 else nullcontext():
            yield


def scoped_x64() -> Any:
    """JAX computes in 64 bits inside, whatever the user has set."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


def make_program(
    obj: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any], *, numbers: bool = True
) -> Program:
    """What `check(obj, *inputs, kwargs=...)` runs; raises `TypeError` where its values are unfit.

    Python floats among the inputs are leaves if `numbers`; in keywords they are settings.
    """
    if not callable(obj):
        raise TypeError(f"target={obj!r}: must be callable")
    names = argument_names(obj, len(inputs))
    trees = [make_tree(value, name) for name, value in zip(names, inputs, strict=True)]
    named = {key: make_tree(value, key) for key, value in kwargs.items()}
    taken = frozenset(path for tree in [*trees, *named.values()] for path in tree.values)
    held = make_tree(_holder(obj), "").beside(taken)
    settled = _settings(obj, names)
    found = [(path, value, name not in settled and (numbers or numeric(value)))
             for name, tree in zip(names, trees, strict=True) for path, value in tree.values.items()]
    found += [(path, value, numeric(value)) for t in [*named.values(), held] for path, value in t.values.items()]
    free = {path: value for path, value, varies in found if varies and _is_differentiable(value)}
    pairs = [path for path, value in free.items() if is_complex(value)]

    def call(values: Mapping[str, Any]) -> Any:
        values = joined(values, pairs)
        function = _method(obj, held.build(values))
        return function(*(t.build(values) for t in trees), **{k: t.build(values) for k, t in named.items()})

    leaves = {name: make_leaf(name, x) for path, value in free.items() for name, x in split(path, value).items()}
    inside = frozenset(name for path in held.values if path in free for name in split(path, free[path]))
    return Program(name=_name(obj), leaves=leaves, inputs=tuple(n for n in leaves if n not in inside),
                   call=call, calm=replay(), arguments=(inputs, kwargs), numbers=numbers)


@dataclass(frozen=True)
class Tree:
    """A pytree taken apart: its values by path, and how to build it again from some of them."""

    values: dict[str, Any]
    order: tuple[str, ...]
    structure: Any

    def build(self, values: Mapping[str, Any]) -> Any:
        """The tree with these values in place of its own."""
        both = [values.get(name, self.values[name]) for name in self.order]
        return tree_util.tree_unflatten(self.structure, both)

    def beside(self, taken: frozenset[str]) -> Tree:
        """The same tree; where a path is taken already, it is another one."""
        order = tuple(f"self.{name}" if name in taken else name for name in self.order)
        return replace(self, values=dict(zip(order, self.values.values(), strict=True)), order=order)


def make_tree(value: Any, root: str) -> Tree:
    """A value as JAX sees it, its parts named as the user would write them: ``params.W``, ``args[1]``.

    >>> list(make_tree({"W": 1.0, "b": [2.0, 3.0]}, "params").values)
    ['params.W', 'params.b[0]', 'params.b[1]']
    """
    found, structure = tree_util.tree_flatten_with_path(value)
    values = {_path(root, keys): leaf for keys, leaf in found}
    return Tree(values, tuple(values), structure)


def _path(root: str, keys: Sequence[Any]) -> str:
    return (root + "".join(map(_step, keys))).removeprefix(".")


def _step(key: Any) -> str:
    if isinstance(key, tree_util.SequenceKey):
        return f"[{key.idx}]"
    if isinstance(key, tree_util.FlattenedIndexKey):
        return f"[{key.key}]"
    return f".{key.name if isinstance(key, tree_util.GetAttrKey) else getattr(key, 'key', key)}"


def _is_differentiable(value: Any) -> bool:
    return floating(value) or is_complex(value) or isinstance(value, float)


def _holder(obj: Any) -> Any:
    return obj.__self__ if inspect.ismethod(obj) else obj


def _method(obj: Any, holder: Any) -> Any:
    return obj.__func__.__get__(holder) if inspect.ismethod(obj) else holder


def _settings(obj: Any, names: Sequence[str]) -> frozenset[str]:
    """The arguments that a function with custom derivatives takes as settings, not as values."""
    positions = getattr(obj, "nondiff_argnums", ())
    by_name = getattr(obj, "nondiff_argnames", ())
    return frozenset(names[i] for i in positions if -len(names) <= i < len(names)) | frozenset(by_name)


def _name(obj: Any) -> str:
    if isinstance(obj, partial):
        return _name(obj.func)
    if inspect.ismethod(obj):
        return f"{type(obj.__self__).__name__}.{obj.__name__}"
    return str(getattr(obj, "__name__", type(obj).__name__))
