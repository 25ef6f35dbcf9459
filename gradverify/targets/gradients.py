"""Which returned array is the gradient of which leaf: matched by name, by order, then by shape."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from gradverify.arrays import Arrays
from gradverify.targets.record import Linearize


class WrongClaim(Exception):  # noqa: N818 - not an error of the program: a finding about the target
    """The claimed derivative breaks its contract before any number is compared."""

    def __init__(self, cause: str, leaf: str, text: str, shape: tuple[int, ...] | None = None) -> None:
        super().__init__(text)
        self.shape = shape
        self.cause = cause
        self.leaf = leaf
        self.text = text


class NotClaimed(Exception):  # noqa: N818 - an answer, found out by asking
    """The target turned out to have no such derivative."""


def assign(result: Any, leaves: Sequence[str], point: Mapping[str, Any], inputs: Sequence[str]) -> Arrays:
    """Name what a backward returned.

    A mapping goes by (decorated) names, nested as the input is where it is nested; a tuple as long as the leaves, or
    as the inputs, by position; a single array belongs to an input. Absent leaves are absent, not zero.
    """
    nested = _by_structure(result, leaves)
    if nested is not None:
        return nested
    if isinstance(result, Mapping):
        return _by_name(result, leaves)
    if isinstance(result, (tuple, list)):
        return _by_place(flat(result), leaves, point, inputs)
    return {lone_leaf(leaves, inputs): as_gradient(result)} if result is not None else {}


def named_gradients(
    backward: Callable[..., Any], returned: Any, point: Mapping[str, Any], inputs: Sequence[str]
) -> Arrays:
    """The same, the names in the backward's own ``return dW, db, dx`` going before positions."""
    stated = by_names_in_return(backward, returned, point) if isinstance(returned, (tuple, list)) else None
    return assign(returned, tuple(point), point, inputs) if stated is None else stated


def _by_structure(result: Any, leaves: Sequence[str]) -> Arrays | None:
    """Gradients in nests of dicts and lists like the inputs' own: all of one of them, or one nest for each."""
    roots = list(dict.fromkeys(re.split(r"[.\[]", leaf)[0] for leaf in leaves))
    if isinstance(result, Mapping):
        return next((found for root in roots if (found := _along(result, root, leaves)) is not None), None)
    if not isinstance(result, (tuple, list)) or len(result) != len(roots):
        return None
    if not any(isinstance(part, Mapping) for part in result):
        return None
    return _merged([_along(part, root, leaves) for root, part in zip(roots, result, strict=True)])


def _merged(parts: Sequence[Arrays | None]) -> Arrays | None:
    """All of them in one; None if one is None."""
    if any(part is None for part in parts):
        return None
    return {leaf: g for part in parts for leaf, g in (part or {}).items()}


def _along(part: Any, path: str, leaves: Sequence[str]) -> Arrays | None:
    """The leaves below a path, with what stands in their places; None where the nests differ."""
    if part is None or path in leaves:
        return {} if part is None else None if isinstance(part, Mapping) else {path: as_gradient(part)}
    if isinstance(part, Mapping):
        below = list(dict.fromkeys(re.split(r"[.\[]", leaf[len(path) + 1 :])[0] for leaf in leaves
                                   if leaf.startswith(f"{path}.")))  # fmt: skip
        named = [[name for name in below if names_gradient_of(str(key), name)] for key in part]
        if any(len(names) != 1 for names in named):
            return None
        # {"w": w, "dw": dw}: what is called a gradient goes before what is called like the leaf itself.
        keys = sorted(zip(part, named, strict=True), key=lambda pair: str(pair[0]) != pair[1][0])
        children = list({f"{path}.{names[0]}": part[key] for key, names in keys}.items())
    elif isinstance(part, (tuple, list)):
        children = [(f"{path}[{i}]", child) for i, child in enumerate(part)]
    else:
        return None
    return _merged([_along(child, name, leaves) for name, child in children])


def flat(result: Any) -> list[Any]:
    """``dx, (dW, db)`` as one list."""
    parts = [flat(part) if isinstance(part, (tuple, list)) else [part] for part in result]
    return [part for group in parts for part in group]


def _by_place(result: list[Any], leaves: Sequence[str], point: Mapping[str, Any], inputs: Sequence[str]) -> Arrays:
    """By position, the inputs first or last; where the shapes contradict that and each fits one leaf only, by shape."""
    order = inputs if len(result) == len(inputs) else leaves
    if len(result) > len(order):
        raise WrongClaim("shape", leaves[0], f"{len(result)} gradients were returned for {len(leaves)} leaves")
    orders = (order, [*(n for n in order if n not in inputs), *(n for n in order if n in inputs)])
    ways = [{n: None if g is None else as_gradient(g) for n, g in zip(o, result, strict=False) if n in point}
            for o in orders]  # fmt: skip
    fitting = [way for way in ways if all(g is None or g.shape == np.shape(point[n]) for n, g in way.items())]
    if fitting:
        return fitting[0]
    named = ways[0]
    shapes = {np.shape(point[n]): n for n in named}
    found = {shapes[g.shape]: g for g in named.values() if g is not None and g.shape in shapes}
    return {**found} if len(shapes) == len(named) == len(found) else named


def by_names_in_return(backward: Callable[..., Any], returned: Any, point: Mapping[str, Any]) -> Arrays | None:
    """What ``return dW, db, dx`` says by its names, if those name one leaf each and the shapes agree; else None."""
    names, parts = _returned_names(getattr(backward, "__func__", backward)), flat(returned)
    if not names or len(names) != len(parts):
        return None
    owners = [[leaf for leaf in point if decorated(name, leaf.rsplit(".", maxsplit=1)[-1])] for name in names]
    if any(len(leaves) != 1 for leaves in owners) or len({leaves[0] for leaves in owners}) != len(names):
        return None
    found = {leaves[0]: None if g is None else as_gradient(g) for leaves, g in zip(owners, parts, strict=True)}
    return found if all(g is None or g.shape == np.shape(point[n]) for n, g in found.items()) else None


