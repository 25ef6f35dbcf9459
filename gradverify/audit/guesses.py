"""What a parameter's name, default or annotation says about the values it wants: tables only."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Sizes: small, and no two of one array equal, so that a transposed or misplaced axis cannot hide.
BATCH, IN, OUT, CHANNELS, FILTERS, VOCABULARY = 5, 3, 7, 2, 4, 11

_LABELS = re.compile(
    r"t|labels?|targ(et)?s?|y_?(true|train|real|batch|label)|truth|ground_?truth|gt|classes|one_?hot"
    r"|expected|desired|actual|teacher\w*|soft_?(labels?|targ(et)?s?)",
    re.IGNORECASE,
)
_ROLES = tuple((role, re.compile(pattern)) for role, pattern in (
    ("recurrent", r"w_?(h|hh|rec)|weights?_h+|wh_?\w?|u|v"),
    ("weight", r"w\d?|weights?|kernels?|filters?|wx|w_?x?h|w_?xh|w_?ih|theta|coefs?"),
    ("bias", r"b\d?|bias(es)?|beta|shift|b_?h|bh|intercept"),
    ("scale", r"gamma|scale|g"),
    ("state", r"h|h_?\d|h_?prev|prev_?h|c|c_?prev|prev_?c|hidden|state|h_?t|s_?prev|a_?prev_?t|h_?last"),
    ("index", r"idxs?|ind|index|indices|tokens?|token_?ids|ids|words?|word_?ids"),
))  # fmt: skip

Maker = Callable[[np.random.Generator], list[Any]]


def _always(*values: Any) -> Maker:
    return lambda _: list(values)


# One dictionary that serves as pool_param, bn_param, conv_param ... of the CS231n assignments.
CONFIG: dict[str, Any] = {
    "stride": 1, "pad": 1, "pool_height": 2, "pool_width": 2, "mode": "train", "eps": 1e-5, "p": 0.6,
    "seed": 0, "momentum": 0.9,
}  # fmt: skip

_COUNT = r"(n|num|number_of|d|dim|fan|c)?_?"
_UNITS = r"_?(features?|dim\w*|size|units|nodes|neurons|n|len(gth)?|count|num)?"


def _arrays(*shapes: tuple[int, ...]) -> Maker:
    return lambda rng: [rng.standard_normal(shape) for shape in shapes]


def _generator(rng: np.random.Generator) -> list[Any]:
    return [np.random.default_rng(int(rng.integers(99))), 0]


# Names of settings, and the values to try in turn; the first pattern that fits the whole name wins.
_NAMED: tuple[tuple[str, Maker], ...] = (
    (_COUNT + r"in_?(channels?|planes)|c_?in|(n_?|input_?)?channels?|n_?c", _always(CHANNELS)),
    (r"out(put)?_?(channels?|planes)|c_?out|(n|num)?_?(filters?|kernels?)", _always(FILTERS)),
    (_COUNT + r"in(puts?)?" + _UNITS + r"|(n|num)_?features_?in|nin|n_?x|prev\w*", _always(IN)),
    (_COUNT + r"out(puts?)?" + _UNITS + r"|nout|n_?y|((n|num)_?)?classes", _always(OUT)),
    (r"(hidden|layer|unit|neuron|net)\w*_?(list|sizes|dims|units|layers|structure)|(layers?_?)?(sizes|dims|structure)",
     _always([IN, OUT, 4], [OUT, 4])),
    (r"layers|architecture|topology", _always([IN, OUT, 4], [OUT, 4])),
    (r"(n|num)?_?(units|neurons|nodes|hidden_?(size|dims?|units|layers?)?)|n_?h", _always(OUT)),
    (r"(n|num)?_?(embeddings|tokens|words)|vocab\w*|voc_?size|num_?emb\w*", _always(VOCABULARY)),
    (r"((n|num)_?)?heads?(_?(n|num|count))?|(n|num)?_?groups?|g", _always(1, IN)),
    (r"(n|num|number_of)_?(layers|blocks|stages)|(layer|block|stage)s?_?(n|num|count)", _always(2, 1)),
    (r"i|j|idx|ind|index|step|iteration|iter|epoch", _always(1, 0)),
    (r"(kernel|filter)_?(size|shape|dims?)|kernel|k|ksize|f",
     _always(3, (3, 3), (3, 3, CHANNELS, FILTERS), (FILTERS, CHANNELS, 3, 3))),
    (r"pool_?(size|shape|dims?|[hw]|height|width)?|window_?(size)?|(scale_?)?factor|upsample\w*", _always(2, (2, 2))),
    (r"(filter|kernel)_?([hw]|height|width)|k[hw]|h_?f|w_?f", _always(3)),
    (r"stride_?[hw]?|strides?|dilation|s", _always(1, 2, (1, 1))),
    (r"pad(ding)?_?(\w|width|size|amount|length|len)?", _always(1, 0, "same", "valid")),
    (r"eps(ilon)?", _always(1e-5)),
    (r"p|rate|(drop_?(out)?|keep)_?(rate|prob\w*|p|ratio)?|prob\w*|ratio", _always(0.4)),
    (r"momentum|decay|rho|beta_?\d", _always(0.9)),
    (r"lr|learning_?rate|eta", _always(0.1)),
    (r"alpha|(negative_?)?slope|beta|delta|lam\w*|reg\w*|tau|temperature", _always(0.7)),
    (r"scale|gamma|margin|a|c|q|l[12]\w*", _always(0.7, 2)),
    (r"rng|random_?state|generator|random", _generator),
    (r"seed", _always(0)),
    (r"((is|if|in|for)_?)?(train\w*|use_?\w*|bias|with_?\w*|has_?\w*|keep_?dims?)", _always(True)),
    (r"mode", _always("train")),
    (r"pool\w*_(param|params|cfg|config|options|hparams)", lambda _: [{**CONFIG, "stride": 2}]),
    (r"\w*(param|params|cfg|config|options|hparams)", lambda _: [dict(CONFIG), (), None]),
    (r"(in(put)?|out(put)?|x|y|data)_?shape|shape(_?(in|out)(put)?)?",
     _always((IN,), (BATCH, IN), (CHANNELS, 6, 4), (2, CHANNELS, 6, 4))),
    (r"(n|num)?_?(dims?|features?)|normalized_?shape|d_?model|size|width|embed\w*|d|n|length", _always(IN)),
    (r"w\d?|(weights?|kernels?)(_?(array|matrix|mat))?", _arrays((IN, OUT), (OUT, IN), (FILTERS, CHANNELS, 3, 3))),
    (r"b\d?|bias(es)?(_?(array|vector|vec))?", _arrays((OUT,), (OUT, 1), (FILTERS,))),
    (r"x(_?train|_?data)?|training_?(data|inputs)", _arrays((BATCH, IN), (IN, BATCH))),
    (r"y(_?train|_?data|_?true)?|(training_?)?(targets?|labels|outputs)", _arrays((BATCH, 1), (BATCH, OUT))),
    (r"axis|dim", _always(-1, 1)),
    (r"name|label", _always("layer")),
    (r"act\w*|optimi[sz]er|init\w*|regulari[sz]er|\w*_init|\w*fn|cache", _always(None, "relu")),
)
_SETTINGS = tuple((re.compile(pattern, re.IGNORECASE), maker) for pattern, maker in _NAMED)

_BY_ANNOTATION: dict[str, list[Any]] = {
    "int": [IN, 2], "float": [0.5], "bool": [True], "str": [""], "tuple": [(IN,), (3, 3)],
    "tuple[int, int]": [(3, 3)], "tuple[int, ...]": [(IN,)], "list[int]": [[IN, OUT]], "list": [[IN, OUT]],
}  # fmt: skip


def settings_for(parameter: inspect.Parameter, rng: np.random.Generator) -> list[Any]:
    """Values to try for a setting: by annotation where that decides, by name, then by mere hope."""
    annotation = (
        parameter.annotation
        if isinstance(parameter.annotation, str)
        else getattr(parameter.annotation, "__name__", "")
    )
    named = next(
        (maker(rng) for pattern, maker in _SETTINGS if pattern.fullmatch(snake(parameter.name))), None
    )
    typed = _BY_ANNOTATION.get(annotation)
    if typed is None:
        return named if named is not None else [IN, 0.5, (IN,), None]
    kinds = tuple(type(value) for value in typed)
    fitting = [value for value in named or [] if isinstance(value, kinds)]
    return fitting or typed


def is_padding(name: str, others: Sequence[str]) -> bool:
    """Whether ``p`` stands for padding: beside a kernel ``k`` and a stride ``s`` it is no rate.

    >>> is_padding("P", ["cin", "cout", "K", "P", "S"]), is_padding("p", ["x", "p"])
    (True, False)
    """
    return name.lower() == "p" and {"k", "s"} & {other.lower() for other in others} != set()


def is_size(name: str) -> bool:
    """Whether a parameter is by its name a whole number: ``d_model`` is no model, ``layer_num`` no layer."""
    return _SIZE_NAME.fullmatch(snake(name)) is not None


_SIZE_NAME = re.compile(r"(d|n|num|dim|number_of)_\w+|\w+_(d|n|num|dims?|size|count|len(gth)?)", re.IGNORECASE)


def snake(name: str) -> str:
    """A name as Python's style has it: ``weightArray`` as ``weight_array``, ``nIn`` as ``n_in``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip("_"))


