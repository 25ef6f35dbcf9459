"""Networks of `gradverify.reference`, watched from outside: every layer within is wrapped, none is changed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, flatten
from gradverify.flow import rules
from gradverify.flow.sites import Backward, Change, Passage, Rule, Site
from gradverify.reference import (
    GRU,
    LSTM,
    RNN,
    Activation,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    LayerNorm,
    MaxPool,
    Reshape,
    Residual,
    RMSNorm,
)
from gradverify.reference.graphs import Graph
from gradverify.reference.layer import Array, Layer, Params, Pullback
from gradverify.reference.networks import Network


@dataclass
class Tap:
    """What one call of one layer saw: forwards when it ran, backwards when it was pulled back."""

    path: str
    layer: Any
    params: Params
    x: Array
    y: Array
    inside: str
    received: Array = None
    sent: Array = None
    dparams: Params = None
    rule: Rule | None = None


@dataclass(frozen=True)
class Tapped:
    """A layer that writes down what goes through it."""

    layer: Any
    path: str
    tape: list[Tap]
    inside: str = ""
    judged: Any = None

    def init(self, rng: np.random.Generator) -> Params:
        return self.layer.init(rng)

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        y, pullback = self.layer.forward(params, x)
        tap = Tap(self.path, self.judged or self.layer, params, x, y, self.inside)
        self.tape.append(tap)

        def noted(dy: Array) -> tuple[Params, Array]:
            tap.received = dy
            tap.dparams, tap.sent = pullback(dy)
            return tap.dparams, tap.sent

        return y, noted

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        pushed: tuple[Array, Array] = self.layer.pushforward(params, x, dparams, dx)
        return pushed


def tapped(layer: Any, path: str, tape: list[Tap], inside: str = "") -> Any:
    """The same network with every layer in it, and every residual block, tapped."""
    if isinstance(layer, Network):
        return Network(tuple(tapped(part, f"{path}[{k}]", tape, inside) for k, part in enumerate(layer.layers)))
    if isinstance(layer, Residual):
        parts = {name: tapped(part, f"{path}.{name}", tape, path)
                 for name in ("body", "shortcut") if (part := getattr(layer, name)) is not None}
        return Tapped(dataclasses.replace(layer, **parts), path, tape, inside, judged=layer)
    if isinstance(layer, Graph):
        nodes = {name: dataclasses.replace(node, layer=tapped(node.layer, f"{path}.{name}", tape, inside))
                 for name, node in layer.nodes.items()}
        return dataclasses.replace(layer, nodes=nodes)
    if isinstance(layer, (RNN, LSTM, GRU)) and layer.output != "states":
        return Unrolled(layer, path, tape, inside)
    return Tapped(layer, path, tape, inside)


@dataclass(frozen=True)
class Unrolled:
    """A recurrent layer, one tapped step after another: each hands its state to the next."""

    layer: Any
    path: str
    tape: list[Tap]
    inside: str = ""

    def init(self, rng: np.random.Generator) -> Params:
        return self.layer.init(rng)

    def forward(self, params: Params, x: Any) -> tuple[Array, Pullback]:
        if isinstance(x, Mapping):
            return Tapped(self.layer, self.path, self.tape, self.inside).forward(params, x)
        one = dataclasses.replace(self.layer, output="states")
        names = ("h", "c") if isinstance(self.layer, LSTM) else ("h",)
        state = {name: np.zeros((len(x), self.layer.units), np.asarray(x).dtype) for name in names}
        steps, outputs = list[tuple[Tap, Pullback]](), list[Array]()
        for t in range(x.shape[1]):
            after, pullback = one.forward(params, {"x": x[:, t : t + 1], **state})
            tap = Tap(f"{self.path}@{t}", self.layer, params, state["h"], after["h"], self.inside)
            tap.rule = _step_rule(self.layer, params, x[:, t], state["h"])
            state = {name: after[name] for name in names}
            steps.append((tap, pullback))
            outputs.append(after["h"])
        self.tape.extend(tap for tap, _ in steps)
        whole = self.layer.output == "sequence"
        return np.stack(outputs, axis=1) if whole else outputs[-1], partial(_through_time, steps, names, whole)

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        pushed: tuple[Array, Array] = self.layer.pushforward(params, x, dparams, dx)
        return pushed


def _step_rule(layer: Any, params: Params, x: Array, h: Array) -> Rule | None:
    """From one state back to the last: f' at the pre-activation, then U. The gated cells have no such product."""
    if not isinstance(layer, RNN):
        return None
    z = x @ params["W"] + h @ params["U"] + params["b"]
    f, U = rules.elementwise_rule(Activation(layer.activation), z), rules.linear_rule(params["U"], layer.units)
    return Rule(f.factor * U.factor, slopes=f.slopes, weights=True, tied=True)


