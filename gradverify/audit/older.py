"""Source code that would not run as its authors had it: of Python 2, or scripts that do work at import.

Code of Python 2, by what any file of its project shows, divides whole numbers to whole numbers: shapes are computed
that way. A script that reads a data set which is not here still defines functions; its definitions are run one by one,
and what fails is left out.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import decode_source
from itertools import islice
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np

_NAMES_OF_2 = frozenset(("xrange", "raw_input", "cPickle", "iteritems", "itervalues", "has_key"))
_PRINTS = re.compile(r"^\s*print\s+[\"'\w]", re.MULTILINE)
_TRUE_DIVISION = re.compile(r"from __future__ import [^\n]*\bdivision\b")
_CARES_FOR_3 = re.compile(r"\bsix\b|sys\.version|\bexcept NameError|from builtins import|from past")
PROJECT: list[Path] = []  # the root of the project whose modules are imported now
_MOST = 300  # files of a project that are looked at
_DIVIDE = "_gradverify_divide"
_WHOLE = (int, np.integer)
_DEFINING = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def divide(a: Any, b: Any) -> Any:
    """Division as Python 2 has it.

    >>> divide(7, 2), divide(7.0, 2)
    (3, 3.5)
    """
    return a // b if isinstance(a, _WHOLE) and isinstance(b, _WHOLE) else a / b


class _Older(ast.NodeTransformer):
    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        node.attr = {"iteritems": "items", "itervalues": "values"}.get(node.attr, node.attr)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not (isinstance(node.func, ast.Attribute) and node.func.attr == "has_key" and len(node.args) == 1):
            return node
        return ast.copy_location(ast.Compare(node.args[0], [ast.In()], [node.func.value]), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div):
            return node
        call = ast.Call(ast.Name(_DIVIDE, ast.Load()), [node.left, node.right], [])
        return ast.copy_location(call, node)


@cache
def _is_of_python_2(root: Path) -> bool:
    """Whether any file of a project is code of Python 2."""
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in islice(sorted(root.rglob("*.py")), _MOST))
    return any(_speaks_python_2(text) and not _CARES_FOR_3.search(text) for text in texts)


def _speaks_python_2(text: str) -> bool:
    """By its syntax, not its words: a comment may speak of `xrange`, and a docstring begin a line with "print"."""
    if not _PRINTS.search(text) and not any(name in text for name in _NAMES_OF_2):
        return False
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return _PRINTS.search(text) is not None
    return not _NAMES_OF_2.isdisjoint(_names_in(tree))


def _names_in(tree: ast.Module) -> Iterator[str]:
    """The modules that a file imports, and the names that it uses without giving them a meaning of its own.

    ``import _pickle as cPickle`` and ``xrange = range`` are Python 3.
    """
    nodes = list(ast.walk(tree))
    aliases = [alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    own = {alias.asname for alias in aliases} | {getattr(node, "name", None) for node in nodes}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    yield from (alias.name for alias in aliases)
    for node in nodes:
        name = getattr(node, "id", "") or getattr(node, "attr", "")
        if name not in own:
            yield name


def parsed(text: str) -> ast.Module:
    """The syntax of a file, where statements of Python 2 stand in its way also of that; raises SyntaxError."""
    try:
        return ast.parse(text)
    except SyntaxError:
        for pattern, new in _STATEMENTS_OF_2:
            text = pattern.sub(new, text)
        return ast.parse(text)


_STATEMENTS_OF_2 = (
    (re.compile(r"^(\s*)print\s*$", re.MULTILINE), r"\1print()"),
    (re.compile(r"^((?:.*:)?\s*)print\s+(?!=|>>)(\S.*?),?(\s*#[^'\"\n]*)?$", re.MULTILINE), r"\1print(\2)"),
    (re.compile(r"^(\s*except\s+[\w.]+)\s*,\s*(\w+)\s*:", re.MULTILINE), r"\1 as \2:"),
    (re.compile(r"^(\s*raise\s+[\w.]+)\s*,\s*(.+)$", re.MULTILINE), r"\1(\2)"),
)


def _tree_of(text: str, path: str) -> ast.Module:
    tree = parsed(text)
    if not _is_older(text, path):
        return tree
    return ast.fix_missing_locations(_Older().visit(tree))  # type: ignore[no-any-return]


def _is_older(text: str, path: str) -> bool:
    within = any(root in Path(path).resolve().parents and _is_of_python_2(root) for root in PROJECT)
    return within and not _TRUE_DIVISION.search(text)


_whole = SourceFileLoader.source_to_code


def _source_to_code(self: Any, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:
    text = decode_source(data) if isinstance(data, bytes) else ""
    if not text or not _is_older(text, str(path)):
        return _whole(self, data, path, _optimize=_optimize)
    return compile(_tree_of(text, str(path)), str(path), "exec", dont_inherit=True, optimize=_optimize)


def install() -> None:
    """From here on, modules of Python 2 divide as they did; nothing that is compiled so is kept in a file."""
    setattr(builtins, _DIVIDE, divide)
    sys.dont_write_bytecode = True
    SourceFileLoader.source_to_code = _source_to_code  # type: ignore[method-assign]


def definitions_of(name: str, path: str) -> ModuleType:
    """A module of what a script defines at its top: statements that define, in their order, without those that raise.

    Raises SyntaxError for what is not Python, and whatever it raised if nothing is defined.
    """
    module = ModuleType(name)
    module.__file__ = path
    problem: Exception = ImportError(f"{path} defines nothing")
    for node in _tree_of(Path(path).read_text(encoding="utf-8", errors="replace"), path).body:
        if isinstance(node, _DEFINING):
            try:
                exec(compile(ast.Module([node], []), path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - as an import would
            except Exception as error:
                problem = error
    if not any(callable(value) for value in vars(module).values()):
        raise problem
    sys.modules[name] = module
    return module


def define_guarded(module: ModuleType, name: str) -> bool:
    """Whether a function or class of a module stands under an ``if`` that an import leaves out; it is defined then."""
    path = getattr(module, "__file__", None) or ""
    try:
        tree = _tree_of(Path(path).read_text(encoding="utf-8", errors="replace"), path)
        guarded = [inner for node in tree.body if isinstance(node, ast.If | ast.Try) for inner in ast.walk(node)]
        wanted = [n for n in guarded if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == name]
        exec(compile(ast.Module(list(wanted[:1]), []), path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - as its script would
    except Exception:
        return False
    return bool(wanted)
