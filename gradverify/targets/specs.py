"""How a user says what claims to be whose derivative: `function`, `pair`, `layer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True)
class FunctionSpec:
    """A NumPy function and the derivatives somebody wrote for it; made by `function`."""

    forward: Function
    claims: Mapping[str, Function]
    name: str


@dataclass(frozen=True)
class PairSpec:
    """``forward(*inputs) -> (out, cache)`` and ``backward(dout, cache)``; made by `pair`."""

    forward: Function
    backward: Function
    name: str


@dataclass(frozen=True)
class LayerSpec:
    """An object with a forward and a backward, its convention spelled out; made by `layer`."""

    obj: Any
    params: tuple[str, ...] | None
    grads: tuple[str, ...] | None
    forward: str | None
    backward: str | None
    name: str


def function(
    f: Function | None = None,
    *,
    derivative: Function | None = None,
    gradient: Function | None = None,
    jacobian: Function | None = None,
    hessian: Function | None = None,
    vjp: Function | None = None,
    jvp: Function | None = None,
    hvp: Function | None = None,
    value_and_grad: Function | None = None,
    value_and_jacobian: Function | None = None,
) -> FunctionSpec:
    """Pair a NumPy function with the derivatives that are to be checked.

    Each takes the inputs of `f` as they are. ``derivative``: elementwise, the shape of ``f(x)``.
    ``gradient``: of a scalar `f`, the shape of x, or a tuple, one for each input. ``jacobian``:
    shape ``f(x).shape + x.shape``. ``hessian``: of a scalar `f`, ``x.shape + x.shape``.
    ``vjp(*inputs, u)``, ``jvp(*inputs, v)``, ``hvp(*inputs, v)``: the direction comes last.
    ``value_and_grad`` and ``value_and_jacobian`` return (value, derivative) and need no `f`.

    >>> import numpy as np
    >>> import gradverify as gv
    >>> gv.check(gv.function(np.sin, derivative=np.cos), 0.5).verdict.value
    'pass'
    """
    claims = {
        "derivative": derivative, "gradient": gradient, "jacobian": jacobian, "hessian": hessian,
        "vjp": vjp, "jvp": jvp, "hvp": hvp,
        "gradient ": _second(value_and_grad), "jacobian ": _second(value_and_jacobian),
    }  # fmt: skip
    given = {name.strip(): claim for name, claim in claims.items() if claim is not None}
    if not given:
        raise TypeError("function(): no derivative given; name one: derivative=, gradient=, jacobian=, ...")
    for name, claim in given.items():
        _must_be_callable(name, claim)
    joint = value_and_grad or value_and_jacobian
    forward = f if f is not None else _first(joint)
    if forward is None:
        raise TypeError("function(): no forward given; only value_and_grad= and value_and_jacobian= need none")
    _must_be_callable("f", forward)
    return FunctionSpec(forward, given, name_of(f if f is not None else joint))


def pair(forward: Function, backward: Function) -> PairSpec:
    """``forward(x, w, b) -> (out, cache)`` and ``backward(dout, cache) -> (dx, dw, db)``."""
    _must_be_callable("forward", forward)
    _must_be_callable("backward", backward)
    return PairSpec(forward, backward, name_of(forward).removesuffix("_forward"))


def layer(
    obj: Any,
    *,
    params: Sequence[str] | str | None = None,
    grads: Sequence[str] | str | None = None,
    forward: str | None = None,
    backward: str | None = None,
) -> LayerSpec:
    """An object whose convention has to be spelled out.

    `params` and `grads` are attribute paths (``W``, ``params.W``, ``layers[0].W``) in the same
    order; `forward` and `backward` are method names.
    """
    names = [(p,) if isinstance(p, str) else (tuple(p) if p is not None else None) for p in (params, grads)]
    if names[0] is not None and names[1] is not None and len(names[0]) != len(names[1]):
        raise ValueError(f"grads={grads!r}: must name one gradient for each of params={params!r}")
    for keyword, method in (("forward", forward), ("backward", backward)):
        if method is not None and not callable(getattr(obj, method, None)):
            raise TypeError(f"{keyword}={method!r}: {type(obj).__name__} has no such method")
    return LayerSpec(obj, names[0], names[1], forward, backward, name_of(obj))


def name_of(obj: Any) -> str:
    """What to call a target: the function's own name, or the class of an object."""
    if obj is None:
        return "function"
    inner = getattr(obj, "func", obj)  # functools.partial
    return str(getattr(inner, "__qualname__", type(inner).__qualname__)).rsplit("<locals>.", maxsplit=1)[-1]


def _must_be_callable(keyword: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{keyword}={value!r}: must be callable")


def _first(joint: Function | None) -> Function | None:
    return None if joint is None else _item(joint, 0)


def _second(joint: Function | None) -> Function | None:
    return None if joint is None else _item(joint, 1)


def _item(joint: Function, index: int) -> Function:
    @wraps(joint)
    def item(*args: Any, **kwargs: Any) -> Any:
        return joint(*args, **kwargs)[index]

    return item
