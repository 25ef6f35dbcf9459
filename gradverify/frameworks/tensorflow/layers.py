"""Keras's layer for each layer of the reference, by its name: ``operator(layer, params, x)``.

Where Keras has the layer it is made, built and called with the reference's parameters in place of its own
(`stateless_call`); its channels come last, the reference's first. Elsewhere `keras.ops` does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras import activations, layers, ops

Operator: TypeAlias = Callable[[Any, Mapping[str, Any], Any], Any]

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "identity": lambda x: x, "sigmoid": activations.sigmoid, "tanh": activations.tanh, "relu": activations.relu,

    # TensorFlow takes the slope of its LeakyRelu in float32, whatever x is.
    # TensorFlow's own take constants in float32, whatever x is: the slope of LeakyRelu, the root in gelu.
    "leaky_relu": lambda x, a=0.01: ops.where(x > 0, x, a * x),
    "gelu": lambda x: 0.5 * x * tf.math.erfc(-math.sqrt(0.5) * x),
    "gelu_tanh": lambda x: 0.5 * x * (1 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "softplus": activations.softplus, "log_sigmoid": activations.log_sigmoid, "silu": activations.silu,
    "elu": activations.elu, "selu": activations.selu, "celu": activations.celu, "mish": activations.mish,
    "softsign": activations.softsign, "hard_sigmoid": activations.hard_sigmoid, "hard_tanh": activations.hard_tanh,
    "hard_swish": activations.hard_silu,
}


def operate(layer: Any, params: Mapping[str, Any], x: Any) -> Any:
    """The output of the layer; TypeError for one that has no operator here."""
    name = type(layer).__name__
    known = layer.name in ACTIVATIONS if name == "Activation" else name in OPERATORS
    if not known:
        raise TypeError(f"{layer}: no layer of Keras is known for it")
    return OPERATORS[name](layer, params, x)


def _called(layer: Any, weights: Sequence[Any], x: Any, state: Sequence[Any] = (), **keywords: Any) -> Any:
    """What a layer of Keras answers with these weights in place of its own."""
    layer.build(x.shape)
    held = list(state) or [variable.value for variable in layer.non_trainable_variables]
    return layer.stateless_call(list(weights), held, x, **keywords)[0]


def _own(params: Mapping[str, Any], *names: str) -> list[Any]:
    return [params[name] for name in names if name in params]


def _last(x: Any) -> Any:
    return ops.moveaxis(x, 1, -1)


def _first(x: Any) -> Any:
    return ops.moveaxis(x, -1, 1)


def _activation(layer: Any, params: Any, x: Any) -> Any:
    function = ACTIVATIONS[layer.name]
    return function(x) if layer.setting is None else function(x, layer.setting)


def _dense(layer: Any, params: Any, x: Any) -> Any:
    made = layers.Dense(params["W"].shape[1], use_bias="b" in params, dtype="float64")
    return _called(made, _own(params, "W", "b"), x)


def _with_bias(y: Any, params: Any) -> Any:
    return y + ops.reshape(params["b"], (-1, *(1,) * (len(y.shape) - 2))) if "b" in params else y


def _padded(x: Any, padding: Sequence[int], value: float = 0.0) -> Any:
    return ops.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=value)


def _conv(layer: Any, params: Any, x: Any) -> Any:
    """Group by group: TensorFlow differentiates no grouped convolution on a CPU."""
    how, W = layer.windows, params["W"]
    if max(how.stride) > 1 < max(how.dilation):
        raise TypeError(f"{layer}: Keras has no stride together with dilation")
    made = getattr(layers, f"Conv{len(how.size)}D")
    xs = ops.split(_padded(x, how.padding), layer.groups, 1)
    ys = [_called(made(k.shape[0], how.size, how.stride, dilation_rate=how.dilation, use_bias=False, dtype="float64"),
                  [ops.transpose(k, (*range(2, 2 + len(how.size)), 1, 0))], _last(a))
          for k, a in zip(ops.split(W, layer.groups, 0), xs, strict=True)]
    return _with_bias(_first(ops.concatenate(ys, -1)), params)


def _conv_transposed(layer: Any, params: Any, x: Any) -> Any:
    """Without padding in Keras, then cut to the lengths of the reference."""
    how, W, n = layer.windows, params["W"], len(layer.windows.size)
    if max(how.dilation) > 1 or n > 2:
        raise TypeError(f"{layer}: Keras has no such transposed convolution on a CPU")
    made = getattr(layers, f"Conv{n}DTranspose")
    ys = [_called(made(k.shape[1], how.size, how.stride, use_bias=False, dtype="float64"),
                  [ops.transpose(k, (*range(2, 2 + n), 1, 0))], _last(a))
          for k, a in zip(ops.split(W, layer.groups, 0), ops.split(x, layer.groups, 1), strict=True)]
    y, wanted = _first(ops.concatenate(ys, -1)), layer.lengths(tuple(x.shape[2:]))
    ends = [(0, max(0, p + m - y.shape[2 + k])) for k, (p, m) in enumerate(zip(how.padding, wanted, strict=True))]
    inside = tuple(slice(p, p + m) for p, m in zip(how.padding, wanted, strict=True))
    return _with_bias(ops.pad(y, [(0, 0), (0, 0), *ends])[(slice(None), slice(None), *inside)], params)


def _pooled(kind: str, layer: Any, x: Any, fill: float) -> Any:
    how = layer.windows
    if max(how.dilation) > 1:
        raise TypeError(f"{layer}: Keras has no pooling with holes")
    made = getattr(layers, f"{kind}Pooling{len(how.size)}D")(how.size, how.stride, dtype="float64")
    return _first(made(_last(_padded(x, how.padding, fill))))


def _global_pool(layer: Any, params: Any, x: Any) -> Any:
    kind = "Average" if layer.kind == "mean" else "Max"
    return getattr(layers, f"Global{kind}Pooling{len(x.shape) - 2}D")(dtype="float64")(_last(x))


def _batch_norm(layer: Any, params: Any, x: Any) -> Any:
    made = layers.BatchNormalization(1, epsilon=layer.eps, center="shift" in params, scale="scale" in params,
                                     dtype="float64")
    state = [tf.constant(np.array(params[name])) for name in ("mean", "variance")]
    return _called(made, _own(params, "scale", "shift"), x, state, training=layer.training)


def _layer_norm(layer: Any, params: Any, x: Any) -> Any:
    axes = list(range(len(x.shape) - len(layer.shape), len(x.shape)))
    made = layers.LayerNormalization(axes, layer.eps, "shift" in params, "scale" in params, dtype="float64")
    return _called(made, _own(params, "scale", "shift"), x)


def _rms_norm(layer: Any, params: Any, x: Any) -> Any:
    axes = tuple(range(-len(layer.shape), 0))
    return ops.rms_normalization(x, params.get("scale"), axes, layer.eps)


def _group_norm(layer: Any, params: Any, x: Any) -> Any:
    made = layers.GroupNormalization(layer.groups, 1, layer.eps, "shift" in params, "scale" in params, dtype="float64")
    return _called(made, _own(params, "scale", "shift"), x)


def _dropout(layer: Any, params: Any, x: Any) -> Any:
    kept = layer.mask({"key": np.asarray(params["key"])}, tuple(x.shape))
    return ops.where(kept, x / (1 - layer.rate), ops.zeros_like(x)) if layer.training else x


def _prelu(layer: Any, params: Any, x: Any) -> Any:
    a = ops.reshape(params["a"], (-1, *(1,) * (len(x.shape) - 2))) if layer.channels > 1 else params["a"]
    return ops.where(x > 0, x, a * x)


def _glu(layer: Any, params: Any, x: Any) -> Any:
    a, b = ops.split(x, 2, -1)
    return a * ACTIVATIONS[layer.gate](b)


_RECURRENT = {"RNN": "SimpleRNN", "LSTM": "LSTM", "GRU": "GRU"}


def _recurrent(layer: Any, params: Any, x: Any) -> Any:
    if isinstance(x, Mapping) or layer.output == "states" or getattr(layer, "activation", "tanh") not in ACTIVATIONS:
        raise TypeError(f"{layer}: Keras is asked for it with a plain array and one output")
    made = partial(getattr(layers, _RECURRENT[type(layer).__name__]), layer.units,
                   return_sequences=layer.output == "sequence", dtype="float64")
    if type(layer).__name__ == "RNN":
        return _called(made(activation=ACTIVATIONS[layer.activation]), _own(params, "W", "U", "b"), x)
    if type(layer).__name__ == "LSTM":
        return _called(made(), _own(params, "W", "U", "b"), x)
    W, U, b, c = (_swapped(params[name]) for name in ("W", "U", "b", "c"))
    return _called(made(), [W, U, ops.stack([b, c])], x)


def _swapped(a: Any) -> Any:
    """The parts r, u, n in Keras's order u, r, n."""
    r, u, n = ops.split(a, 3, -1)
    return ops.concatenate([u, r, n], -1)


