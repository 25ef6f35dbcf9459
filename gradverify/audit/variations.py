"""Other values for the settings of what passed at its defaults: half of the wrong gradients show only there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gradverify.audit.mined import words_for

_MOST = 12

# Names of settings and the values to try; what is the current value already is left out.
_OTHERS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    (r"strides?|stride_?[hw]|pool_?stride", (2, 1)),
    (r"pad(ding)?_?\w?", (1, 2, 0)),
    (r"dilations?", (2,)),
    (r"(pool|kernel|filter)_?(size|shape|height|width)?|k|ksize", (3, 2)),
    (r"reg\w*|lam(bda)?_?\w*|l[12]\w*|weight_?decay\w*|penalty|decay|(negative_?)?slope", (0.3,)),
    (r"alpha|beta|gamma|delta|margin", (0.3,)),
    (r"eps(ilon)?", (0.1,)),
    (r"p|(drop_?(out)?|keep)_?(rate|prob\w*|p|ratio)?|rate", (0.3,)),
    (r"axis|dim", (0, 1, -1)),
    (r"temperature|scale|tau|c|power|exponent|order|theta", (2.0,)),
    (r"(n|num)?_?(heads?|groups?)", (1,)),
    (r"reduction|size_average|average|mode", ("sum", "mean", "none")),
)
_LEFT_ALONE = re.compile(
    r"(is_?)?train\w*|verbose|debug|name|seed|rng|random_state|dtype|momentum|lr|learning_?rate|retain_\w+|inplace"
    r"|\w*requires?_?grads?|need\w*_?grads?|no_grad|\w*(freeze|fro[sz]en)\w*|learnable|(save|keep|store|use)_?(cache|grad)\w*|cache",
    re.IGNORECASE,
)


def variations(settings: Mapping[str, Any], code: Any, *, is_loss: bool = False) -> Iterator[tuple[str, Any]]:
    """One setting at a time with another value: flags flipped, words that the code knows, other numbers."""
    found = [(name, value) for name, current in settings.items() for value in _others(name, current, code)
             if not (is_loss and "eps" in name)]  # a loss clips at it, in the value only
    yield from found[:_MOST]


def _others(name: str, current: Any, code: Any) -> list[Any]:
    last = name.rsplit(".", maxsplit=1)[-1].strip("_")
    if _LEFT_ALONE.fullmatch(last) or callable(current):
        return []
    if isinstance(current, bool):
        return [not current]
    words = [word for word in words_for(code, last) if word != current]
    if words and (current is None or isinstance(current, str)):
        return words[:4]
    values = next((v for pattern, v in _OTHERS if re.fullmatch(pattern, last, re.IGNORECASE)), ())
    if current is None and re.fullmatch(r"axis|dim", last, re.IGNORECASE):
        return [0, 1]
    if isinstance(current, tuple) and current and all(isinstance(n, int) for n in current):
        return [(v,) * len(current) for v in values if isinstance(v, int) and (v,) * len(current) != current][:2]
    return [v for v in values if _fits(v, current) and v != current][:2]


def _fits(value: Any, current: Any) -> bool:
    if isinstance(current, int):
        return isinstance(value, int)
    return isinstance(value, (int, float)) and isinstance(current, float)


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters that have a default, with it."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
