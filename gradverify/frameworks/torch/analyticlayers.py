"""The operators that are layers of their own, on numbers x + ih; see `analytic`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradverify.frameworks.torch import analytic
from gradverify.frameworks.torch.analytic import Rule, re, variance


def _normalised(z: Tensor, dims: Sequence[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    mean = z.mean(dims, keepdim=True)
    scale = 1 / torch.sqrt(variance(z, dims, correction=0, keepdim=True) + eps)
    return (z - mean) * scale, mean, scale


def _affine(z: Tensor, weight: Any, bias: Any, shape: Sequence[int]) -> Tensor:
    z = z if weight is None else z * weight.reshape(shape)
    return z if bias is None else z + bias.reshape(shape)


def _layer_norm(z: Tensor, shape: Sequence[int], weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, scale = _normalised(z, list(range(z.dim() - len(shape), z.dim())), eps)
    return _affine(y, weight, bias, shape), mean, scale


def _rms_norm(z: Tensor, shape: Sequence[int], weight: Any, eps: float | None) -> tuple[Tensor, Tensor]:
    dims = list(range(z.dim() - len(shape), z.dim()))
    eps = torch.finfo(z.real.dtype).eps if eps is None else eps
    scale = 1 / torch.sqrt((z * z).mean(dims, keepdim=True) + eps)
    return _affine(z * scale, weight, None, shape), scale


def _group_norm(
    z: Tensor, weight: Any, bias: Any, n: int, channels: int, size: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, scale = _normalised(z.reshape(n, groups, -1), [2], eps)
    return _affine(y.reshape(z.shape), weight, bias, [1, channels, *[1] * (z.dim() - 2)]), mean, scale


def _batch_norm(z: Tensor, weight: Any, bias: Any, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """With running statistics or without; they are not updated, since every call puts them back."""
    mean, var = tuple[Any, Any](rest[:2] if len(rest) == 5 else (None, None))
    training, _, eps = rest[-3:]
    shape = [1, -1, *[1] * (z.dim() - 2)]
    if training or mean is None:
        y, mean, scale = _normalised(z, [d for d in range(z.dim()) if d != 1], eps)
    else:
        scale = 1 / torch.sqrt(var.reshape(shape) + eps)
        y = (z - mean.reshape(shape)) * scale
    return _affine(y, weight, bias, shape), re(mean).flatten(), re(scale).flatten()


def _dropout(z: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    _, mask = torch.ops.aten.native_dropout(re(z), p, train)
    return (z * mask / (1 - p) if train else z), mask


def _safe_softmax(z: Tensor, dim: int, *_: Any) -> Tensor:
    """Zero where everything is masked out."""
    masked = (re(z) == -math.inf).all(dim, keepdim=True)
    return torch.where(masked, 0, analytic.softmax(torch.where(masked, 0, z), dim))


def _attention(
    q: Tensor, k: Tensor, v: Tensor, p: float = 0.0, causal: bool = False, *, attn_mask: Any = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    if p:
        raise NotImplementedError("attention with dropout inside one kernel")
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), -math.inf)
    scores = scores if attn_mask is None else scores + attn_mask
    return analytic.softmax(scores, -1) @ v, re(scores).logsumexp(-1)


RULES: dict[str, Rule] = {
    **analytic.RULES, "native_layer_norm": _layer_norm, "_fused_rms_norm": _rms_norm, "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm, "_native_batch_norm_legit": _batch_norm, "native_dropout": _dropout,
    "_safe_softmax": _safe_softmax, "_scaled_dot_product_flash_attention_for_cpu": _attention,
}  # fmt: skip