def _attention(layer: Any, params: Any, x: Mapping[str, Any]) -> Any:
    query, key, value = (x[name] for name in ("query", "key", "value"))
    scale = 1 / math.sqrt(key.shape[-1]) if layer.scale is None else layer.scale
    scores = ops.matmul(query, ops.swapaxes(key, -1, -2)) * scale
    allowed = np.broadcast_to(np.asarray(x["mask"]) if "mask" in x else np.array(True), tuple(scores.shape))
    allowed = np.tril(allowed) if layer.causal else allowed
    seen = allowed.any(-1, keepdims=True)
    scores = ops.where(allowed | ~seen, scores, tf.constant(-np.inf, scores.dtype))
    y = ops.matmul(tf.nn.softmax(scores), value)
    return ops.where(seen, y, ops.zeros_like(y))


def _multi_head(layer: Any, params: Any, x: Any) -> Any:
    given = x if isinstance(x, Mapping) else {"query": x}
    key = given.get("key", given["query"])
    sources = {"query": given["query"], "key": key, "value": given.get("value", key)}
    heads = {name: ops.swapaxes(ops.reshape(p, (*p.shape[:2], layer.heads, -1)), 1, 2)
             for name, p in ((name, _dense(layer, params[name], a)) for name, a in sources.items())}
    mask = {"mask": _over_heads(np.asarray(given["mask"]))} if "mask" in given else {}
    y = ops.swapaxes(_attention(_Plain(layer.causal), {}, {**heads, **mask}), 1, 2)
    return _dense(layer, params["out"], ops.reshape(y, (*y.shape[:2], -1)))