def functions_for(name: str, others: Sequence[str]) -> list[Callable[..., Any]]:
    """tanh, or its derivative, for a parameter that by its name and those beside it is a function.

    >>> [f.__name__ for f in functions_for("activation_prime", ["activation", "activation_prime"])]
    ['_tanh_prime']
    """
    if _DERIVATIVE.fullmatch(name):
        return [_tanh_prime]
    paired = any(_DERIVATIVE.fullmatch(other) for other in others)
    return [np.tanh] if paired and len(others) <= _PAIR else []


_PAIR = 2
_DERIVATIVE = re.compile(r"\w*(prime|deriv(ative)?)|df|d_?act\w*|f_?d|fprime|grad_?f\w*", re.IGNORECASE)


def _tanh_prime(x: Any) -> Any:
    return 1 - np.tanh(x) ** 2


def value_of_key(key: str) -> Any:
    """A value for an entry of a dictionary of settings: windows of a pooling lie side by side."""
    usual = usual_value(key, np.random.default_rng(0))
    return CONFIG.get(key, 2 if re.fullmatch(r"pool\w*stride\w*", key) else usual)


def usual_value(name: str, rng: np.random.Generator) -> Any:
    """The likeliest value of a setting that is called so."""
    return settings_for(inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD), rng)[0]


