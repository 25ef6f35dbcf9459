"""`logsumexp`, `softmax` and `log_softmax` of scipy.special, which are functions and know no protocol.

While a forward runs on wrapper arrays, the modules that hold one of them under its own name hold one
that asks first what it is given. A shift by any constant leaves all three as they are, so that here
the largest entry is no tie to be decided.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any

import numpy as np
from scipy import special

from gradverify.arithmetic.functions import Refused, is_wrapper

Function = Callable[..., Any]


def _shift(a: Any, axis: Any) -> np.ndarray:
    largest = np.max(a.values, axis=axis, keepdims=True)
    return np.where(np.isfinite(largest), largest, 0.0)


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    """``log sum b exp(a - c) + c``."""
    if return_sign or not is_wrapper(a):
        raise Refused("scipy.special.logsumexp with signs, or of plain numbers with weights that move")
    c = _shift(a, axis)
    terms = np.exp(a - c) if b is None else np.exp(a - c) * b
    total: Any = np.log(np.sum(terms, axis=axis, keepdims=True)) + c
    return total if keepdims else np.squeeze(total, axis)


def softmax(x: Any, axis: Any = None) -> Any:
    """``exp(x - c) / sum exp(x - c)``."""
    e = np.exp(x - _shift(x, axis))
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """``x - log sum exp x``."""
    return x - logsumexp(x, axis=axis, keepdims=True)


def _asking(original: Function, own: Function) -> Function:
    @wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        carried = any(map(is_wrapper, (*args, *kwargs.values())))
        return own(*args, **kwargs) if carried else original(*args, **kwargs)

    return function


ORIGINALS: dict[str, Function] = {f.__name__: f for f in (special.logsumexp, special.softmax, special.log_softmax)}
ASKING = {f.__name__: _asking(ORIGINALS[f.__name__], f) for f in (logsumexp, softmax, log_softmax)}


@lru_cache(maxsize=1)
def _holders(count: int) -> list[tuple[dict[str, Any], str]]:
    """The modules' names that mean one of the three; looked for again when the number of modules has changed."""
    del count
    return [(vars(module), name) for module in list(sys.modules.values()) if hasattr(module, "__dict__")
            for name, original in ORIGINALS.items() if vars(module).get(name) is original]


@contextmanager
def scipy_functions() -> Iterator[None]:
    """Wherever a loaded module holds one of the three, it holds for a while one that carries wrapper arrays."""
    holders = [(names, name) for names, name in _holders(len(sys.modules)) if names.get(name) is ORIGINALS[name]]
    for names, name in holders:
        names[name] = ASKING[name]
    try:
        yield
    finally:
        for names, name in holders:
            names[name] = ORIGINALS[name]
