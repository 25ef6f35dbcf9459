"""What each operator of PyTorch is on numbers x + ih: the analytic continuation of what it is on x.

`AS_IT_IS` are operators whose complex kernel is that already, `LINEAR` those that act on either part alone.
The rules stand for the rest: where PyTorch has no complex kernel (`relu`, `softmax`), and where its own means
another function (`abs`, `sign`, norms, comparisons). An operator that is nowhere here is refused. No rule is a
derivative: a branch is chosen by the real part, and the branch is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Rule: TypeAlias = Callable[..., Any]

AS_IT_IS = frozenset("""
    add sub rsub mul div neg reciprocal sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh asinh
    atan sigmoid square sum mean prod cumsum cumprod mm bmm addmm baddbmm addmv addr mv dot convolution
    addcmul addcdiv lerp trace diagonal diag_embed tril triu
    linalg_inv_ex _linalg_solve_ex _linalg_det linalg_matrix_exp linalg_solve_triangular triangular_solve linalg_cross
    view _unsafe_view reshape alias t transpose permute expand squeeze unsqueeze select slice unbind
    split split_with_sizes unsafe_split unsafe_chunk
    as_strided unfold cat stack clone detach contiguous index gather index_select repeat flip roll masked_select
    masked_fill masked_scatter where constant_pad_nd scatter scatter_add index_add index_put index_copy slice_scatter
    select_scatter diagonal_scatter view_as_real view_as_complex
    zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full
    fill zero copy lift_fresh narrow_copy movedim view_copy expand_copy
""".split())

LINEAR = frozenset("""
    avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d im2col col2im
    reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d
    embedding pixel_shuffle pixel_unshuffle grid_sampler_2d grid_sampler_3d nll_loss_forward nll_loss2d_forward
    channel_shuffle
""".split())

ON_REAL_PARTS = frozenset("""
    isnan isinf isfinite isposinf isneginf argmax argmin argsort rand_like randn_like bernoulli floor ceil round trunc
    sign sgn heaviside searchsorted bucketize
""".split())

COMPARISONS = frozenset("eq ne lt le gt ge".split())


def re(x: Any) -> Any:
    """The real part of a complex tensor; anything else as it is."""
    return x.real if isinstance(x, Tensor) and x.is_complex() else x


def linear(function: Rule, z: Tensor, *args: Any, **kwargs: Any) -> Any:
    """A linear operator on each part; of several results the first is one."""
    real, imag = function(z.real.contiguous(), *args, **kwargs), function(z.imag.contiguous(), *args, **kwargs)
    if isinstance(real, tuple):
        return (torch.complex(real[0], imag[0]), *real[1:])
    return torch.complex(real, imag)


def _relu(z: Tensor) -> Tensor:
    return torch.where(re(z) > 0, z, 0)


def _absolute(z: Tensor) -> Tensor:
    return torch.where(re(z) < 0, -z, z)


def _leaky_relu(z: Tensor, slope: float = 0.01) -> Tensor:
    return torch.where(re(z) > 0, z, slope * z)


def _prelu(z: Tensor, weight: Tensor) -> Tensor:
    shape = [1, -1, *[1] * (z.dim() - 2)] if weight.numel() > 1 and z.dim() > 1 and weight.dim() == 1 else weight.shape
    return torch.where(re(z) > 0, z, weight.reshape(shape) * z)


def _threshold(z: Tensor, limit: float, value: float) -> Tensor:
    return torch.where(re(z) > limit, z, value)


def _clamp(z: Tensor, least: Any = None, most: Any = None) -> Tensor:
    z = z if least is None else torch.where(re(z) < re(least), least, z)
    return z if most is None else torch.where(re(z) > re(most), most, z)


def _clamp_max(z: Tensor, most: Any) -> Tensor:
    return _clamp(z, None, most)


def _elu(z: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    return torch.where(re(z) > 0, scale * z, scale * alpha * torch.expm1(input_scale * _clamp(z, None, 0)))


def _celu(z: Tensor, alpha: float = 1.0) -> Tensor:
    return _elu(z, alpha, 1.0, 1 / alpha)


def _hardsigmoid(z: Tensor) -> Tensor:
    return _clamp(z + 3, 0, 6) / 6


def _hardswish(z: Tensor) -> Tensor:
    return z * _hardsigmoid(z)


def _silu(z: Tensor) -> Tensor:
    return z * torch.sigmoid(z)


def _softplus(z: Tensor, beta: float = 1.0, limit: float = 20.0) -> Tensor:
    positive = _clamp(-_absolute(beta * z), -700.0)
    return torch.where(re(z) * beta > limit, z, (_relu(beta * z) + torch.log1p(torch.exp(positive))) / beta)


def _log_sigmoid(z: Tensor) -> tuple[Tensor, Tensor]:
    return -_softplus(-z, 1.0, math.inf), re(z)


def _mish(z: Tensor) -> Tensor:
    return z * torch.tanh(_softplus(z))


def erf(z: Tensor) -> Tensor:
    """Taylor's first two terms in ih: the next, h^2, is below every rounding."""
    slope = 2 / math.sqrt(math.pi) * torch.exp(-z.real.square())
    return torch.complex(torch.erf(z.real), slope * z.imag)


