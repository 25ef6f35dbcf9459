"""Which adapter fits an object: the one door through which anything becomes a `Target`."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from gradverify.arrays import EPS, Arrays, dtype_name, flatten
from gradverify.records import Options
from gradverify.targets.constants import constants_in
from gradverify.targets.functions import function_target
from gradverify.targets.layers import layer_target
from gradverify.targets.methods import derivative_of_input, method_names
from gradverify.targets.origins import written_for
from gradverify.targets.pairs import pair_target, pullback_target, returns_pullback
from gradverify.targets.record import Target
from gradverify.targets.settings import settings_in
from gradverify.targets.specs import FunctionSpec, LayerSpec, PairSpec, function, layer, name_of, pair

__all__ = ["Target", "arrays_in", "function", "layer", "make_targets", "pair"]

_REVERSE = ("derivative", "gradient", "jacobian", "vjp")
_FRAMEWORKS = {
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jax",
    "equinox": "jax",
    "flax": "jax",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "autograd": "autograd",
}  # top-level module of a value's type -> folder in gradverify.frameworks


def make_targets(obj: Any, inputs: tuple[Any, ...], options: Options) -> tuple[Target, ...]:
    """The targets in `obj`: one, or one for each kind of derivative somebody claims for a function."""
    constants = constants_in(obj)
    settings = partial(settings_in, obj)
    targets = map(_as_coarse_as_its_outputs, _targets(obj, inputs, options))
    return tuple(replace(t, constants=constants, settings=settings) for t in targets)


def _as_coarse_as_its_outputs(target: Target) -> Target:
    """A forward that answers float64 in float32 has float32's roundings, whatever its inputs are."""
    if not target.foreign:
        return target
    # Copied: a forward may answer with a buffer of its own that its next call fills again.
    start = {n: copy.copy(y) for n, y in target.outputs(target.point).items()}
    found = [dtype_name(y) for y in start.values()]
    coarsest = max((target.dtype, *(name for name in found if name in EPS)), key=EPS.__getitem__)
    return replace(target, dtype=coarsest, start=start)


def _targets(obj: Any, inputs: tuple[Any, ...], options: Options) -> tuple[Target, ...]:
    framework = framework_of(obj, inputs)
    if framework is not None:
        adapter = import_module(f"gradverify.frameworks.{framework}")
        return (adapter.make_target(obj, inputs, options),)
    kwargs: Mapping[str, Any] = options.kwargs or {}
    if isinstance(obj, FunctionSpec):
        return tuple(function_target(part, inputs, kwargs, options.wrt) for part in _parts(obj))
    if isinstance(obj, PairSpec):
        return (pair_target(obj, inputs, kwargs),)
    if isinstance(obj, LayerSpec):
        return (layer_target(obj, inputs, kwargs),)
    return (_from_object(obj, inputs, kwargs),)


def _parts(spec: FunctionSpec) -> list[FunctionSpec]:
    reverse = [name for name in _REVERSE if name in spec.claims]
    others = {name: claim for name, claim in spec.claims.items() if name not in reverse}
    first = {reverse[0]: spec.claims[reverse[0]], **others} if reverse else others
    rest = [FunctionSpec(spec.forward, {name: spec.claims[name]}, spec.name) for name in reverse[1:]]
    return [FunctionSpec(spec.forward, first, spec.name), *rest]


def framework_of(obj: Any, inputs: tuple[Any, ...]) -> str | None:
    """The framework whose values are among the inputs (or whose class `obj` is), never importing one."""
    leaves = flatten(list(inputs), "x")[0].values()
    bases = obj.__mro__ if isinstance(obj, type) else type(obj).__mro__
    modules = {cls.__module__.split(".")[0] for leaf in leaves for cls in type(leaf).__mro__}
    modules |= {cls.__module__.split(".")[0] for cls in bases}
    return next(
        (folder for module, folder in _FRAMEWORKS.items() if module in modules and module in sys.modules),
        written_for(obj),
    )


def arrays_in(inputs: tuple[Any, ...]) -> tuple[Arrays, Callable[[Mapping[str, np.ndarray]], tuple[Any, ...]]]:
    """The arrays among the inputs on the host, whatever they belong to, and the same inputs with others in their place.

    The others may have another shape; they get the dtype, the device and the kind of what they replace.
    """
    leaves, rebuild = flatten(list(inputs), "inputs")
    hosts: Arrays = {}
    makers: dict[str, Callable[[np.ndarray], Any]] = {}
    for name, leaf in leaves.items():
        if isinstance(leaf, np.ndarray):
            hosts[name], makers[name] = leaf, np.array
        elif hasattr(leaf, "dtype") and (folder := framework_of(None, (leaf,))) is not None:
            adapter = import_module(f"gradverify.frameworks.{folder}")
            hosts[name], makers[name] = adapter.to_host(leaf), partial(adapter.like, leaf)

    def replaced(new: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
        return tuple(rebuild({n: makers[n](new[n]) if n in new else x for n, x in leaves.items()}))

    return hosts, replaced


def _from_object(obj: Any, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Target:
    if isinstance(obj, type):
        raise TypeError(f"target={obj.__name__}: a class; give an instance of it, {obj.__name__}(...)")
    if method_names(obj) is not None and not inspect.isroutine(obj):
        claim = derivative_of_input(obj, len(inputs))
        if claim is not None:
            return function_target(FunctionSpec(claim[0], {"derivative": claim[1]}, name_of(obj)), inputs, kwargs, None)
        return layer_target(LayerSpec(obj, None, None, None, None, name_of(obj)), inputs, kwargs)
    forward = obj if callable(obj) else getattr(obj, "forward", None)
    if not callable(forward):
        raise TypeError(f"target={obj!r}: neither callable nor an object with a forward and a backward")
    return _from_callable(forward, name_of(obj), inputs, kwargs)


def _from_callable(
    forward: Callable[..., Any], name: str, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Target:
    target = pullback_target(forward, name, inputs, kwargs)
    if returns_pullback(forward(*inputs, **kwargs)):
        return target
    raise TypeError(
        f"target={name}: nothing to check: it claims no derivative; "
        "say which one with gv.function(f, derivative=...), gv.pair(forward, backward) or gv.layer(obj, ...)"
    )
