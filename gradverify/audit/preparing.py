"""An object as its training has it, and with every update in place large and linear enough to show its gradient.

A backward belongs to the forward of the training, and some show the gradient of a parameter only as a step: by a rate
of their own, or through an optimizer that they hold. Rates become `RATE`; optimizers take steps of ``RATE * gradient``
in the way in which they take their own, which one call on copies shows.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.targets.graph import members_of

# A power of two, so that (old - new) / rate has the rounding of the gradient and not of the weight.
RATE = 2.0**20

_TRAINING = re.compile(r"_*(is_?|in_?)?train(ing)?(_?(mode|phase|flg|flag))?", re.IGNORECASE)
_TESTING = re.compile(r"_*(is_?|in_?)?(test|eval|inference|predict)(ing)?(_?(mode|phase))?", re.IGNORECASE)
_RATES = re.compile(r"_*(lr|l_?rate|learn(ing)?_?rate|eta)", re.IGNORECASE)
OPTIMIZERS = re.compile(
    r"\w*optim\w*|\w*_opt|opt|updater|\w*sgd\w*|\w*adam\w*|\w*adagrad|\w*adadelta|\w*rms_?prop|\w*nesterov\w*|momentum",
    re.IGNORECASE,
)
_STEPS = re.compile(r"__call__|_*(update|step|apply|optimi[sz]e|get_(update|delta|step)|calc\w*|compute|delta)\w*")
_DEPTH = 4
_HIGH = 100.0  # a weight that no first step of an optimizer brings near zero


class Descent:
    """An optimizer that shows the gradient it is given: every update is ``w - RATE * gradient``."""

    def update(self, w: Any, gradient: Any, *_: Any, **__: Any) -> Any:
        """The updated weight."""
        return w - RATE * gradient

    __call__ = update


def in_training(obj: Any) -> Any:
    """The object itself, its flags and those of what it holds set to training."""
    for holder in objects_in(obj):
        for name, value in vars(holder).items():
            if isinstance(value, bool):
                wanted = True if _TRAINING.fullmatch(name) else False if _TESTING.fullmatch(name) else value
                _assign(holder, name, wanted, value)
    return obj


def with_visible_steps(obj: Any) -> Any:
    """A copy whose updates in place are ``RATE * gradient``: rates that it holds, and optimizers, are replaced."""
    twin = deepcopy(obj)
    for holder in list(objects_in(twin)):
        _make_optimizer(holder)
        for name, value in list(vars(holder).items()):
            if _is_optimizer(name, value):
                _assign(holder, name, _stand_in(value), value)
            elif isinstance(value, float) and _RATES.fullmatch(name):
                _assign(holder, name, RATE, value)
    return twin


def has_rate(obj: Any, backward: Any) -> bool:
    """Whether steps are scaled: by a rate that the object holds, or that its backward takes."""
    values = [value for holder in objects_in(obj) for value in vars(holder).values()]
    held = any(isinstance(value, float) and value == RATE for value in values)
    return held or any(_RATES.fullmatch(name) for name in inspect.signature(backward).parameters)


def _assign(holder: Any, name: str, new: Any, old: Any) -> None:
    if new is not old:
        vars(holder)[name] = new


def _make_optimizer(holder: Any) -> None:
    """An optimizer that is made when it is first asked for."""
    if isinstance(getattr(type(holder), "optimizer", None), property):
        try:
            holder.optimizer  # noqa: B018 - asking is what makes it
        except Exception:  # one that cannot be made is none
            return


def objects_in(obj: Any, depth: int = _DEPTH) -> Iterator[Any]:
    """The object and the objects it holds, optimizers aside, that keep attributes; once each."""
    seen: set[int] = set()
    stack = [(obj, depth)]
    while stack:
        value, left = stack.pop()
        if id(value) in seen or isinstance(value, (np.ndarray, str, type)) or callable_only(value):
            continue
        seen.add(id(value))
        if hasattr(value, "__dict__"):
            yield value
        if left:
            stack += [(child, left - 1) for name, child in members_of(value, "")
                      if not _is_optimizer(name.rsplit(".", maxsplit=1)[-1], child)]  # fmt: skip


def callable_only(value: Any) -> bool:
    """Whether a value is a function, a method or a module, which hold nothing of an object's own."""
    return hasattr(value, "__code__") or hasattr(value, "__func__") or hasattr(value, "__spec__")


