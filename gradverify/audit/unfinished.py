"""Calls and names that cannot be right, whatever the code is given: told from an error and the source it came from.

``np.arrange(n)``, a name that nothing binds, a keyword that a function does not have, a property that is assigned
to and cannot be. The error of a wrong guess of ours is none of these.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gradverify.audit.imports import FINDER, folders_of
from gradverify.audit.record import Candidate
from gradverify.records import Check, Report, Verdict

_PLACE = re.compile(r'File "([^"]+)", line (\d+), in ')
_NAME = re.compile(r"NameError: name '(\w+)' is not defined")
_NUMPY = re.compile(r"AttributeError: module '(numpy[\w.]*)' has no attribute '(\w+)'")
_SETTER = re.compile(r"AttributeError: property '(\w+)' of '(\w+)' object has no setter")
_CALL = re.compile(
    r"TypeError: ([\w.]+)\(\) (?:got an unexpected keyword argument|takes |missing \d+ required|got multiple values)"
)


def line_that_never_runs(traceback: str, candidate: Candidate) -> str:
    """The line, as ``file:12: np.arrange(n)``, that raises whatever it is given; empty where that is not certain."""
    root = folders_of(candidate.source.path)[-1].resolve()
    places = [(Path(path), int(line)) for path, line in _PLACE.findall(traceback)]
    own = [place for place in places if root in place[0].resolve().parents and place[0].is_file()]
    message = traceback.rstrip().splitlines()[-1] if own else ""
    if not own or not (own[-1] == places[-1] or _CALL.search(message) or _NUMPY.search(message)):
        return ""
    path, line = own[-1]
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ""
    if not _is_certain(message, text, tree, line, path):
        return ""
    return f"{path.name}:{line}: {text.splitlines()[line - 1].strip()}"


def unfinished_report(candidate: Candidate, traceback: str) -> Report | None:
    """The report of code that cannot run, where an error is certain to say so; None for any other error."""
    line = line_that_never_runs(traceback, candidate)
    if not line:
        return None
    check = Check(candidate.symbol, candidate.forward, "", Verdict.INCONCLUSIVE, reason="error", detail=traceback)
    return Report(candidate.symbol, (check,), notes=(f"it cannot run, whatever it is given: {line}",))


def _is_certain(message: str, text: str, tree: ast.Module, line: int, path: Path) -> bool:
    if match := _NAME.search(message):
        lacking = not FINDER.absent and not hasattr(builtins, match[1]) and match[1] not in set(_bound(text, path))
        return lacking and "globals()" not in text
    if match := _NUMPY.search(message):
        return not _was_once(match[1], match[2])
    if match := _SETTER.search(message):
        return any(isinstance(n, ast.Attribute) and n.attr == match[1] and isinstance(n.ctx, ast.Store)
                   for n in ast.walk(tree))  # fmt: skip
    match = _CALL.search(message)
    return match is not None and any(_is_fixed(call, tree, path) for call in _calls(tree, line, match[1]))


def _bound(text: str, path: Path) -> Iterator[str]:
    """All names that a module may have: bound at its top, in whatever branch, declared global, or imported anywhere.

    A name that is local to one function is none to another: ``out`` of ``add`` is not bound in ``relu``.
    """
    top = symtable.symtable(text, str(path), "exec")
    yield from (s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace())
    yield from _declared(top)


def _declared(table: symtable.SymbolTable) -> Iterator[str]:
    for inner in table.get_children():
        yield from (s.get_name() for s in inner.get_symbols() if s.is_declared_global() or s.is_imported())
        yield from _declared(inner)


def _was_once(module: str, name: str) -> bool:
    """Whether older versions of NumPy had what this one has not: then the code is old, and not wrong."""
    former = {*getattr(np, "__former_attrs__", ()), *getattr(np, "__expired_attributes__", ())}
    return module != "numpy" or name in former or name in _REMOVED


_REMOVED = ("product", "cumproduct", "sometrue", "alltrue", "trapz", "in1d", "row_stack", "rank", "msort", "asscalar",
            "alen", "loads", "typeDict", "str", "object", "int", "float", "bool", "complex", "long",
            "unicode")  # fmt: skip


def _calls(tree: ast.Module, line: int, named: str) -> Iterator[ast.Call]:
    """The calls of a name on a line."""
    last = named.rsplit(".", maxsplit=1)[-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.lineno <= line <= (node.end_lineno or 0):
            called = ast.unparse(node.func).rsplit(".", maxsplit=1)[-1]
            if last in (called, "__init__"):
                yield node


def _is_fixed(call: ast.Call, tree: ast.Module, path: Path) -> bool:
    """Whether a call always means the same function: one of the module, of a module it imports, or of its own class."""
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        return False
    root = ast.unparse(call.func).split(".")[0]
    if root == "self":
        return ast.unparse(call.func).count(".") == 1 and _is_method(call.func, tree)
    module = next((m for m in list(sys.modules.values()) if _file_of(m) == path.resolve()), None)
    value: Any = getattr(module, root, None)
    local = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return value is not None and root not in local and root not in {n.arg for n in ast.walk(tree)
                                                                    if isinstance(n, ast.arg)}  # fmt: skip


def _is_method(function: ast.expr, tree: ast.Module) -> bool:
    """Whether ``self.f`` is a method that one class of the file defines, and no attribute that something sets."""
    name = ast.unparse(function).removeprefix("self.")
    methods = [m for n in ast.walk(tree) if isinstance(n, ast.ClassDef) for m in n.body
               if isinstance(m, ast.FunctionDef) and m.name == name]  # fmt: skip
    stored = any(isinstance(n, ast.Attribute) and n.attr == name and isinstance(n.ctx, ast.Store)
                 for n in ast.walk(tree))  # fmt: skip
    return len(methods) == 1 and not stored


def _file_of(module: Any) -> Path | None:
    location = getattr(module, "__file__", None)
    return Path(location).resolve() if isinstance(location, str) else None
