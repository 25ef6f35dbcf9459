"""Another function run on the inputs and parameters of a program: a reference, or a surrogate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradverify.frameworks.jax.program import Program, make_program


def make_substitute(program: Program, function: Any, dtype: str | None) -> tuple[Program, dict[str, str]]:
    """The program of `function`, in `dtype`, and which leaf of `program` each of its leaves is.

    Inputs correspond by position, what a module holds by name and shape. Raises `ValueError` for a
    parameter of the function that the target has none of.
    """
    inputs, kwargs = program.arguments
    other = make_program(function, inputs, kwargs, numbers=program.numbers)
    pairs = dict(zip(other.inputs, program.inputs, strict=True))
    ours = {name: leaf for name, leaf in program.leaves.items() if name not in program.inputs}
    for name, leaf in other.leaves.items():
        if name in pairs:
            continue
        shape = np.shape(leaf.host)
        if name not in ours or np.shape(ours[name].host) != shape:
            known = ", ".join(ours) or "it has none"
            raise ValueError(f"{other.name}: its parameter {name} of shape {shape} is not among those of "
                             f"{program.name} ({known}); name them alike, or pass it as an argument")
        pairs[name] = name
    other = replace(other, leaves={name: program.leaves[pairs[name]] for name in other.leaves}, x64=program.x64)
    return (other.in_dtype(dtype) if dtype else other), pairs
