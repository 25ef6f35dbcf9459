"""The source of running code, and its functions with one expression exchanged, for as long as a block lasts.

Nothing is imported or executed anew: an edited statement is compiled, and the functions that exist get its code.
"""

from __future__ import annotations
import __future__

import ast
import gc
import linecache
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from operator import or_
from types import CodeType, FunctionType
from typing import Any, TypeAlias, TypeGuard

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_FUTURE = reduce(or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names))


@dataclass(frozen=True)
class Edit:
    """One node of a syntax tree exchanged: the place is a field of `parent`, or an item of the list there."""

    parent: ast.AST
    field: str
    index: int | None
    old: ast.AST
    new: ast.AST | None  # None: a statement taken out

    def put(self, node: ast.AST | None) -> None:
        """Write a node into the place."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = ast.Pass() if node is None else node

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The tree with the edit in it."""
        self.put(self.new)
        try:
            yield
        finally:
            self.put(self.old)


@dataclass(frozen=True)
class Program:
    """A statement at the top of a user's file, and the functions that run code of it."""

    file: str
    statement: ast.stmt
    flags: int

    @cached_property
    def unchanged(self) -> tuple[CodeType, ...]:
        """The code of every function in the statement without an edit."""
        return tuple(self.codes())

    @cached_property
    def keys(self) -> dict[tuple[Any, ...], int]:
        """What tells the functions in the statement apart, and the number of each."""
        return {_key(code): k for k, code in reversed(list(enumerate(self.unchanged)))}

    def holders(self) -> list[tuple[FunctionType, int]]:
        """The functions that exist, each with the number of its code among those of the statement."""
        functions = [f for f in gc.get_objects() if type(f) is FunctionType and f.__code__.co_filename == self.file]
        return [(f, self.keys[key]) for f in functions if (key := _key(f.__code__)) in self.keys]

    def codes(self) -> Iterator[CodeType]:
        """The code of every function in the statement as it stands, the outer ones first."""
        whole = ast.fix_missing_locations(ast.Module([self.statement], []))
        yield from _within(compile(whole, self.file, "exec", flags=self.flags, dont_inherit=True))

    def node_of(self, code: CodeType) -> Function | None:
        """The function in the syntax tree that this code was compiled from."""
        functions = (n for n in ast.walk(self.statement) if isinstance(n, _FUNCTIONS))
        nodes = [n for n in functions if _first_line(n) == code.co_firstlineno]
        if code.co_name != "<lambda>":
            return next((n for n in nodes if getattr(n, "name", None) == code.co_name), None)
        lambdas = [n for n in nodes if isinstance(n, ast.Lambda) and _covers(n.body, *_start(code))]
        return min(lambdas, key=lambda n: len(ast.unparse(n)), default=None)

    @contextmanager
    def edited(self, edit: Edit, holders: Sequence[tuple[FunctionType, int]]) -> Iterator[None]:
        """The holders run the edited code in the block; raises where an edit does not compile or does not fit."""
        with edit.applied():
            codes = tuple(self.codes())
        if len(codes) != len(self.unchanged):
            raise ValueError("the edit adds a function or takes one away")
        held = [(function, function.__code__, codes[number]) for function, number in holders]
        try:
            for function, _, code in held:
                function.__code__ = code
            yield
        finally:
            for function, code, _ in held:
                function.__code__ = code


def variables(function: Function) -> list[str]:
    """Parameters and assigned names, those of functions within too, each once."""
    nodes = ast.walk(function)
    names = (n.arg if isinstance(n, ast.arg) else n.id for n in nodes if isinstance(n, ast.arg) or _is_stored(n))
    return list(dict.fromkeys(names))


def _is_stored(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def program_of(code: CodeType, names: Mapping[str, Any]) -> Program | None:
    """The statement that some code stands in; None where there is no source, or another one than what runs."""
    line, flags = code.co_firstlineno, code.co_flags & _FUTURE
    for program in _programs(code.co_filename, "".join(linecache.getlines(code.co_filename, dict(names))), flags):
        if _first_line(program.statement) <= line <= (program.statement.end_lineno or 0):
            return program if _key(code) in program.keys else None
    return None


@lru_cache(maxsize=16)
def _programs(file: str, source: str, flags: int) -> tuple[Program, ...]:
    try:
        return tuple(Program(file, statement, flags) for statement in ast.parse(source).body)
    except (SyntaxError, ValueError):
        return ()


def _within(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _within(inner)


def _key(code: CodeType) -> tuple[Any, ...]:
    # Not the instructions: compiled by itself a statement does not know which of its names are imported modules.
    constants = tuple(repr(c) for c in code.co_consts if not isinstance(c, CodeType))
    return code.co_qualname, _start(code), code.co_varnames, code.co_freevars, code.co_names, constants


def _start(code: CodeType) -> tuple[int, int]:
    """Line and column of the first thing that the code does."""
    return next(((line, column) for line, _, column, _ in code.co_positions() if line and column), (0, 0))


def _first_line(node: ast.stmt | ast.Lambda) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _covers(node: ast.expr, line: int, column: int) -> bool:
    return (node.lineno, node.col_offset) <= (line, column) <= (node.end_lineno or 0, node.end_col_offset or 0)
