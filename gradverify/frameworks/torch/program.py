"""The user's object as one function of named tensors: its inputs, parameters and buffers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradverify.arrays import flatten
from gradverify.frameworks.torch.hooks import Hooks, hooks_of
from gradverify.frameworks.torch.state import undo_attributes, undo_value
from gradverify.frameworks.torch.tensors import arranged, floating, refuse_unsupported
from gradverify.frameworks.torch.traces import free_variables
from gradverify.frameworks.undoing import Undo
from gradverify.targets.calling import argument_names

Tensors = dict[str, Tensor]
Arguments = Callable[[Mapping[str, Any]], tuple[list[Any], dict[str, Any]]]


@dataclass(frozen=True)
class Program:
    """A forward as `call(tensors) -> result`, and what must be put back after each call.

    It runs as ``within(tensors, code)``, where all modules hold these tensors in place of their own.
    `tensors` holds the values as the user gave them: the `leaves` among them are differentiated,
    the rest (integers, frozen parameters, buffers) is handed to every call as a fresh copy.
    `inputs` are the leaves that are arguments, not parameters. With `graph` even a plain forward
    has to be recorded, because the code differentiates inside or computes otherwise without.
    `hooks` are those that the user put on the tensors and on the backward passes of the modules.
    If it is `widened`, whatever asks for a coarser dtype than float64 gets that one.
    """

    name: str
    tensors: Tensors
    leaves: tuple[str, ...]
    inputs: frozenset[str]
    call: Callable[[Mapping[str, Tensor]], Any]
    within: Callable[[Mapping[str, Tensor], Callable[[], Any]], Any]
    undos: tuple[Undo, ...]
    seed: int
    arguments: tuple[Sequence[Any], Mapping[str, Any]]  # as the user gave them
    graph: bool = False
    widened: bool = False
    spacing: float = math.inf  # the coarsest of what depends on the leaves, if known: what is coarser is a constant
    hooks: Hooks = field(default_factory=Hooks)

    def in_dtype(self, dtype: torch.dtype) -> Program:
        """The same program on leaves, frozen parameters and buffers of another dtype."""
        cast = {n: _in_dtype(t, dtype) if floating(t) else t for n, t in self.tensors.items()}
        return replace(self, tensors=cast)


def _in_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return arranged(tensor.to(dtype.to_complex() if tensor.is_complex() else dtype), tensor.stride())


def make_program(obj: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any], seed: int) -> Program:
    """What `check(obj, *inputs, kwargs=...)` runs; raises `TypeError` where torch tensors are unfit."""
    original = inputs, kwargs
    function, inputs, kwargs = _callable(obj, inputs, kwargs)
    given, arguments = _arguments(function, obj, inputs, kwargs)
    modules = _modules(obj, given)
    tensors = {name: value.detach() for name, value in given.items() if isinstance(value, Tensor)}
    others = {name: value for name, value in given.items() if name not in tensors}
    state = _module_tensors(modules, frozenset(tensors))
    for name, tensor in [*tensors.items(), *((n, t) for n, _, t in state)]:
        refuse_unsupported(name, tensor)
    trained = tuple(name for name, _, t in state if floating(t) and t.requires_grad)
    return Program(
        name=_name(obj),
        tensors=tensors | {name: t.detach() if name in trained else t.detach().clone() for name, _, t in state},
        leaves=tuple(name for name, t in tensors.items() if floating(t)) + trained,
        inputs=frozenset(tensors),
        call=partial(_call, function, arguments, others),
        within=partial(_within, _Host(modules), {name: key for name, key, _ in state}),
        undos=_undos(obj, modules, others),
        seed=seed,
        arguments=original,
        hooks=hooks_of({n: t for n, t in given.items() if n in tensors} | {n: t for n, _, t in state}, modules),
    )


def _callable(
    obj: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
    """What to call; `Function.apply` takes positions only, so keywords become those."""
    owner = _function_class(obj)
    if owner is None:
        if not callable(obj):
            raise TypeError(f"target={obj!r}: must be callable")
        return obj, inputs, kwargs
    if kwargs:
        inputs = inspect.signature(_forward_of(owner)).bind(*inputs, **kwargs).args
    return owner.apply, inputs, {}


def _function_class(obj: Any) -> Any:
    """The `autograd.Function` subclass that `obj`, or the `apply` it is, belongs to."""
    owner = getattr(obj, "__self__", None) if getattr(obj, "__name__", "") == "apply" else obj
    return owner if isinstance(owner, type) and issubclass(owner, torch.autograd.Function) else None


def _forward_of(owner: Any) -> Callable[..., Any]:
    """The forward without its `ctx`, which it lacks if the class sets its context up apart."""
    apart = owner.setup_context is not torch.autograd.Function.setup_context
    return owner.forward if apart else partial(owner.forward, None)


def _signed(function: Any) -> Any:
    """What carries the signature: a module's own call says only ``*args``."""
    if isinstance(function, partial):
        return partial(_signed(function.func), *function.args, **function.keywords)
    return function.forward if isinstance(function, nn.Module) else function