@cache
def _returned_names(code: Callable[..., Any]) -> tuple[str, ...]:
    """The names in the one ``return a, (b, c)`` of a function; none where it has several, or returns expressions."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError):
        return ()
    returns = {ast.unparse(n.value): n.value for n in ast.walk(tree) if isinstance(n, ast.Return) and n.value}
    if len(returns) != 1:
        return ()
    value = next(iter(returns.values()))
    nodes = flat(_nested(value)) if isinstance(value, ast.Tuple) else []
    return tuple(ast.unparse(n).rpartition(".")[2] for n in nodes) if all(map(_is_name, nodes)) else ()


def _nested(node: ast.Tuple) -> list[Any]:
    return [_nested(n) if isinstance(n, ast.Tuple) else n for n in node.elts]


def _is_name(node: Any) -> bool:
    return isinstance(node, (ast.Name, ast.Attribute))


_PREDICTION = ("pred", "hat", "output", "logit", "score", "prob")
_TARGET = ("y", "t", "target", "targets", "label", "labels", "d", "ytrue", "truth", "desired")


def lone_leaf(leaves: Sequence[str], inputs: Sequence[str]) -> str:
    """Whose gradient a lone array is: the prediction's before the target's, else the first input's."""
    leaves = [leaf for leaf in leaves if re.split(r"[.\[]", leaf)[0] in inputs] or leaves  # no parameter output_proj.W
    predicted = [leaf for leaf in leaves if any(word in plain(leaf) for word in _PREDICTION)]
    others = [leaf for leaf in leaves if plain(leaf) not in _TARGET]
    return (predicted or others or list(leaves))[0]


def _by_name(result: Mapping[str, Any], leaves: Sequence[str]) -> Arrays:
    found: Arrays = {}
    for leaf in leaves:
        for key, value in result.items():
            if value is not None and names_gradient_of(str(key), leaf.rsplit(".", maxsplit=1)[-1]):
                found[leaf] = as_gradient(value)
    return found


def as_gradient(value: Any) -> np.ndarray:
    """The gradient as an array; anything that is not numbers is a broken contract."""
    array = np.asarray(value)
    if array.dtype == object or (array.dtype.kind in "USVOc" and array.dtype.name != "bfloat16"):
        raise WrongClaim("dtype", "", f"the backward returned {array.dtype} ({type(value).__name__}), not real numbers")
    return array


USUAL_PARAMETERS = ("w", "b", "weight", "weights", "bias", "biases", "gamma", "beta", "kernel", "kernels")


def asked_once(linearize: Linearize, point: Arrays) -> Arrays:
    """What a backward answers to an upstream gradient of ones."""
    outputs, pullback = linearize(point, None)
    return pullback({n: np.ones(np.shape(y), dtype=np.asarray(y).dtype) for n, y in outputs.items()})


def claimed_leaves(
    answer: Callable[[], Arrays], point: Arrays, params: tuple[str, ...] = ()
) -> tuple[str, ...] | None:
    """The leaves a backward speaks of: what it answers once, and every parameter; None if that shows nothing.

    An input it says nothing about (the labels of a loss) is data, not a wrong zero; but None is a
    claim of zero, and what is called a weight or a bias is no data.
    """
    try:
        found = answer()
    except Exception:
        return None
    named = {leaf for leaf in point if plain(leaf.rsplit(".", maxsplit=1)[-1]) in USUAL_PARAMETERS}
    return tuple(leaf for leaf in point if leaf in found or leaf in params or leaf in named) if found else None


def unclaimed_notes(point: Arrays, claimed: tuple[str, ...] | None) -> tuple[str, ...]:
    """A word on every input taken as data."""
    data = [leaf for leaf in point if claimed is not None and leaf not in claimed]
    text = "no gradient is returned for it, so it is taken as data; name it in wrt= to have that judged"
    return tuple(f"{leaf}: {text}" for leaf in data)


_SHORT = {"weights": "w", "weight": "w", "biases": "b", "bias": "b", "kernel": "k", "kernels": "k"}


@cache
def plain(name: str) -> str:
    """A name without case, underscores and brackets, to compare spellings."""
    return name.replace("_", "").lower()


def names_gradient_of(key: str, leaf: str) -> bool:
    """Whether `key` is a usual spelling of the gradient of `leaf`.

    >>> [names_gradient_of(k, "W") for k in ("dW", "W_grad", "grad_w", "W", "vW")]
    [True, True, True, True, False]
    """
    return plain(key) == plain(leaf) or decorated(key, leaf)


def decorated(key: str, leaf: str) -> bool:
    """The same, but the bare name of the leaf does not count."""
    return plain(key) in spellings(leaf)


_PREFIXES = ("d", "grad", "gradient", "delta", "dld", "g", "dj", "grads", "dloss", "gradof")
_SUFFIXES = ("grad", "gradient", "gradients", "delta", "bar", "grads", "g")


@cache
def spellings(leaf: str) -> frozenset[str]:
    """What the gradient of a leaf is usually called, as `plain` names: ``dw``, ``wgrad``, ``gradofw`` ..."""
    short = _SHORT.get(plain(leaf))
    stems = {plain(leaf), *([short, *(word for word, other in _SHORT.items() if other == short)] if short else [])}
    return frozenset({p + stem for stem in stems for p in _PREFIXES} | {stem + s for stem in stems for s in _SUFFIXES})
