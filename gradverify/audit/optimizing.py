"""An optimizer for layers that wait for their network to give them one: it shows the gradients that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from gradverify.audit.preparing import OPTIMIZERS, RATE, objects_in
from gradverify.targets.gradients import decorated, plain
from gradverify.targets.graph import floating_of

ADDED = ", whose optimizer's step points downhill"


class Heard(list[str]):
    """What is heard of all copies of an object: a list that is not copied with it."""

    def __deepcopy__(self, _: Any) -> Heard:
        return self


class Given:
    """Stands where a network would put its optimizer. Any method takes a step, whatever it is given.

    A weight with its gradient, in either order, moves by ``RATE * gradient``, in place; a gradient alone comes back as
    such a step; of an object with a dictionary or list of gradients these are kept, as its ``grads``. Raises TypeError
    where it cannot be told which of two arrays is the weight.
    """

    # With two underscores they are no members of the layer to those who walk through it.
    __slots__ = ("__heard", "__owner", "__start")

    def __init__(self, owner: Any, heard: Heard | None) -> None:
        self.__owner, self.__heard = owner, heard
        self.__start = {path: array.copy() for path, array in floating_of(owner).items()}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.__step

    def __step(self, *arguments: Any, **named: Any) -> Any:
        given = [*arguments, *named.values()]
        arrays = [a for a in given if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
        groups = [g for g in given if isinstance(g, (Mapping, list, tuple)) and len(g)]
        if len(arrays) >= 2 and arrays[0].shape == arrays[1].shape:
            which = _weight_of(arrays[:2], self.__owner, self.__start)
            weight, gradient = arrays[which], arrays[1 - which]
            weight[...] -= RATE * gradient
            return weight
        if len(arrays) == 1 and not groups:
            return RATE * arrays[0] if self.__heard is None else _downhill(arrays[0], self.__heard)
        holder = next((a for a in given if hasattr(a, "__dict__") and not callable(a)), None)
        if holder is not None and groups:
            holder.grads = groups[-1]
        return None


class _Downhill(np.ndarray):
    """A step that points downhill, and says when it is added to something."""

    heard: Heard | None

    def __array_finalize__(self, source: Any) -> None:
        self.heard = getattr(source, "heard", None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **named: Any) -> Any:
        """What the function makes of plain arrays."""
        if ufunc is np.add and method == "__call__" and self.heard is not None:
            self.heard.append("added")
        if out:
            named["out"] = tuple(map(_bare, out))
        return getattr(ufunc, method)(*map(_bare, inputs), **named)


def _downhill(gradient: np.ndarray, heard: Heard) -> _Downhill:
    step = (-RATE * gradient).view(_Downhill)
    step.heard = heard
    return step


def _bare(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, _Downhill) else x


def _weight_of(pair: list[np.ndarray], owner: Any, start: Mapping[str, np.ndarray]) -> int:
    """Which of two arrays the owner holds as a weight: since before its forward, by no gradient's name, unchanged."""
    held = floating_of(owner)
    paths = [next((p for p, a in held.items() if np.shares_memory(a, x)), "") for x in pair]
    left = [i for i in (0, 1) if paths[i]]
    for is_weight in (
        start.__contains__,
        lambda path: not _is_of_another(path, held),
        lambda path: path in start and np.array_equal(held[path], start[path]),
    ):
        left = [i for i in left if is_weight(paths[i])] or left if len(left) > 1 else left
    if len(left) != 1 or (paths[left[0]] not in start and _names_gradient(paths[left[0]])):
        raise TypeError("it waits for an optimizer, and which of two arrays is the weight cannot be told")
    return left[0]


def _is_of_another(path: str, held: Mapping[str, np.ndarray]) -> bool:
    """Whether an array is by its name the gradient of another of its shape."""
    return any(decorated(_last(path), _last(other)) for other in held if held[other].shape == held[path].shape)


def _names_gradient(path: str) -> bool:
    name = plain(_last(path))
    return name.startswith(("d", "grad")) or name.endswith("grad")


def _last(path: str) -> str:
    return path.rsplit(".", maxsplit=1)[-1]


def lacks_optimizer(obj: Any) -> bool:
    """Whether an optimizer that the object holds, or one of what it holds, is None."""
    return any(_is_open(name, value) for holder in objects_in(obj) for name, value in vars(holder).items())


def with_optimizers(obj: Any, heard: Heard | None = None) -> Any:
    """A copy in which every optimizer that is None, in what it holds too, is one that shows gradients.

    With `heard` the step that it makes of a gradient alone is the negative one, and what adds it is written there.
    """
    twin = deepcopy(obj)
    for holder in list(objects_in(twin)):
        for name, value in list(vars(holder).items()):
            if _is_open(name, value):
                vars(holder)[name] = Given(twin, heard)
    return twin


def _is_open(name: str, value: Any) -> bool:
    return value is None and OPTIMIZERS.fullmatch(name.strip("_")) is not None
