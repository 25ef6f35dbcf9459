"""What an audit needs to feed PyTorch code: tensors from arrays, arrays from tensors, a module's parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gradverify.frameworks.torch.tensors import to_host


def owns(value: Any) -> bool:
    """Whether a value is a tensor."""
    return isinstance(value, torch.Tensor)


def from_host(value: Any) -> Any:
    """An array as a tensor, a floating one as a leaf that requires a gradient; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    tensor = torch.tensor(value)
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


def to_numpy(result: Any) -> Any:
    """A result with arrays in the place of its tensors."""
    if isinstance(result, (tuple, list)):
        return tuple(to_numpy(part) for part in result)
    return to_host(result) if owns(result) else result


def parameters_of(module: Any) -> list[np.ndarray]:
    """The parameters of a module, as arrays."""
    return [to_host(parameter) for parameter in module.parameters()]
