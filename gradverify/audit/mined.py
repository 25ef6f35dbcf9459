"""What a project shows of its own use: calls of its classes, and the words that its code compares settings with."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
import warnings
from collections.abc import Iterator
from enum import Enum
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from gradverify.audit.imports import folders_of
from gradverify.audit.older import parsed

_MOST_FILES, _MOST_CALLS, _LARGE = 300, 3, 12
_SMALL = (8, 6, 10, 12, 14)  # in place of 784 and 128: different, and even, so that windows of two fit


def example_calls(cls: type, path: str) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """The arguments with which the project itself makes instances of a class, large sizes made small.

    Only literals, names of the class's module and calls of its classes are evaluated.
    """
    module = sys.modules.get(cls.__module__)
    seen: set[str] = set()
    for call in _calls(str(folders_of(path)[-1])).get(cls.__name__, []):
        text = ast.dump(call)
        if text in seen or len(seen) >= _MOST_CALLS:
            continue
        seen.add(text)
        sizes: dict[int, int] = {}
        try:
            positional = [_evaluate(a, module, sizes) for a in call.args]
            keywords = {k.arg: _evaluate(k.value, module, sizes) for k in call.keywords if k.arg}
        except (ValueError, TypeError, AttributeError, KeyError):
            continue
        if positional or keywords:
            yield positional, keywords


@cache
def _calls(root: str) -> dict[str, list[ast.Call]]:
    found: dict[str, list[ast.Call]] = {}
    for file in islice(sorted(Path(root).rglob("*.py")), _MOST_FILES):
        for node in ast.walk(_parse(file)):
            if isinstance(node, ast.Call) and (node.args or node.keywords):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                found.setdefault(name, []).append(node)
    return found


def reads_attributes(cls: type, name: str) -> bool:
    """Whether the code of a class reads attributes of an argument of its constructor: ``input_layer.shape``."""
    tree = tree_of(cls.__init__)  # type: ignore[misc]
    nodes = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute))
    return any(isinstance(n.value, ast.Name) and n.value.id == name for n in nodes)


def _parse(file: Path) -> ast.AST:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(file.read_text(encoding="utf-8", errors="replace"))
    except (SyntaxError, ValueError, OSError, RecursionError):
        return ast.Module([], [])


def _evaluate(node: ast.expr, module: ModuleType | None, sizes: dict[int, int]) -> Any:
    if isinstance(node, ast.Constant):
        return _shrunk(node.value, sizes)
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_evaluate(item, module, sizes) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict):
        return {_evaluate(k, module, sizes): _evaluate(v, module, sizes)
                for k, v in zip(node.keys, node.values, strict=True) if k is not None}  # fmt: skip
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand, module, sizes)
    if isinstance(node, ast.Call):
        made = _named(node.func, module)
        if not isinstance(made, type):
            raise TypeError(ast.unparse(node))
        keywords = {k.arg: _evaluate(k.value, module, sizes) for k in node.keywords if k.arg}
        return made(*[_evaluate(a, module, sizes) for a in node.args], **keywords)
    return _named(node, module)


def _named(node: ast.expr, module: ModuleType | None) -> Any:
    """A class, function or member of an enumeration by its name; numbers and data under a name are left alone."""
    parts = ast.unparse(node).split(".")
    for place in (module, *_siblings(module), np if parts[0] in ("np", "numpy") else None):
        value: Any = place
        for part in parts if place is not np else parts[1:]:
            value = getattr(value, part, None)
        value = value if value is not None else getattr(place, parts[-1], None)
        if callable(value) or isinstance(value, Enum):
            return value
    raise ValueError(ast.unparse(node))


def _siblings(module: ModuleType | None) -> list[ModuleType]:
    top = getattr(module, "__name__", "").split(".")[0]
    return [m for name, m in list(sys.modules.items()) if top and name.startswith(f"{top}.")]


def _shrunk(value: Any, sizes: dict[int, int]) -> Any:
    if isinstance(value, bool) or not isinstance(value, int) or value <= _LARGE:
        return value
    return sizes.setdefault(value, _SMALL[len(sizes) % len(_SMALL)])


@cache
def tree_of(code: Any) -> ast.AST:
    """The syntax of a function or class; an empty module where its source is not to be had."""
    try:
        return parsed(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError):
        return _class_of_older(code) if isinstance(code, type) else ast.Module([], [])


def _class_of_older(cls: type) -> ast.AST:
    """The syntax of a class in a file of Python 2, which `inspect` does not read; an empty module if there is none."""
    try:
        path = Path(inspect.getsourcefile(cls) or "")
        tree = parsed(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])
    found = (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == cls.__name__)
    return next(iter(found), ast.Module([], []))


@cache
def told_length(cls: type, name: str) -> int:
    """How many entries a class wants of a tuple: ``a, b, c = name``, ``name[2]``, "a tuple of 3"; 0 if it says nothing.

    What its bases say counts too; of a shape of the input also what is said of the output's.
    """
    own = _told_length(cls, name)
    others = ("out_shape", "output_shape") if "in" in name and "shape" in name else ()
    return own or max((_told_length(cls, other) for other in others), default=0)


def _told_length(cls: type, name: str) -> int:
    bases = cls.__mro__[:-1]
    unpacked = next((n for base in bases if (n := len(unpacked_names(base, name)))), 0)
    written = (m for base in bases for m in re.finditer(_TOLD.format(re.escape(name)), base.__doc__ or ""))
    told = next((int(m[1]) for m in written), 0)
    return unpacked or told or max((_highest_index(base, name) for base in bases), default=0)


_TOLD = r"\b{}\b[^\n]*\n?[^\n]*\btuple of (\d)\b"


def _highest_index(code: Any, name: str) -> int:
    """The length that the indices speak of with which a tuple is read, at least its second entry among them; else 0.

    Whoever reads ``shape[2]`` and ``shape[-1]`` means two entries.
    """
    read = [n.slice for n in ast.walk(tree_of(code)) if isinstance(n, ast.Subscript)
            and ast.unparse(n.value) in (name, f"self.{name}")]  # fmt: skip
    indices = [int(text) for text in map(ast.unparse, read) if re.fullmatch(r"-?\d+", text)]
    highest = max(indices, default=0)
    return highest + 1 - min(0, *indices) if highest > 0 else 0


def assignments(node: ast.AST) -> list[tuple[ast.expr, ast.expr]]:
    """What a node assigns, and to what; ``a, b = x, y`` is two assignments."""
    pairs = [(target, node.value) for target in node.targets] if isinstance(node, ast.Assign) else []
    return [pair for target, value in pairs for pair in (
        zip(target.elts, value.elts, strict=False)
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) else [(target, value)])]  # fmt: skip


def unpacked_names(code: Any, name: str) -> tuple[str, ...]:
    """The names that ``a, b, c = name`` gives the parts; none if the code has no such line."""
    return next((names for value, names in _unpackings(code) if value in (name, f"self.{name}")), ())


def returns_function(code: Any) -> bool:
    """Whether all that a function returns is a function: a lambda, or one that it defines."""
    own = next((n for n in getattr(tree_of(code), "body", []) if isinstance(n, ast.FunctionDef)), None)
    if own is None:
        return False
    inner = {n.name for n in own.body if isinstance(n, ast.FunctionDef)}
    values = [n.value for n in own.body if isinstance(n, ast.Return)]
    return bool(values) and all(isinstance(v, ast.Lambda) or getattr(v, "id", None) in inner for v in values)


def unpacked_rank(code: Any, name: str) -> int:
    """The number of axes that ``N, C, H, W = name.shape`` says an argument has; 0 if there is no such line."""
    return next((len(n) for value, n in _unpackings(code) if value in (f"{name}.shape", f"np.shape({name})")), 0)


@cache
def _unpackings(code: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    assigned = [n for n in ast.walk(tree_of(code)) if isinstance(n, ast.Assign)]
    pairs = [(n.targets[0], n.value) for n in assigned]
    for node in assigned:
        if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs += list(zip(node.targets[0].elts, node.value.elts, strict=False))
    tuples = [(target.elts, value) for target, value in pairs if isinstance(target, ast.Tuple)]
    return tuple(
        (ast.unparse(value), tuple(ast.unparse(name) for name in names))
        for names, value in tuples
        if not any(isinstance(name, ast.Starred) for name in names)
    )


def returned_words(code: Any) -> tuple[str, ...]:
    """What ``return dx, dW, db`` calls the parts of the tuple that a function returns; none if it is not one tuple."""
    values = [n.value for n in ast.walk(tree_of(code)) if isinstance(n, ast.Return)]
    tuples = [v for v in values if isinstance(v, ast.Tuple)]
    return tuple(ast.unparse(e) for e in tuples[0].elts) if len(tuples) == 1 == len(values) else ()


def hands_back(code: Any) -> bool:
    """Whether a function returns anything."""
    nodes = list(ast.walk(tree_of(code)))
    returned = [n.value for n in nodes if isinstance(n, ast.Return)]
    return not nodes[1:] or any(returned) or any(isinstance(n, (ast.Yield, ast.Lambda)) for n in nodes)


def forgotten(code: Any) -> tuple[str, ...]:
    """The local names that a function which returns nothing computes and drops: never read, or assigned at its end."""
    if hands_back(code):
        return ()
    nodes = list(ast.walk(tree_of(code)))
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    unread = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id not in read]
    last = next((f.body[-1] for f in nodes if isinstance(f, ast.FunctionDef)), None)
    ends = [t.id for t, _ in assignments(last) if isinstance(t, ast.Name)] if last is not None else []
    return tuple(dict.fromkeys((*unread, *ends)))


def kept_words(forward: Any, result: Any) -> tuple[str, ...]:
    """What a forward calls each thing that it returned beside its output, empty where nothing says it."""
    count = len(result) - 1 if isinstance(result, tuple) and len(result) > 1 else 0
    words = returned_words(getattr(forward, "__func__", forward))[1:]
    return words if len(words) == count else ("",) * count


def always_none(code: Any) -> set[int]:
    """The places of the tuples that a function returns at which every one has None."""
    values = [n.value for n in ast.walk(tree_of(code)) if isinstance(n, ast.Return)]
    returned = [value.elts for value in values if isinstance(value, ast.Tuple)]
    places = [{i for i, e in enumerate(t) if isinstance(e, ast.Constant) and e.value is None} for t in returned]
    return set.intersection(*places) if places else set()


@cache
def words_for(code: Any, parameter: str) -> tuple[str, ...]:
    """The strings that the code of a class or function compares a setting with, in their order.

    ``if kind == "relu"``, ``mode in ("same", "valid")`` and ``{"tanh": ...}[kind]`` count.
    """
    found: list[str] = []
    for node in ast.walk(tree_of(code)):
        if isinstance(node, ast.Compare) and _is_about(node.left, parameter):
            parts = [c for part in node.comparators for c in ast.walk(part)]
            found += [c.value for c in parts if isinstance(c, ast.Constant) and isinstance(c.value, str)]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict) and _is_about(node.slice, parameter):
            keys = node.value.keys
            found += [k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str)]
    return tuple(dict.fromkeys(found))


def _is_about(node: ast.expr, parameter: str) -> bool:
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value  # kind.lower()
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return bool(node.slice.value == parameter)  # settings["kind"]
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.strip("_") == parameter.strip("_")
