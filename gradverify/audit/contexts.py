"""Rules written as static methods with a context: ``forward(ctx, x)`` keeps there what ``backward(ctx, dy)`` needs.

The context is a stand-in of our own, as far as people use theirs: any attribute, ``save_for_backward`` and the saved
values under the usual names. Runs in a worker only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from gradverify.audit.boxes import Box
from gradverify.audit.readings import Reading, Trial
from gradverify.audit.search import twin_call
from gradverify.targets import function

Function = Callable[..., Any]

_NAMES = ("ctx", "context", "cntx", "cxt", "self")
_SAVED = ("saved_tensors", "saved_values", "saved_data", "saved_arrays", "saved", "to_save")


class Context:
    """What a forward keeps for its backward."""

    needs_input_grad = (True,) * 8
    requires_grad = True

    def save_for_backward(self, *values: Any) -> None:
        """Keep values under all the names by which people ask for them."""
        for name in _SAVED:
            setattr(self, name, values)

    save = store = save_tensors = save_for_backward


def takes_context(*functions: Function) -> bool:
    """Whether the first argument of all functions is by its name a context."""
    return all(_first(f).strip("_").lower() in _NAMES for f in functions)


def _first(function_: Function) -> str:
    try:
        return next(iter(inspect.signature(function_).parameters), "")
    except (TypeError, ValueError):
        return ""


def context_trials(forward: Function, backward: Function, boxes: Sequence[Box]) -> Iterator[Trial]:
    """Trials of a pair of static methods: on bare arrays, then on the tensors of the project."""
    for box in (None, *boxes):
        shown = _shown(forward, partial(_run, forward, box))
        pull = partial(_pull, forward, backward, box)
        reading = Reading(lambda _, shown=shown, pull=pull: function(shown, vjp=pull))  # type: ignore[misc]
        yield Trial(shown, (), (reading,), partial(twin_call, shown))


def _shown(forward: Function, run: Function) -> Function:
    """The function without its context, under its own name and signature."""

    def call(*arrays: Any, **settings: Any) -> Any:
        return run(*arrays, **settings)

    call.__signature__ = inspect.Signature(list(inspect.signature(forward).parameters.values())[1:])  # type: ignore[attr-defined]
    call.__name__ = call.__qualname__ = getattr(forward, "__qualname__", "forward").split(".")[0]
    return call


def _run(forward: Function, box: Box | None, *arrays: Any, **settings: Any) -> Any:
    return _bare(forward(Context(), *_given(box, arrays), **settings), box)


def _pull(forward: Function, backward: Function, box: Box | None, *arguments: Any, **settings: Any) -> Any:
    *arrays, u = arguments
    context = Context()
    out = forward(context, *_given(box, arrays), **settings)
    wants_box = box is not None and box.holds(out)
    found = backward(context, box.make(u) if wants_box and box is not None else u)
    parts = found if isinstance(found, (tuple, list)) else (found,)
    bare = tuple(None if g is None else np.asarray(_bare(g, box)) for g in parts)
    return bare[0] if len(bare) == 1 else bare[: len(arrays)]


def _given(box: Box | None, arrays: Sequence[Any]) -> list[Any]:
    return [x if box is None or not isinstance(x, np.ndarray) or x.dtype.kind in "iub" else box.make(x) for x in arrays]


def _bare(value: Any, box: Box | None) -> Any:
    if isinstance(value, (tuple, list)) and value:
        return _bare(value[0], box)
    return box.value_of(value) if box is not None and box.holds(value) else value