def _through_time(
    steps: list[tuple[Tap, Pullback]], names: tuple[str, ...], whole: bool, dy: Array
) -> tuple[Params, Array]:
    """Backpropagation through time with every step's share written down."""
    dstate = {name: np.zeros_like(steps[0][0].y) for name in names}
    total: dict[str, Array] = {}
    dx: list[Array] = []
    for t, (tap, pullback) in reversed(list(enumerate(steps))):
        seen = dy[:, t] if whole else dy if t == len(steps) - 1 else 0
        dstate["h"] = dstate["h"] + seen
        tap.received = dstate["h"]
        none = np.zeros_like(tap.y)[:, None]
        tap.dparams, sent = pullback({"y": none, **dstate})
        total = {name: total.get(name, 0) + g for name, g in tap.dparams.items()}
        tap.sent, dstate = sent["h"], {name: sent[name] for name in names}
        dx.append(sent["x"])
    return total, np.concatenate(dx[::-1], axis=1)


def record(network: Layer, inputs: tuple[Any, ...]) -> Passage:
    """One forward pass of ``network.forward(params, x)``, watched."""
    if len(inputs) != 2:
        raise TypeError(f"inputs: {type(network).__name__} is called as forward(params, x); {len(inputs)} given")
    params, x = inputs
    tape: list[Tap] = []
    watched = tapped(network, "", tape)
    if isinstance(watched, Network):
        y, pullback = watched.forward(params, x)
    else:
        y, pullback = Network((watched,)).forward((params,), x)
    sites = tuple(_site(tap, _before(tape, k)) for k, tap in enumerate(tape))
    return Passage(
        name=type(network).__name__, sites=sites, output=np.asarray(y), pull=partial(_pull, tape, pullback),
        cotangent=partial(_cotangent, y), x=x if isinstance(x, np.ndarray) else None,
        push=partial(_push, network, params, x), forward=lambda other: np.asarray(network.forward(params, other)[0]),
        altered=partial(_altered, network, params, x))


def _push(network: Layer, params: Params, x: Array, dx: np.ndarray) -> np.ndarray:
    leaves, rebuild = flatten(params, "")
    still = rebuild({name: None if w is None else np.zeros_like(w) for name, w in leaves.items()})
    return np.asarray(network.pushforward(params, x, still, dx)[1])


def _altered(network: Layer, params: Params, x: Array, change: Change) -> Passage | None:
    """A copy with other weights, activations or normalisations, watched."""
    if change.normalised:
        own = _normalised(network, params)
        return None if own is None else record(own[0], (own[1], x))
    scales, activation = change.scales, change.activation
    leaves, rebuild = flatten(params, "")
    others = {name: w if w is None or np.ndim(w) < 2 else _times(w, scales.get(name.rpartition(".")[0], 1.0))
              for name, w in leaves.items()}
    return record(network if activation is None else _with(network, activation), (rebuild(others), x))


def _normalised(network: Layer, params: Params) -> tuple[Network, Params] | None:
    """A normalisation behind every dense layer of a sequence but the last one."""
    if not isinstance(network, Network):
        return None
    parts = list(zip(network.layers, params, strict=True))
    last = max((k for k, (layer, _) in enumerate(parts) if isinstance(layer, Dense)), default=0)
    found: list[tuple[Layer, Params]] = []
    for k, (layer, own) in enumerate(parts):
        if isinstance(layer, Residual) and (body := _normalised(layer.body, own["body"])) is not None:
            layer, own = dataclasses.replace(layer, body=body[0]), {**own, "body": body[1]}  # noqa: PLW2901
        found.append((layer, own))
        if isinstance(layer, Dense) and k < last:
            norm = LayerNorm((layer.units,))
            plain = norm.init(np.random.default_rng(0))
            found.append((norm, {name: v.astype(own["W"].dtype) for name, v in plain.items()}))
    return Network(tuple(layer for layer, _ in found)), tuple(own for _, own in found)


def _times(w: np.ndarray, scale: float) -> np.ndarray:
    return np.asarray(w * np.asarray(scale, w.dtype))


def _with(layer: Any, activation: str) -> Any:
    if isinstance(layer, Activation):
        return Activation(activation)
    if isinstance(layer, Network):
        return Network(tuple(_with(part, activation) for part in layer.layers))
    if isinstance(layer, Residual):
        return dataclasses.replace(layer, body=_with(layer.body, activation))
    return dataclasses.replace(layer, activation=activation) if isinstance(layer, RNN) else layer


