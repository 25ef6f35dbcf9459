"""How the arguments of an operator of a hand-written autograd are given: as their names say, then in other ways.

``box`` is an object of the project's class of tensors, ``list`` and ``star`` one beside another one, ``raw`` a bare
array, ``truth`` an object that asks for no gradient; a constant is an axis, a power, an index, a condition.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.audit.boxes import Box
from gradverify.audit.guesses import is_setting, roles_of, settings_for

ASKED = ("box", "list", "star")  # the manners in which an argument is asked for its gradient
TURNED = (1, 2, 0)  # axes in an order that is not its own inverse, as every order of two is


@dataclass(frozen=True)
class Mask:
    """A condition as large as the operator's first array, true in two of three entries; an object or a bare array."""

    boxed: bool

    def of(self, box: Box, shape: tuple[int, ...]) -> Any:
        """The condition for an array of a shape."""
        mask = np.arange(math.prod(shape)).reshape(shape) % 3 != 1
        return box.constant(mask) if self.boxed else mask


def manners_of(needed: Sequence[inspect.Parameter], operator: str) -> Iterator[tuple[str, ...]]:
    """How the arguments are given: as their names say; the others as arrays, as constants, as lists of tensors."""
    first = [_manner(i, p, operator) for i, p in enumerate(needed)]
    yield tuple(first)
    if "raw" in first:
        yield tuple("truth" if how == "raw" else how for how in first)
    if first and first[0] == "box":
        for other in ("raw", "constant"):
            yield tuple(other if i and how == "box" else how for i, how in enumerate(first))
            yield tuple(other if i and how == "raw" else how for i, how in enumerate(first))
        yield ("box", *("box" if how != "box" else how for how in first[1:]))
        if needed[0].name not in _OWN:
            yield ("list", *first[1:])


_OWN = ("self", "cls")


def _manner(position: int, parameter: inspect.Parameter, operator: str) -> str:
    said = str(parameter.annotation)
    if _MASK.fullmatch(parameter.name):
        return "constant"
    if position == 0 and parameter.kind is parameter.VAR_POSITIONAL:
        return "star"
    if position == 0:
        several = _SEVERAL.fullmatch(parameter.name) or re.search(r"\b([lL]ist|Sequence|Iterable)\[", said)
        return "list" if several else "box"
    typed = re.search(r"\b(int|float|tuple|Tuple|str|slice|bool|list|List|Sequence)\b", said) and not re.search(
        r"[A-Z]\w*(ensor|ariable|alue|xpr)|ndarray|NDArray", said)  # fmt: skip
    if typed or parameter.kind is parameter.VAR_POSITIONAL or operator in _WITH_CONSTANTS:
        return "constant"
    if is_setting(parameter.name) or _CONSTANT.fullmatch(parameter.name.strip("_")):
        return "constant"
    is_label = roles_of(["x", parameter.name])[1] in ("label", "index") and len(parameter.name) > 1
    return "raw" if is_label else "box"


_MASK = re.compile(r"_*(\w+_)?(mask|cond|condition|predicate)_*", re.IGNORECASE)
_SEVERAL = re.compile(
    r"_*(tensors|arrays|xs|variables|vars|values|nodes|exprs|inputs_list|tensor_list|ts|children)", re.IGNORECASE
)
_WITH_CONSTANTS = ("__pow__", "__rpow__", "__getitem__", "reshape", "view", "transpose", "permute")
_AXIS = r"(axis|dim|ax)_?[0-9ab]?|dims"
_CONSTANT = re.compile(
    _AXIS + r"|axes|shape|new_?shape|newshape|size|key|item|slices?|power|exponent|exp|n|k|scalar|const\w*"
    r"|start\w*|end\w*|min\w*|max\w*|a_min|a_max|low|high|repeats?|perm\w*|order|dtype|name|num_\w+|eps", re.IGNORECASE)