def _is_optimizer(name: str, value: Any) -> bool:
    if not hasattr(value, "__dict__") or isinstance(value, (type, Descent)) or callable_only(value):
        return False
    cls = type(value)
    if hasattr(cls, "forward") or hasattr(cls, "backward"):  # a layer, whatever it is called
        return False
    named = OPTIMIZERS.fullmatch(name.strip("_")) or OPTIMIZERS.fullmatch(cls.__name__)
    return named is not None and any(_STEPS.fullmatch(n) for n in dir(cls) if callable(getattr(cls, n, None)))


def _stand_in(optimizer: Any) -> Any:
    twin = deepcopy(optimizer)
    twin.__class__ = _stepping(type(optimizer))
    return twin


def _stepping(cls: type) -> type:
    """The class with its methods that take steps made linear; a class without any is left as it is."""
    names = [n for n in dir(cls) if _STEPS.fullmatch(n) and hasattr(getattr(cls, n, None), "__code__")]
    body: dict[str, Any] = {n: _linear(getattr(cls, n)) for n in names}
    body["__reduce_ex__"] = lambda self, _: (_rebuild, (cls,), dict(vars(self)))
    return type(cls.__name__, (cls,), body)


def _rebuild(cls: type) -> Any:
    twin: Any = object.__new__(cls)
    twin.__class__ = _stepping(cls)
    return twin


def _linear(method: Any) -> Any:
    def step(self: Any, *arguments: Any, **keywords: Any) -> Any:
        given = [*arguments, *keywords.values()]
        arrays = [value for value in given if is_floating(value) and isinstance(value, np.ndarray)]
        groups = [list(_items(value)) for value in given if isinstance(value, (list, tuple, Mapping))]
        groups = [group for group in groups if group and all(isinstance(a, np.ndarray) for a in group)]
        if len(arrays) == 1 and not groups:
            return _increment(partial(method, deepcopy(self)), arrays[0], given, keywords)
        if len(arrays) >= 2 and arrays[0].shape == arrays[1].shape:
            return _new_weight(partial(method, deepcopy(self)), arrays[0], arrays[1], arguments, keywords)
        if len(groups) >= 2 and len(groups[0]) == len(groups[1]):
            for weight, g in zip(groups[0], groups[1], strict=True):
                weight[...] -= RATE * np.reshape(g, weight.shape)
            return None
        return method(self, *arguments, **keywords)

    return step


def _items(value: Any) -> Any:
    return value.values() if isinstance(value, Mapping) else value


def _increment(method: Any, g: Any, given: list[Any], keywords: Mapping[str, Any]) -> Any:
    """What an optimizer that is given the gradient alone returns: the step, with its own sign."""
    count = len(given) - len(keywords)
    own = method(*deepcopy(given[:count]), **deepcopy(dict(keywords)))
    if not isinstance(own, np.ndarray) or own.shape != g.shape:
        return own
    return np.sign(np.sum(own * g)) * RATE * g


def _new_weight(method: Any, first: Any, second: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """What an optimizer that is given weight and gradient does: changes the weight, returns a new one, or a step.

    The weight is the one that changes, or comes back, from about where it was; the first unless only the second does.
    """
    w, g, (own, in_place) = first, second, _at_a_high(first, second, method, arguments, keywords)
    if not (in_place or _is_high(own)):
        other, changes = _at_a_high(second, first, method, arguments, keywords)
        if changes or _is_high(other):
            w, g, own, in_place = second, first, other, changes
    if in_place:
        w -= RATE * g
    if isinstance(own, tuple) and own:  # the new weight, and some state of the optimizer
        return (_returned(own[0], w, g, in_place), *own[1:])
    return _returned(own, w, g, in_place)


def _at_a_high(
    w: np.ndarray, other: np.ndarray, method: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> tuple[Any, bool]:
    """What a method returns with one of its arrays far from zero, the other small, and whether it changed that."""
    high, low = np.full(w.shape, _HIGH), other / max(float(np.max(np.abs(other), initial=0.0)), 1.0)

    def swapped(value: Any) -> Any:
        return high if value is w else low if value is other else deepcopy(value)

    own = deepcopy(method)(*map(swapped, arguments), **{k: swapped(v) for k, v in keywords.items()})
    return own, bool(np.any(high != _HIGH))


def _is_high(own: Any) -> bool:
    first = own[0] if isinstance(own, tuple) and own else own
    return isinstance(first, np.ndarray) and first.dtype.kind == "f" and float(np.mean(first)) > _HIGH / 2


def _returned(own: Any, w: Any, g: Any, in_place: bool) -> Any:
    if not isinstance(own, np.ndarray) or own.shape != w.shape:
        return own
    if float(np.mean(own)) > _HIGH / 2:
        return w if in_place else w - RATE * g
    return np.sign(np.sum(own * g)) * RATE * g
