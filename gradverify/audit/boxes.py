"""Objects that hold an array next to its gradient: how a project makes them, and how a gradient is sent back from one.

Tensors, Variables, Values of a hand-written autograd. Nothing is known of their names beforehand: one is made of a few
numbers, the attribute that has them is the value, and one that is called like a gradient is the gradient. Which way an
upstream gradient goes in is tried out on the object itself. Runs in a worker only.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from gradverify.audit.guesses import settings_for
from gradverify.audit.names import SWEEPS
from gradverify.audit.search import silence

VALUES = ("data", "value", "val", "_data", "_value", "values", "array", "arr", "v", "x")
GRADIENTS = ("grad", "_grad", "gradient", "_gradient", "grads", "g", "D", "derivative", "adjoint", "diff",
             "deltas", "delta")  # fmt: skip
_OF_ARRAYS = ("shape", "ndim", "sum", "mean", "dot", "matmul", "__matmul__", "T", "transpose", "reshape", "__getitem__",
              "zeros", "randn")  # fmt: skip
_WANTED = re.compile(r"_*(requires?_?grads?|req_?grad|needs?_?grad|with_grad|trainable|is_?param\w*)", re.IGNORECASE)
_SEED = re.compile(r"_*(\w*grad(ient)?s?(_out\w*|_in\w*)?|init\w*|seed|d\w*|up\w*|g|gy|gout|cot\w*|v|delta\w*|value)",
                   re.IGNORECASE)  # fmt: skip
_NO_SEED = re.compile(r"\w*(retain|create|graph|zero|clear|keep|allow|free|verbose|debug)\w*", re.IGNORECASE)
_PROBES = (np.array([[0.5, 0.25, 0.75]]), np.array([[[0.5], [0.25], [0.75]]]), 0.5)  # exact in float16


@dataclass(frozen=True)
class Box:
    """A class of such objects: where it keeps its array and that one's gradient, and what its constructor wants."""

    cls: type
    value: str
    gradient: str
    settings: Mapping[str, Any]

    @property
    def is_scalar(self) -> bool:
        """Whether it is of a graph of single numbers: nothing about it is for arrays, and its module has no NumPy."""
        names = vars(sys.modules.get(self.cls.__module__, np))
        return not any(hasattr(self.cls, name) for name in _OF_ARRAYS) and not any(v is np for v in names.values())

    def make(self, x: Any) -> Any:
        """An object that holds x; for no axes the bare number, as scalar graphs have it, where it is taken."""
        if isinstance(x, np.ndarray) and x.ndim == 0:
            with contextlib.suppress(Exception):
                return self.cls(x[()], **self.settings)
        return self.cls(x, **self.settings)

    def constant(self, x: Any) -> Any:
        """An object that holds x and asks for no gradient, where the class has a flag for that: integers cannot."""
        settings = {name: value for name, value in self.settings.items() if not _WANTED.fullmatch(name)}
        return self.cls(x, **settings)

    def holds(self, thing: Any) -> bool:
        """Whether a thing is such an object, also of another class that keeps its value under the same name."""
        return isinstance(thing, self.cls) or (_keeps(thing, self.gradient) and _keeps(thing, self.value))

    def value_of(self, thing: Any) -> Any:
        """The array of an object, or of the first object of a tuple or list; raises TypeError for anything else."""
        first = first_of(thing)
        if not self.holds(first):
            raise TypeError(f"it returned no {self.cls.__name__} but {type(first).__name__}")
        return getattr(first, self.value)

    def gradient_of(self, thing: Any, shape: tuple[int, ...] | None = None) -> Any:
        """The gradient that an object holds: None where it never got one; one number stands for all of its entries."""
        g = getattr(thing, self.gradient)
        g = getattr(g, self.value) if isinstance(g, self.cls) else g
        if g is None:
            return None
        g = np.asarray(g)
        return np.broadcast_to(g, shape).copy() if shape and g.ndim == 0 else g


def box_of(cls: type) -> Box | None:
    """How a class is made and read; None for one that holds no array next to a gradient."""
    tried = (_box_with(cls, probe, settings) for probe in _PROBES for settings in _settings(cls))
    return next(filter(None, tried), None)