def name_of(position: int, parameter: inspect.Parameter, operator: str) -> str:
    """The name that tells the search the shape of an array: of a product of matrices the second is a weight."""
    if position == 1 and re.fullmatch(r"_*r?(mat_?mul|dot|mm)_*", operator):
        return "weight"
    if position == 1 and len(parameter.name) == 1:  # t and y are tensors here, and no truth to compare with
        return "other"
    return "x" if parameter.name in _OWN else parameter.name


def constants_for(
    fixed: Sequence[inspect.Parameter], operator: str
) -> list[list[tuple[Any, ...]]]:
    """For each constant the arguments to try for it in turn: one, or several where it takes ``*axes``."""
    alone = len(fixed) == 1
    return [_arguments(p, _values(p, operator, turn, alone=alone)) for turn, p in enumerate(fixed)]


def _arguments(parameter: inspect.Parameter, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    if parameter.kind is not parameter.VAR_POSITIONAL:
        return [(value,) for value in values]
    spread = [value if isinstance(value, tuple) else (value,) for value in values]
    return spread[:2] + [(value,) for value in values if isinstance(value, tuple)]


def _values(parameter: inspect.Parameter, operator: str, turn: int, *, alone: bool) -> Sequence[Any]:
    """Values to try for a constant: by the operator, by the name, then a number; two axes are not the same one."""
    if _MASK.fullmatch(parameter.name):
        return [Mask(boxed=True), Mask(boxed=False)]
    if operator in _BY_OPERATOR and alone:
        return _BY_OPERATOR[operator]
    name = parameter.name.strip("_")
    if re.fullmatch(_AXIS, name, re.IGNORECASE):
        return [*_AXES[turn % 3 :], *_AXES[: turn % 3]]
    named = next((v for pattern, v in _BY_NAME if re.fullmatch(pattern, name, re.IGNORECASE)), None)
    if named is not None:
        return named
    found = settings_for(parameter, np.random.default_rng(0)) if is_setting(parameter.name) else []
    return [*found, 2.0, 2, 0][:3]


_AXES = (0, -1, 1)
_BY_OPERATOR: dict[str, list[Any]] = {
    "__pow__": [3, 3.0], "pow": [3, 3.0], "power": [3, 3.0], "__rpow__": [2.0],
    "__getitem__": [(slice(None), 1), slice(0, 2), 0],
    "reshape": [(-1,), -1], "view": [(-1,), -1], "transpose": [TURNED, (1, 0)], "permute": [TURNED, (1, 0)],
    "squeeze": [0, -1, (0,)], "unsqueeze": [0, 1, (0,)], "expand_dims": [0, 1, (0,)],
    "repeat": [2, (2, 3)], "tile": [(2, 3), 2],
}  # fmt: skip
_BY_NAME: tuple[tuple[str, list[Any]], ...] = (
    (r"axes|perm\w*|order", [TURNED, (1, 0)]),
    (r"(new_?)?shape|size", [(-1,), (2, 5, 3)]),
    (r"min\w*|a_min|low|start\w*", [-0.5, 0]),
    (r"max\w*|a_max|high|end\w*", [0.5, 1]),
    (r"idx|index|key|item|slices?", [slice(0, 2), 0]),
)


def bounds_for(optional: Mapping[str, Any]) -> dict[str, float]:
    """Bounds for keywords that by default are none: nothing is clipped there, or it raises.

    >>> bounds_for({"min": None, "a_max": math.inf, "axis": None})
    {'min': -0.5, 'a_max': 0.5}
    """
    absent = [n for n, v in optional.items() if v is None or (isinstance(v, float) and math.isinf(v))]
    return {n: float(value) for n in absent for pattern, value in _BOUNDS if re.fullmatch(pattern, n)}


_BOUNDS = ((r"_*(a_|c)?min(_?val\w*|imum)?|low(er)?|lo", -0.5), (r"_*(a_|c)?max(_?val\w*|imum)?|high|upper|hi", 0.5))
