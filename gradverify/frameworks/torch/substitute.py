"""Another function run on the inputs and parameters of a program: a reference, or a surrogate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradverify.frameworks.torch.program import Program, make_program


def make_substitute(program: Program, function: Any, dtype: str | None) -> tuple[Program, dict[str, str]]:
    """The program of `function`, in `dtype`, and which leaf of `program` each of its leaves is.

    Inputs correspond by position, parameters and buffers by name and shape: ``weight`` is also
    ``net.weight`` where the function closes over a module. Raises `ValueError` for a parameter of
    the function that the target has none of.
    """
    other = make_program(function, *program.arguments, program.seed)
    ours = {n: t for n, t in program.tensors.items() if n not in program.inputs}
    theirs = [n for n in other.tensors if n not in other.inputs]
    pairs = {name: twin for name in theirs if (twin := _twin(name, other.tensors[name], ours)) is not None}
    for name in other.leaves:
        if name not in other.inputs and name not in pairs:
            shape, known = tuple(other.tensors[name].shape), ", ".join(ours) or "it has none"
            raise ValueError(f"{other.name}: its parameter {name} of shape {shape} is not among those of "
                             f"{program.name} ({known}); name them alike, or freeze it")
    pairs |= dict(zip(_leaf_inputs(other), _leaf_inputs(program), strict=True))
    shared = other.tensors | {name: program.tensors[twin] for name, twin in pairs.items()}
    # A parameter frozen there still has to move with the target's.
    leaves = tuple(name for name, twin in pairs.items() if twin in program.leaves)
    other = replace(other, tensors=shared, leaves=leaves)
    matched = {name: pairs[name] for name in leaves}
    return (other.in_dtype(getattr(torch, dtype)) if dtype else other), matched


def _leaf_inputs(program: Program) -> list[str]:
    return [name for name in program.leaves if name in program.inputs]


def _twin(name: str, tensor: Tensor, ours: Mapping[str, Tensor]) -> str | None:
    """The tensor of this name and shape, or the only one whose dotted name ends in it or is its end."""
    alike = [n for n, t in ours.items() if t.shape == tensor.shape]
    if name in alike:
        return name
    close = [n for n in alike if f".{n}".endswith(f".{name}") or f".{name}".endswith(f".{n}")]
    return close[0] if len(close) == 1 else None
