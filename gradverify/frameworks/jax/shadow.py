"""What `jax.test_util.check_grads` is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from gradverify.shadow.question import Question, called, names_of
from gradverify.targets.specs import name_of


def questions(checker: str, call: tuple[Any, ...], keywords: dict[str, Any]) -> list[Question]:
    """One for each order: the function, then its pullback or pushforward as functions of their own."""
    return _questions(*call, **keywords)


def _questions(
    f: Callable[..., Any], args: Sequence[Any], order: int, modes: Sequence[str] = ("fwd", "rev"), **_: Any
) -> list[Question]:
    forward, reverse = "fwd" in modes or "lin" in modes, "rev" in modes
    mode = "both" if forward and reverse else "forward" if forward else "reverse"
    inputs = tuple(jax.tree.map(jnp.asarray, tuple(args)))
    names, name = names_of(f, len(inputs)), name_of(f)
    found = []
    for number in range(order):
        label = name if not number else f"derivative {number} of {name}"
        found.append(Question(called(_plain(f), label, names), inputs, {"mode": mode}))
        f = partial(_pulled if reverse else _pushed, f)
    return found


def _plain(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of its own, to be given a name."""

    def plain(*args: Any) -> Any:
        return f(*args)

    return plain


def _pulled(f: Callable[..., Any], *args: Any) -> Any:
    """The pullback of a fixed cotangent as a function of the point."""
    outputs, pullback = jax.vjp(f, *args)
    return pullback(jax.tree.map(_weights, outputs))


def _pushed(f: Callable[..., Any], *args: Any) -> Any:
    """The pushforward of a fixed tangent as a function of the point."""
    return jax.jvp(f, args, jax.tree.map(_weights, args))[1]


def _weights(x: Any) -> Any:
    """Numbers of both signs and different sizes, the same at every point: 0.5 to 1.5."""
    count = jnp.arange(jnp.size(x)).reshape(jnp.shape(x))
    signs = jnp.where(count % 2 == 0, 1.0, -1.0)
    return (signs * (0.5 + jnp.modf(count * 0.6180339887)[0])).astype(jnp.result_type(x))
