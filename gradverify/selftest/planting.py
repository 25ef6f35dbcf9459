"""A mutant in place: values as they were, gradients of the mutated source.

The mutated module, and every module that imports from it, is executed once more beside the real ones. Within
`planted` the forward of a layer returns the value it always did, and a pullback that runs the mutated copy of
the layer from the start. So a slip anywhere on the way to the gradient is a wrong gradient under a right value,
also where forward and pullback share a helper.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import CodeType
from typing import Any

from gradverify import reference
from gradverify.selftest.mutants import Mutant, modules, mutated, tree_of

PACKAGE = reference.__name__
Namespace = dict[str, Any]


@contextmanager
def planted(mutant: Mutant) -> Iterator[tuple[type, ...]]:
    """The bug is there within the block; yields the classes of layers and losses that it may reach."""
    pairs = [(getattr(import_module(f"{PACKAGE}.{module}"), name), value)
             for module, names in _copies(mutant).items() for name, value in names.items()
             if _is_layer(value) and value.__module__ == f"{PACKAGE}.{module}"]
    originals = [(real, real.forward) for real, _ in pairs]
    try:
        for real, twin in pairs:
            real.forward = _with_pullback_of(twin, real.forward)
        yield tuple(real for real, _ in pairs)
    finally:
        for real, forward in originals:
            real.forward = forward


def _is_layer(value: Any) -> bool:
    return isinstance(value, type) and "forward" in vars(value) and not getattr(value, "_is_protocol", False)


def _with_pullback_of(twin: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
    def with_bug(self: Any, *args: Any, **kwargs: Any) -> Any:
        y, *_ = forward(self, *args, **kwargs)
        other = object.__new__(twin)
        other.__dict__.update(self.__dict__)

        def pullback(*upstream: Any) -> Any:
            return twin.forward(other, *args, **kwargs)[-1](*upstream)

        return y, pullback

    return with_bug


def _copies(mutant: Mutant) -> dict[str, Namespace]:
    """New namespaces of the mutated module and of all that import from it, directly or not."""
    copies = {mutant.module: _executed(mutant.module, compile(mutated(mutant), mutant.module, "exec"), {})}
    for module, inside in dependents(mutant.module):
        given = {alias: copies[source][name] for source, name, alias in _borrowed(module) if source in copies}
        copies[module] = _executed(module, _code(module, inside), given)
    return copies


def _executed(module: str, code: CodeType, given: Namespace) -> Namespace:
    namespace: Namespace = {"__name__": f"{PACKAGE}.{module}", **given}
    exec(code, namespace)  # noqa: S102 - the package's own source
    return namespace


@cache
def dependents(module: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """The modules that import from this one, in an order in which they can be executed, with those copied before."""
    done, ordered = {module}, list[tuple[str, frozenset[str]]]()
    waiting = [name for name in modules() if name != module]
    while True:
        ready = [name for name in waiting if _sources(name) & done and not _waits(name, waiting, done)]
        if not ready:
            return tuple(ordered)
        ordered.append((ready[0], frozenset(done)))
        done.add(ready[0])
        waiting.remove(ready[0])


def _waits(name: str, waiting: list[str], done: set[str]) -> bool:
    """Whether one of its sources has yet to be copied itself."""
    return any(source in waiting and _reaches(source, done) for source in _sources(name))


def _reaches(name: str, done: set[str]) -> bool:
    return bool(_sources(name) & done) or any(_reaches(source, done) for source in _sources(name))


@cache
def _sources(module: str) -> frozenset[str]:
    return frozenset(source for source, _, _ in _borrowed(module)) & frozenset(modules())


@cache
def _borrowed(module: str) -> tuple[tuple[str, str, str], ...]:
    """``(source, name, alias)`` of every import from the reference."""
    imports = (node for node in ast.walk(tree_of(module)) if isinstance(node, ast.ImportFrom))
    sources = ((node.module or "", node.names) for node in imports)
    return tuple((source.removeprefix(f"{PACKAGE}."), alias.name, alias.asname or alias.name)
                 for source, names in sources if source.startswith(f"{PACKAGE}.") for alias in names)


@cache
def _code(module: str, copied: frozenset[str]) -> CodeType:
    """The module's code without the imports from copied modules, whose names are given to it instead."""
    tree = copy.deepcopy(tree_of(module))
    dropped = {f"{PACKAGE}.{name}" for name in copied}
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module in dropped)]
    return compile(tree, module, "exec")
