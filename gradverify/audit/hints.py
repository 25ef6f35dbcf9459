"""What the code of a function says about an argument that its name does not: that it is a setting, and which values."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from gradverify.audit.guesses import CONFIG, Hinted, is_setting, settings_for, usual_value
from gradverify.audit.mined import assignments, tree_of, words_for

Function = Callable[..., Any]

_TYPED = re.compile(
    r"(typing\.)?(Optional\[)?(int|bool|str|slice|(t|T)uple(\[[\w, .]*\])?|dict|Literal\[.*\]|(Union\[)?int( \| |, )"
    r"(t|T)uple(\[[\w, .]*\])?\]?)(\])?( \| None)?"
)


def hinted(parameter: inspect.Parameter, function: Function, *, first: bool) -> str:
    """The name of a parameter, which `roles_of` takes for a setting where the code leaves no doubt.

    It is annotated as a whole number, a flag, a word or a tuple; compared with strings; asked for such keys; a count.
    """
    if first:
        return parameter.name
    annotation = parameter.annotation
    said = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", None) or str(annotation)
    typed = annotation is not parameter.empty and (_TYPED.fullmatch(said) or _TYPED.fullmatch(str(annotation)))
    told = words_for(function, parameter.name) or keys_of(function, parameter.name)
    if typed or told or is_count(function, parameter.name):
        return Hinted(parameter.name)
    return parameter.name


@cache
def is_count(function: Function, name: str) -> bool:
    """Whether the code can only mean a whole number by an argument: ``x.reshape(n * g, c // g)``, ``range(steps)``."""
    nodes = list(ast.walk(tree_of(function)))
    if any(isinstance(n, (ast.Attribute, ast.Subscript)) and ast.unparse(n.value) == name for n in nodes):
        return False
    divided = [n.right for n in nodes if isinstance(n, ast.BinOp) and isinstance(n.op, ast.FloorDiv)]
    calls = [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func).rpartition(".")[2] in _OF_COUNTS]
    given = [part for call in calls for argument in call.args for part in _factors(argument)]
    return any(isinstance(n, ast.Name) and n.id == name for n in (*divided, *given))


_OF_COUNTS = ("reshape", "range", "zeros", "ones", "empty")


def _factors(node: ast.expr) -> list[ast.expr]:
    """The factors of the sizes in an argument, ``(n * g, c)``."""
    if isinstance(node, ast.Tuple):
        return [part for element in node.elts for part in _factors(element)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.FloorDiv)):
        return [*_factors(node.left), *_factors(node.right)]
    return [node]


@cache
def keys_of(function: Function, name: str) -> tuple[str, ...]:
    """The keys under which a function looks into an argument, ``hparameters["stride"]``, if they all name settings."""
    found = [n.slice.value for n in ast.walk(tree_of(function))
             if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name) and n.value.id == name
             and isinstance(n.slice, ast.Constant) and isinstance(n.slice.value, str)]  # fmt: skip
    keys = tuple(dict.fromkeys(found))
    return keys if all(is_setting(key) or key in _SHORT for key in keys) else ()


_SHORT = ("f", "s", "p", "k", "stride", "pad")


def values_for(function: Function, parameter: inspect.Parameter, rng: np.random.Generator) -> list[Any]:
    """Values for a setting of a forward: the words it is compared with, the dictionary it is, or by its name."""
    words = list(words_for(function, parameter.name))
    keys = keys_of(function, parameter.name)
    if keys:
        known = {**CONFIG, "stride": 2} if any("pool" in k for k in keys) else CONFIG  # windows side by side
        return [{k: known[k] if k in known else usual_value(k, rng) for k in keys}]
    counts = [2, 3, 1] if is_count(function, parameter.name) and not words else []
    usual = settings_for(parameter, rng)
    return [*words, *(usual if any(type(v) is int for v in usual[:1]) else [*counts, *usual])]


def dictionaries_for(cls: type, name: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The dictionary of settings that a constructor wants: one value for each key its class, or one it makes, reads."""
    read = [*_keys_read(cls, name), *(pair for c, n in _made_with(cls, name) for pair in _keys_read(c, n))]
    words: dict[str, list[str]] = {key: [] for key, _ in read}
    for key, found in read:
        words[key] += found
    if not all(key.isidentifier() for key in words):  # a vocabulary
        return [{key: i for i, key in enumerate(words)}]
    values = {k: [*found, usual_value(k, rng)][0] for k, found in words.items()}
    return [values] if len(values) >= _FEWEST else []


_FEWEST = 2  # keys: with one the argument may be anything that is looked into


def _keys_read(cls: type, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each key under which a class looks into an argument, with the words that it compares the value with."""
    pairs = [pair for node in ast.walk(tree_of(cls)) for pair in assignments(node)]
    owners = {name} | {ast.unparse(t) for t, value in pairs if isinstance(value, ast.Name) and value.id == name}
    for n in ast.walk(tree_of(cls)):
        if isinstance(n, ast.Subscript) and isinstance(n.slice, ast.Constant) and ast.unparse(n.value) in owners:
            key, called = n.slice.value, [t.id for t, value in pairs if value is n and isinstance(t, ast.Name)]
            if isinstance(key, str):
                yield key, tuple(word for spelled in (key, *called) for word in words_for(cls, spelled))


def _made_with(cls: type, name: str) -> list[tuple[type, str]]:
    """The classes of its module that a class gives this argument to, ``conv(params)``, and what they call it."""
    scope = vars(sys.modules.get(cls.__module__, object()))
    found = []
    for call in (n for n in ast.walk(tree_of(cls)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)):
        made = scope.get(call.func.id)  # type: ignore[attr-defined]
        place = next((i for i, a in enumerate(call.args) if isinstance(a, ast.Name) and a.id == name), None)
        if place is not None and isinstance(made, type) and made is not cls:
            names = list(inspect.signature(made).parameters)
            found += [(made, names[place])] if place < len(names) else []
    return found


def told_in_words(cls: type, name: str) -> tuple[int, ...]:
    """A tuple that a docstring takes apart, ``shape: (out_channels, kernel_size, kernel_size, in_channels)``; else ().

    >>> class Layer:
    ...     "shape: (out_channels, kernel_size, in_channels)"
    >>> told_in_words(Layer, "shape")
    (4, 3, 2)
    """
    text = f"{cls.__doc__ or ''}\n{cls.__init__.__doc__ or ''}"  # type: ignore[misc]
    match = re.search(rf"\b{re.escape(name)}\b[^\n(]*\(\s*([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)+)\s*\)", text)
    if match is None:
        return ()
    rng = np.random.default_rng(0)
    words = [word.strip() for word in match[1].split(",")]
    values = [usual_value(word, rng) for word in words]
    return tuple(values) if all(type(value) is int for value in values) else ()
