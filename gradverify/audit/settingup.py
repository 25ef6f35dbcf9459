"""Objects that hear their sizes after they are made: from a method that builds them, or from the layer before.

Everything that by its name builds or connects is called on a copy, and sizes that the constructor left at None are
filled in, for data of several shapes. Runs in a worker only.
"""

from __future__ import annotations

import ast
import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gradverify.audit.guesses import BATCH, CHANNELS, IN, settings_for, snake
from gradverify.audit.mined import assignments, told_length, tree_of
from gradverify.audit.partners import is_stub
from gradverify.audit.preparing import Descent
from gradverify.audit.roles import is_label
from gradverify.audit.search import silence

STARS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
SIZE_OF_INPUT = re.compile(
    r"(n|num|number|dim|prev(ious)?)?_?(of_?)?(in(puts?)?|prev(ious)?|x|fan_in)_?(layers?_?)?"
    r"(shape|size|dims?|features|channels|units|neurons|nodes|n|length|dimensions?)?", re.IGNORECASE
)  # fmt: skip
_SET_UP = re.compile(
    r"_*((set|init(iali[sz]e)?|build|create|make|generate|reset|define|random|update)_?(all_)?(the_)?"
    r"(input|in|prev(ious)?|layer|weights?|params?|parameters?|sizes?|shapes?|dims?|units|matrices|bias(es)?"
    r"|weights?_?(and|n)?_?bias(es)?|kernels?|filters?|input_?(shape|size|dims?)|parameters_shape|in_?features|variables)+s?"
    r"|build|set_?up|initiali[sz]e|init|connect(_to|_?layers?|_prev\w*)?|compile|allocate|configure|prepare|link)",
    re.IGNORECASE)  # fmt: skip
_ORDER = ("connect", "link", "set", "input", "compile", "build", "init")
_SHAPES = ((IN,), (BATCH, IN), IN, (CHANNELS, 6, 4), (6, 4, CHANNELS), (2, CHANNELS, 6, 4), (2, 6, 4, CHANNELS),
           (7, IN))  # fmt: skip


def set_ups(instance: Any, seed: int) -> Iterator[tuple[Any, Any]]:
    """Copies with everything called that sets them up, each with the shape that it was told."""
    names = _builders(instance)
    sizes = _open_sizes(instance)
    if not names and not sizes:
        return
    wants = bool(sizes) or any(required_of(getattr(instance, n)) for n in names)
    shapes = [*_of_width(instance), *_fitting(type(instance), [*sizes, "input_shape"])] if wants else _SHAPES[:1]
    for shape, literal in [(s, t) for s in shapes for t in (True, False) if t or isinstance(s, tuple)]:
        twin = copy.deepcopy(instance)
        for name in sizes:
            vars(twin)[name] = shape if "shape" in name or not isinstance(shape, tuple) else shape[-1]
        if _call_all(twin, names, shape, literal, seed) or not names:
            yield twin, shape


def set_up_alone(instance: Any) -> None:
    """Call every method that sets an object up and needs to be told nothing: ``init_params()``."""
    for name in _builders(instance):
        if not required_of(getattr(instance, name)):
            getattr(instance, name)()


def _of_width(instance: Any) -> list[Any]:
    """Shapes of sequences and of rows as wide as an object says that its data is, ``self.d_model = 6``."""
    held = getattr(instance, "__dict__", {})
    widths = {v for n, v in held.items() if type(v) is int and v > 1 and _WIDTH.fullmatch(snake(n))}
    return [(*before, width) for width in sorted(widths) for before in ((2, BATCH), (BATCH,))]


_WIDTH = re.compile(r"d_?model|d_?embed\w*|(emb|embed|embedding|model|input)_?(dim|size|d)|n_?embd?|dim", re.IGNORECASE)


def _fitting(cls: type, names: list[str]) -> list[Any]:
    """The shapes to tell, those first that have as many entries as the code of a class wants."""
    wanted = {told_length(cls, name) for name in names} - {0}
    return sorted(_SHAPES, key=lambda shape: isinstance(shape, tuple) and len(shape) not in wanted if wanted else False)


def awaited_label(instance: Any, forward: str) -> str:
    """The attribute of the truth that a forward reads, and a method which is handed it alone sets; empty for none."""
    cls = type(instance)
    methods = {n: f for n in dir(cls) if inspect.isfunction(f := inspect.getattr_static(cls, n))}
    taken = [p.name for p in required_of(methods[forward])[1:]] if forward in methods else []
    read = _of_self(tree_of(methods[forward]), ast.Load) if taken and not any(map(is_label, taken)) else set[str]()
    lacking = {name for name in read if _TRUTH.search(name) and getattr(instance, name, None) is None}
    setters = [f for n, f in methods.items() if n != forward and len(required_of(f)) == _SELF_AND_ONE]
    told = {a for f in setters for a in _set_to_argument(f)}
    return next(iter(sorted(lacking & told)), "")


_SELF_AND_ONE = 2
_TRUTH = re.compile(r"(^|_)(labels?|targ(et)?s?|truth|y|y_true|t)$", re.IGNORECASE)