def is_setting(name: str) -> bool:
    """Whether an argument of a forward is by its name a setting: a stride, a rate, a flag."""
    return _SETTING_NAME.fullmatch(name.strip("_")) is not None


_SETTING_NAME = re.compile(
    r"((is|if|in|for)_?)?train\w*|mode|strides?|pad(ding)?|(pool|kernel|filter)_?(size|shape|height|width)|dilation|groups?|eps(ilon)?|axis"
    r"|keep_?prob\w*|drop\w*_?(rate|prob\w*|p)|(negative_?)?slope|alpha|rng|seed|n_?heads?|p|lam\w*|reg\w*|momentum|delta"
    r"|temperature|size|\w+_(param|params|config|cfg)|hparam\w*|(\w+_)?shape(_\w+)?|axes|power|exponent|repeats|num_\w+",
    re.IGNORECASE,
)


def is_named_setting(name: str) -> bool:
    """Whether an argument of a constructor is by its name a number or word, and no array, layer or node.

    >>> is_named_setting("num_outputs"), is_named_setting("prev_layer"), is_named_setting("x")
    (True, False, False)
    """
    known = any(pattern.fullmatch(snake(name)) for pattern, _ in _SETTINGS)
    return known and len(name) > _LETTER and _NODE_NAME.fullmatch(snake(name)) is None


_LETTER = 2
_NODE_NAME = re.compile(
    r"(in|inputs?|prev\w*|weights?|w|b|bias(es)?|x_?\w*|y_?\w*|kernels?|filters?|layers?|targets?|labels?)\d?"
    r"|\w*_?(layer|node|variable|var|tensor|blob|array)s?\d?", re.IGNORECASE)  # fmt: skip


class Hinted(str):
    """The name of an argument that is a setting whatever it is called."""

    __slots__ = ()


def roles_of(names: Sequence[str]) -> tuple[str, ...]:
    """What each argument of a forward is: data, label, index, weight, bias, state, setting ...

    >>> roles_of(["x", "w", "b", "stride"]), roles_of(["y", "t"]), roles_of(["y", "y_pred"])
    (('data', 'weight', 'bias', 'setting'), ('data', 'label'), ('label', 'data'))
    """
    strong = [_LABELS.fullmatch(name) is not None and not isinstance(name, Hinted) for name in names]
    if not names:
        return ()
    if len(names) == 1:
        return (_role(names[0], first=True),)
    weak_counts = not any(strong)
    in_front = _is_weight(names[0]) and any(name.strip("_").lower() in _DATA for name in names[1:])
    roles = [
        "label" if is_label or (weak_counts and name.lower() == "y") else _role(name, first=position == 0)
        for position, (name, is_label) in enumerate(zip(names, strong, strict=True))
    ]
    if in_front:
        roles[0] = "weight"
    if "label" in roles and set(roles) <= {"label", "setting"} and not strong[0] | isinstance(names[-1], Hinted):
        roles[1 - roles.index("label") if len(roles) == 2 else 0] = "data"  # loss(y, p): p is no rate but a prediction
    elif "label" in roles and set(roles) <= {"label", "setting"}:  # power(t, n) has no truth to compare with
        roles[roles.index("label")] = "data"
    return tuple(roles)


def _is_weight(name: str) -> bool:
    return dict(_ROLES)["weight"].fullmatch(name.strip("_").lower()) is not None


_DATA = ("x", "data", "inputs", "features", "samples", "x_train", "xs")


def _role(name: str, *, first: bool) -> str:
    if isinstance(name, Hinted) or (is_setting(name) and not first):
        return "setting"
    role = next((role for role, pattern in _ROLES if pattern.fullmatch(name.strip("_").lower())), "data")
    return "data" if first and role != "index" else role
