"""Objects of the same project for a parameter whose methods the code calls: an activation, a loss, an initializer.

``self.activation.forward(z)`` says what such an object must have; classes of the project that have it, and are made
without being told anything, are tried. Runs in a worker only.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from gradverify.audit.imports import FINDER
from gradverify.audit.mined import tree_of
from gradverify.audit.search import silence

_MOST, _MOST_FILES = 3, 80
_SMOOTH = ("tanh", "sigmoid", "softplus", "swish", "linear", "identity")  # right at every point, so that nothing ties


def objects_for(name: str, cls: type) -> list[Any]:
    """Instances, or static classes, that have every method which the code of a class calls on a parameter."""
    wanted = methods_called(cls, name)
    if not wanted:
        return []
    found = list(islice(_made(wanted, cls), 2 * _MOST))
    return sorted(found, key=_rank)[:_MOST]


def concrete(default: type) -> type:
    """What stands for a class whose methods only raise, as a default: the smoothest class that derives from it."""
    stubs = [n for n, f in vars(default).items() if is_stub(getattr(f, "__func__", f))]
    derived: list[type] = default.__subclasses__() if stubs else []
    return min((c for c in derived if all(n in vars(c) for n in stubs)), key=_rank, default=default)


def is_stub(function: Any) -> bool:
    """Whether a function does nothing but say that it is not implemented."""
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_names) and set(code.co_names) <= {"NotImplementedError", "NotImplemented"}


def _rank(thing: Any) -> int:
    called = (thing if isinstance(thing, type) else type(thing)).__name__.lower()
    return next((i for i, word in enumerate(_SMOOTH) if word in called), len(_SMOOTH))


@cache
def methods_called(cls: type, name: str) -> frozenset[str]:
    """What a class calls on a parameter, or on the attribute of that name; ``__call__`` where it calls that itself."""
    nodes = [n for base in cls.__mro__[:-1] for n in ast.walk(tree_of(base)) if isinstance(n, ast.Call)]
    called = [n.func for n in nodes]
    if _is_handed_on(cls, name):
        called = [f for f in called if not f"{ast.unparse(f)}.".startswith(f"self.{name}.")]
    wanted = {f.attr for f in called if isinstance(f, ast.Attribute) and _is_called(f.value, name)}
    wanted |= {"__call__" for f in called if _is_called(f, name)}
    return frozenset(wanted - _OF_STRINGS)


_OF_STRINGS = {"lower", "upper", "strip", "startswith", "items", "keys", "get", "values", "append", "copy", "reshape",
               "shape", "dot", "sum", "split", "pop", "extend", "update_weights"}  # fmt: skip


def _is_handed_on(cls: type, name: str) -> bool:
    """Whether the attribute of that name is an object made from the parameter: ``self.dropout = Dropout(dropout)``."""
    assigned = [n for base in cls.__mro__[:-1] for n in ast.walk(tree_of(base)) if isinstance(n, ast.Assign)]
    made = [n.value for n in assigned if any(ast.unparse(t) == f"self.{name}" for t in n.targets)]
    return bool(made) and all(isinstance(v, ast.Call) and _is_class_name(ast.unparse(v.func)) for v in made)


def _is_class_name(dotted: str) -> bool:
    return dotted.rsplit(".", maxsplit=1)[-1][:1].isupper()


def _is_called(node: ast.expr, name: str) -> bool:
    """Whether an expression is the parameter, or ``self.`` it with or without underscores."""
    if isinstance(node, ast.Name):
        return node.id == name
    if not isinstance(node, ast.Attribute) or ast.unparse(node.value) != "self":
        return False
    return re.fullmatch(rf"_*{re.escape(name.strip('_'))}_*((fn|func|function|layer|obj))?", node.attr) is not None


def _made(wanted: frozenset[str], cls: type) -> Iterator[Any]:
    seen: set[type] = {cls}
    for other in _classes(wanted, cls):
        if other in seen or issubclass(other, cls) or issubclass(cls, other):
            continue
        seen.add(other)
        if not all(callable(getattr(other, name, None)) for name in wanted) or inspect.isabstract(other):
            continue
        try:
            with silence():
                yield other()
        except Exception:  # noqa: S112 - one that wants to be told something
            continue


def _classes(wanted: frozenset[str], cls: type) -> Iterator[type]:
    """The classes of the modules that are imported, then those of files that define all that is wanted."""
    folders = FINDER.folders[-1:]
    own = sys.modules.get(cls.__module__)
    for module in filter(None, (own, *FINDER.imported(own))):
        yield from (c for c in list(vars(module).values()) if isinstance(c, type) and c.__module__ == module.__name__)
    for file in _files(folders, cls):
        if _defines(file, wanted):
            module = _imported(file, folders[0])
            yield from (c for c in list(vars(module).values()) if isinstance(c, type)) if module is not None else ()


def _files(folders: list[Path], cls: type) -> list[Path]:
    """The files of a project, those of the folder of the class first."""
    own = Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or "x").parent
    found = [f for folder in folders for f in islice(sorted(folder.rglob("*.py")), _MOST_FILES)]
    return sorted(found, key=lambda f: (f.parent != own, "test" in f.name))


def _defines(file: Path, wanted: frozenset[str]) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "class " in text and all(f"def {name}" in text for name in wanted)


def _imported(file: Path, root: Path) -> Any:
    """The module of a file by the name that the project's own folders give it; None where it cannot be imported."""
    near = next((folder for folder in FINDER.folders if file.parent == folder), None)
    name = file.stem if near is not None else ".".join(file.relative_to(root).with_suffix("").parts)
    try:
        with silence(), FINDER.lenient():
            return importlib.import_module(name)
    except (Exception, SystemExit):
        return None
