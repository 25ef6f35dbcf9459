"""Which code may be run with a change in it: code that only computes, by a list of what it may do.

A change can turn any value into another one. Code that deletes the folder it made, waits until two numbers agree or
leaves the program by a condition is therefore left alone, together with whatever it is called with.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradverify.repairs.sources import Function, variables

_ARRAYS = {"numpy", "scipy", "torch", "jax", "tensorflow", "keras", "math", "cmath"}
_PURE = {"math", "cmath", "operator", "functools", "itertools", "collections", "typing", "dataclasses", "enum"}
_BEYOND = sys.stdlib_module_names - _PURE
_BUILTINS = {"len", "sum", "range", "zip", "enumerate", "reversed", "abs", "min", "max", "float", "int", "tuple",
             "list", "dict", "isinstance", "super", "round", "sorted", "slice", "bool", "getattr", "hasattr",
             "type", "complex", "pow", "divmod", "any", "all", "set", "str"}  # fmt: skip
_CONTAINERS = {"append", "extend", "insert", "pop", "items", "keys", "values", "get", "index"}
_DRAWS = {"normal", "standard_normal", "uniform", "random", "integers", "choice", "permutation", "binomial"}
_NEVER = {"save", "savez", "savez_compressed", "savetxt", "load", "loadtxt", "genfromtxt", "fromfile", "memmap",
          "tofile", "dump", "dumps", "resize", "setflags", "setfield", "seterr", "seterrcall", "put", "set_",
          "share_memory_", "backward", "register_hook", "numpy_function", "py_function", "pure_callback",
          "io_callback"}  # fmt: skip
_REFUSED = (ast.While, ast.Try, ast.TryStar, ast.AsyncFor, ast.AsyncWith, ast.Await, ast.Yield, ast.YieldFrom,
            ast.Global, ast.Nonlocal, ast.Delete, ast.Import, ast.ImportFrom, ast.ClassDef, ast.NamedExpr)  # fmt: skip


def only_compute(functions: Sequence[tuple[Function, Mapping[str, Any]]], called: set[str]) -> bool:
    """Whether these functions, with their globals, do nothing but compute; `called` are the names of them all."""
    return all(_is_harmless(node, names, called) for node, names in functions)


def _is_harmless(function: Function, names: Mapping[str, Any], called: set[str]) -> bool:
    own, body = set(variables(function)), function.body if isinstance(function.body, list) else [function.body]
    for node in (n for part in body for n in ast.walk(part)):
        if isinstance(node, _REFUSED):
            return False
        if isinstance(node, ast.Call) and not _may_be_called(node.func, names, called):
            return False
        if isinstance(node, ast.Name) and node.id not in own and not _may_be_read(node.id, names):
            return False
        if isinstance(getattr(node, "ctx", None), ast.Store) and not _is_own(node, own):
            return False
    return True


def _may_be_called(func: ast.expr, names: Mapping[str, Any], called: set[str]) -> bool:
    name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    value = names.get(_root(func))
    if inspect.ismodule(value) and _top(value) in _ARRAYS:
        return name not in _NEVER
    if name in called:
        return True
    if not name or name in _NEVER or inspect.ismodule(value):
        return False
    if isinstance(func, ast.Name):
        if value is None:
            return name in _BUILTINS
        return isinstance(value, np.ufunc) or _top(value) in _ARRAYS
    return name in _CONTAINERS or name in _DRAWS or name in _methods()


def _may_be_read(name: str, names: Mapping[str, Any]) -> bool:
    """Whether a name from outside may be handed on: no builtin, function or module that reaches beyond the process."""
    if name not in names:
        value = getattr(builtins, name, None)
        return name in _BUILTINS or not callable(value) or _is_exception(value)
    value = names[name]
    return _top(value) not in _BEYOND or not (callable(value) or inspect.ismodule(value))


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _top(value: Any) -> str:
    """The package that a module is in, or that a function or a class was made in."""
    name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
    return str(name or "").partition(".")[0]


def _methods() -> set[str]:
    """The methods of arrays."""
    torch = sys.modules.get("torch")
    return {*dir(np.ndarray), *(dir(torch.Tensor) if torch is not None else ())}


def _is_own(node: ast.AST, own: set[str]) -> bool:
    """Whether what is written to is a variable of the function's, or a part of one."""
    return isinstance(node, (ast.Tuple, ast.List, ast.Starred)) or _root(node) in own


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def writes_in_place(function: Function) -> bool:
    """Whether it changes an array that it holds."""
    for node in ast.walk(function):
        if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)):
            return True
        if isinstance(node, ast.Attribute) and node.attr.endswith("_") and not node.attr.startswith("_"):
            return True
    return False
