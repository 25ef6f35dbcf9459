"""Inputs for a forward that nobody described: proposals by role and shape, in the order of likelihood.

A scheme gives every role a shape. The schemes that the parameters of an object imply come first,
then those of the usual layers; what the errors say reorders the rest (see `search`).
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.guards import guarded_arguments
from gradverify.audit.guesses import BATCH, CHANNELS, FILTERS, IN, OUT, roles_of, settings_for
from gradverify.audit.hints import hinted, values_for
from gradverify.audit.mined import tree_of, unpacked_rank
from gradverify.audit.roles import is_label
from gradverify.audit.shapes import Sized, Whole

Shape = tuple[int, ...]
Scheme = Mapping[str, Shape]
Function = Callable[..., Any]

_H, _W = 6, 4  # even, so that windows of 2 fit, and different

_USUAL: tuple[Scheme, ...] = (
    {
        "data": (BATCH, IN),
        "weight": (IN, OUT),
        "recurrent": (OUT, OUT),
        "bias": (OUT,),
        "state": (BATCH, OUT),
        "scale": (OUT,),
    },
    {"data": (BATCH, IN), "weight": (IN,), "bias": (IN,), "state": (BATCH, IN), "scale": (IN,)},
    {"data": (CHANNELS, IN, _H, _W), "weight": (FILTERS, IN, 3, 3), "bias": (FILTERS,), "scale": (FILTERS,)},
    {"data": (CHANNELS, IN, _H, _W), "weight": (IN,), "bias": (IN,), "scale": (IN,)},
    {
        "data": (CHANNELS, BATCH, IN),
        "weight": (IN, OUT),
        "recurrent": (OUT, OUT),
        "bias": (OUT,),
        "state": (CHANNELS, OUT),
    },
    {
        "data": (BATCH, IN),
        "weight": (OUT, IN),
        "recurrent": (OUT, OUT),
        "bias": (OUT,),
        "state": (BATCH, OUT),
    },
    {
        "data": (IN, BATCH),
        "weight": (OUT, IN),
        "recurrent": (OUT, OUT),
        "bias": (OUT, 1),
        "state": (OUT, BATCH),
    },
    {"data": (IN, 1), "weight": (OUT, IN), "bias": (OUT, 1), "recurrent": (OUT, OUT), "state": (OUT, 1)},
    {"data": (1, IN), "weight": (IN, OUT), "bias": (1, OUT)},
    {"data": (IN,), "weight": (OUT, IN), "recurrent": (OUT, OUT), "bias": (OUT,), "state": (OUT,)},
    {"data": (IN,), "weight": (IN, OUT), "recurrent": (OUT, OUT), "bias": (OUT,), "state": (OUT,)},
    *[
        {
            "data": data,
            "weight": (IN, gates * OUT),
            "recurrent": (OUT, gates * OUT),
            "bias": (gates * OUT,),
            "state": state,
        }
        for gates in (4, 3)  # of an LSTM, of a GRU
        for data, state in (((BATCH, IN), (BATCH, OUT)), ((2, BATCH, IN), (2, OUT)))
    ],
    {"data": (BATCH, IN), "weight": (IN,), "bias": ()},
    {"data": (CHANNELS, _H, _W, IN)},
    {"data": (CHANNELS, 7, BATCH, IN), "weight": (3, 3, IN, FILTERS), "bias": (FILTERS,)},
    {"data": (CHANNELS, IN, 7), "weight": (FILTERS, IN, 3), "bias": (FILTERS,)},
    {"data": (CHANNELS, IN, 9, _H)},
    {"data": (IN, IN)},
    {"data": (CHANNELS, IN, 4, 5, 3)},
    {"data": ()},
)


@dataclass(frozen=True)
class Proposal:
    """One way to fill the arguments: a shape for every role, and the kind of numbers."""

    scheme: Scheme
    label: str = "class"
    integers: bool = False
    unit: bool = False
    dtype: str = "float64"
    width: int | None = None  # of the labels, where the data's own does not fit: a network's number of outputs
    others: tuple[Shape, ...] = ()  # of the arrays after the first, where the usual schemes do not fit
    flat: bool = False  # labels for one row a sample, whatever axes the data has: a classifier of images
    pairs: bool = False  # whole-number settings are given as pairs: a stride of (1, 1)
    fixed: tuple[tuple[str, Any], ...] = ()  # what code asked for by refusing: the shape of an array, or a value

    @property
    def rank(self) -> int:
        """The number of axes of the data."""
        return len(self.scheme["data"])


@dataclass(frozen=True)
class Arguments:
    """Positional inputs and fixed keywords of one call."""

    inputs: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    label: str = ""  # the kind of labels among them

    @property
    def shapes(self) -> tuple[Any, ...]:
        """The kind of labels, and the shape of each input."""
        return (self.label, *map(np.shape, self.inputs))


def proposals(function: Function, held: Sequence[np.ndarray], stated: Sequence[Shape] = ()) -> list[Proposal]:
    """All proposals for a forward whose object holds these parameter arrays, likeliest first."""
    roles = roles_of(required_names(function))
    penalty: list[Scheme] = [{"data": (IN,)}] if _is_of_weights(function) else []
    meant, sized = ([s for s in stated if isinstance(s, Sized) is guessed] for guessed in (False, True))
    told = [{"data": data} for shape in meant for data in ([(2, *shape)] * (not isinstance(shape, Whole)) + [shape])]
    schemes: list[Scheme] = [*penalty, *told, *_implied(held), *_USUAL, *({"data": shape} for shape in sized)]
    labels = ("class", "onehot", "binary", "real") if "label" in roles else ("class",)
    if "label" in roles and _is_about(function, "sigmoid", "binary", "bce", "logistic"):
        schemes, labels = [{"data": (BATCH,)}, *schemes], ("binary", "onehot", "class", "real")
    kinds = [(False, False), (True, False), (False, True)]
    widths = [*dict.fromkeys(a.shape[1] for a in reversed(held) if a.ndim == 2)][:2] if "label" in roles else []
    found = [
        Proposal(s, label, integers, unit, width=width, flat=flat)
        for integers, unit in kinds
        for s, label, width in product(schemes, labels, [*widths, None])
        for flat in ((True, False) if width is not None and len(s["data"]) > _FLAT else (False,))
    ]
    arrays = sum(role not in ("label", "setting") for role in roles)
    if arrays == 2:  # hs and a, x and w ...
        found += [Proposal({"data": base}, labels[-1], others=(part,)) for base in _BASES for part in _parts(base)]
    if arrays == 3:  # A, b and x
        found += [Proposal({"data": base}, labels[-1], others=tuple(rest)) for base, *rest in product(_FEW, repeat=3)]
    looks_up, rank = _is_about(function, "embed", "lookup", "onehot", "one_hot"), stated_rank(function)
    likely = "label" in roles and _is_about(function, "entropy", "bce", "nll", "log_loss", "logloss", "kl_div", "kldiv")
    return sorted(found, key=lambda p: (p.integers != looks_up, likely and not p.unit, rank not in (0, p.rank)))


_FLAT = 2  # axes of what a classifier has made of its data


def _is_of_weights(function: Function) -> bool:
    """Whether it is a function of weights alone: a penalty, which is written for a vector of them."""
    names = required_names(function)
    return len(names) == 1 and roles_of(["", *names])[1] == "weight"


_FEW: tuple[Shape, ...] = ((IN,), (IN, IN), (BATCH, IN), (IN, BATCH), (BATCH,))
_BASES: tuple[Shape, ...] = ((BATCH, IN), (2, BATCH, IN), (2, CHANNELS, _H, _W))


def _parts(base: Shape) -> list[Shape]:
    """The shapes that keep some axes of another, more axes first."""
    masks = product((1, 0), repeat=len(base))
    chosen = [tuple(n for n, keep in zip(base, mask, strict=True) if keep) for mask in masks]
    return sorted(chosen, key=len, reverse=True)


def stated_rank(function: Function) -> int:
    """The number of axes of the data, where the forward says it in ``N, C, H, W = x.shape``; else 0."""
    names = required_names(function)
    data = [n for n, role in zip(names, roles_of(names), strict=True) if role == "data"]
    return next((rank for name in data if (rank := unpacked_rank(function, name))), 0)


def _is_about(function: Function, *words: str) -> bool:
    """Whether the class of a method, or a function, has one of some words in its name."""
    owner = getattr(function, "__self__", None)
    name = type(owner).__name__ if owner is not None else getattr(function, "__name__", "")
    return any(word in name.lower() for word in words)


def _implied(held: Sequence[np.ndarray]) -> Iterator[Scheme]:
    """Shapes of the data that go with parameters: a matrix by either side, a filter by its channels."""
    square = [a.shape[0] for a in held if a.ndim == 2 and a.shape[0] == a.shape[1]]
    for shape in dict.fromkeys(a.shape for a in held):
        if len(shape) == 2:
            state = square[0] if square else max(shape)
            yield {"data": (BATCH, shape[0]), "state": (BATCH, state)}
            yield {"data": (BATCH, shape[1]), "state": (BATCH, state)}
            yield {"data": (shape[1], BATCH), "state": (state, BATCH)}
            yield {"data": (shape[0], BATCH), "state": (state, BATCH)}
            yield {"data": (2, BATCH, shape[0]), "state": (2, state)}
            if any(a.ndim == 2 and a.shape[1] == 1 for a in held):  # a bias that is a column: one sample at a time
                yield {"data": (shape[1], 1), "state": (state, 1)}
            yield {"data": (shape[0],), "state": (state,)}
            yield {"data": (shape[1],), "state": (state,)}
        elif len(shape) == 4:
            yield {"data": (2, shape[1], _H, 7)}
            yield {"data": (2, _H, 7, shape[2])}
        elif len(shape) == 3:
            yield {"data": (2, shape[1], 7)}
            yield {"data": (2, 7, shape[1])}
        if len(shape) in (1, 3) and shape[0] > 0:
            yield {"data": (BATCH, shape[-1]), "state": (BATCH, shape[-1])}
            yield {"data": (2, shape[0], _H, _W)}


def weights_for(parameters: Sequence[inspect.Parameter], seed: int) -> Iterator[dict[str, Any]]:
    """Values for the constructor of a layer that is given its weights: ``RNN(Wx, Wh, b)``; none for any other."""
    roles = roles_of(["", *[p.name for p in parameters]])[1:]
    if not parameters or "weight" not in roles or set(roles) - {"weight", "recurrent", "bias", "setting", "scale"}:
        return
    rng, seen = np.random.default_rng(seed), set()
    for scheme in _USUAL:
        shapes = tuple(scheme.get(role) for role in roles)
        if shapes in seen:
            continue
        seen.add(shapes)
        values = {p.name: settings_for(p, rng)[0] if role == "setting" else rng.standard_normal(scheme[role]) * 0.5
                  for p, role in zip(parameters, roles, strict=True)
                  if role == "setting" or role in scheme}  # fmt: skip
        if len(values) == len(parameters):
            yield values


def required_names(function: Function) -> list[str]:
    """The parameters that a call must give by position."""
    return [hinted(p, function, first=i == 0) for i, p in enumerate(required(function))]


def required(function: Function) -> list[inspect.Parameter]:
    """The same, as parameters; all of ``f(*args)`` is one."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(function).parameters.values())
    is_loss = re.search("loss|cost|objective", getattr(function, "__name__", "")) is not None
    found = [
        p
        for p in parameters
        if p.kind in kinds
        and (p.default is inspect.Parameter.empty or (is_loss and p.default is None and is_label(p.name)))
    ]
    star = [p for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
    return found or star[:1]


def make_arguments(
    function: Function, proposal: Proposal, held: Sequence[np.ndarray], seed: int
) -> Arguments:
    """The arguments of a proposal: standard normal data, labels in range, settings as keywords."""
    rng = np.random.default_rng(seed)
    parameters, positive = required(function), log_arguments(function) | guarded_arguments(function)
    roles = roles_of(required_names(function))
    inputs: list[Any] = []
    last = max((i for i, role in enumerate(roles) if role != "setting"), default=0)
    others = list(proposal.others)
    kwargs: dict[str, Any] = {}
    fixed = dict(proposal.fixed)
    for parameter, role in zip(parameters, roles, strict=True):
        if parameter.name in fixed and role == "setting":
            kwargs[parameter.name] = fixed[parameter.name]
        elif parameter.name in fixed:
            told = replace(proposal, scheme={"data": fixed[parameter.name]}, width=None)
            inputs.append(_array(role, told, parameter.name in positive, held, rng))
        elif inputs and role != "setting" and _CONDITION.fullmatch(parameter.name):
            inputs.append(rng.integers(0, 2, proposal.scheme["data"]).astype(bool))
        elif inputs and _MASK.fullmatch(parameter.name) and np.asarray(inputs[-1]).dtype.kind in "iu":
            inputs.append(np.arange(np.size(inputs[-1])).reshape(np.shape(inputs[-1])) % 3 != 1)  # which labels count
        elif others and role not in ("setting", "label") and inputs:
            inputs.append(rng.standard_normal(others.pop(0)))
        elif role == "setting":
            value = values_for(function, parameter, rng)[0]
            kwargs[parameter.name] = (value, value) if proposal.pairs and type(value) is int else value
        else:
            inputs.append(_array(role, proposal, parameter.name in positive, held, rng))
    keywords = [
        p for p in inspect.signature(function).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    kwargs |= {p.name: settings_for(p, rng)[0] for p in keywords if p.default is inspect.Parameter.empty}
    kwargs |= _in_training(function)
    label = proposal.label if "label" in roles else ""
    for i, parameter in enumerate(parameters[:last]):  # what stands before an array is given by position as it is
        if parameter.name in kwargs:
            inputs.insert(i, kwargs.pop(parameter.name))
    return Arguments(tuple(_cast(value, proposal.dtype) for value in inputs), kwargs, label)


_MASK = re.compile(r"(\w+_)?mask", re.IGNORECASE)
_CONDITION = re.compile(r"cond(itions?)?|is_\w+|where", re.IGNORECASE)


def _in_training(function: Function) -> dict[str, bool]:
    """Flags like ``train_flg=False``, ``save_cache=False`` are set: a backward belongs to the forward of training."""
    optional = [p for p in inspect.signature(function).parameters.values() if p.default is False]
    return {p.name: True for p in optional if _OF_TRAINING.fullmatch(p.name)}


_OF_TRAINING = re.compile(
    r"_*((is_?)?train\w*|(save|keep|store|use|with|remember|do|update)?_?(cache|caches|state|context|ctx|memory|for_backward"
    r"|gradients?|grads?)|save|store|remember|cache_\w+|requires_?grad)", re.IGNORECASE)  # fmt: skip


def _cast(value: Any, dtype: str) -> Any:
    narrow = isinstance(value, np.ndarray) and is_floating(value) and dtype != "float64"
    return value.astype(dtype) if narrow else value


def _array(
    role: str, proposal: Proposal, positive: bool, held: Sequence[np.ndarray], rng: np.random.Generator
) -> Any:
    data = proposal.scheme["data"]
    if role == "label" and proposal.integers:  # a token for each token
        return rng.integers(0, min((a.shape[0] for a in held if a.ndim == 2), default=3), data)
    if role == "label":
        samples = data[:1] if proposal.flat else data[:-1]
        outputs: Shape = (*samples, proposal.width) if proposal.width is not None and data else data
        return _labels(proposal.label, outputs, rng)
    if role == "index" or (role == "data" and proposal.integers):
        rows = min((a.shape[0] for a in held if a.ndim == 2), default=3)
        return rng.integers(0, max(rows, 1), data)
    shape = proposal.scheme.get(role, data)
    if positive or (proposal.unit and role == "data"):
        return np.asarray(rng.uniform(0.1, 0.9, shape))  # where log, sqrt, arcsin and 1 - p are all defined
    return np.asarray(rng.standard_normal(shape))


def _labels(kind: str, data: Shape, rng: np.random.Generator) -> np.ndarray:
    """Labels for predictions of a shape, as integers: they are constants, nothing to differentiate by."""
    classes = data[-1] if data else 2
    chosen = rng.integers(0, classes, data[:-1])
    if classes == 1 and kind != "real":  # a column of single samples or outputs: labels of its own shape
        return rng.integers(0, 2, data)
    if kind == "class":
        return chosen
    if kind == "onehot":
        return np.asarray(np.eye(classes, dtype=np.int64)[chosen])
    if kind == "binary":
        return rng.integers(0, 2, data)
    return np.asarray(rng.standard_normal(data))


def log_arguments(function: Function) -> frozenset[str]:
    """The arguments that go into a logarithm or a root as they are, or through a clip.

    ``np.log(p + eps)`` and ``q = np.clip(p, a, b); np.log(1 - q)`` count, ``np.log(np.sum(np.exp(x)))``
    does not.
    """
    tree = tree_of(function)
    aliases = {
        p.arg: {p.arg} for node in ast.walk(tree) if isinstance(node, ast.arguments) for p in node.args
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            aliases.setdefault(node.targets[0].id, set()).update(_transparent(node.value, aliases))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _called(node) in ("log", "sqrt", "log2", "log10")
    ]
    return frozenset(
        name for call in calls for argument in call.args for name in _transparent(argument, aliases)
    )


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _transparent(node: ast.expr, aliases: Mapping[str, set[str]]) -> set[str]:
    if isinstance(node, ast.Name):
        return aliases.get(node.id, set())
    if isinstance(node, ast.Call):
        passes = _called(node) in ("clip", "maximum", "minimum", "asarray", "array")
        return set().union(*(_transparent(a, aliases) for a in node.args)) if passes else set()
    if isinstance(node, ast.BinOp):
        return _transparent(node.left, aliases) | _transparent(node.right, aliases)
    if isinstance(node, (ast.Subscript, ast.UnaryOp)):
        return _transparent(node.value if isinstance(node, ast.Subscript) else node.operand, aliases)
    return set()
