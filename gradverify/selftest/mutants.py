"""Every bug that can be planted in the reference: one expression of one function, replaced by a slip.

Modules, functions and expressions are found in the source, so a new layer brings its own mutants. Left out are
the parts that no pullback runs: initial values, pushforwards, argument checks, annotations.
"""

from __future__ import annotations

import ast
import copy
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from gradverify import reference
from gradverify.selftest.mutations import slips

# Forward mode, training and views: nothing of them is run by a pullback.
UNTOUCHED = {"adaptive", "chain", "clipping", "duals", "explain", "initialisers", "layer", "modes", "optimizers",
             "schedules", "training", "trees"}
NOT_BACKWARD = {"init", "pushforward", "advance", "value_and_slope"}
SILENT = (ast.Raise, ast.Assert, ast.JoinedStr, ast.arguments, ast.ClassDef)

Place = tuple[ast.AST, str, int | None]  # parent, field, index in the field


@dataclass(frozen=True)
class Mutant:
    """One slip at one place: `number` counts the places of the module, `slip` the slips of the place."""

    module: str
    function: str
    line: int
    label: str
    before: str
    after: str
    number: int
    slip: int

    def __str__(self) -> str:
        return f"{self.label} in {self.module}.{self.function}, line {self.line}: {self.before}  ->  {self.after}"


@cache
def tree_of(module: str) -> ast.Module:
    """The syntax tree of a module of the reference; never to be changed in place."""
    return ast.parse(inspect.getsource(import_module(f"{reference.__name__}.{module}")))


@cache
def modules() -> tuple[str, ...]:
    """The modules of the reference that take part in a pullback."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(reference.__path__) if info.name not in UNTOUCHED))


@cache
def all_mutants() -> tuple[Mutant, ...]:
    """Every mutant, in the order of the source; no two with the same text."""
    found: dict[tuple[str, str], Mutant] = {}
    for module in modules():
        for mutant in _mutants_of(module):
            found.setdefault((module, f"{mutant.function} {mutant.line} {mutant.before} {mutant.after}"), mutant)
    return tuple(found.values())


def _mutants_of(module: str) -> Iterator[Mutant]:
    for number, (function, place) in enumerate(places(tree_of(module))):
        node = _at(place)
        for slip, (label, new) in enumerate(slips(node)):
            before, after = ast.unparse(node), ast.unparse(new)
            if before != after:
                yield Mutant(module, function, node.lineno, label, before, after, number, slip)


def places(tree: ast.Module) -> Iterator[tuple[str, Place]]:
    """Every expression that a pullback may run, with the name of its function."""
    for name, function in _functions(tree, ""):
        for statement, field, index in _children(function):
            if field == "body" and not _is_docstring(statement, field, index):
                place = statement, field, index
                yield from ((name, inner) for inner in _expressions(_at(place), place))


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not _is_silent(node.name):
            yield f"{prefix}{node.name}", node


def _is_silent(name: str) -> bool:
    return name in NOT_BACKWARD or name.startswith("__") or "require" in name or "push" in name


def _is_docstring(parent: ast.AST, field: str, index: int | None) -> bool:
    node = _at((parent, field, index))
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _expressions(node: ast.AST, place: Place) -> Iterator[Place]:
    if isinstance(node, SILENT):
        return
    if isinstance(node, ast.expr):
        yield place
    for parent, field, index in _children(node):
        if field not in {"annotation", "returns", "decorator_list"}:
            yield from _expressions(_at((parent, field, index)), (parent, field, index))


def _children(node: ast.AST) -> Iterator[Place]:
    for field, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            yield node, field, None
        elif isinstance(value, list):
            yield from ((node, field, k) for k, item in enumerate(value) if isinstance(item, ast.AST))


def _at(place: Place) -> Any:
    parent, field, index = place
    value = getattr(parent, field)
    return value if index is None else value[index]


def mutated(mutant: Mutant) -> ast.Module:
    """The module's tree with the slip in place."""
    tree = copy.deepcopy(tree_of(mutant.module))
    place = next(place for k, (_, place) in enumerate(places(tree)) if k == mutant.number)
    node = _at(place)
    new = list(slips(node))[mutant.slip][1]
    parent, field, index = place
    if index is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[index] = new
    return ast.fix_missing_locations(tree)
