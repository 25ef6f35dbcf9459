"""PyTorch's operator for each layer of the reference, by the layer's name: ``operator(layer, params, x)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812 - its name everywhere

Tensor: TypeAlias = torch.Tensor
Operator: TypeAlias = Callable[[Any, Mapping[str, Any], Any], Any]

ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "identity": lambda x: x, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": F.relu,
    "leaky_relu": F.leaky_relu, "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "log_sigmoid": F.logsigmoid, "silu": F.silu, "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "elu": F.elu, "selu": F.selu,
    # In torch 2.13 the backward of F.celu takes 1 / alpha from float32, that of F.hardsigmoid 1 / 6: 3e-8 off.
    "celu": lambda x, alpha=1.0: alpha * F.elu(x / alpha),
    "mish": F.mish, "softsign": F.softsign, "hard_sigmoid": lambda x: F.relu6(x + 3) / 6, "hard_tanh": F.hardtanh,
    "hard_swish": F.hardswish,
}


def operator_of(layer: Any) -> Operator:
    """The operator; TypeError for a layer that has none here."""
    name = type(layer).__name__
    known = layer.name in ACTIVATIONS if name == "Activation" else name in OPERATORS
    if not known:
        raise TypeError(f"{layer}: no operator of PyTorch is known for it")
    return OPERATORS[name]


def _activation(layer: Any, params: Any, x: Tensor) -> Tensor:
    function = ACTIVATIONS[layer.name]
    return function(x) if layer.setting is None else function(x, layer.setting)


def _dense(layer: Any, params: Any, x: Tensor) -> Tensor:
    return F.linear(x, params["W"].T, params.get("b"))


def _conv(layer: Any, params: Any, x: Tensor) -> Tensor:
    how = layer.windows
    function = getattr(F, f"conv{len(how.size)}d")
    return function(x, params["W"], params.get("b"), how.stride, how.padding, how.dilation, layer.groups)


def _conv_transposed(layer: Any, params: Any, x: Tensor) -> Tensor:
    how = layer.windows
    function = getattr(F, f"conv_transpose{len(how.size)}d")
    extra = layer.extra if isinstance(layer.extra, int) else tuple(layer.extra)
    return function(x, params["W"], params.get("b"), how.stride, how.padding, extra, layer.groups, how.dilation)


def _max_pool(layer: Any, params: Any, x: Tensor) -> Tensor:
    how = layer.windows
    return getattr(F, f"max_pool{len(how.size)}d")(x, how.size, how.stride, how.padding, how.dilation)


def _average_pool(layer: Any, params: Any, x: Tensor) -> Tensor:
    how = layer.windows
    return getattr(F, f"avg_pool{len(how.size)}d")(x, how.size, how.stride, how.padding)


def _global_pool(layer: Any, params: Any, x: Tensor) -> Tensor:
    flat = torch.flatten(x, 2)
    return flat.mean(-1) if layer.kind == "mean" else flat.max(-1).values


def _batch_norm(layer: Any, params: Any, x: Tensor) -> Tensor:
    scale, shift, mean, variance = params.get("scale"), params.get("shift"), params["mean"], params["variance"]
    if not layer.training:
        return F.batch_norm(x, mean, variance, scale, shift, False, 0.0, layer.eps)
    if x.numel() > x.shape[1]:
        return F.batch_norm(x, None, None, scale, shift, True, 0.0, layer.eps)
    # PyTorch refuses a set of one entry; it is at its own mean, and leaves the shift.
    return F.batch_norm(x - x, 0 * mean, 0 * variance, scale, shift, False, 0.0, layer.eps)


def _layer_norm(layer: Any, params: Any, x: Tensor) -> Tensor:
    return F.layer_norm(x, layer.shape, params.get("scale"), params.get("shift"), layer.eps)


def _rms_norm(layer: Any, params: Any, x: Tensor) -> Tensor:
    axes = tuple(range(-len(layer.shape), 0))
    h = x / torch.sqrt(torch.mean(x * x, dim=axes, keepdim=True) + layer.eps)
    return h * params["scale"] if "scale" in params else h


def _group_norm(layer: Any, params: Any, x: Tensor) -> Tensor:
    return F.group_norm(x, layer.groups, params.get("scale"), params.get("shift"), layer.eps)


def _dropout(layer: Any, params: Any, x: Tensor) -> Tensor:
    mask = layer.mask({"key": params["key"].numpy()}, tuple(x.shape))
    return torch.where(torch.as_tensor(mask), x / (1 - layer.rate), 0.0) if layer.training else x


def _prelu(layer: Any, params: Any, x: Tensor) -> Tensor:
    return F.prelu(x, params["a"])


def _maxout(layer: Any, params: Any, x: Tensor) -> Tensor:
    return torch.unflatten(x, -1, (-1, layer.pieces)).max(-1).values


def _glu(layer: Any, params: Any, x: Tensor) -> Tensor:
    a, b = torch.chunk(x, 2, -1)
    return a * ACTIVATIONS[layer.gate](b)


def _recurrent(layer: Any, params: Any, x: Any) -> Any:
    if not torch.is_tensor(x) or layer.output == "states" or getattr(layer, "activation", "tanh") != "tanh":
        raise TypeError(f"{layer}: PyTorch has it for a plain array, tanh, and one output")
    module = getattr(nn, type(layer).__name__)(layer.inputs, layer.units, batch_first=True)
    own = {"weight_ih_l0": params["W"].T, "weight_hh_l0": params["U"].T, "bias_ih_l0": params["b"],
           "bias_hh_l0": params.get("c", torch.zeros_like(params["b"]))}
    y, _ = functional_call(module, own, (x,))
    return y if layer.output == "sequence" else y[:, -1]


def _attention(layer: Any, params: Any, x: Mapping[str, Tensor]) -> Tensor:
    query, key, value = (x[name] for name in ("query", "key", "value"))
    allowed = torch.ones((*query.shape[:-1], key.shape[-2]), dtype=torch.bool)
    allowed = allowed & x["mask"] if "mask" in x else allowed
    allowed = torch.tril(allowed) if layer.causal else allowed
    seen = allowed.any(-1, keepdim=True)
    y = F.scaled_dot_product_attention(query, key, value, allowed | ~seen, scale=layer.scale)
    return torch.where(seen, y, 0.0)


def _multi_head(layer: Any, params: Any, x: Any) -> Tensor:
    given = x if isinstance(x, Mapping) else {"query": x}
    key = given.get("key", given["query"])
    sources = {"query": given["query"], "key": key, "value": given.get("value", key)}
    projected = {name: _dense(layer, params[name], a) for name, a in sources.items()}
    split = {name: torch.unflatten(a, -1, (layer.heads, -1)).transpose(1, 2) for name, a in projected.items()}
    mask = {"mask": _over_heads(given["mask"])} if "mask" in given else {}
    heads = _attention(_Plain(layer.causal), {}, {**split, **mask})
    return _dense(layer, params["out"], torch.flatten(heads.transpose(1, 2), 2))


class _Plain:
    def __init__(self, causal: bool) -> None:
        self.causal, self.scale = causal, None


def _over_heads(mask: Tensor) -> Tensor:
    return mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]


def _learned_positions(layer: Any, params: Any, x: Tensor) -> Tensor:
    return x + params["P"][: x.shape[-2]]


OPERATORS: dict[str, Operator] = {
    "Activation": _activation, "Dense": _dense, "Conv": _conv, "ConvTransposed": _conv_transposed,
    "MaxPool": _max_pool, "AveragePool": _average_pool, "GlobalPool": _global_pool, "BatchNorm": _batch_norm,
    "LayerNorm": _layer_norm, "RMSNorm": _rms_norm, "GroupNorm": _group_norm, "Dropout": _dropout, "PReLU": _prelu,
    "Maxout": _maxout, "GLU": _glu, "RNN": _recurrent, "LSTM": _recurrent, "GRU": _recurrent,
    "Attention": _attention, "MultiHeadAttention": _multi_head, "LearnedPositions": _learned_positions,
    "Softmax": lambda layer, params, x: torch.softmax(x, -1),
    "LogSoftmax": lambda layer, params, x: torch.log_softmax(x, -1),
    "Flatten": lambda layer, params, x: torch.flatten(x, 1),
    "Reshape": lambda layer, params, x: torch.reshape(x, (x.shape[0], *layer.shape)),
    "Embedding": lambda layer, params, x: F.embedding(x, params["W"], layer.padding),
    "Add": lambda layer, params, x: sum(x[1:], start=x[0]),
    "Multiply": lambda layer, params, x: x[0] * x[1],
    "Concatenate": lambda layer, params, x: torch.cat(x, layer.axis),
}