def _erfc(z: Tensor) -> Tensor:
    slope = -2 / math.sqrt(math.pi) * torch.exp(-z.real.square())
    return torch.complex(torch.erfc(z.real), slope * z.imag)


def _gelu(z: Tensor, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        return z / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z * z * z)))
    return z / 2 * (1 + erf(z / math.sqrt(2)))


def _softshrink(z: Tensor, limit: float = 0.5) -> Tensor:
    return torch.where(re(z) > limit, z - limit, torch.where(re(z) < -limit, z + limit, 0))


def _hardshrink(z: Tensor, limit: float = 0.5) -> Tensor:
    return torch.where(re(z).abs() > limit, z, 0)


def _power(z: Any, exponent: Any) -> Tensor:
    """By products for whole numbers; else through the logarithm, which has one branch for positive z only."""
    if isinstance(exponent, (int, float)) and float(exponent).is_integer() and abs(exponent) <= 64:
        return _whole_power(z, int(exponent))
    if isinstance(exponent, (int, float)) and exponent == 0.5:
        return torch.sqrt(z)
    if bool((torch.as_tensor(re(z)) <= 0).any()):
        raise NotImplementedError("a power of numbers that are not positive")
    return torch.exp(exponent * torch.log(torch.as_tensor(z, dtype=None if isinstance(z, Tensor) else torch.float64)))


def _whole_power(z: Tensor, n: int) -> Tensor:
    result, factor = torch.ones_like(z), z if n > 0 else 1 / z
    for bit in reversed(f"{abs(n):b}" if n else ""):
        result = result * factor if bit == "1" else result
        factor = factor * factor
    return result


def _maximum(a: Any, b: Any) -> Tensor:
    return torch.where(re(a) >= re(b), a, b)


def _minimum(a: Any, b: Any) -> Tensor:
    return torch.where(re(a) <= re(b), a, b)


def _remainder(z: Any, divisor: Any) -> Tensor:
    return z - divisor * torch.floor(re(z) / re(divisor))


def _fmod(z: Any, divisor: Any) -> Tensor:
    return z - divisor * torch.trunc(re(z) / re(divisor))


