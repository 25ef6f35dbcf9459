"""Another function run on the inputs and variables of a program: a reference, or a surrogate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gradverify.frameworks.tensorflow.program import Program, make_program


def make_substitute(program: Program, function: Any, dtype: str | None) -> tuple[Program, dict[str, str]]:
    """The program of `function`, in `dtype`, and which leaf of `program` each of its leaves is.

    Inputs correspond by position, variables by name and shape. Raises `ValueError` for a variable of the
    function that the target has none of.
    """
    other = make_program(function, *program.arguments, program.state.seed)
    pairs = dict(zip(other.inputs, program.inputs, strict=True))
    ours = {name: leaf for name, leaf in program.leaves.items() if name not in program.inputs}
    for name, leaf in other.leaves.items():
        if name in pairs:
            continue
        if name not in ours or ours[name].shape != leaf.shape:
            known = ", ".join(ours) or "it has none"
            raise ValueError(f"{other.name}: its variable {name} of shape {tuple(leaf.shape)} is not among those of "
                             f"{program.name} ({known}); name them alike, or pass it as an argument")
        pairs[name] = name
    shared = replace(other, leaves={name: program.leaves[pairs[name]] for name in other.leaves})
    return (shared.in_dtype(dtype) if dtype else shared), pairs
