"""Everything in a file that by its names carries a derivative, read from its syntax alone.

The file is not imported: a module that does work at import, or cannot be imported at all, still
shows what it holds, and a file that holds nothing is never run.
"""

from __future__ import annotations

import ast
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gradverify.audit.customs import find_customs, rules_in
from gradverify.audit.graphs import find_graphs
from gradverify.audit.mined import assignments
from gradverify.audit.names import (
    BACKWARD_WORD,
    BEFORE,
    FLAGS,
    FRAMEWORK_BASES,
    GRADIENT_WORD,
    LAYER_METHODS,
    POINT_METHODS,
    SECOND_ORDER,
    VALUE_WORD,
    VALUED,
    cotangent_partners,
    is_check,
    is_layer_name,
    point_partners,
)
from gradverify.audit.older import parsed
from gradverify.audit.record import Candidate, Source
from gradverify.audit.roles import is_cotangent, is_label, is_step

Function = ast.FunctionDef
Methods = dict[str, Function]


@dataclass(frozen=True)
class _File:
    source: Source
    tree: ast.Module
    imported: dict[str, str]  # local name -> dotted name
    classes: dict[str, ast.ClassDef]  # qualified name -> class


def find_candidates(source: Source) -> tuple[Candidate, ...]:
    """The candidates of a file by line; one blocked candidate for a file that cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's string
            tree = parsed(_text(source.path))
    except (SyntaxError, ValueError, OSError, RecursionError) as error:
        where = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        reason = f"the file cannot be read as Python ({where}{getattr(error, 'msg', error)})"
        return (Candidate(source, "file", "", "*", "*", 0, blocker=reason),)
    file = _File(source, tree, _imports(tree), dict(_classes(tree.body, "")))
    customs = list(find_customs(source, tree, file.imported, file.classes))
    taken = {custom.owner or custom.forward for custom in customs} | rules_in(tree)
    found = [*_in_module(file), *(c for name in file.classes for c in _in_class(file, name))]
    graphs = list(find_graphs(source, tree, file.classes))
    recorded = {(g.owner, g.forward) for g in graphs}
    found = [*customs, *graphs, *(c for c in found if (c.owner or c.forward) not in taken
                                  and (c.owner, c.forward) not in recorded)]  # fmt: skip
    return tuple(sorted(found, key=lambda candidate: candidate.line))


def _text(path: str) -> str:
    with tokenize.open(path) as file:
        return file.read()


def _imports(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def _classes(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for node in _statements(body):
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            yield from _classes(node.body, f"{prefix}{node.name}.")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, also those under an ``if`` or ``try``."""
    for node in body:
        yield node
        for branch in ("body", "orelse", "finalbody"):
            if isinstance(node, (ast.If, ast.Try)):
                yield from _statements(getattr(node, branch, []))


def _functions(body: Iterable[ast.stmt]) -> Methods:
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef) and not _is_property(node)}


def _is_property(node: Function) -> bool:
    """A property, or a fixture of pytest, which is a value in a test and nothing that is called."""
    words = [ast.unparse(d) for d in node.decorator_list]
    return any("property" in word or ".setter" in word or "fixture" in word for word in words)


def _in_module(file: _File) -> Iterator[Candidate]:
    yield from _by_name(file.source, "", _functions(_statements(file.tree.body)))


def _by_name(source: Source, owner: str, functions: Methods) -> Iterator[Candidate]:
    whole = {n: f for n, f in functions.items() if not _is_abstract(f)}
    for name, node in whole.items():
        mirrored = [other for other in cotangent_partners(name, whole) if not _runs_the_other_way(node, whole[other])]
        pairs = [("pair", other) for other in mirrored]
        points = [(_kind(node, whole[other]), other) for other in point_partners(name, whole)]
        for kind, backward in pairs or points:
            if kind:
                yield Candidate(source, kind, owner, name, backward, node.lineno)
        if not (pairs or points) and not is_check(name):
            yield from _alone(source, owner, name, node)


def _runs_the_other_way(forward: Function, backward: Function) -> bool:
    """Whether two functions read a sequence from either end: they take the same, and neither gradient nor truth."""
    names, others = ([a.arg for a in f.args.args if a.arg != "self"] for f in (forward, backward))
    return names == others and len(names) > 1 and not any(is_cotangent(n) or is_label(n) for n in names)


def _alone(source: Source, owner: str, name: str, node: Function) -> Iterator[Candidate]:
    """A function that carries its derivative itself: behind a flag, or returned next to its value."""
    flag = _derivative_flag(node)
    if flag:
        yield Candidate(source, "flag", owner, name, f"{flag}=True", node.lineno)
    gradient = _returned_gradient(node)
    taken = node.args.args or node.args.posonlyargs or node.args.vararg
    if gradient and taken and not (owner and BEFORE in gradient):
        yield Candidate(source, "joint", owner, name, gradient, node.lineno)


