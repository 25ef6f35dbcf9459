"""Which two methods make an object a layer, and how its backward is to be called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from gradverify.arrays import flatten
from gradverify.targets.calling import Call, argument_names

FORWARD = (
    "forward",
    "forward_pass",
    "fprop",
    "forward_propagation",
    "feedforward",
    "compute",
    "loss",
    "fn",
    "call",
    "__call__",
)
BACKWARD = (
    "backward",
    "backward_pass",
    "bprop",
    "backprop",
    "back_propagation",
    "backward_propagation",
    "gradient",
    "grad",
    "derivative",
    "prime",
    "deriv",
)
RATES = ("lr", "learning_rate", "eta", "rate", "alpha", "step_size")
CACHES = ("cache", "ctx", "context", "saved", "residuals", "res", "memory", "tape")


def method_names(obj: Any, forward: str | None = None, backward: str | None = None) -> tuple[str, str] | None:
    """The pair of methods that make `obj` a layer, or None."""
    first = forward or next((n for n in FORWARD if _is_method(obj, n)), None)
    second = backward or next((n for n in BACKWARD if _is_method(obj, n)), None)
    return (first, second) if first and second else None


def derivative_of_input(obj: Any, count: int) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """``(f, f')`` of an object whose second method takes the input again: ``__call__(x)`` with ``gradient(x)``.

    Told from a backward by its name (gradient, grad, derivative, prime) and by what its parameters
    are called: those of the forward, or nothing that says upstream gradient.
    """
    names = method_names(obj)
    if names is None or names[1] not in _OF_INPUT:
        return None
    forward, second = getattr(obj, names[0]), getattr(obj, names[1])
    given, inputs = required_arguments(second), argument_names(forward, count)
    same = list(inputs) == given
    upstream = any(g.lower().startswith(_UPSTREAM) for g in given)
    return (forward, second) if same or (len(given) == count and not upstream) else None


_OF_INPUT = ("gradient", "grad", "derivative", "prime", "deriv")
_UPSTREAM = ("d", "grad", "upstream", "delta", "err", "cotangent", "output_grad", "accum", "g_", "u")


def _is_method(obj: Any, name: str) -> bool:
    return (
        callable(getattr(type(obj), name, None)) or callable(vars(obj).get(name))
        if hasattr(obj, "__dict__")
        else callable(getattr(obj, name, None))
    )


def saves_in_cache(obj: Any, backward: str, result: Any, inputs: Sequence[str]) -> bool:
    """Whether a forward answered ``(out, cache)`` to a ``backward(dout, cache)``."""
    given = required_arguments(getattr(obj, backward))
    asked = any(name.lower() in CACHES and name not in inputs for name in given)
    return isinstance(result, tuple) and len(result) > 1 and len(given) > 1 and asked


def call_backward(layer: Any, name: str, call: Call, u: Any, arguments: Sequence[Any], cache: Any = None) -> Any:
    """Call the backward by what its parameters are named: cotangent, inputs again, the cache, or nothing."""
    method: Callable[..., Any] = getattr(layer, name)
    given = required_arguments(method)
    by_name = dict(zip(call.names, arguments, strict=True))
    if cache is not None:
        by_name = {n: cache for n in given if n.lower() in CACHES} | by_name
    if not given:
        return _times(method(), u)
    if set(given) & set(RATES):
        raise TypeError(
            f"{name}({', '.join(given)}) updates the parameters itself; say which gradients it leaves: gv.layer(...)"
        )
    if _takes_the_inputs(given, by_name, call):
        return _times(method(*arguments), u)
    values = [by_name[n] if n in by_name and len(given) > 1 else u for n in given]
    return method(*values)


def ignores_upstream(method: Callable[..., Any], call: Call) -> bool:
    """Whether a backward is asked for an upstream gradient of one: it takes nothing, or the inputs again."""
    given = required_arguments(method)
    return not given or _takes_the_inputs(given, call.names, call)


def _takes_the_inputs(given: Sequence[str], known: Collection[str], call: Call) -> bool:
    return len(given) == len(call.names) > 1 and all(n in known for n in given)


def required_arguments(method: Callable[..., Any], *, keywords: bool = False) -> list[str]:
    """The positional parameters without a default; the first one where all have one, as in ``backward(self, dout=1)``.

    With `keywords` also what is given by name alone, and of ``*args`` the name.
    """
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return ["dout"]
    kinds: list[Any] = [inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD]
    optional = [p.name for p in parameters if p.kind in kinds][:1]
    if keywords:
        kinds.append(inspect.Parameter.KEYWORD_ONLY)
        optional = optional or [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL][:1]
    return [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty] or optional


def _times(result: Any, u: Any) -> Any:
    """A loss's ``backward()`` is its gradient for an upstream gradient of one."""
    if np.size(u) != 1:
        raise TypeError("the backward takes no upstream gradient, but the output is not a scalar")
    scale = float(np.reshape(u, ()))
    leaves, rebuild = flatten(result, "g")
    return rebuild({n: None if x is None else np.asarray(x) * scale for n, x in leaves.items()})
