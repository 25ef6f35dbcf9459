"""Operators of a hand-written autograd, found in the syntax: methods, functions and nodes that record their rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from gradverify.audit.names import SWEEPS
from gradverify.audit.record import Candidate, Source
from gradverify.audit.roles import is_cotangent

Classes = Mapping[str, ast.ClassDef]

_RULE = re.compile(
    r"_*\w*(back(ward|prop|propagate)?(_?\d)?|bwd|grad(ient)?s?_?(fn|func\w*)|vjp|pullback)\w*|_*(d?grad\w*)",
    re.IGNORECASE,
)
_GRADIENT = re.compile(r"_*(grad|gradient|grads|derivative|adjoint)s?", re.IGNORECASE)
_RULE_METHODS = ("_backward", "backward", "_backprop", "backward_fn", "_grad", "_vjp", "vjp")
_FORWARDS = {"forward", "_forward", "__call__", "call", "forward_pass", "apply"}
_OPERATORS = {"__add__", "__mul__", "__sub__", "__matmul__", "__neg__", "__pow__", "__truediv__", "__radd__",
              "__rmul__"}  # fmt: skip
_PUBLIC_DUNDERS = _OPERATORS | {"__rsub__", "__rtruediv__", "__getitem__", "__abs__", "__rpow__", "__rmatmul__"}


def find_graphs(source: Source, tree: ast.Module, classes: Classes) -> Iterator[Candidate]:
    """The operators of a file: of its classes of tensors, functions that make tensors with a rule, classes of nodes."""
    tensors = {name for name, node in classes.items() if is_tensor(node, classes)}
    for name in tensors:
        for method in _functions(classes[name].body):
            if _may_be_operator(method.name) and records_rule(method) and not (_sweeps(method) or _is_maker(method)):
                yield _candidate(source, name, method, _rule_of(classes[name]))
    makers = tensors | {m.name for name in tensors for m in _functions(classes[name].body) if _is_maker(m)}
    for function in _functions(tree.body):
        if records_rule(function) and _makes_tensor(function, makers) and _takes_data(function):
            yield _candidate(source, "", function, "backward")
    for name, node in classes.items():
        rule = _node_rule(node, classes, tensors)
        if rule:
            yield Candidate(source, "graph", name, "__init__", rule, node.lineno, named=name)


def is_tensor(node: ast.ClassDef, classes: Classes) -> bool:
    """Whether a class holds a value with its gradient, sweeps back through what made it, and has operators."""
    methods = _all_methods(node, classes)
    kept = {n.attr for m in methods.values() for n in ast.walk(m) if isinstance(n, ast.Attribute)}
    slots = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return (bool(set(SWEEPS) & set(methods)) and len(_OPERATORS & set(methods)) >= _FEW
            and any(_GRADIENT.fullmatch(name) for name in kept | slots))  # fmt: skip


_FEW = 2


def _all_methods(node: ast.ClassDef, classes: Classes, depth: int = 4) -> dict[str, ast.FunctionDef]:
    """The methods of a class, also of bases in the file, also ``__add__ = add`` in its body."""
    found: dict[str, ast.FunctionDef] = {}
    for base in node.bases if depth else []:
        known = classes.get(ast.unparse(base))
        if known is not None and known is not node:
            found |= _all_methods(known, classes, depth - 1)
    own = {m.name: m for m in _functions(node.body)}
    aliases = {t.id: own[s.value.id] for s in node.body if isinstance(s, ast.Assign) and isinstance(s.value, ast.Name)
               for t in s.targets if isinstance(t, ast.Name) and s.value.id in own}  # fmt: skip
    return found | own | aliases


def _functions(body: list[ast.stmt]) -> list[ast.FunctionDef]:
    found = [node for node in body if isinstance(node, ast.FunctionDef)]
    return [f for f in found if not any("property" in ast.unparse(d) for d in f.decorator_list)]


def _may_be_operator(name: str) -> bool:
    return name in _PUBLIC_DUNDERS or not (name.startswith("__") or name in SWEEPS)


def records_rule(node: ast.FunctionDef) -> bool:
    """Whether a function defines the backward of what it computes: an inner function, a lambda, a rule it assigns."""
    for inner in ast.walk(node):
        if inner is not node and isinstance(inner, (ast.FunctionDef, ast.Lambda)):
            names = [a.arg for a in inner.args.args]
            named = isinstance(inner, ast.FunctionDef) and _RULE.fullmatch(inner.name)
            if named or (len(names) == 1 and is_cotangent(names[0])):
                return True
        if isinstance(inner, ast.Assign) and any(_is_rule(t) for t in inner.targets) and _is_made(inner.value):
            return True
        if isinstance(inner, (ast.Assign, ast.Return, ast.Expr)) and _makes_node(inner):
            return True
    return False


def _makes_node(node: ast.Assign | ast.Return | ast.Expr) -> bool:
    """Whether a statement makes a rule that is an object; ``self.grad_fn = ExpBackward()`` changes its own tensor."""
    own = isinstance(node, ast.Assign) and any(_is_own(t) for t in node.targets)
    calls = (ast.unparse(n.func).split(".")[-1] for n in ast.walk(node) if isinstance(n, ast.Call))
    return not own and any(_NODE.fullmatch(name) for name in calls)


def _is_own(target: ast.expr) -> bool:
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return any(ast.unparse(part).startswith("self.") for part in parts)


_NODE = re.compile(r"[A-Z]\w*(Backward|Bwd|Grad|VJP)\d?|Backward[A-Z]\w*")  # a class whose objects are rules


def _is_rule(target: ast.expr) -> bool:
    if not isinstance(target, ast.Attribute) or ast.unparse(target.value) == "self":
        return False
    return re.fullmatch(r"_*(backward\w*|grad_fn|backprop\w*|vjp)", target.attr) is not None


def _is_made(value: ast.expr) -> bool:
    return isinstance(value, (ast.Lambda, ast.Call, ast.Name))


def _sweeps(node: ast.FunctionDef) -> bool:
    """A method that only hands on a rule that it is given is no operator: ``def set_backward(self, f)``."""
    return node.name.startswith(("set_", "register", "zero", "_zero", "no_grad", "with_", "build", "clear"))


def _is_maker(node: ast.FunctionDef) -> bool:
    """Whether a method makes the results of operators, which hand it their rule: ``_made(self, data, backward_fn)``."""
    return any(_HANDED.fullmatch(a.arg) for a in (*node.args.args, *node.args.kwonlyargs))


_HANDED = re.compile(r"\w*(backward|backprop|vjp|pullback|grad_?fn|grad_?func)\w*|_*(grad_)?rules?", re.IGNORECASE)


def _makes_tensor(node: ast.FunctionDef, makers: set[str]) -> bool:
    """Whether a function calls a class of tensors or a method that makes one, a class in another file by its name."""
    called = {ast.unparse(n.func).split(".")[-1] for n in ast.walk(node) if isinstance(n, ast.Call)}
    return any(name in makers or _TENSOR.fullmatch(name) for name in called)


_TENSOR = re.compile(r"_?([A-Z]\w*)?(Tensor|Variable|Value|Var|Expr|Scalar|Node|Array)")


def _takes_data(node: ast.FunctionDef) -> bool:
    return bool(node.args.args) and node.args.args[0].arg not in ("self", "cls", "fn", "func", "f", "op")


def _rule_of(node: ast.ClassDef) -> str:
    return next((m.name for m in _functions(node.body) if m.name in SWEEPS), "backward")


def _node_rule(node: ast.ClassDef, classes: Classes, tensors: set[str]) -> str:
    """The method that is the backward of a class whose instances are results: ``_Exp(x)`` is a tensor itself."""
    if not any(ast.unparse(base) in tensors for base in _ancestors(node, classes)):
        return ""
    own = {m.name: m for m in _functions(node.body)}
    if "__init__" not in own or _FORWARDS & set(own) or (node.name in tensors and len(_OPERATORS & set(own)) >= _FEW):
        return ""
    return next((name for name in _RULE_METHODS if name in own), "")


def _ancestors(node: ast.ClassDef, classes: Classes, depth: int = 4) -> Iterator[ast.expr]:
    for base in node.bases if depth else []:
        yield base
        known = classes.get(ast.unparse(base))
        if known is not None and known is not node:
            yield from _ancestors(known, classes, depth - 1)


def _candidate(source: Source, owner: str, node: ast.FunctionDef, rule: str) -> Candidate:
    named = f"{owner}.{node.name}" if owner else node.name
    return Candidate(source, "graph", owner, node.name, rule, node.lineno, named=named)
