"""Keras models for `check_flow`: what each layer received and sent, read from one tape."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

from gradverify.arrays import flatten
from gradverify.flow import rules
from gradverify.flow.sites import Backward, Change, Passage, Rule, Site
from gradverify.frameworks.tensorflow.program import Program, make_program
from gradverify.frameworks.tensorflow.reached import raw
from gradverify.frameworks.tensorflow.tensors import floating, from_host, to_host
from gradverify.frameworks.tensorflow.watching import Call, Watch, changed, innermost, watched
from gradverify.reference.activations import Activation

CONVOLUTIONS = (kl.Conv1D, kl.Conv2D, kl.Conv3D)
AVERAGES, MAXIMA = (kl.AveragePooling1D, kl.AveragePooling2D, kl.AveragePooling3D), (
    kl.MaxPooling1D, kl.MaxPooling2D, kl.MaxPooling3D)
GLOBAL_AVERAGES = (kl.GlobalAveragePooling1D, kl.GlobalAveragePooling2D, kl.GlobalAveragePooling3D)


@dataclass(frozen=True)
class Runner:
    """A model with what is changed in it for each of its runs: weights multiplied, another activation."""

    network: Any
    program: Program
    entry: str | None
    change: Change = field(default_factory=Change)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The model's code runs here; all that it changes is put back."""
        with self.program.state.frozen(), changed(self.network, self.change.scales):
            yield

    def outputs(self, watch: Watch, x: Any = None) -> Any:
        """One forward pass, watched, at another input if one is given."""
        other = self.change.activation
        watch.activation = None if other is None else keras.activations.get(other)
        watch.normalised = _sums(self.network)[:-1] if self.change.normalised else []
        own = {} if x is None or self.entry is None else {self.entry: x}
        with watched(self.network, watch):
            return self.program.call({**self.program.tensors, **own})


def record(network: Any, inputs: tuple[Any, ...]) -> Passage:
    """One forward pass of a layer or model at these inputs, as it is called by a plain ``network(*inputs)``."""
    if not isinstance(network, keras.Layer):
        raise TypeError(f"network={network!r}: must be a Keras model or layer, whose parts can be watched")
    program = make_program(network, inputs, {}, 0)
    entry = next((name for name in program.inputs if name in program.tensors), None)
    return _passage(Runner(network, program, entry))


def _passage(runner: Runner) -> Passage:
    start = None if runner.entry is None else runner.program.tensors[runner.entry]
    with runner.running():
        with tf.GradientTape(persistent=True) as tape:
            watch = Watch(tape)
            entry = None if start is None else watch.copied(start)
            outputs = runner.outputs(watch, entry)
        calls = _follow(watch.calls)
        sites = tuple(_site(runner, *seen) for seen in calls)  # while the weights are those of this run
    y = _main(outputs)
    return Passage(
        name=runner.program.name, sites=sites, output=to_host(y), pull=partial(_pull, tape, calls, y, entry),
        cotangent=partial(_cotangent, outputs), x=None if entry is None else to_host(entry),
        push=None if start is None else partial(_push, runner, start),
        forward=None if start is None else partial(_forward, runner, start), altered=partial(_altered, runner))


def _altered(runner: Runner, change: Change) -> Passage:
    return _passage(replace(runner, change=change))


def _sums(network: Any) -> list[Any]:
    return [layer for layer in innermost(network) if isinstance(layer, (kl.Dense, *CONVOLUTIONS))]


def _forward(runner: Runner, like: Any, x: np.ndarray) -> np.ndarray:
    with runner.running():
        return to_host(_main(runner.outputs(Watch(), from_host(x, like.dtype, like.device))))