def _derivative_flag(node: Function) -> str:
    """The parameter of ``sigmoid(x, derivative=False)``."""
    values = node.args.defaults
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)][-len(values) :] if values else []
    return next((n for n, v in zip(names, values, strict=True)
                 if n.lower() in FLAGS and isinstance(v, ast.Constant) and v.value is False), "")  # fmt: skip


def _returned_gradient(node: Function) -> str:
    """What ``return loss, dx`` calls the gradient, in a function whose name says that it is a value with one."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Tuple) and len(inner.value.elts) > 1:
            first, *rest = ["gradients" if _holds_gradients(e) else ast.unparse(e) for e in inner.value.elts]
            named = VALUED.search(node.name) or VALUE_WORD.fullmatch(first)
            if named and not GRADIENT_WORD.match(first) and all(GRADIENT_WORD.match(word) for word in rest):
                return ", ".join(rest)
            *front, last = [first, *rest]
            if VALUE_WORD.fullmatch(last) and all(GRADIENT_WORD.match(word) for word in front):
                return f"{', '.join(front)}{BEFORE}{last}"
    return ""


def _holds_gradients(node: ast.expr) -> bool:
    """A dictionary written out, not an empty one."""
    return isinstance(node, ast.Dict) and bool(node.keys)


def _kind(forward: Function, derivative: Function) -> str:
    """``point`` if both take the same inputs, ``pair`` with a cotangent on top, else empty."""
    if derivative.name.endswith(("backward", "bwd")):
        return "pair"
    taken, given = _required_arguments(derivative), _required_arguments(forward)
    return {0: "point", 1: "pair"}.get(taken - given, "") if taken else ""


def _in_class(file: _File, name: str) -> Iterator[Candidate]:
    methods = _methods(file, name, set())
    whole = {n: f for n, f in methods.items() if not _is_abstract(f)}
    node = file.classes[name]
    if not is_layer_name(name):
        return
    whole = {n: f for n, f in whole.items() if not _leaves_to_subclasses(file, name, f, methods)
             and not _is_placeholder(file, name, f)}  # fmt: skip
    found = _by_methods(file.source, name, whole, node.lineno)
    candidates = [found] if found is not None else list(_by_name(file.source, name, whole))
    candidates += _second_order(file.source, name, whole, node.lineno)
    package = _framework(file, name)
    why = f"a class of {package}, and this audit runs NumPy code" if package else ""
    instead = f"in a test: gv.check({name}(...), x)" if package else ""
    own = set(_functions(node.body))
    for candidate in candidates:
        # A class that only inherits both is tried where they stand; one that inherits one is itself.
        if own & {candidate.forward, candidate.backward} or (node.bases and "__init__" in own):
            yield replace(candidate, blocker=why or candidate.blocker, remedy=instead)


def _by_methods(source: Source, owner: str, methods: Methods, line: int) -> Candidate | None:
    called = [n for n in methods if BACKWARD_WORD.fullmatch(n)]
    pulling = [n for n in called if [is_cotangent(a) for a in _positional(methods[n])] == [True]]
    for forward, backward in LAYER_METHODS:
        if forward in methods and backward in methods and not (pulling and _only_steps(methods[backward])):
            kind = "training" if _has_own_loss(methods[forward], methods[backward]) else "layer"
            return Candidate(source, kind, owner, forward, backward, line)
    for forward, backward in POINT_METHODS:
        usable = forward in methods and backward in methods
        if usable and _kind(methods[forward], methods[backward]) == "point":
            kind = "layer" if _pulls(methods, forward, backward) else "point"
            return Candidate(source, kind, owner, forward, backward, line)
    running = [n for n in dict(LAYER_METHODS) if n in methods]
    return Candidate(source, "layer", owner, running[0], pulling[0], line) if pulling and running else None


def _only_steps(node: Function) -> bool:
    """Whether a method takes nothing but the sizes of a step: ``backward(alpha, weight_decay)`` updates parameters."""
    names = _positional(node)
    return bool(names) and all(map(is_step, names))


def _pulls(methods: Methods, forward: str, backward: str) -> bool:
    """Whether ``gradient(eta)`` takes an upstream gradient by its name, and what ``forward(x)`` took from itself."""
    given, taken = (_positional(methods[n]) for n in (forward, backward))
    own = {ast.unparse(n.value) for n in ast.walk(methods[backward]) if isinstance(n, ast.Attribute)}
    upstream = [is_cotangent(n) for n in taken] == [True] and not is_cotangent(given[0])
    return upstream and "self" in own


def _second_order(source: Source, owner: str, methods: Methods, line: int) -> list[Candidate]:
    return [Candidate(source, "point", owner, first, second, line, named=f"{owner}.{first}")
            for first, second in SECOND_ORDER if first in methods and second in methods
            and _kind(methods[first], methods[second]) == "point"]  # fmt: skip


def _has_own_loss(forward: Function, backward: Function) -> bool:
    """Whether ``backprop(x, y)`` is no pullback of ``feedforward(a)``: it takes targets that it alone sees."""
    names, known = _positional(backward), set(_positional(forward))
    foreign = {name for name in names if name.lower() in _LABELS} - known
    return bool(foreign) and not any(is_cotangent(name) for name in names if name not in known)


_LABELS = {"y", "t", "target", "targets", "label", "labels", "y_true"}


def _required_arguments(node: Function) -> int:
    return len(_positional(node)) - len(node.args.defaults)


def _positional(node: Function) -> list[str]:
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def _methods(file: _File, name: str, seen: set[str]) -> Methods:
    """The methods of a class, with what it inherits from classes of the same file."""
    if name not in file.classes or name in seen:
        return {}
    methods: Methods = {}
    for base in reversed(file.classes[name].bases):
        methods |= _methods(file, ast.unparse(base), seen | {name})
    return methods | _functions(_statements(file.classes[name].body))


def _is_abstract(node: Function) -> bool:
    if _is_declared_abstract(node):
        return True
    return all(_does_nothing(statement) for statement in node.body) or _is_unwritten(node)


def _is_declared_abstract(node: Function) -> bool:
    return any("abstract" in ast.unparse(d) for d in node.decorator_list)


def _is_unwritten(node: Function) -> bool:
    """Whether what it returns first is only ever None: an exercise nobody has done, ``out, cache = None, None``."""
    returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
    firsts = [v.elts[0] if isinstance(v, ast.Tuple) and v.elts else v for v in returned]
    names = {e.id for e in firsts if isinstance(e, ast.Name)}
    if not names or not all(isinstance(e, ast.Name) for e in firsts):
        return False
    assigned = [pair for n in ast.walk(node) for pair in _assignments(n)]
    return names <= {name for name, _ in assigned} and all(
        (isinstance(value, ast.Constant) and value.value is None) or ast.unparse(value).startswith(f"{name}.")
        for name, value in assigned if name in names
    )  # fmt: skip


def _assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and what is assigned to them; what is not taken apart in writing is a whole."""
    if isinstance(node, ast.AugAssign):
        yield ast.unparse(node.target), node.value
    for target, value in assignments(node):
        yield from ((ast.unparse(t), value) for t in getattr(target, "elts", [target]))


