"""The inputs that somebody gave, in another dtype, with special values, or laid out differently in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from gradverify.arrays import EPS, flatten, is_floating
from gradverify.regimes.special import SPECIAL, admissible
from gradverify.targets import arrays_in, framework_of
from gradverify.targets.graph import clone, floating_of
from gradverify.targets.specs import FunctionSpec, LayerSpec, PairSpec

GIVEN = "given"
VALUES = {
    "constant": "one value everywhere",
    "zeros": "zeros among the values",
    "ties": "ties among the values",
    "saturated": "saturating values (5 to 40)",
    "tiny": "tiny values (1e-8)",
    "huge": "huge values (1e4)",
}


def _strided(x: np.ndarray) -> np.ndarray:
    wide = np.empty((*x.shape[:-1], 2 * x.shape[-1]), x.dtype) if x.ndim else x
    view = wide[..., ::2] if x.ndim else wide
    view[...] = x
    return view


LAYOUTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"fortran": np.asfortranarray, "strided": _strided}
REGIMES = (GIVEN, *VALUES, *LAYOUTS)


def require_known(dtypes: Sequence[str] | None, regimes: Sequence[str]) -> None:
    """Raise a ValueError for a dtype or regime that does not exist."""
    for keyword, given, known in (("dtypes", dtypes or (), tuple(EPS)), ("regimes", regimes, REGIMES)):
        if isinstance(given, str):
            raise TypeError(f"{keyword}={given!r}: must be a sequence of names")
        for name in given:
            if name not in known:
                raise ValueError(f"{keyword}: no such name {name!r}; there are {', '.join(known)}")


def changed(inputs: tuple[Any, ...], regime: str, seed: int) -> tuple[Any, ...]:
    """The inputs with special values among the floating ones, or with those in another layout.

    Values that look like labels, probabilities or positive numbers stay such. A layout is one of
    NumPy arrays; the other frameworks get theirs from `search=`.
    """
    if regime == GIVEN:
        return inputs
    hosts, rebuild = arrays_in(inputs)
    floating = {name: x for name, x in hosts.items() if is_floating(x)}
    if regime in VALUES:
        return rebuild({name: _special(x, regime, seed) for name, x in floating.items()})
    leaves, build = flatten(list(inputs), "inputs")
    laid = {n: LAYOUTS[regime](x) if isinstance(x, np.ndarray) and n in floating else x for n, x in leaves.items()}
    return tuple(build(laid))


def _special(x: np.ndarray, regime: str, seed: int) -> np.ndarray:
    old = np.asarray(x, dtype=np.float64)
    new = SPECIAL[VALUES[regime]](np.random.default_rng((seed, 29)), old)
    return np.asarray(admissible(new, old)).astype(x.dtype)


def in_dtype(target: Any, inputs: tuple[Any, ...], dtype: str) -> tuple[Any, tuple[Any, ...]]:
    """Copies of a target and its inputs whose floating arrays have that dtype."""
    leaves, build = flatten(list(inputs), "inputs")
    moved = tuple(build({name: _leaf_in(x, dtype) for name, x in leaves.items()}))
    return _target_in(target, inputs, dtype), moved


def _leaf_in(x: Any, dtype: str) -> Any:
    if isinstance(x, float) or not is_floating(x):
        return x
    folder = framework_of(None, (x,))
    own = getattr(import_module(f"gradverify.frameworks.{folder}"), "in_dtype", None) if folder else None
    return own(x, dtype) if own is not None else x.astype(dtype)


def _target_in(target: Any, inputs: tuple[Any, ...], dtype: str) -> Any:
    """The object with its arrays in that dtype; functions hold none."""
    folder = framework_of(target, inputs)
    own = getattr(import_module(f"gradverify.frameworks.{folder}"), "in_dtype", None) if folder else None
    if own is not None:
        return own(target, dtype)
    if isinstance(target, LayerSpec):
        moved = copy.copy(target)
        object.__setattr__(moved, "obj", _target_in(target.obj, inputs, dtype))
        return moved
    if folder or isinstance(target, (FunctionSpec, PairSpec)):
        return target
    return clone(target, {id(x): x.astype(dtype) for x in floating_of(target).values()})