def _pull(tape: list[Tap], pullback: Pullback, u: np.ndarray) -> Backward:
    for tap in tape:
        tap.received = tap.sent = tap.dparams = None
    _, dx = pullback(u)
    reached = [tap for tap in tape if tap.received is not None]
    return Backward(
        received={_name(tap): np.asarray(tap.received) for tap in reached},
        sent={_name(tap): tap.sent for tap in reached if isinstance(tap.sent, np.ndarray)},
        grads={_name(tap): _leaves(tap.dparams) for tap in reached},
        dx=dx if isinstance(dx, np.ndarray) else None)


def _leaves(params: Params) -> Arrays:
    found, _ = flatten(params or {}, "")
    return {name.lstrip("."): np.asarray(g) for name, g in found.items() if g is not None}


def _cotangent(y: Array, loss: Callable[..., Any]) -> tuple[float, np.ndarray]:
    """A loss returns ``(L, pullback)`` as the reference's do, or ``(L, dL/dy)``."""
    found = loss(y)
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(f"loss: must return (L, pullback) or (L, dL/dy) for a NumPy network, not {found!r}")
    value, slope = found
    u = slope(1.0) if callable(slope) else slope
    return float(value), np.asarray(u[1] if isinstance(u, tuple) else u)


def _name(tap: Tap) -> str:
    return tap.path or "layer"


def _before(tape: list[Tap], k: int) -> Tap | None:
    """The last call before this one in the same block."""
    return next((tap for tap in reversed(tape[:k]) if tap.inside == tape[k].inside), None)


def _site(tap: Tap, before: Tap | None) -> Site:
    layer, x = tap.layer, tap.x if isinstance(tap.x, np.ndarray) else np.asarray(0.0)
    y = tap.y if isinstance(tap.y, np.ndarray) else np.asarray(0.0)
    return Site(
        name=_name(tap), kind=layer.name if isinstance(layer, Activation) else type(layer).__name__, x=x, y=y,
        weights=_leaves(tap.params), rule=tap.rule or rule_of(layer, tap.params, x, y), inside=tap.inside,
        follows=before is None or tap.x is before.y,
        axis=1 if isinstance(layer, (Conv, BatchNorm)) or (x.ndim > 2 and isinstance(layer, Activation)) else -1,
        again=None if "@" in tap.path or isinstance(layer, Residual) else partial(_again, layer, tap.params))


def _again(layer: Layer, params: Params, x: Array) -> np.ndarray:
    return np.asarray(layer.forward(params, x)[0])


def rule_of(layer: Any, params: Params, x: np.ndarray, y: np.ndarray) -> Rule | None:
    """What is expected of a layer of the reference, or None where theory has no say."""
    make = RULES.get(type(layer))
    if make is not None and x.size:
        return make(layer, params, x, y)
    f = None if flatten(params or {}, "")[0] else rules.recognised(x, y)
    return None if f is None else rules.elementwise_rule(f, x)


def _convolution(layer: Conv, params: Params, x: np.ndarray, y: np.ndarray) -> Rule:
    how = layer.windows
    return rules.convolution_rule(params["W"], layer.inputs, x.shape[2:], how.stride, how.padding, how.dilation)


def _batch_normal(layer: BatchNorm, params: Params, x: np.ndarray, y: np.ndarray) -> Rule | None:
    axes = tuple(a for a in range(x.ndim) if a != 1)
    return rules.normal_rule(x, axes, params.get("scale", 1.0), layer.eps) if layer.training else None


def _last_axes(layer: Any, params: Params, x: np.ndarray, y: np.ndarray) -> Rule:
    axes = tuple(range(x.ndim - len(layer.shape), x.ndim))
    return rules.normal_rule(x, axes, params.get("scale", 1.0), layer.eps, centred=isinstance(layer, LayerNorm))


RULES: dict[type, Callable[..., Rule | None]] = {
    Dense: lambda layer, params, x, y: rules.linear_rule(params["W"], layer.inputs),
    Conv: _convolution,
    Activation: lambda layer, params, x, y: rules.elementwise_rule(layer, x),
    BatchNorm: _batch_normal,
    LayerNorm: _last_axes,
    RMSNorm: _last_axes,
    Dropout: lambda layer, params, x, y: rules.dropout_rule(layer.rate if layer.training else 0.0),
    Flatten: lambda layer, params, x, y: rules.identity_rule(),
    Reshape: lambda layer, params, x, y: rules.identity_rule(),
    MaxPool: lambda layer, params, x, y: rules.pool_rule(x, y, entries=1),
    AveragePool: lambda layer, params, x, y: rules.pool_rule(x, y, entries=math.prod(layer.size)),
    GlobalPool: lambda layer, params, x, y: rules.pool_rule(
        x, y, entries=1 if layer.kind == "max" else math.prod(x.shape[2:])),
}
