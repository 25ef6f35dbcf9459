"""What `autograd.test_util.check_grads` is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.core import make_jvp, make_vjp, vspace

from gradverify.shadow.question import Question, called, names_of, of_some
from gradverify.targets.specs import name_of

MODES = ("fwd", "rev")


def questions(
    checker: str, operator: tuple[Any, ...], keywords: dict[str, Any],
    args: tuple[Any, ...], kwargs: dict[str, Any],
) -> list[Question]:  # fmt: skip
    """One for each order: the function, then its pullback or pushforward as functions of their own."""
    fun, argnum, modes, order = _operator(*operator, **keywords)
    chosen = [argnum] if isinstance(argnum, int) else list(argnum)
    function = of_some(called(_with(fun, kwargs), name_of(fun), names_of(fun, len(args))), args, chosen)
    inputs = tuple(_floating(args[i]) for i in chosen)
    mode = "both" if set(modes) == set(MODES) else "forward" if "fwd" in modes else "reverse"
    return _each_order(function, inputs, order, mode)


def _floating(value: Any) -> Any:
    """Whole numbers as floating ones: autograd moves them by fractions, and so shall we."""
    whole = type(value) is int or (isinstance(value, np.ndarray) and value.dtype.kind == "i")
    return value * 1.0 if whole else value


def _operator(
    fun: Any, argnum: Any = 0, modes: Sequence[str] = MODES, order: int = 2
) -> tuple[Any, Any, Sequence[str], int]:
    return fun, argnum, modes, order


def _with(fun: Callable[..., Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
    def function(*args: Any) -> Any:
        return _of_autograd(fun)(*args, **kwargs)

    return function


def _of_autograd(fun: Callable[..., Any]) -> Callable[..., Any]:
    # Plain arrays and a plain function tell nobody which framework they are for; this call does.
    assert autograd.numpy is anp
    return fun


def _each_order(function: Any, inputs: tuple[Any, ...], order: int, mode: str) -> list[Question]:
    name, names = name_of(function), names_of(function, len(inputs))
    found = []
    for number in range(order):
        label = name if not number else f"derivative {number} of {name}"
        found.append(Question(called(_plain(function), label, names), inputs, {"mode": mode}))
        function = partial(_pushed if mode == "forward" else _pulled, function)
    return found


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of its own, to be given a name."""

    def plain(*args: Any) -> Any:
        return _of_autograd(function)(*args)

    return plain


def _pulled(function: Callable[..., Any], *args: Any) -> Any:
    """The pullback of a fixed cotangent as a function of the point."""
    pullback, outputs = make_vjp(lambda x: function(*x), args)
    return pullback(_weights(outputs))


def _pushed(function: Callable[..., Any], *args: Any) -> Any:
    """The pushforward of a fixed tangent as a function of the point."""
    return make_jvp(lambda x: function(*x), args)(_weights(args))[1]


def _weights(value: Any) -> Any:
    """Numbers of both signs and different sizes, the same at every point."""
    space = vspace(value)
    basis = list(space.standard_basis())
    weighted = [space.scalar_mul(e, (-1.0) ** i * (0.5 + i * 0.6180339887 % 1.0)) for i, e in enumerate(basis)]
    return reduce(space.add, weighted, space.zeros())
