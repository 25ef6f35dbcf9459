"""`np.zeros`, `np.array` and their like, whose results a forward fills: they ask no protocol what they should hold.

An array made by ``np.zeros(n)`` cannot take numbers of another arithmetic, and turning a list of them into an
array loses them. While a forward runs on wrapper arrays, the modules that hold one of these functions under
its own name hold one that answers with a wrapper: allocations always, conversions where a wrapper
is among what is converted. NumPy's and SciPy's own allocations stay as they are, other threads' and those of compiled
code too: ``np.random.rand`` fills the memory of what `np.empty` gives it.
"""

from __future__ import annotations

import importlib.machinery
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial, wraps
from types import ModuleType
from typing import Any

import numpy as np

from gradverify.arithmetic.functions import FLOAT64, Refused, is_wrapper, named

Function = Callable[..., Any]
Wrap = Callable[[np.ndarray], Any]

ALLOCATING = ("zeros", "ones", "empty", "full", "eye", "identity")
CONVERTING = ("array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray")
OWN_NUMBERS = ("numpy", "scipy", "gradverify")  # packages whose allocations are none of the forward's
THE_FORWARDS = ("gradverify.reference",)

_run = threading.local()


def collected(a: Any, dtype: Any = None, *, copy: Any = True, ndmin: int = 0, **options: Any) -> Any:
    """`numpy.array` of a wrapper, or of nested lists with wrappers among their entries."""
    if set(options) - {"order", "like", "subok"}:
        raise Refused(f"numpy.array with {sorted(options)}")
    if is_wrapper(a):
        result = a.copy() if copy else a
    else:
        result = np.stack([collected(item) if carries(item) else _run.wrap(_float64(item)) for item in a])
    if dtype is not None and np.dtype(dtype) != FLOAT64:
        result = result.astype(dtype)
    return result if np.ndim(result) >= ndmin else np.reshape(result, (1,) * (ndmin - np.ndim(result)) + result.shape)


def _float64(item: Any) -> np.ndarray:
    return np.asarray(item, dtype=np.float64)


def carries(a: Any) -> bool:
    """Whether a value is a wrapper array, or a nest of lists with one in it."""
    return is_wrapper(a) or (type(a) in (list, tuple) and any(map(carries, a)))


def _allocating(original: Function) -> Function:
    @wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        wrap = getattr(_run, "wrap", None)
        if wrap is None or getattr(made, "dtype", None) != FLOAT64 or _of_a_library(sys._getframe(1)):  # noqa: SLF001
            return made
        if original is np_empty:
            made[...] = 0.0  # what stands there by chance may be no number
        return wrap(made)

    return function


def _converting(original: Function, options: dict[str, Any]) -> Function:
    @wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        if getattr(_run, "wrap", None) is None or not args or not carries(args[0]):
            return original(*args, **kwargs)
        return collected(*args, **{**options, **kwargs})

    return function


def _of_a_library(frame: Any) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in OWN_NUMBERS and not module.startswith(THE_FORWARDS)


np_empty = np.empty
ORIGINALS: dict[str, Function] = {name: func for func, name in named(*ALLOCATING, *CONVERTING).items()}
ASKING: dict[str, Function] = {
    **{name: _allocating(ORIGINALS[name]) for name in ALLOCATING},
    **{name: _converting(ORIGINALS[name], {} if name == "array" else {"copy": False}) for name in CONVERTING},
}


# What compiled code finds under the name of NumPy: it takes what `np.empty` gives it for an array without a look.
_AS_IT_IS = ModuleType("numpy")
vars(_AS_IT_IS).update(ORIGINALS, __getattr__=partial(getattr, np))
_COMPILED = tuple(importlib.machinery.EXTENSION_SUFFIXES)


@lru_cache(maxsize=1)
def _holders(count: int) -> list[tuple[dict[str, Any], str, Any, Any]]:
    """A place, a name there, what it holds and what it is to hold: NumPy's own names, and those taken from it."""
    del count
    found: list[tuple[dict[str, Any], str, Any, Any]] = [(vars(np), n, f, ASKING[n]) for n, f in ORIGINALS.items()]
    for module_name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", None)
        if not isinstance(names, dict):
            continue
        if str(names.get("__file__")).endswith(_COMPILED):
            found += [(names, name, np, _AS_IT_IS) for name, value in list(names.items()) if value is np]
        elif module_name.partition(".")[0] not in OWN_NUMBERS:
            found += [(names, n, f, ASKING[n]) for n, f in ORIGINALS.items() if names.get(n) is f]
    return found


@contextmanager
def allocating(wrap: Wrap) -> Iterator[None]:
    """For a while, and in this thread, arrays that the forward allocates are what `wrap` makes of them."""
    holders = [holder for holder in _holders(len(sys.modules)) if holder[0].get(holder[1]) is holder[2]]
    before = getattr(_run, "wrap", None)
    _run.wrap = wrap
    for names, name, _, instead in holders:
        names[name] = instead
    try:
        yield
    finally:
        _run.wrap = before
        for names, name, held, _ in holders:
            names[name] = held