def _set_to_argument(method: Any) -> set[str]:
    """The attributes of ``self`` that a method sets to its argument as it is."""
    argument = required_of(method)[-1].name
    pairs = [pair for node in ast.walk(tree_of(method)) for pair in assignments(node)]
    return {t.attr for t, v in pairs if isinstance(t, ast.Attribute) and ast.unparse(v) == argument}


def _builders(instance: Any) -> list[str]:
    """The methods that set an object up, those first that connect it to others."""
    cls = type(instance)
    methods = {n: f for n in dir(cls) if inspect.isfunction(f := inspect.getattr_static(cls, n))}
    names = [n for n in methods if _SET_UP.fullmatch(n)] or _setting_what_lacks(instance, methods)
    names = [n for n in names if not _is_stub(cls, n)]
    if getattr(instance, "input_shape", None) is not None:
        names = [n for n in names if n != "set_input_shape"]
    return sorted(names, key=lambda n: next((i for i, word in enumerate(_ORDER) if word in n), len(_ORDER)))


def _setting_what_lacks(instance: Any, methods: Mapping[str, Any]) -> list[str]:
    """The methods that hear sizes and set what others read and nothing has set yet, without those that they call."""
    trees = {n: tree_of(f) for n, f in methods.items() if not n.startswith("__")}
    read, written = ({n: _of_self(tree, how) for n, tree in trees.items()} for how in (ast.Load, ast.Store))
    passes = {n for n in trees if _PASSES.search(n)}
    lacking = {a for n in passes for a in read[n] if not hasattr(instance, a)}
    lacking -= {a for n in passes if "forward" in n for a in written[n]}
    setting = {n for n in trees if n not in passes and written[n] & lacking and _hears_sizes(methods[n])}
    return sorted(n for n in setting if not any(n in read[other] for other in setting - {n}))


_PASSES = re.compile(r"forward|backward|prop|call|predict|train(?!ing)|fit|grad|loss|update|step", re.IGNORECASE)


def _of_self(tree: ast.AST, how: type[ast.expr_context]) -> set[str]:
    """The attributes of ``self`` that a method reads or sets."""
    attributes = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, how))
    return {n.attr for n in attributes if ast.unparse(n.value) == "self"}


def _hears_sizes(method: Any) -> bool:
    return all(_HEARD.search(p.name.lower()) for p in required_of(method)[1:])


_HEARD = re.compile(r"shape|size|dim|batch|units|features|channels|layer|prev|n_in|input|rng|random_?state|length")


def _open_sizes(instance: Any) -> list[str]:
    """Attributes for the size of the input that are None: ``self.input_size = None``, which a network sets."""
    held = getattr(instance, "__dict__", {})
    return [n for n, value in held.items() if value is None and _is_size_of_input(n)]


def _is_size_of_input(name: str) -> bool:
    return bool(_NAMED_SIZE.fullmatch(snake(name)) and SIZE_OF_INPUT.fullmatch(snake(name)))


_NAMED_SIZE = re.compile(
    r"\w*(shape|size|dims?|features|channels|units|neurons|nodes|n_in|nin|dimensions?)\w*", re.IGNORECASE
)


def _call_all(instance: Any, names: list[str], shape: Any, literal: bool, seed: int) -> bool:
    """Call the methods with a shape, with its last number alone for a size unless `literal`; whether one worked."""
    worked = False
    for name in names:
        try:
            with silence():
                method = getattr(instance, name)
                size = shape if literal else shape[-1]
                method(*[_setup_value(p, shape if "shape" in p.name else size, seed) for p in required_of(method)])
            worked = True
        except Exception:  # noqa: S112 - a way that does not work; another method, or the next shape, may
            continue
    return worked


def _is_stub(cls: type, name: str) -> bool:
    code = getattr(getattr(cls, name), "__code__", None)
    return code is not None and (not code.co_names or is_stub(getattr(cls, name)))


def required_of(method: Any) -> list[inspect.Parameter]:
    """The parameters of a method that a call must give."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in parameters if p.default is inspect.Parameter.empty and p.kind not in STARS]


def _setup_value(parameter: inspect.Parameter, shape: Any, seed: int) -> Any:
    name = parameter.name.lower()
    if _is_size_of_input(name):
        return shape
    if "layer" in name or name in ("prev", "previous", "parent", "node", "source", "other"):
        return Previous(shape)
    if "opt" in name:
        return Descent()
    if "rng" in name or "random" in name:
        return np.random.RandomState(seed)  # the interface that older code expects
    if "batch" in name and "shape" not in name:
        return BATCH
    if any(word in name for word in ("shape", "input", "prev", "size", "dim", "n_in", "x")):
        return shape
    return settings_for(parameter, np.random.default_rng(seed))[0]


class Previous:
    """The layer before, as far as the next one asks: the shape of its output, or its size, under any usual name."""

    def __init__(self, shape: Any) -> None:
        self._shape = shape

    def __getattr__(self, name: str) -> Any:
        shape = vars(self).get("_shape")
        if name.startswith("__") or name == "_shape":
            raise AttributeError(name)
        if "shape" in name.lower():
            return shape
        if _A_SIZE.search(name.lower()):
            return shape[-1] if isinstance(shape, tuple) else shape
        raise AttributeError(name)


_A_SIZE = re.compile(r"size|dim|units|neurons|nodes|n_|out|features|channels|filters|num|width|length|count|^n")
