"""What hooks write to besides the gradient, put back: lists they append to, tensors they add to, attributes."""

from __future__ import annotations

import contextlib
import dis
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from torch import Tensor

from gradverify.frameworks.torch.state import undo_attributes, undo_value
from gradverify.frameworks.undoing import Undo, undo_written

_DEPTH = 3  # containers and objects inside each other, as in ``self.log["weight"].append(g)``
_MOST = 1000  # things that are put back: a hook may refer to a whole training


@contextlib.contextmanager
def without_traces(hooks: Iterable[Callable[..., Any]]) -> Iterator[None]:
    """What the hooks refer to is afterwards as it was before: a pass of a check is none of the training's."""
    seen: dict[int, Any] = {}  # kept, so that no identity is given anew
    undos = [undo for hook in hooks for value in _referred(hook) for undo in _undos(value, _DEPTH, seen)]
    try:
        yield
    finally:
        for undo in undos:
            undo()


def _referred(hook: Any) -> Iterator[Any]:
    if isinstance(hook, partial):
        yield from (*hook.args, *hook.keywords.values())
        yield from _referred(hook.func)
        return
    own = getattr(hook, "__self__", None)
    if not inspect.isroutine(hook):
        own = hook
    if own is not None:
        yield own
    yield from (value for _, value in free_variables(inspect.unwrap(getattr(hook, "__func__", hook))))


def _undos(value: Any, depth: int, seen: dict[int, Any]) -> Iterator[Undo]:
    if id(value) in seen or not depth or len(seen) > _MOST or inspect.isroutine(value):
        return
    seen[id(value)] = value
    undo = undo_written(value, undo_value)
    if undo is None and _is_of_the_project(value):
        undo = undo_attributes(value)
    if undo is not None:
        yield undo
    for part in _parts(value):
        yield from _undos(part, depth - 1, seen)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return list(value)
    return list(vars(value).values()) if _is_of_the_project(value) else []


def _is_of_the_project(value: Any) -> bool:
    """Whether an object is of a class of the user's own: one that writes files, say, had better keep its count."""
    if isinstance(value, (type, Tensor)) or inspect.ismodule(value):
        return False
    if not isinstance(getattr(value, "__dict__", None), dict):
        return False
    name = type(value).__module__
    file = str(getattr(sys.modules.get(name), "__file__", None) or "")
    return name.split(".")[0] not in sys.stdlib_module_names and "site-packages" not in file


def free_variables(function: Any) -> Iterator[tuple[str, Any]]:
    """What a function closes over, and the globals that it loads, by name."""
    if not inspect.isfunction(function):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell
            yield name, cell.cell_contents
    # co_names also lists attributes; only what is loaded as a global is one.
    loaded = dict.fromkeys(i.argval for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL")
    yield from ((name, function.__globals__[name]) for name in loaded if name in function.__globals__)
