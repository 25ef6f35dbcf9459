"""The innermost layers of a Keras model, each call watched: what went in, what came out, on the tape of the moment.

A layer with an activation of its own is two: its weighted sum, and the function of that. For the time of a run the
layers' `call` is another one; nothing of it is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from gradverify.frameworks.tensorflow.reached import raw
from gradverify.frameworks.tensorflow.tensors import floating

WHOLE = (keras.layers.RNN, keras.layers.MultiHeadAttention, keras.layers.Wrapper)  # loops and parts of their own
ACTIVATIONS = (keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)


@dataclass(frozen=True)
class Call:
    """One call of one layer: `x` is its own copy of the `source` it was given, `left` the copy of `y` that went on.

    Without a `layer` it is the activation that the call before it ended with.
    """

    name: str
    layer: Any
    source: Any
    x: Any
    y: Any
    left: Any
    again: Callable[[Any], Any]
    first: bool = True


@dataclass
class Watch:
    """A run under way: its tape and its calls so far, the activation in place of every one, the layers to normalise."""

    tape: Any = None
    activation: Callable[[Any], Any] | None = None
    normalised: list[Any] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def copied(self, value: Any) -> Any:
        """The same value as a tensor of its own, whose gradient is that of this use alone."""
        copy = tf.identity(value)
        if self.tape is not None:
            self.tape.watch(copy)
        return copy

    def named(self, name: str) -> tuple[str, bool]:
        """A name for one more call of this layer, and whether it is the first."""
        count = self.counts[name] = self.counts.get(name, -1) + 1
        return (f"{name}@{count}" if count else name), count == 0


def innermost(layer: Any) -> Iterator[Any]:
    """The layers that have no layers of their own, or do with theirs what cannot be watched."""
    inner = [] if isinstance(layer, WHOLE) else list(layer._flatten_layers(include_self=False, recursive=False))  # noqa: SLF001 - there is no public walk over all kinds of layers
    if not inner and not isinstance(layer, keras.layers.InputLayer):
        yield layer
    for part in inner:
        yield from innermost(part)


@contextmanager
def watched(network: Any, watch: Watch) -> Iterator[None]:
    """Inside, every innermost layer writes down its calls."""
    layers = list({id(layer): layer for layer in innermost(network)}.values())
    names = [layer.name for layer in layers]
    with ExitStack() as stack:
        for layer in layers:
            name = layer.name if names.count(layer.name) == 1 else layer.path
            stack.enter_context(_instead(layer, call=partial(_called, watch, layer, name, layer.call)))
        yield


@contextmanager
def _instead(layer: Any, **attributes: Any) -> Iterator[None]:
    """These attributes on this instance alone, past Keras's tracking of what is set."""
    held = vars(layer)
    before = {name: held[name] for name in attributes if name in held}
    held.update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            held.pop(name, None)
        held.update(before)


def _called(watch: Watch, layer: Any, name: str, call: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    if not args or not floating(args[0]):
        return call(*args, **keywords)
    plain = watch.activation if watch.activation is not None and isinstance(layer, ACTIVATIONS) else None

    normal = any(layer is other for other in watch.normalised)

    def forward(x: Any) -> Any:
        return plain(x) if plain is not None else call(x, *args[1:], **keywords)

    own = getattr(layer, "activation", None)
    if own is None or own is keras.activations.linear or isinstance(layer, (*ACTIVATIONS, *WHOLE)):
        y = _noted(watch, layer, *watch.named(name), args[0], forward)
        return _noted(watch, None, f"{name} > norm", False, y, _standard) if normal else y
    own = watch.activation or own
    return _in_two(watch, layer, name, args[0], forward, (lambda z: own(_standard(z))) if normal else own)


def _standard(z: Any) -> Any:
    """Every example at mean 0 and variance 1."""
    axes = list(range(1, len(z.shape)))
    mean, variance = tf.nn.moments(z, axes, keepdims=True)
    return (z - mean) * tf.math.rsqrt(variance + tf.cast(1e-5, z.dtype))


def _noted(watch: Watch, layer: Any, name: str, first: bool, source: Any, forward: Callable[[Any], Any]) -> Any:
    x = watch.copied(source)
    y = forward(tf.identity(x))
    main = y[0] if isinstance(y, (tuple, list)) and y else y
    if not floating(main):
        return y
    main = watch.copied(main)
    left = watch.copied(main)
    watch.calls.append(Call(name, layer, source, x, main, left, forward, first))
    return type(y)((left, *y[1:])) if isinstance(y, (tuple, list)) else left


def _in_two(
    watch: Watch, layer: Any, name: str, source: Any, forward: Callable[[Any], Any], activation: Callable[[Any], Any]
) -> Any:
    """The layer up to its activation, and the activation."""

    def sum_of(x: Any) -> Any:
        with _instead(layer, activation=keras.activations.linear):
            return forward(x)

    unique, first = watch.named(name)
    z = _noted(watch, layer, unique, first, source, sum_of)
    return _noted(watch, None, f"{unique} > {getattr(activation, '__name__', 'activation')}", False, z, activation)


@contextmanager
def changed(network: Any, scales: Mapping[str, float]) -> Iterator[None]:
    """Inside, the kernels of these layers, by name, are multiplied."""
    kept = [(v, tf.identity(raw(v)), scales[layer.name]) for layer in innermost(network) if layer.name in scales
            for v in layer.trainable_variables if len(v.shape) > 1]
    try:
        for variable, value, scale in kept:
            raw(variable).assign(value * tf.cast(scale, value.dtype))
        yield
    finally:
        for variable, value, _ in kept:
            raw(variable).assign(value)
