"""Derivatives written for a framework, found in the syntax: autograd.Function, custom_vjp, defvjp, custom_gradient."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from gradverify.audit.record import Candidate, Source

Classes = Mapping[str, ast.ClassDef]

# Decorators, and functions that wrap one, by the end of their dotted name.
_DECORATORS = {
    "jax.custom_vjp": ("jax.function", "custom_vjp"),
    "jax.custom_jvp": ("jax.function", "custom_jvp"),
    "jax.custom_derivatives.custom_vjp": ("jax.function", "custom_vjp"),
    "jax.custom_derivatives.custom_jvp": ("jax.function", "custom_jvp"),
    "tensorflow.custom_gradient": ("tensorflow.function", "custom_gradient"),
    "autograd.extend.primitive": ("autograd.function", "defvjp"),
}
_FUNCTION = "torch.autograd.Function"
_MODULES = ("torch.nn.Module", "tensorflow.keras.layers.Layer", "keras.layers.Layer")


def find_customs(
    source: Source, tree: ast.Module, imported: Mapping[str, str], classes: Classes
) -> Iterator[Candidate]:
    """The candidates for an adapter of a framework, in no order."""
    dotted = _Names({**imported, "tf": "tensorflow"} if "tf" in imported.values() else imported)
    functions = {name for name, node in classes.items() if _descends(node, _FUNCTION, classes, dotted)}
    for name in functions:
        if {"forward", "backward"} & _methods(classes[name]):
            yield Candidate(source, "torch.function", name, "forward", "backward", classes[name].lineno)
    elsewhere = {n for n, d in imported.items() if n.endswith("Function") and not d.startswith("torch")}
    customs = functions | elsewhere
    for name, node in classes.items():
        base = next((b for b in _MODULES if _descends(node, b, classes, dotted)), "")
        if base and name not in functions and _applies(node, customs):
            kind = "torch.module" if base.startswith("torch") else "tensorflow.module"
            yield Candidate(source, kind, name, "forward", "autograd", node.lineno)
    yield from _functions(source, tree, dotted)


def rules_in(tree: ast.AST) -> set[str]:
    """The functions given to ``f.defvjp(forward, backward)``: parts of f's rule, and no pair of their own."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    ruling = [c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr in ("defvjp", "defjvp")]
    return {ast.unparse(argument) for call in ruling for argument in call.args}


class _Names(dict[str, str]):
    """Local names to dotted ones; ``jnp.foo`` to ``jax.numpy.foo``."""

    def of(self, node: ast.expr) -> str:
        head, *rest = ast.unparse(node).split(".")
        return ".".join([self.get(head, head), *rest])


def _descends(node: ast.ClassDef, base: str, classes: Classes, names: _Names, depth: int = 6) -> bool:
    for parent in node.bases if depth else []:
        if names.of(parent) in (base, base.replace("torch.autograd.Function", "torch.autograd.function.Function")):
            return True
        known = classes.get(ast.unparse(parent))
        if known is not None and known is not node and _descends(known, base, classes, names, depth - 1):
            return True
    return False


def _methods(node: ast.ClassDef) -> set[str]:
    return {child.name for child in node.body if isinstance(child, ast.FunctionDef)}


def _applies(node: ast.ClassDef, customs: set[str]) -> bool:
    """Whether a class uses ``Custom.apply``."""
    return any(
        isinstance(n, ast.Attribute) and n.attr == "apply" and ast.unparse(n.value).split(".")[-1] in customs
        for n in ast.walk(node)
    )


def _functions(source: Source, tree: ast.Module, names: _Names) -> Iterator[Candidate]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found = next((f for d in node.decorator_list if (f := _decorator(d, names))), None)
            if found is not None:
                yield Candidate(source, found[0], "", node.name, found[1], node.lineno)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            found, target = _decorator(node.value.func, names), node.targets[0]
            if found is not None and isinstance(target, ast.Name):
                yield Candidate(source, found[0], "", target.id, found[1], node.lineno)


def _decorator(node: ast.expr, names: _Names) -> tuple[str, str] | None:
    """``jax.custom_vjp``, ``custom_vjp(...)`` or ``partial(jax.custom_vjp, nondiff_argnums=(1,))``."""
    if isinstance(node, ast.Call):
        inner = node.args[0] if names.of(node.func).endswith("partial") and node.args else node.func
        return _decorator(inner, names)
    return _DECORATORS.get(names.of(node))
