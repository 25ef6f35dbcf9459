"""Trials of derivatives that a framework runs: the same search for inputs, with that framework's arrays."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.guesses import settings_for
from gradverify.audit.inputs import Arguments
from gradverify.audit.load import NotTriable, find_attribute, instances, load, made_by
from gradverify.audit.mined import always_none
from gradverify.audit.readings import Reading, Trial
from gradverify.audit.record import Candidate

Function = Callable[..., Any]
_PACKAGES = {"torch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow", "autograd": "HIPS/autograd"}


def custom_trials(
    candidate: Candidate, seed: int, make: Callable[[type], Any] | None = None
) -> Iterator[Trial]:
    """The trials of a candidate whose kind names a framework; raises `NotTriable`."""
    framework, _, kind = candidate.kind.partition(".")
    if importlib.util.find_spec(framework) is None:
        raise NotTriable(f"it needs {_PACKAGES[framework]}, which is not installed", f"pip install {framework}")
    module = load(candidate.source)
    adapter = import_module(f"gradverify.frameworks.{framework}.audited")
    found = find_attribute(module, candidate.owner or candidate.forward)
    if kind == "module":
        for made in instances(found, seed, candidate.source.path) if make is None else made_by(found, make):
            yield _trial(made.obj, _signature_of(made.obj.forward), adapter, made.obj)
        return
    code = found.forward if candidate.owner else getattr(found, "__wrapped__", found)
    constants = _constants(found.backward, code, seed) if candidate.owner else {}
    yield _trial(found.apply if candidate.owner else found, _signature_of(code, constants), adapter, None, constants)


def _constants(backward: Function, forward: Function, seed: int) -> dict[str, Any]:
    """Values for the arguments whose gradient a backward always returns as None: settings, at their defaults if any."""
    parameters = list(inspect.signature(forward).parameters.values())
    parameters = parameters[1:] if parameters and parameters[0].name in _CONTEXTS else parameters
    always = always_none(backward)
    rng = np.random.default_rng(seed)
    return {p.name: settings_for(p, rng)[0] if p.default is p.empty else p.default
            for i, p in enumerate(parameters) if i in always}  # fmt: skip


_CONTEXTS = ("ctx", "self", "context")


def _signature_of(code: Function, constants: Mapping[str, Any] | None = None) -> Function:
    """A function with the parameters of `code`, without the context that a Function.forward gets first."""
    parameters = list(inspect.signature(code).parameters.values())
    if parameters and parameters[0].name in _CONTEXTS:
        parameters = parameters[1:]
    parameters = [p for p in parameters if p.name not in (constants or {})]

    def forward(*_: Any, **__: Any) -> None: ...

    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    forward.__wrapped__ = code  # type: ignore[attr-defined]
    forward.__name__ = getattr(code, "__name__", "forward")
    return forward


def _trial(
    target: Any, forward: Function, adapter: Any, module: Any, constants: Mapping[str, Any] | None = None
) -> Trial:
    fixed = dict(constants or {})
    taken = inspect.signature(forward.__wrapped__).parameters  # type: ignore[attr-defined]
    names = [n for n in taken if n not in _CONTEXTS]
    defaults = {n: _NOTHING if p.default is p.empty else p.default for n, p in taken.items()}
    held = tuple(adapter.parameters_of(module)) if module is not None else ()
    dtype = str(held[0].dtype) if held else "float64"

    def call(*inputs: Any, **settings: Any) -> Any:
        """Everything by position: `apply` and custom rules know no keywords."""
        settings = {**fixed, **settings}
        if not settings:
            return target(*inputs)
        left = iter(inputs)
        values = [settings[n] if n in settings else next(left, defaults[n]) for n in names]
        return target(*[v for v in values if v is not _NOTHING])

    def convert(arguments: Arguments) -> Arguments:
        cast = [x.astype(dtype) if is_floating(x) and not np.isscalar(x) else x for x in arguments.inputs]
        return Arguments(tuple(adapter.from_host(x) for x in cast), arguments.kwargs)

    def run(arguments: Arguments) -> Any:
        ready = arguments if any(adapter.owns(x) for x in arguments.inputs) else convert(arguments)
        return adapter.to_numpy(call(*ready.inputs, **dict(ready.kwargs)))

    judged = module if module is not None else call
    return Trial(forward, held, (Reading(lambda _: judged),), run, lambda arguments: [convert(arguments)])


_NOTHING = object()