class _Plain:
    def __init__(self, causal: bool) -> None:
        self.causal, self.scale = causal, None


def _over_heads(mask: np.ndarray) -> np.ndarray:
    return mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]


def _embedding(layer: Any, params: Any, x: Any) -> Any:
    W = params["W"]
    if layer.padding is not None:  # a constant by contract
        constant = np.arange(W.shape[0])[:, None] == layer.padding
        W = ops.where(constant, keras.ops.stop_gradient(W), W)
    return _called(layers.Embedding(*W.shape, dtype="float64"), [W], tf.constant(np.asarray(x)))


OPERATORS: dict[str, Operator] = {
    "Activation": _activation, "Dense": _dense, "Conv": _conv, "ConvTransposed": _conv_transposed,
    "MaxPool": lambda layer, params, x: _pooled("Max", layer, x, -np.inf),
    "AveragePool": lambda layer, params, x: _pooled("Average", layer, x, 0.0),
    "GlobalPool": _global_pool, "BatchNorm": _batch_norm, "LayerNorm": _layer_norm, "RMSNorm": _rms_norm,
    "GroupNorm": _group_norm, "Dropout": _dropout, "PReLU": _prelu, "GLU": _glu, "RNN": _recurrent,
    "LSTM": _recurrent, "GRU": _recurrent, "Attention": _attention, "MultiHeadAttention": _multi_head,
    "Embedding": _embedding, "LearnedPositions": lambda layer, params, x: x + params["P"][: x.shape[-2]],
    "Maxout": lambda layer, params, x: ops.max(ops.reshape(x, (*x.shape[:-1], -1, layer.pieces)), -1),
    "Softmax": lambda layer, params, x: tf.nn.softmax(x, -1),
    "LogSoftmax": lambda layer, params, x: tf.nn.log_softmax(x, -1),
    "Flatten": lambda layer, params, x: ops.reshape(x, (x.shape[0], math.prod(x.shape[1:]))),
    "Reshape": lambda layer, params, x: ops.reshape(x, (x.shape[0], *layer.shape)),
    "Add": lambda layer, params, x: sum(x[1:], start=x[0]),
    "Multiply": lambda layer, params, x: x[0] * x[1],
    "Concatenate": lambda layer, params, x: ops.concatenate(x, layer.axis),
}
