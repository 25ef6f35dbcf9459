"""Gradient transformations of optax as steppers, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import optax

from gradverify.arrays import Arrays
from gradverify.convergence.steppers import State, Stepper


def make_stepper(transformation: Any) -> Stepper:
    """``init`` and ``update`` followed by `optax.apply_updates`; their own 32-bit default is lifted meanwhile."""

    def start(params: Arrays) -> State:
        with _wide():
            return transformation.init(_arrays(params))

    @jax.jit
    def compiled(own: Any, grads: Any, state: State) -> tuple[Any, State]:
        updates, state = transformation.update(grads, state, own)
        return optax.apply_updates(own, updates), state

    def step(params: Arrays, grads: Arrays, state: State) -> tuple[Arrays, State]:
        with _wide():
            moved, state = compiled(_arrays(params), _arrays(grads), state)
            return {name: np.array(x, np.float64) for name, x in moved.items()}, state

    parts = sorted(_parts(transformation.update))
    name = " + ".join(parts) or type(transformation).__name__
    return Stepper(name, start, step, library=_all_of_optax(transformation))


@contextmanager
def _wide() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def _arrays(tree: Arrays) -> Arrays:
    return {name: jax.numpy.asarray(np.array(x), dtype=jax.numpy.float64) for name, x in tree.items()}


def _functions_in(function: Callable[..., Any], seen: set[int]) -> Iterator[Callable[..., Any]]:
    """The functions that a chain of transformations is closed over."""
    for cell in getattr(function, "__closure__", None) or ():
        held = cell.cell_contents
        for inner in held if isinstance(held, (tuple, list)) else [held]:
            if callable(inner) and hasattr(inner, "__qualname__") and id(inner) not in seen:
                seen.add(id(inner))
                yield inner
                yield from _functions_in(inner, seen)


def _parts(update: Callable[..., Any]) -> set[str]:
    names = {inner.__qualname__.partition(".")[0] for inner in (update, *_functions_in(update, set()))}
    return {name for name in names if name.startswith(("scale_by_", "trace", "add_decayed", "clip"))}


def _all_of_optax(transformation: Any) -> bool:
    """Whether every function in it is optax's own; a part of somebody's own makes it theirs."""
    found = (transformation.update, *_functions_in(transformation.update, set()))
    tops = {(getattr(inner, "__module__", "") or "").partition(".")[0] for inner in found}
    return tops <= {"optax", "jax", "chex"}