def _name(obj: Any) -> str:
    if isinstance(obj, partial):
        return _name(obj.func)
    owner = _function_class(obj)
    if owner is not None:
        return str(owner.__name__)
    if inspect.ismethod(obj):
        return f"{type(obj.__self__).__name__}.{obj.__name__}"
    return str(getattr(obj, "__name__", type(obj).__name__))


def _arguments(
    function: Any, obj: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], Arguments]:
    """The leaves of all arguments by path, and how to make the arguments of them again."""
    owner = _function_class(obj)
    names = argument_names(_signed(function) if owner is None else _forward_of(owner), len(inputs))
    parts = [flatten(value, name) for name, value in zip(names, inputs, strict=True)]
    named = {key: flatten(value, key) for key, value in kwargs.items()}
    given = {path: leaf for part, _ in [*parts, *named.values()] for path, leaf in part.items()}

    def rebuild(leaves: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        keywords = {key: build(leaves) for key, (_, build) in named.items()}
        return [build(leaves) for _, build in parts], keywords

    return given, rebuild


def _modules(obj: Any, given: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Every module whose parameters the call reaches, by the name the user's code has for it."""
    found = {name: value for name, value in _reached(obj) if isinstance(value, nn.Module)}
    found.update((name, value) for name, value in given.items() if isinstance(value, nn.Module))
    for name, module in found.items():
        if any(is_lazy(tensor) for tensor in [*module.parameters(), *module.buffers()]):
            raise TypeError(f"{name or _name(obj)} is lazy: call it once, so that its parameters get a shape")
    return found


def reached_by(obj: Any, program: Program) -> list[Any]:
    """What a call of `obj` refers to, and what it was given."""
    inputs, kwargs = program.arguments
    return [value for _, value in _reached(obj)] + [*inputs, *kwargs.values()]


def _reached(obj: Any) -> Iterator[tuple[str, Any]]:
    """What a callable refers to without taking it as an argument."""
    if isinstance(obj, nn.Module):
        yield "", obj
    elif isinstance(obj, partial):
        yield from _reached(obj.func)
        yield from ((f"args[{i}]", value) for i, value in enumerate(obj.args))
        yield from obj.keywords.items()
    elif isinstance(getattr(obj, "__self__", None), nn.Module):
        yield "", obj.__self__
    elif not isinstance(obj, type):
        yield from _attributes(getattr(obj, "__self__", obj))
        yield from free_variables(inspect.unwrap(obj))


def _attributes(holder: Any) -> Iterator[tuple[str, Any]]:
    yield from vars(holder).items() if hasattr(holder, "__dict__") and not inspect.ismodule(holder) else ()


def _module_tensors(
    modules: Mapping[str, nn.Module], taken: frozenset[str]
) -> list[tuple[str, str, Tensor]]:
    """(leaf name, name inside `_Host`, tensor) of each parameter and buffer, shared ones once."""
    found: dict[int, tuple[str, str, Tensor]] = {}
    for i, (prefix, module) in enumerate(modules.items()):
        for key, tensor in [*module.named_parameters(), *module.named_buffers()]:
            name = f"{prefix}.{key}" if prefix else key
            found.setdefault(id(tensor), (f"self.{name}" if name in taken else name, f"{i}.{key}", tensor))
    return list(found.values())


class _Host(nn.Module):
    """Holds all modules a call reaches, so that one `functional_call` swaps all their tensors."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for i, module in enumerate(modules.values()):
            self.add_module(str(i), module)

    def forward(self, code: Callable[[], Any]) -> Any:
        return code()


def _within(
    host: nn.Module, keys: Mapping[str, str], tensors: Mapping[str, Tensor], code: Callable[[], Any]
) -> Any:
    if not keys:
        return code()
    state = {key: tensors[name] for name, key in keys.items()}
    return torch.func.functional_call(host, state, (code,))


def _call(
    function: Callable[..., Any], arguments: Arguments, others: Mapping[str, Any], given: Mapping[str, Tensor]
) -> Any:
    args, kwargs = arguments({**given, **others})
    return function(*args, **kwargs)


def _undos(obj: Any, modules: Mapping[str, nn.Module], others: Mapping[str, Any]) -> tuple[Undo, ...]:
    holder = getattr(obj, "__self__", obj)
    parts = [part for module in modules.values() for part in module.modules()]
    plain = [] if isinstance(holder, nn.Module) or inspect.ismodule(holder) else [holder]
    values = [undo_value(value) for value in [*others.values(), *(v for _, v in _reached(obj))]]
    return (*map(undo_attributes, [*parts, *plain]), *(undo for undo in values if undo is not None))