def _box_with(cls: type, probe: Any, settings: Mapping[str, Any]) -> Box | None:
    try:
        with silence():
            thing = cls(np.copy(probe) if np.ndim(probe) else probe, **settings)
    except Exception:  # another probe or setting may do
        return None
    value = next((n for n in _names(thing, VALUES) if _equals(thing, n, probe)), "")
    gradient = next((n for n in GRADIENTS if _keeps(thing, n)), "")
    return Box(cls, value, gradient, settings) if value and gradient else None


def _settings(cls: type) -> Iterator[dict[str, Any]]:
    """With every flag set that asks for a gradient, then with none; what has no default is guessed."""
    try:
        parameters = list(inspect.signature(cls).parameters.values())
    except (TypeError, ValueError):
        return
    rng = np.random.default_rng(0)
    named = [p for p in parameters[1:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = {p.name: settings_for(p, rng)[0] for p in named if p.default is p.empty}
    flags = {p.name: True for p in named if _WANTED.fullmatch(p.name)}
    if flags:
        yield {**needed, **dict(list(flags.items())[:1])}
    yield needed


def _keeps(thing: Any, name: str) -> bool:
    """Whether an object has an attribute that is no method; a property that raises by now is one."""
    held = inspect.getattr_static(thing, name, _NOTHING)
    return held is not _NOTHING and (isinstance(held, property) or not callable(held))


_NOTHING = object()


def _names(thing: Any, usual: Sequence[str]) -> list[str]:
    held = getattr(thing, "__dict__", {})
    return [*(n for n in usual if _keeps(thing, n)), *(n for n in held if n not in usual)]


def _equals(thing: Any, name: str, probe: Any) -> bool:
    held = getattr(thing, name, None)
    if not isinstance(held, (np.ndarray, float, np.floating)):
        return False
    return np.shape(held) == np.shape(probe) and bool(np.all(np.asarray(held) == probe))


def classes_in(*modules: ModuleType) -> Iterator[type]:
    """The classes that modules have, once each."""
    yield from dict.fromkeys(c for m in modules for c in list(vars(m).values()) if isinstance(c, type))


def boxes_beside(module: ModuleType, others: Sequence[ModuleType]) -> Iterator[Box]:
    """The boxes that sweep back through a graph, among the classes of a module, then of its project."""
    boxes = (box_of(cls) for cls in classes_in(module, *others) if _may_sweep(cls))
    yield from (box for box in boxes if box is not None)


def _may_sweep(cls: type) -> bool:
    """Whether a class of the project has a sweep and is no layer, which has a forward beside its backward."""
    named = {name for name in (*SWEEPS, "forward", "__call__") if callable(getattr(cls, name, None))}
    is_layer = "forward" in named or (type(cls) is type and "__call__" in vars(cls))
    return bool(named & set(SWEEPS)) and not is_layer and not is_foreign(cls)


def is_foreign(cls: type) -> bool:
    """Whether a class is of a library, not of the project."""
    return cls.__module__.split(".")[0] in ("torch", "tensorflow", "jax", "numpy", "builtins", "gradverify")


Way = Callable[[Box, Any, np.ndarray], None]


def way_back(box: Box, run: Callable[[], Any], rng: np.random.Generator) -> Way | None:
    """The first way that gives an output exactly the upstream gradient that it is meant to give; None if none does."""
    for way in (_given, _given_boxed, _weighted, by_attribute):
        arrives = _arrives(box, way, run, rng)
        if arrives is None:  # gradients of results are not kept: those of what nothing made are
            leaf = _arrives(box, way, lambda: box.make(np.array(box.value_of(run()))), rng)
            arrives = leaf or _passes_on(box, way, run, rng)
        if arrives:
            return way
    return None


def way_that_raises(box: Box, run: Callable[[], Any], rng: np.random.Generator) -> Way | None:
    """The way that takes an upstream gradient and gets furthest before it raises: what the rule says is to be heard."""
    found: list[tuple[int, Way]] = []
    for way in (_given, _given_boxed):
        with silence():
            out = first_of(run())
            u = rng.standard_normal(np.shape(box.value_of(out)))
        try:
            with silence():
                _seed_of(_sweep(out))
                way(box, out, u)
        except Exception as error:
            found.append((len(traceback.extract_tb(error.__traceback__)), way))
    return max(found, key=lambda each: each[0])[1] if found else None


def _arrives(
    box: Box, way: Way, run: Callable[[], Any], rng: np.random.Generator, at: Callable[[Any], Any] = lambda out: out
) -> bool | None:
    """Whether an object ends with the upstream gradient that a way gives it; None where it ends with none."""
    try:
        with silence():
            out = first_of(run())
            y = np.asarray(box.value_of(out))
            u = rng.standard_normal(y.shape).astype(y.dtype)
            way(box, out, u)
            arrived = box.gradient_of(at(out))
    except Exception:  # not this way
        return False
    if arrived is None:
        return None
    return np.shape(arrived) == u.shape and bool(np.allclose(arrived, u, rtol=1e-5, atol=1e-7))


def first_of(result: Any) -> Any:
    """The first of several outputs."""
    return first_of(result[0]) if isinstance(result, (tuple, list)) and result else result


def _passes_on(box: Box, way: Way, run: Callable[[], Any], rng: np.random.Generator) -> bool:
    """Whether the upstream gradient of a sum arrives at what was added up: nothing but such leaves keeps one."""
    made: list[Any] = []

    def added() -> Any:
        y = np.array(box.value_of(run()))
        made[:] = [box.make(y), box.make(np.zeros_like(y))]
        return made[0] + made[1]

    return bool(_arrives(box, way, added, rng, at=lambda _: made[0]))


def _sweep(out: Any) -> Any:
    return next(getattr(out, n) for n in SWEEPS if callable(getattr(out, n, None)))


def _given(_: Box, out: Any, u: np.ndarray) -> None:
    """``out.backward(u)``."""
    sweep = _sweep(out)
    sweep(**{_seed_of(sweep): u})


def _given_boxed(box: Box, out: Any, u: np.ndarray) -> None:
    """``out.backward(Tensor(u))``."""
    sweep = _sweep(out)
    sweep(**{_seed_of(sweep): box.make(u)})


def _seed_of(sweep: Any) -> str:
    names = [n for n in inspect.signature(sweep).parameters if _SEED.fullmatch(n) and not _NO_SEED.fullmatch(n)]
    if not names:
        raise TypeError("it takes no upstream gradient")
    return names[0]


def _weighted(box: Box, out: Any, u: np.ndarray) -> None:
    """``(out * u).sum().backward()``, where the project has the two."""
    weighted = out * box.make(u)
    total = weighted if np.size(u) == 1 else weighted.sum()
    _sweep(total)()


def by_attribute(box: Box, out: Any, u: np.ndarray) -> None:
    """``out.grad = u``, where a sweep begins with what is there."""
    setattr(out, box.gradient, u)
    _sweep(out)()


def from_one(_: Box, out: Any, __: np.ndarray) -> None:
    """``out.backward()``: the gradient of the sum of the output."""
    _sweep(out)()


def adds_up(box: Box) -> bool:
    """Whether the sum of two objects gives both of them its gradient: then a sweep begins where it is told to."""
    try:
        with silence():
            x = _probe_of(box)
            a, b, u = box.make(x), box.make(x), np.full(np.shape(x), 0.75)
            way = way_back(box, lambda: a + b, np.random.default_rng(7))
            a, b = box.make(x), box.make(x)
            if way is None:
                return False
            way(box, a + b, u)
            return all(bool(np.all(box.gradient_of(t) == u)) for t in (a, b))
    except Exception:
        return False


def _probe_of(box: Box) -> np.ndarray:
    """A few numbers in as few axes as the objects keep."""
    for x in (np.array(0.5), np.array([[0.5, 0.25]])):
        if np.shape(box.value_of(box.make(x))) == x.shape:
            return x
    return np.array([[0.5, 0.25]])
