"""Tensors to host arrays and back: exact values, correct rounding, and the layout that was asked for."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradverify.arrays import EPS, dtype_name


def refuse_unsupported(path: str, tensor: Tensor) -> None:
    """Raise a `TypeError` for the tensors no derivative is taken of yet."""
    if tensor.dtype == torch.complex32:
        raise TypeError(f"{path} is complex32: NumPy has no such numbers; pass complex64")
    if tensor.is_nested or tensor.layout != torch.strided:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise TypeError(f"{path} has layout {kind}: only dense tensors are supported; "
                        "pass its values, and build it inside the function")
    if tensor.is_meta:
        raise TypeError(f"{path} is on the meta device: it has no values to differentiate at")


def floating(tensor: Any) -> bool:
    """Whether this is a tensor of a floating or complex dtype that has a known rounding unit."""
    return isinstance(tensor, Tensor) and real_name(tensor) in EPS


def real_name(tensor: Tensor) -> str:
    """The dtype of the numbers, or of the parts of complex ones: ``float64``."""
    return str(tensor.dtype.to_real()).removeprefix("torch.") if tensor.is_complex() else dtype_name(tensor)


def lowest(dtypes: Sequence[str]) -> str:
    """The dtype with the largest rounding unit."""
    return max(dtypes, key=lambda name: EPS[name])


def to_host(tensor: Tensor) -> np.ndarray:
    """The same numbers as a new NumPy array of the same dtype; bfloat16 as float32, which holds them."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu()
    if plain.layout != torch.strided:
        plain = plain.to_dense()
    wide = plain.float() if plain.dtype == torch.bfloat16 else plain
    return np.array(wide.numpy(force=True))  # forced: a gradient known to be zero has no memory


_MANY = 2**12


def seen_from_host(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor, of many a view that cannot be written to, where NumPy has the dtype; else a copy."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and tensor.dtype != torch.bfloat16
    if tensor.numel() < _MANY or not plain or not tensor.is_contiguous() or tensor.is_neg():
        return to_host(tensor)
    view: np.ndarray = tensor.detach().numpy()
    view.flags.writeable = False
    return view


def unmoved(array: Any, kept: Tensor) -> Tensor:
    """An array of the host as a tensor, nothing copied: `kept` itself where the array is a view of it."""
    host = np.asarray(array)
    own = not host.flags.writeable and host.ctypes.data == kept.data_ptr() and host.shape == tuple(kept.shape)
    return kept.detach() if own else torch.as_tensor(host)


def to_host64(tensor: Tensor) -> np.ndarray:
    """The same numbers as a new float64 array."""
    return to_host(tensor).astype(np.float64, copy=False)


def from_host(array: Any, dtype: torch.dtype, device: torch.device, strides: Sequence[int]) -> Tensor:
    """A new tensor with these numbers, rounded to nearest once, and these strides (in elements)."""
    host = np.asarray(array)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = _to_bfloat16(host) if dtype == torch.bfloat16 else host.astype(str(dtype)[6:], order="C")
    values = torch.from_numpy(rounded).to(device, dtype)
    return values if values.stride() == tuple(strides) else arranged(values, strides)


def like(tensor: Tensor, array: np.ndarray) -> Tensor:
    """Other numbers, perhaps in another shape, as a tensor of the same dtype, device and `requires_grad`."""
    if not floating(tensor):
        return torch.from_numpy(np.array(array)).to(tensor.device, tensor.dtype)
    strides = [s // array.itemsize for s in array.strides]
    return from_host(array, tensor.dtype, tensor.device, strides).requires_grad_(tensor.requires_grad)


def _to_bfloat16(array: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 numbers, ties to even, held in a float32 array.

    Rounding float64 to float32 first would round twice; rounding it to odd there (any discarded bit
    sets the last kept one) leaves float32 to bfloat16 as the only rounding that counts.
    """
    near = np.asarray(array).astype(np.float32)
    other = np.nextafter(near, np.where(array > near, np.inf, -np.inf).astype(np.float32))
    even = near.view(np.uint32) % 2 == 0
    inexact = (near != array) & np.isfinite(near)
    odd = np.where(inexact & even, other, near)
    return np.asarray(torch.from_numpy(np.array(odd)).to(torch.bfloat16).float())


def host_strides(array: np.ndarray) -> tuple[int, ...]:
    """The strides of an array in elements; contiguous ones where torch has no such strides."""
    if any(step % array.itemsize or step < 0 for step in array.strides):
        array = np.empty(array.shape, array.dtype)
    return tuple(step // array.itemsize for step in array.strides)


def arranged(values: Tensor, strides: Sequence[int]) -> Tensor:
    """A new tensor of these values in this layout, or contiguous where the layout cannot hold them.

    Axes of stride 0 are kept as long as the values repeat along them. Memory between the strides
    is NaN, so that a kernel which ignores them is seen.
    """
    first = tuple(slice(0, 1) if step == 0 else slice(None) for step in strides)
    if values.is_contiguous() and tuple(strides) == values.stride():
        return values.clone()
    if _overlapping(values.shape, strides) or not torch.equal(values[first].expand_as(values), values):
        return values.clone(memory_format=torch.contiguous_format)
    extent = 1 + sum((n - 1) * step for n, step in zip(values.shape, strides, strict=True))
    memory = values.new_full((extent if values.numel() else 0,), float("nan")).untyped_storage()
    # set_ instead of as_strided: a view could not be written to by the code on trial.
    laid = values.new_empty(0).set_(memory, 0, tuple(values.shape), tuple(strides))
    laid[first].copy_(values[first])
    return laid


def _overlapping(shape: Sequence[int], strides: Sequence[int]) -> bool:
    reach = 0
    for step, n in sorted((step, n) for step, n in zip(strides, shape, strict=True) if step and n > 1):
        if step <= reach:
            return True
        reach += (n - 1) * step
    return False


class Relaid(torch.autograd.Function):
    """A copy in the layout asked for that code may write to; its derivative is the identity.

    `clone` would do for dense tensors, but it drops the stride 0 of an expanded one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, strides: Sequence[int]) -> Tensor:
        ctx.strides = strides
        return arranged(x, strides)

    @staticmethod
    def backward(_ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return dy, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, _: Any) -> Tensor:
        return arranged(dx, ctx.strides)


def relaid(x: Tensor, strides: Sequence[int] | None = None) -> Tensor:
    """The copy `Relaid` makes, as part of the graph of `x`; in the layout of `x` if no other is given."""
    copy = Relaid.apply(x, x.stride() if strides is None else strides)
    assert isinstance(copy, Tensor)
    return copy


def in_dtype(value: Any, dtype: str) -> Any:
    """A floating tensor, or a copy of a module, in another dtype; anything else as it is."""
    if isinstance(value, torch.nn.Module):
        return copy.deepcopy(value).to(getattr(torch, dtype))
    return value.detach().to(getattr(torch, dtype)) if floating(value) else value