def _leaves_to_subclasses(file: _File, name: str, node: Function, methods: Methods) -> bool:
    """Whether a method calls one of its own that only classes derived from this one have, or that is abstract here."""
    derived = [n for n, c in file.classes.items() if name in map(ast.unparse, c.bases)]
    theirs = {m for n in derived for m in _functions(file.classes[n].body)}
    called = {
        n.func.attr for n in ast.walk(node)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and ast.unparse(n.func.value) == "self"
    }  # fmt: skip
    missing = {m for m in called if m not in methods or _is_abstract(methods[m])}
    return bool(missing & theirs) or any(_is_declared_abstract(methods[m]) for m in called if m in methods)


def _is_placeholder(file: _File, name: str, node: Function) -> bool:
    """Whether a method only returns zeros or a constant, and classes of the file that inherit it have their own."""
    statements = [s for s in node.body if not _does_nothing(s)]
    heirs = [c for c in file.classes.values() if name in map(ast.unparse, c.bases)]
    if len(statements) != 1 or not isinstance(statements[0], ast.Return) or not heirs:
        return False
    value = statements[0].value
    zeros = isinstance(value, ast.Call) and ast.unparse(value.func).endswith(("zeros", "zeros_like"))
    return (zeros or isinstance(value, ast.Constant)) and any(node.name in _functions(c.body) for c in heirs)


def _does_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    nothing = isinstance(node, ast.Return) and (node.value is None or ast.unparse(node.value) == "None")
    return nothing or isinstance(node, (ast.Pass, ast.Raise))


def _framework(file: _File, name: str, depth: int = 8) -> str:
    """The framework whose adapter has to run a class, by its bases; empty for none."""
    for base in file.classes[name].bases if name in file.classes and depth else []:
        head, *rest = ast.unparse(base).split(".")
        dotted = ".".join([file.imported.get(head, head), *rest])
        package = FRAMEWORK_BASES.get(dotted.split(".")[0])
        if package is not None:
            return package
        inherited = _framework(file, ast.unparse(base), depth - 1)
        if inherited:
            return inherited
    return ""