def _extreme(choose: Rule) -> Rule:
    """`max` or `min`, over an axis with the indices or over everything."""

    def rule(z: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is None:
            return z.flatten()[choose(re(z).flatten(), 0).indices]
        indices = choose(re(z), dim, keepdim=True).indices
        values = z.gather(dim, indices)
        return (values, indices) if keepdim else (values.squeeze(dim), indices.squeeze(dim))

    return rule


def _extreme_over(choose: Rule) -> Rule:
    """`amax` or `amin`, over several axes."""

    def rule(z: Tensor, dims: Sequence[int] = (), keepdim: bool = False) -> Tensor:
        for dim in sorted((d % z.dim() for d in (dims or range(z.dim()))), reverse=True):
            z = z.gather(dim, choose(re(z), dim, keepdim=True).indices)
            z = z if keepdim else z.squeeze(dim)
        return z

    return rule


def _sort(z: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    indices = torch.sort(re(z), dim, descending).indices
    return z.gather(dim, indices), indices


def _topk(z: Tensor, k: int, dim: int = -1, largest: bool = True, ordered: bool = True) -> tuple[Tensor, Tensor]:
    indices = torch.topk(re(z), k, dim, largest, ordered).indices
    return z.gather(dim, indices), indices


def _median(z: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    return _extreme(torch.median)(z, dim, keepdim)


def _max_pool2d(z: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    _, indices = torch.ops.aten.max_pool2d_with_indices(re(z).contiguous(), *args)
    return _pooled(z, indices, 2), indices


def _max_pool3d(z: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    _, indices = torch.ops.aten.max_pool3d_with_indices(re(z).contiguous(), *args)
    return _pooled(z, indices, 3), indices


def _adaptive_max_pool2d(z: Tensor, size: Any) -> tuple[Tensor, Tensor]:
    _, indices = torch.ops.aten.adaptive_max_pool2d(re(z).contiguous(), size)
    return _pooled(z, indices, 2), indices


def _pooled(z: Tensor, indices: Tensor, axes: int) -> Tensor:
    return z.flatten(-axes).gather(-1, indices.flatten(-axes)).reshape(indices.shape)


def softmax(z: Tensor, dim: int, *_: Any) -> Tensor:
    """The largest real part is a constant that cancels, as it is in the real one."""
    e = torch.exp(z - re(z).amax(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True)


def _log_softmax(z: Tensor, dim: int, *_: Any) -> Tensor:
    return z - _logsumexp(z, [dim], True)


def _logsumexp(z: Tensor, dims: Sequence[int], keepdim: bool = False) -> Tensor:
    most = re(z).amax(dims, keepdim=True)
    total = torch.log(torch.exp(z - most).sum(dims, keepdim=True)) + most
    return total if keepdim else total.squeeze(tuple(dims))


def _logaddexp(a: Tensor, b: Tensor) -> Tensor:
    most = torch.maximum(re(a), re(b))
    return most + torch.log(torch.exp(a - most) + torch.exp(b - most))


def variance(z: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False) -> Tensor:
    """The mean square, not the mean of squared magnitudes that PyTorch takes of complex numbers."""
    dims = list(range(z.dim())) if dim is None or not len(dim) else [d % z.dim() for d in dim]
    count = math.prod(z.shape[d] for d in dims)
    away = z - z.mean(dims, keepdim=True)
    return (away * away).sum(dims, keepdim) / max(count - (1 if correction is None else correction), 0)


def _deviation(z: Tensor, dim: Any = None, **how: Any) -> Tensor:
    return torch.sqrt(variance(z, dim, **how))


def _variance_and_mean(z: Tensor, dim: Any = None, **how: Any) -> tuple[Tensor, Tensor]:
    dims = list(range(z.dim())) if dim is None else dim
    return variance(z, dim, **how), z.mean(dims, how.get("keepdim", False))


def _deviation_and_mean(z: Tensor, dim: Any = None, **how: Any) -> tuple[Tensor, Tensor]:
    found, mean = _variance_and_mean(z, dim, **how)
    return torch.sqrt(found), mean


def _vector_norm(z: Tensor, order: float = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    dims = list(range(z.dim())) if dim is None or not len(dim) else list(dim)
    if order == 2:
        return torch.sqrt((z * z).sum(dims, keepdim))
    if order == 1:
        return _absolute(z).sum(dims, keepdim)
    if math.isinf(order):
        return _extreme_over(torch.max if order > 0 else torch.min)(_absolute(z), dims, keepdim)
    return _power(_power(_absolute(z), order).sum(dims, keepdim), 1 / order)


def _mse_loss(z: Tensor, y: Tensor, reduction: int = 1) -> Tensor:
    return _reduced((z - y) * (z - y), reduction)


def _smooth_l1_loss(z: Tensor, y: Tensor, reduction: int = 1, beta: float = 1.0) -> Tensor:
    gap = _absolute(z - y)
    return _reduced(torch.where(re(gap) < beta, gap * gap / (2 * beta), gap - beta / 2), reduction)


def _huber_loss(z: Tensor, y: Tensor, reduction: int = 1, delta: float = 1.0) -> Tensor:
    gap = _absolute(z - y)
    return _reduced(torch.where(re(gap) <= delta, gap * gap / 2, delta * (gap - delta / 2)), reduction)


def _cross_entropy_of_shares(z: Tensor, y: Tensor, weight: Any = None, reduction: int = 1) -> Tensor:
    loss = -(y * _clamp(torch.log(z), -100) + (1 - y) * _clamp(torch.log1p(-z), -100))
    return _reduced(loss if weight is None else loss * weight, reduction)


def _cross_entropy_of_logits(
    z: Tensor, y: Tensor, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Tensor:
    more = 1 if pos_weight is None else 1 + (pos_weight - 1) * y
    loss = (1 - y) * z + more * _softplus(-z, 1.0, math.inf)
    return _reduced(loss if weight is None else loss * weight, reduction)


def _reduced(loss: Tensor, reduction: int) -> Tensor:
    return (lambda x: x, torch.mean, torch.sum)[reduction](loss)


RULES: dict[str, Rule] = {
    "relu": _relu, "abs": _absolute, "leaky_relu": _leaky_relu, "_prelu_kernel": _prelu, "threshold": _threshold,
    "clamp": _clamp, "hardtanh": _clamp, "clamp_min": _clamp, "clamp_max": _clamp_max, "elu": _elu, "celu": _celu,
    "hardsigmoid": _hardsigmoid, "hardswish": _hardswish, "silu": _silu, "softplus": _softplus,
    "log_sigmoid_forward": _log_sigmoid, "mish": _mish, "erf": erf, "erfc": _erfc, "gelu": _gelu,
    "softshrink": _softshrink, "hardshrink": _hardshrink, "pow": _power, "maximum": _maximum, "minimum": _minimum,
    "fmax": _maximum, "fmin": _minimum, "remainder": _remainder, "fmod": _fmod,
    "max": _extreme(torch.max), "min": _extreme(torch.min), "amax": _extreme_over(torch.max),
    "amin": _extreme_over(torch.min), "sort": _sort, "topk": _topk, "median": _median,
    "max_pool2d_with_indices": _max_pool2d, "max_pool3d_with_indices": _max_pool3d,
    "adaptive_max_pool2d": _adaptive_max_pool2d,
    "_softmax": softmax, "_log_softmax": _log_softmax, "logsumexp": _logsumexp, "logaddexp": _logaddexp,
    "var": variance, "std": _deviation, "var_mean": _variance_and_mean, "std_mean": _deviation_and_mean,
    "linalg_vector_norm": _vector_norm, "vdot": torch.dot, "mse_loss": _mse_loss, "smooth_l1_loss": _smooth_l1_loss,
    "huber_loss": _huber_loss, "binary_cross_entropy": _cross_entropy_of_shares,
    "binary_cross_entropy_with_logits": _cross_entropy_of_logits,
}  # fmt: skip
