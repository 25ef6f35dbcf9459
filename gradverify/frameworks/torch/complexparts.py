"""Complex tensors as pairs of real ones: ``z.real`` and ``z.imag``.

With the real loss L and z = a + ib, PyTorch's gradient of z is dL/da + i dL/db: its parts are the gradients
of the parts, and ``<u, J v>`` is the inner product of real pairs. So nothing outside this page knows complex
numbers, the code on trial is given complex tensors all the same, and a conjugate too few shows in ``z.imag``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gradverify.frameworks.torch.tensors import arranged, relaid

PARTS = ("real", "imag")


def part_names(name: str, tensor: Tensor) -> tuple[str, ...]:
    """The leaves, or outputs, that a tensor counts as.

    >>> part_names("z", torch.tensor([1j])), part_names("x", torch.tensor([1.0]))
    (('z.real', 'z.imag'), ('x',))
    """
    return tuple(f"{name}.{part}" for part in PARTS) if tensor.is_complex() else (name,)


def split(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every complex tensor as its two parts, as values: without a graph."""
    return {part: x for name, t in tensors.items() for part, x in _values(name, t)}


def _values(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    if not tensor.is_complex():
        return [(name, tensor)]
    plain = tensor.detach().resolve_conj()
    return list(zip(part_names(name, tensor), (plain.real.contiguous(), plain.imag.contiguous()), strict=True))


def joined(name: str, like: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
    """The tensor that these parts make, as part of their graph, in the layout of `like`."""
    if not like.is_complex():
        return parts[name]
    z = torch.complex(*(parts[part] for part in part_names(name, like)))
    return z if z.stride() == like.stride() else relaid(z, like.stride())


def parted(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every complex output as its two parts, as part of its graph."""
    found: dict[str, Tensor] = {}
    for name, y in outputs.items():
        parts = Halves.apply(y) if y.is_complex() else (y,)
        found.update(zip(part_names(name, y), parts, strict=True))
    return found


class Halves(torch.autograd.Function):
    """``z -> (Re z, Im z)``, whose backward keeps the layout of the upstream gradient.

    PyTorch's own `view_as_real` would do but for that: it sends a contiguous one, whatever it is given.
    """

    @staticmethod
    def forward(_ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        return z.real.clone(), z.imag.clone()

    @staticmethod
    def backward(_ctx: Any, du: Tensor, dv: Tensor) -> Tensor:
        dz = torch.complex(du, dv)
        return dz if torch.is_grad_enabled() else arranged(dz, du.stride())

    @staticmethod
    def jvp(_ctx: Any, dz: Tensor) -> tuple[Tensor, Tensor]:
        return dz.real.clone(), dz.imag.clone()
