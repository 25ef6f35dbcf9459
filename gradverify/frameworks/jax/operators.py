"""JAX's operator for each layer of the reference, by the layer's name: ``operator(layer, params, x)``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

Operator: TypeAlias = Callable[[Any, Mapping[str, Any], Any], Any]

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "identity": lambda x: x, "sigmoid": nn.sigmoid, "tanh": jnp.tanh, "relu": nn.relu, "leaky_relu": nn.leaky_relu,
    "softplus": nn.softplus, "log_sigmoid": nn.log_sigmoid, "silu": nn.silu,
    "gelu": lambda x: nn.gelu(x, approximate=False), "gelu_tanh": nn.gelu, "elu": nn.elu, "selu": nn.selu,
    "celu": nn.celu, "mish": nn.mish, "softsign": nn.soft_sign, "hard_sigmoid": nn.hard_sigmoid,
    "hard_tanh": nn.hard_tanh, "hard_swish": nn.hard_silu,
}


def operate(layer: Any, params: Mapping[str, Any], x: Any) -> Any:
    """The output of the layer; TypeError for one that has no operator here."""
    name = type(layer).__name__
    known = layer.name in ACTIVATIONS if name == "Activation" else name in OPERATORS
    if not known:
        raise TypeError(f"{layer}: no operator of JAX is known for it")
    return OPERATORS[name](layer, params, x)


def _activation(layer: Any, params: Any, x: Any) -> Any:
    function = ACTIVATIONS[layer.name]
    return function(x) if layer.setting is None else function(x, layer.setting)


def _dense(layer: Any, params: Any, x: Any) -> Any:
    y = jnp.dot(x, params["W"])
    return y + params["b"] if "b" in params else y


def _with_bias(y: Any, params: Any) -> Any:
    return y + jnp.reshape(params["b"], (-1, *(1,) * (y.ndim - 2))) if "b" in params else y


def _sides(padding: Any) -> list[tuple[int, int]]:
    return [(p, p) for p in padding]


def _conv(layer: Any, params: Any, x: Any) -> Any:
    how = layer.windows
    y = lax.conv_general_dilated(x, params["W"], how.stride, _sides(how.padding), rhs_dilation=how.dilation,
                                 feature_group_count=layer.groups)
    return _with_bias(y, params)


def _conv_transposed(layer: Any, params: Any, x: Any) -> Any:
    """A convolution of x with zeros between its entries, by the kernel turned round."""
    how, W = layer.windows, params["W"]
    apart = jnp.reshape(W, (layer.groups, -1, *W.shape[1:]))
    turned = jnp.reshape(jnp.swapaxes(apart, 1, 2), (-1, W.shape[0] // layer.groups, *how.size))
    extra = layer.extra if isinstance(layer.extra, tuple) else (layer.extra,) * len(how.size)
    reach = [(span - 1 - p, span - 1 - p + e) for span, p, e in zip(how.spans, how.padding, extra, strict=True)]
    y = lax.conv_general_dilated(x, jnp.flip(turned, range(2, W.ndim)), (1,) * len(how.size), reach,
                                 lhs_dilation=how.stride, rhs_dilation=how.dilation, feature_group_count=layer.groups)
    return _with_bias(y, params)


def _pooled(how: Any, x: Any, start: float, combine: Any) -> Any:
    if max(how.dilation) > 1:
        raise TypeError(f"{how}: JAX does not differentiate pooling with holes")
    padding = [(0, 0), (0, 0), *_sides(how.padding)]
    return lax.reduce_window(x, start, combine, (1, 1, *how.size), (1, 1, *how.stride), padding)


def _max_pool(layer: Any, params: Any, x: Any) -> Any:
    return _pooled(layer.windows, x, -jnp.inf, lax.max)


def _average_pool(layer: Any, params: Any, x: Any) -> Any:
    return _pooled(layer.windows, x, 0.0, lax.add) / layer.windows.entries


def _global_pool(layer: Any, params: Any, x: Any) -> Any:
    axes = tuple(range(2, x.ndim))
    return jnp.mean(x, axes) if layer.kind == "mean" else jnp.max(x, axes)


def _affine(layer: Any, params: Any, h: Any, shape: tuple[int, ...]) -> Any:
    h = h * jnp.reshape(params["scale"], shape) if "scale" in params else h
    return h + jnp.reshape(params["shift"], shape) if "shift" in params else h


def _batch_norm(layer: Any, params: Any, x: Any) -> Any:
    shape, axes = (1, -1, *(1,) * (x.ndim - 2)), (0, *range(2, x.ndim))
    if layer.training:
        h = nn.standardize(x, axes, epsilon=layer.eps)
    else:
        h = (x - jnp.reshape(params["mean"], shape)) / jnp.sqrt(jnp.reshape(params["variance"], shape) + layer.eps)
    return _affine(layer, params, h, shape)


def _layer_norm(layer: Any, params: Any, x: Any) -> Any:
    axes = tuple(range(-len(layer.shape), 0))
    return _affine(layer, params, nn.standardize(x, axes, epsilon=layer.eps), layer.shape)


def _rms_norm(layer: Any, params: Any, x: Any) -> Any:
    axes = tuple(range(-len(layer.shape), 0))
    return _affine(layer, params, x * lax.rsqrt(jnp.mean(x * x, axes, keepdims=True) + layer.eps), layer.shape)


def _group_norm(layer: Any, params: Any, x: Any) -> Any:
    h = nn.standardize(jnp.reshape(x, (x.shape[0], layer.groups, -1)), 2, epsilon=layer.eps)
    return _affine(layer, params, jnp.reshape(h, x.shape), (1, -1, *(1,) * (x.ndim - 2)))


def _dropout(layer: Any, params: Any, x: Any) -> Any:
    kept = layer.mask({"key": np.asarray(params["key"])}, x.shape)
    return jnp.where(kept, x / (1 - layer.rate), 0.0) if layer.training else x


def _prelu(layer: Any, params: Any, x: Any) -> Any:
    a = jnp.reshape(params["a"], (-1, *(1,) * (x.ndim - 2))) if layer.channels > 1 else params["a"]
    return jnp.where(x > 0, x, a * x)


def _glu(layer: Any, params: Any, x: Any) -> Any:
    a, b = jnp.split(x, 2, -1)
    return a * ACTIVATIONS[layer.gate](b)


def _elman(layer: Any, params: Any, a: Any, state: Any) -> Any:
    return (ACTIVATIONS[layer.activation](a @ params["W"] + params["b"] + state[0] @ params["U"]),)


def _lstm(layer: Any, params: Any, a: Any, state: Any) -> Any:
    i, f, g, o = jnp.split(a @ params["W"] + params["b"] + state[0] @ params["U"], 4, -1)
    c = nn.sigmoid(f) * state[1] + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def _gru(layer: Any, params: Any, a: Any, state: Any) -> Any:
    ar, au, an = jnp.split(a @ params["W"] + params["b"], 3, -1)
    qr, qu, qn = jnp.split(state[0] @ params["U"] + params["c"], 3, -1)
    u = nn.sigmoid(au + qu)
    return ((1 - u) * jnp.tanh(an + nn.sigmoid(ar + qr) * qn) + u * state[0],)


CELLS = {"RNN": (_elman, ("h",)), "LSTM": (_lstm, ("h", "c")), "GRU": (_gru, ("h",))}


def _recurrent(layer: Any, params: Any, x: Any) -> Any:
    """The cell scanned over the steps; a masked step leaves the state as it is."""
    if layer.output == "states":
        raise TypeError(f"{layer}: it has one output to compare, the states are several")
    given = x if isinstance(x, Mapping) else {"x": x}
    cell, names = CELLS[type(layer).__name__]
    a = given["x"]
    none = jnp.zeros((a.shape[0], layer.units), a.dtype)
    mask = jnp.asarray(given.get("mask", np.ones(a.shape[:2], bool)))

    def step(state: Any, now: Any) -> Any:
        after = cell(layer, params, now[0], state)
        state = tuple(jnp.where(now[1][:, None], new, old) for new, old in zip(after, state, strict=True))
        return state, state[0]

    start = tuple(jnp.asarray(given.get(name, none)) for name in names)
    last, y = lax.scan(step, start, (jnp.swapaxes(a, 0, 1), jnp.swapaxes(mask, 0, 1)))
    return jnp.swapaxes(y, 0, 1) if layer.output == "sequence" else last[0]


def _attention(layer: Any, params: Any, x: Mapping[str, Any]) -> Any:
    query, key, value = (x[name] for name in ("query", "key", "value"))
    scale = 1 / math.sqrt(key.shape[-1]) if layer.scale is None else layer.scale
    scores = query @ jnp.swapaxes(key, -1, -2) * scale
    allowed = jnp.broadcast_to(jnp.asarray(x["mask"]) if "mask" in x else True, scores.shape)
    allowed = jnp.tril(allowed) if layer.causal else allowed
    seen = allowed.any(-1, keepdims=True)
    return jnp.where(seen, nn.softmax(jnp.where(allowed | ~seen, scores, -jnp.inf), -1) @ value, 0.0)


def _multi_head(layer: Any, params: Any, x: Any) -> Any:
    given = x if isinstance(x, Mapping) else {"query": x}
    key = given.get("key", given["query"])
    sources = {"query": given["query"], "key": key, "value": given.get("value", key)}
    heads = {name: jnp.swapaxes(jnp.reshape(p, (*p.shape[:2], layer.heads, -1)), 1, 2)
             for name, p in ((name, _dense(layer, params[name], a)) for name, a in sources.items())}
    mask = {"mask": _over_heads(jnp.asarray(given["mask"]))} if "mask" in given else {}
    y = jnp.swapaxes(_attention(_Plain(layer.causal), {}, {**heads, **mask}), 1, 2)
    return _dense(layer, params["out"], jnp.reshape(y, (*y.shape[:2], -1)))


class _Plain:
    def __init__(self, causal: bool) -> None:
        self.causal, self.scale = causal, None


def _over_heads(mask: Any) -> Any:
    return mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]


def _embedding(layer: Any, params: Any, x: Any) -> Any:
    W = params["W"]
    if layer.padding is not None:  # a constant by contract
        W = W.at[layer.padding].set(jax.lax.stop_gradient(W[layer.padding]))
    return W[x]


OPERATORS: dict[str, Operator] = {
    "Activation": _activation, "Dense": _dense, "Conv": _conv, "ConvTransposed": _conv_transposed,
    "MaxPool": _max_pool, "AveragePool": _average_pool, "GlobalPool": _global_pool, "BatchNorm": _batch_norm,
    "LayerNorm": _layer_norm, "RMSNorm": _rms_norm, "GroupNorm": _group_norm, "Dropout": _dropout, "PReLU": _prelu,
    "GLU": _glu, "RNN": _recurrent, "LSTM": _recurrent, "GRU": _recurrent, "Attention": _attention,
    "MultiHeadAttention": _multi_head, "Embedding": _embedding,
    "LearnedPositions": lambda layer, params, x: x + params["P"][: x.shape[-2]],
    "Maxout": lambda layer, params, x: jnp.max(jnp.reshape(x, (*x.shape[:-1], -1, layer.pieces)), -1),
    "Softmax": lambda layer, params, x: nn.softmax(x, -1),
    "LogSoftmax": lambda layer, params, x: nn.log_softmax(x, -1),
    "Flatten": lambda layer, params, x: jnp.reshape(x, (x.shape[0], -1)),
    "Reshape": lambda layer, params, x: jnp.reshape(x, (x.shape[0], *layer.shape)),
    "Add": lambda layer, params, x: sum(x[1:], start=x[0]),
    "Multiply": lambda layer, params, x: x[0] * x[1],
    "Concatenate": lambda layer, params, x: jnp.concatenate(x, layer.axis),
}
