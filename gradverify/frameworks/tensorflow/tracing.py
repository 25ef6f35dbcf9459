"""Code traced once into a graph, for the hundreds of times that it is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

Function = Callable[..., dict[str, Any]]


def make_graph(
    function: Function, arguments: tuple[Mapping[str, Any], ...], outputs: Mapping[str, Any], undo: Callable[[], None]
) -> Function | None:
    """`function` as a graph, or None where that answers anything else than `outputs` to these arguments.

    The Python of a Keras layer costs a hundred times what its operations do on a few numbers. The graph
    holds the very operations, not rewritten, and answers to the last bit what they answer one by one, twice
    if `undo` puts back all that it changes. Code that reads the values it computes on cannot be traced.
    """
    def run(*given: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return dict(graph(*given))
        finally:
            undo()

    try:
        with _not_rewritten(), _scope_kept():
            graph = tf.function(function, autograph=False).get_concrete_function(*arguments)
            found = [run(*arguments) for _ in range(2)]
    except Exception:  # if it is the code's own error, calling it raises it again
        return None
    return run if all(_same(answer, outputs) for answer in found) else None


def _same(found: Mapping[str, Any], outputs: Mapping[str, Any]) -> bool:
    return found.keys() == outputs.keys() and all(_same_bits(found[name], y) for name, y in outputs.items())


def _same_bits(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and np.array_equal(a.numpy(), b.numpy(), equal_nan=True)


@contextmanager
def _not_rewritten() -> Iterator[None]:
    """Graphs are optimised when they first run; here they are left as they were traced."""
    options = tf.config.optimizer
    before = options.get_experimental_options().get("disable_meta_optimizer", False)
    options.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        options.set_experimental_options({"disable_meta_optimizer": before})


@contextmanager
def _scope_kept() -> Iterator[None]:
    """A trace that fails inside `tf.scan` or `tf.map_fn` leaves a caching device behind that eager code refuses."""
    scope = tf.compat.v1.get_variable_scope()
    before = scope.caching_device
    try:
        yield
    finally:
        scope._caching_device = before  # noqa: SLF001 - the public setter refuses any in eager code
