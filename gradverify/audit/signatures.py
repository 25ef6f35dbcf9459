"""A function as the search for inputs wants it: data first, one array an argument, a factory already called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradverify.audit.guesses import roles_of, settings_for
from gradverify.audit.inputs import required, required_names
from gradverify.audit.mined import returns_function, unpacked_names
from gradverify.targets.constants import closure_of

Function = Callable[..., Any]
Parts = Mapping[str, tuple[str, ...]]

_LEARNT = {"weight", "bias", "recurrent", "state", "scale"}


def of_names(*names: str) -> inspect.Signature:
    """The signature of a function that takes arguments of these names."""
    return inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names])


def parts_of(function: Function) -> dict[str, tuple[str, ...]]:
    """The arguments that a function takes apart, ``w, b = weights``, where the parts are arrays by their names."""
    names = {name: unpacked_names(function, name) for name in required_names(function)}
    return {name: parts for name, parts in names.items() if _LEARNT & set(roles_of(["x", *parts])[1:])}


def normalised(function: Function, parts: Parts) -> Function:
    """The function with `parts` given one by one and settings behind the data; itself where nothing changes."""
    own = list(inspect.signature(function).parameters.values())
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY) for p in own):
        return function
    expanded = [p.replace(name=name) for p in own for name in parts.get(p.name, (p.name,))]
    needed = [p for p in required(function) if p.name not in parts]
    settings = {p.name for p, role in zip(needed, _roles(function, needed), strict=True) if role == "setting"}
    ordered = sorted(expanded, key=lambda p: (p.default is not p.empty, p.name in settings, p.kind))
    if ordered == own or len({p.name for p in expanded}) < len(expanded):
        return function

    def call(*arguments: Any, **keywords: Any) -> Any:
        given = signature.bind(*arguments, **keywords).arguments
        packed = {name: tuple(given.pop(part) for part in names) for name, names in parts.items() if names[0] in given}
        return function(**given, **packed)

    signature = inspect.Signature(ordered)
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__wrapped__ = function  # type: ignore[attr-defined]
    call.__name__ = getattr(function, "__name__", "call")
    call.__qualname__ = getattr(function, "__qualname__", "call")
    return call


def _roles(function: Function, parameters: list[inspect.Parameter]) -> list[str]:
    roles = dict(zip(required_names(function), roles_of(required_names(function)), strict=True))
    return [roles[p.name] for p in parameters]


def built(functions: Mapping[str, Function], seed: int) -> dict[str, Function]:
    """``leaky_relu(alpha) -> function``: what such factories return, made with the same settings."""
    if not all(returns_function(f) and required(f) for f in functions.values()):
        return dict(functions)
    return {name: f(*[settings_for(p, np.random.default_rng(seed))[0] for p in required(f)])
            for name, f in functions.items()}  # fmt: skip


def reveal(value: Any) -> None:
    """Let a decorator's ``wrapper(*args, **kwargs)`` show the signature of what it wraps; in a class every method."""
    if isinstance(value, type):
        found = [f for cls in value.__mro__ if cls is not object for f in vars(cls).values()]
    else:
        found = [value]
    for function in (getattr(f, "__func__", f) for f in found):
        inner = _hidden_in(function)
        if inner is not None:
            function.__wrapped__ = inner


def _hidden_in(function: Any) -> Function | None:
    """The one function that a wrapper which takes anything keeps, and calls."""
    code = getattr(function, "__code__", None)
    if code is None or hasattr(function, "__wrapped__") or code.co_argcount or not code.co_flags & inspect.CO_VARARGS:
        return None
    kept = [cell.cell_contents for _, cell in closure_of(function)]
    inner = [f for f in kept if inspect.isfunction(f) and f is not function]
    return inner[0] if len(inner) == 1 else None


def returning(backward: Function) -> Function:
    """The same, where what returns nothing raises: of a function that keeps its gradients nothing can be said."""

    @functools.wraps(backward)
    def call(*arguments: Any, **keywords: Any) -> Any:
        result = backward(*arguments, **keywords)
        if result is None:
            raise TypeError(f"{getattr(backward, '__name__', 'the backward')} returns nothing")
        return result

    return call
