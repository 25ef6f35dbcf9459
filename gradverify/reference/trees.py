"""Trees of gradients: adding them where a value was used twice, and taking rows of a data set."""

from __future__ import annotations

from typing import Any

from gradverify.arrays import flatten
from gradverify.reference.layer import Params


def added(a: Params, b: Params) -> Params:
    """The sum leaf by leaf; None, a gradient of nothing, is zero. A value used twice adds up both gradients.

    >>> added({"W": 1.0, "key": None}, {"W": 2.0, "key": None})
    {'W': 3.0, 'key': None}
    """
    if a is None or b is None:
        return a if b is None else b
    left, rebuild = flatten(a, "t")
    right, _ = flatten(b, "t")
    return rebuild({name: _sum(g, right[name]) for name, g in left.items()})


def _sum(g: Any, h: Any) -> Any:
    return h if g is None else g if h is None else g + h


def without_values(tree: Params) -> Params:
    """The same tree with None for every leaf: the gradient of what was not used."""
    leaves, rebuild = flatten(tree, "t")
    return rebuild(dict.fromkeys(leaves))


def rows_of(tree: Any, rows: Any) -> Any:
    """These rows of every array of a data set: of x, of a dict of inputs, of `Weighted` truths."""
    leaves, rebuild = flatten(tree, "t")
    return rebuild({name: leaf[rows] for name, leaf in leaves.items()})


def length_of(tree: Any) -> int:
    """How many rows a data set has; its arrays must agree on that."""
    lengths = {name: len(leaf) for name, leaf in flatten(tree, "x")[0].items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"examples of one number are needed, there are {lengths}")
    return next(iter(lengths.values()))