def _push(runner: Runner, x: Any, dx: np.ndarray) -> np.ndarray:
    with runner.running(), tf.autodiff.ForwardAccumulator(x, from_host(dx, x.dtype, x.device)) as forwards:
        y = _main(runner.outputs(Watch(), x))
    dy = forwards.jvp(y, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return to_host(dy)


def _main(outputs: Any) -> Any:
    found = [y for y in flatten(outputs, "out")[0].values() if floating(y)]
    if not found:
        raise TypeError("nothing to check: the network has no floating output")
    return found[0]


def _cotangent(outputs: Any, loss: Callable[..., Any]) -> tuple[float, np.ndarray]:
    y = _main(outputs)
    with tf.GradientTape() as tape:
        tape.watch(y)
        value = loss(outputs)
    if not tf.is_tensor(value) or value.shape.num_elements() != 1:
        raise TypeError(f"loss: must return a tensor with one entry, not {value!r}")
    return float(tf.reshape(value, ())), to_host(tape.gradient(value, y, unconnected_gradients="zero"))


def _follow(calls: Sequence[Call]) -> list[tuple[Call, bool, bool]]:
    """Each call, whether it is given just what the one before it left, and whether its layer is used again."""
    used = Counter(id(call.layer) for call in calls if call.layer is not None)
    before = [None, *(call.left for call in calls)]
    return [(call, left is None or call.source is left, used[id(call.layer)] > 1)
            for call, left in zip(calls, before, strict=False)]


def _weights(call: Call) -> dict[str, Any]:
    return {} if call.layer is None else {v.name: raw(v) for v in call.layer.trainable_variables}


def _pull(tape: Any, calls: Sequence[tuple[Call, bool, bool]], y: Any, entry: Any, u: np.ndarray) -> Backward:
    asked = {"y": [c.y for c, _, _ in calls], "x": [c.x for c, _, _ in calls],
             "w": {c.name: _weights(c) for c, _, _ in calls if c.first and _weights(c)}, "entry": entry}
    found = tape.gradient(y, asked, output_gradients=from_host(u, y.dtype, y.device))
    names = [c.name for c, _, _ in calls]
    grads = {name: {key: _host(g) for key, g in own.items() if g is not None} for name, own in found["w"].items()}
    return Backward(
        received={n: _host(g) for n, g in zip(names, found["y"], strict=True) if g is not None},
        sent={n: _host(g) for n, g in zip(names, found["x"], strict=True) if g is not None},
        grads={name: own for name, own in grads.items() if own},
        dx=None if entry is None or found["entry"] is None else _host(found["entry"]))


def _host(g: Any) -> np.ndarray:
    return to_host(tf.convert_to_tensor(g))


def _site(runner: Runner, call: Call, follows: bool, tied: bool) -> Site:
    x, y, layer = to_host(call.x), to_host(call.y), call.layer
    first = getattr(layer, "data_format", None) == "channels_first"
    rule = rule_of(layer, x, y)
    rule = replace(rule, tied=True) if rule is not None and tied and rule.weights else rule
    f = None if layer is not None else rules.recognised(x, y)
    return Site(
        name=call.name, kind=type(layer).__name__ if layer is not None else f.name if f else "activation", x=x, y=y,
        weights={key: to_host(w) for key, w in _weights(call).items()}, rule=rule, follows=follows,
        axis=1 if first else -1, again=partial(_again, runner, call))


def _again(runner: Runner, call: Call, x: np.ndarray) -> np.ndarray:
    with runner.running():
        y = call.again(from_host(x, call.x.dtype, call.x.device))
    return to_host(y[0] if isinstance(y, (tuple, list)) else y)


def rule_of(layer: Any, x: np.ndarray, y: np.ndarray) -> Rule | None:
    """What is expected of a layer, by its class; None where its forward pass has to show it."""
    if layer is None or not layer.weights:
        f = _activation(layer) or rules.recognised(x, y)
        return rules.elementwise_rule(f, x) if f is not None else _shape_rule(layer, x, y)
    if type(layer) is kl.Dense:
        return rules.linear_rule(raw(layer.kernel).numpy(), layer.kernel.shape[0])
    if type(layer) in CONVOLUTIONS:
        return _convolution(layer, x)
    if type(layer) is kl.LayerNormalization and not getattr(layer, "rms_scaling", False):
        axes = layer.axis if isinstance(layer.axis, (tuple, list)) else (layer.axis,)
        scale = 1.0 if layer.gamma is None else raw(layer.gamma).numpy()
        return rules.normal_rule(x, tuple(a % x.ndim for a in axes), scale, layer.epsilon)
    return None


def _activation(layer: Any) -> Activation | None:
    """Those that have a constant of their own."""
    if type(layer) is kl.LeakyReLU:
        return Activation("leaky_relu", float(layer.negative_slope))
    return Activation("elu", float(layer.alpha)) if type(layer) is kl.ELU else None


def _convolution(layer: Any, x: np.ndarray) -> Rule | None:
    """Padding to the same length is as much on both sides only for odd kernels and steps of one."""
    size, dilation = layer.kernel_size, layer.dilation_rate
    same = layer.padding == "same"
    if layer.data_format != "channels_last" or (same and (max(layer.strides) > 1 or any(k % 2 == 0 for k in size))):
        return None
    padding = [d * (k - 1) // 2 if same else 0 for k, d in zip(size, dilation, strict=True)]
    W = np.moveaxis(raw(layer.kernel).numpy(), (-1, -2), (0, 1))
    return rules.convolution_rule(W, x.shape[-1], x.shape[1:-1], layer.strides, padding, dilation)


def _shape_rule(layer: Any, x: np.ndarray, y: np.ndarray) -> Rule | None:
    if isinstance(layer, (kl.Flatten, kl.Reshape, kl.Permute)):
        return rules.identity_rule()
    if isinstance(layer, MAXIMA):
        return rules.pool_rule(x, y, entries=1)
    if isinstance(layer, AVERAGES):
        return rules.pool_rule(x, y, entries=math.prod(layer.pool_size)) if layer.padding == "valid" else None
    return rules.pool_rule(x, y, entries=x.size // y.size) if isinstance(layer, GLOBAL_AVERAGES) else None
