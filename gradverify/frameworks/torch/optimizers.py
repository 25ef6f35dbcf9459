"""Optimizers of `torch.optim` as steppers: an instance, a class, a `functools.partial` or a factory of parameters.

The optimizer is made anew for float64 parameters of our own, with the settings of the first parameter group, so
that the one given is never stepped. A state is saved and loaded through ``state_dict``, as a checkpoint is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gradverify.arrays import Arrays
from gradverify.convergence.steppers import Stepper

Make = Callable[[Any], Any]


@dataclass
class _Run:
    """An optimizer and the parameters it owns."""

    leaves: dict[str, torch.nn.Parameter]
    optimizer: Any


def make_stepper(obj: Any) -> Stepper:
    """The stepper of a torch optimizer, or of a callable that makes one for a list of parameters."""
    make, name = (_remade(obj), type(obj).__name__) if isinstance(obj, torch.optim.Optimizer) else (obj, "")
    sample = _made(make, {"w": np.zeros((2, 2))})
    optimizer = sample.optimizer
    _require_plain(optimizer)
    library = type(optimizer).__module__.startswith("torch.optim")
    settings = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    declared = _declared(type(optimizer).__name__, settings)
    named = name or type(optimizer).__name__
    turned, sign = _maximizing(type(optimizer), settings), -1.0 if settings.get("maximize") else 1.0
    other = Stepper(named, *_functions(turned, sign)) if turned is not None else None
    return Stepper(named, *_functions(make, sign), declared, library, other)


def _remade(optimizer: Any) -> Make:
    settings = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    return lambda params: type(optimizer)(params, **_accepted(type(optimizer), settings))


def _accepted(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that the constructor takes: AdamW's group holds one more, `decoupled_weight_decay`."""
    names = inspect.signature(kind).parameters
    return {k: float(v) if isinstance(v, torch.Tensor) else v for k, v in settings.items() if k in names}


def _maximizing(kind: type, settings: dict[str, Any]) -> Make | None:
    if "maximize" not in settings:
        return None
    turned = {**_accepted(kind, settings), "maximize": not settings["maximize"]}
    return lambda params: kind(params, **turned)


def _declared(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {"learning_rate": float(settings["lr"])} if "lr" in settings else {}
    if name == "SGD":
        known["rule"] = "nesterov" if settings.get("nesterov") else "momentum" if settings.get("momentum") else "sgd"
    if settings.get("amsgrad"):
        known["rule"] = "amsgrad"
    known["decoupled"] = name == "AdamW" or bool(settings.get("decoupled_weight_decay"))
    return known


def _require_plain(optimizer: Any) -> None:
    if list(inspect.signature(optimizer.step).parameters)[:1] == ["closure"]:
        closure = inspect.signature(optimizer.step).parameters["closure"]
        if closure.default is closure.empty:
            name = type(optimizer).__name__
            raise TypeError(f"{name}: asks for the loss again within a step; no function of gradients")


def _made(make: Make, params: Arrays) -> _Run:
    leaves = {n: torch.nn.Parameter(torch.tensor(np.array(x), dtype=torch.float64)) for n, x in params.items()}
    optimizer = make(list(leaves.values()))
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"{make!r:.80}: made {type(optimizer).__name__}, not a torch optimizer")
    return _Run(leaves, optimizer)


def _functions(
    make: Make, sign: float
) -> tuple[Callable[[Arrays], _Run], Callable[..., Any], Callable[[_Run], _Run]]:
    """Start, step and copy; one that is told to maximise is judged by the negated gradients (`sign`)."""

    def step(params: Arrays, grads: Arrays, run: _Run) -> tuple[Arrays, _Run]:
        for name, leaf in run.leaves.items():
            leaf.data.copy_(torch.from_numpy(np.ascontiguousarray(params[name])))
            # The caller's own memory where it can be: a change of the gradient would be seen.
            leaf.grad = torch.from_numpy(np.asarray(grads[name]) if sign > 0 else -np.asarray(grads[name]))
        run.optimizer.step()
        return {name: leaf.detach().numpy().copy() for name, leaf in run.leaves.items()}, run

    def copy(run: _Run) -> _Run:
        loaded = _made(make, {name: leaf.detach().numpy() for name, leaf in run.leaves.items()})
        loaded.optimizer.load_state_dict(deepcopy(run.optimizer.state_dict()))
        return loaded

    return lambda params: _made(make, params), step, copy
