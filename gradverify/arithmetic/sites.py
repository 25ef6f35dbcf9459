"""Where in the user's source an operation stands, and what its operands are called there."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

LIBRARIES = ("numpy", "scipy", "gradverify")
USERS = "gradverify.reference"
_MOST = 60  # characters of an expression


@dataclass(frozen=True)
class Site:
    """A place in the code: the file's name and the line.

    `key` holds the instruction and those it was called from: the same for every pass of a loop, another one for
    every use of a helper.
    """

    file: str
    line: int
    key: tuple[tuple[CodeType, int], ...]
    expression: str
    names: Mapping[str, Any] = field(compare=False, repr=False)  # the globals there: which of them are modules

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}"

    def operand(self, number: int) -> str:
        """How the source calls this operand; empty where it cannot be told."""
        operands = _operands(self.expression, self.names)
        return operands[number] if number < len(operands) else ""


def find_site() -> Site | None:
    """The innermost line of code that is no library's."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None and _of_a_library(frame):
        frame = frame.f_back
    if frame is None:
        return None
    line, last, start, end = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
    text = ""
    if line is not None and last is not None and start is not None and end is not None:
        lines = [linecache.getline(frame.f_code.co_filename, n, frame.f_globals) for n in range(line, last + 1)]
        text = _cut(lines, start, end)
    return Site(frame.f_code.co_filename, line or frame.f_lineno, tuple(_calls(frame)), text, frame.f_globals)


def _calls(frame: FrameType | None) -> Iterator[tuple[CodeType, int]]:
    """The instructions of the user's that led here, the innermost first."""
    while frame is not None and not _of_a_library(frame):
        yield frame.f_code, frame.f_lasti
        frame = frame.f_back


def _of_a_library(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in LIBRARIES and not module.startswith(USERS)


def _cut(lines: list[str], start: int, end: int) -> str:
    """The text between two columns, counted in bytes as Python does, in one line."""
    encoded = [line.encode() for line in lines]
    encoded[-1] = encoded[-1][:end]
    encoded[0] = encoded[0][start:]
    return " ".join(b"".join(encoded).decode(errors="replace").split())


def _operands(expression: str, names: Mapping[str, Any]) -> list[str]:
    try:
        (statement,) = ast.parse(expression).body
    except (SyntaxError, ValueError):
        return []
    node = statement.value if isinstance(statement, ast.Expr) else statement
    if isinstance(node, ast.AugAssign):
        return [ast.unparse(node.target), ast.unparse(node.value)]
    if isinstance(node, ast.BinOp):
        return [ast.unparse(node.left), ast.unparse(node.right)]
    if isinstance(node, ast.UnaryOp):
        return [ast.unparse(node.operand)]
    if isinstance(node, ast.Call):
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        of_a_module = inspect.ismodule(names.get(owner.partition(".")[0]))
        return ([owner] if owner and not of_a_module else []) + [ast.unparse(arg) for arg in node.args]
    return []


def shortened(expression: str) -> str:
    """An expression that fits into a line."""
    return expression if len(expression) <= _MOST else f"{expression[: _MOST - 4]} ..."
