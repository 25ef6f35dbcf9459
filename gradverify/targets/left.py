"""What a layer leaves in its attributes where it returns nothing: its output, and the gradients of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradverify.arrays import Arrays, is_floating
from gradverify.targets.gradients import as_gradient, decorated, plain

_OUTPUTS = ("output", "out", "outputs")
_OF_AN_INPUT = ("dinputs", "dinput", "dx", "inputgrad", "inputgradient", "gradinput", "gradinputs", "dprev")


def left_output(layer: Any, result: Any) -> Any:
    """What a forward returned, else the array that it left as ``self.output``; None where there is neither."""
    name = "" if result is not None else output_name(layer)
    return vars(layer)[name] if name else result


def output_name(layer: Any) -> str:
    """An attribute that is called output; it may be the very input (``self.output = inputs``). Empty for none."""
    held = getattr(layer, "__dict__", {})
    return next((name for name in _OUTPUTS if is_floating(held.get(name))), "")


def left_gradients(layer: Any, inputs: Arrays) -> Arrays:
    """The gradients of inputs that a backward left by a usual name, in the shape of its input: ``self.dinputs``.

    A name that says no more than that it is of an input is that of the first.
    """
    held = {name: value for name, value in getattr(layer, "__dict__", {}).items() if is_floating(value)}
    found: Arrays = {}
    for position, (leaf, x) in enumerate(inputs.items()):
        fitting = [name for name, value in held.items() if np.shape(value) == np.shape(x)]
        own = [name for name in fitting if decorated(name, leaf)]
        usual = [name for word in _OF_AN_INPUT for name in fitting if plain(name) == word] if position == 0 else []
        if own or usual:
            found[leaf] = as_gradient(held[(own or usual)[0]])
    return found
