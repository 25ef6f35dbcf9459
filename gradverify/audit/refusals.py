"""What code asks for by refusing: ``assert x.shape[1] == n``, ``if h % k: raise``, solved for what it was given.

The condition of the line that raised is read from the source and computed again, in the frame that raised, with one
of its sizes exchanged: the axis of an array, an entry of a tuple or a dictionary, a whole number.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any

import numpy as np

from gradverify.audit.mined import assignments, tree_of

_SIZES = (12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)  # of two that are as near the larger
_MOST = 4  # changes that one condition asks for
_WHOLE = slice(None)


@dataclass(frozen=True)
class Term:
    """A part of a condition that something given decides: `owner` is that thing, `key` what of it."""

    node: ast.expr
    owner: ast.expr
    of_shape: bool
    key: Any = None


def changes(error: BaseException, given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """New shapes of arrays, and new values of all else, by name, each of which meets the condition that was not met.

    `given` is what was given, by name; none where it was no such condition that raised.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return []
    try:
        found = {f"{name}: {value!r}": (name, value) for name, value in _solutions(traceback, given)}
        return list(found.values())[:_MOST]
    except Exception:  # a condition that cannot be computed a second time
        return []


def _solutions(traceback: TracebackType, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    frame = traceback.tb_frame
    found = condition_at(frame.f_code, traceback.tb_lineno)
    if found is None:
        return
    test, wanted = found
    for term in _terms(test, frame):
        owner = _value(term.owner, frame)
        name = _given_as(term, owner, given)
        if name is None:
            continue
        for size in _candidates(test, term, frame):
            if bool(_value(_exchanged(test, term.node, size), frame)) is wanted:
                yield name, _changed(term, owner, size)
                break


def condition_at(code: CodeType, line: int) -> tuple[ast.expr, bool] | None:
    """The condition that a line asks for, and the truth it should have: of an assertion, or around what is raised."""
    line -= code.co_firstlineno - 1
    for node in ast.walk(tree_of(code)):
        if isinstance(node, ast.Assert) and _is_at(node, line):
            return node.test, True
        branches = ((node.body, False), (node.orelse, True)) if isinstance(node, ast.If) else ()
        for branch, wanted in branches:
            if any(isinstance(s, ast.Raise) and _is_at(s, line) for s in branch):
                return node.test, wanted  # type: ignore[attr-defined]
    return None


def _is_at(statement: ast.stmt, line: int) -> bool:
    return statement.lineno <= line <= (statement.end_lineno or 0)


def _terms(test: ast.expr, frame: FrameType) -> Iterator[Term]:
    """The sizes in a condition, whole shapes before their axes."""
    assigned = dict(_assigned(tree_of(frame.f_code)))
    for node in ast.walk(test):
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call)):
            meant = assigned.get(ast.unparse(node), node)
            term = _term(node, meant)
            if term is not None:
                yield term


def _assigned(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """What names stand for: ``n, c = x.shape`` for ``x.shape[0]`` and ``x.shape[1]``, ``k = p["k"]`` for that."""
    for name, value in [pair for node in ast.walk(tree) for pair in assignments(node)]:
        if isinstance(name, ast.Tuple):
            yield from ((ast.unparse(n), _entry(value, i)) for i, n in enumerate(name.elts))
        elif isinstance(value, (ast.Subscript, ast.Call, ast.Name, ast.Attribute)):
            yield ast.unparse(name), value


def _entry(value: ast.expr, index: int) -> ast.expr:
    return ast.Subscript(value, ast.Constant(index), ast.Load())


def _term(node: ast.expr, meant: ast.expr) -> Term | None:
    if isinstance(meant, ast.Call):
        if ast.unparse(meant.func) == "len" and len(meant.args) == 1:
            return Term(node, meant.args[0], True, 0)
        is_get = isinstance(meant.func, ast.Attribute) and meant.func.attr == "get" and meant.args
        return Term(node, meant.func.value, False, _constant(meant.args[0])) if is_get else None  # type: ignore[attr-defined]
    if isinstance(meant, ast.Subscript):
        key, shape = _constant(meant.slice), _of_shape(meant.value)
        if key is None:
            return None
        return Term(node, shape, True, key) if shape is not None else Term(node, meant.value, False, key)
    shape = _of_shape(meant)
    return Term(node, shape, True, _WHOLE) if shape is not None else Term(node, meant, False)


def _of_shape(node: ast.expr) -> ast.expr | None:
    """The x of ``x.shape``; None for anything else."""
    if isinstance(node, ast.Attribute) and node.attr == "shape":
        return node.value
    is_call = isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.shape", "numpy.shape") and node.args
    return node.args[0] if is_call else None  # type: ignore[attr-defined]


def _constant(node: ast.expr) -> Any:
    """A number, a string, or a slice of numbers that is written out; None for anything else."""
    if isinstance(node, ast.Slice):
        parts = [None if part is None else _constant(part) for part in (node.lower, node.upper)]
        return slice(*parts) if node.step is None else None
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _value(node: ast.expr, frame: FrameType) -> Any:
    code = compile(ast.fix_missing_locations(ast.Expression(node)), "<condition>", "eval")
    return eval(code, frame.f_globals, dict(frame.f_locals))  # noqa: S307 - what the code under audit has just computed


def _given_as(term: Term, owner: Any, given: Mapping[str, Any]) -> str | None:
    """The name under which the owner of a size was given: an array by its entries, all else by its name and value."""
    if isinstance(owner, np.ndarray):
        return next((n for n, x in given.items() if isinstance(x, np.ndarray) and _same(x, owner)), None)
    if term.of_shape:
        return None
    last = ast.unparse(term.owner).rsplit(".", maxsplit=1)[-1].strip("_")
    return next((n for n, v in given.items() if n.strip("_") == last and type(v) is type(owner) and v == owner), None)


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    return x.shape == y.shape and bool(np.all(x == y))


def _candidates(test: ast.expr, term: Term, frame: FrameType) -> list[Any]:
    """What to put in place of a size: what it is compared with, then small numbers."""
    compared = [n for n in ast.walk(test) if isinstance(n, ast.Compare)]
    sides = [s for c in compared for s in (c.left, *c.comparators) if term.node in (c.left, *c.comparators)]
    now = _value(term.node, frame)
    others = [v for s in sides if s is not term.node and type(v := _value(s, frame)) is type(now)]
    near = sorted(_SIZES, key=lambda size: abs(size - now)) if type(now) is int else []
    return [*others, *near]


def _exchanged(test: ast.expr, old: ast.expr, value: Any) -> ast.expr:
    """The condition with a value in place of one of its parts, wherever that is written."""
    text = ast.unparse(old)

    class Exchange(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            same = isinstance(node, ast.expr) and ast.unparse(node) == text
            return _literal(value) if same else self.generic_visit(node)

    copied = ast.parse(ast.unparse(test), mode="eval")
    Exchange().visit(copied)
    return copied.body


def _literal(value: Any) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def _changed(term: Term, owner: Any, size: Any) -> Any:
    """The shape, or the value, of what was given, with the new size in its place."""
    now = owner.shape if term.of_shape else owner
    if term.key is None or term.key is _WHOLE:
        return size
    if isinstance(now, Mapping):
        return {**now, term.key: size}
    entries = list(now)
    entries[term.key] = size
    return type(now)(entries)


def by_name(function: Callable[..., Any], inputs: tuple[Any, ...], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names of its parameters."""
    try:
        return dict(inspect.signature(function).bind_partial(*inputs, **settings).arguments)
    except (TypeError, ValueError):
        return dict(settings)
