"""Layers one after another; the chain rule is the pullbacks in reverse order.

A `Network` has the methods of a layer, so networks nest. Its parameters are one tree for each layer:
``params[0]["W"]`` is the weight of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradverify.reference.duals import push
from gradverify.reference.layer import Array, Layer, Loss, Params, Pullback
from gradverify.reference.modes import advanced
from gradverify.reference.penalties import Penalty
from gradverify.reference.trees import added


@dataclass(frozen=True)
class Network:
    """a_k = layer_k(params_k, a_{k-1}) with a_0 = x; the output is the last a.

    Backwards, with da_k = dL/da_k given by the layer above: (dparams_k, da_{k-1}) = pullback_k(da_k).
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        for k, layer in enumerate(self.layers):
            if isinstance(layer, type) or not isinstance(layer, Layer):
                raise TypeError(f"layers[{k}]={layer!r}: must have the methods init, forward and pushforward")

    def init(self, rng: np.random.Generator) -> Params:
        return tuple(layer.init(rng) for layer in self.layers)

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        self._require(params)
        pullbacks: list[Pullback] = []
        for layer, its_params in zip(self.layers, params, strict=True):
            x, pullback = layer.forward(its_params, x)
            pullbacks.append(pullback)
        return x, lambda dy: _backwards(pullbacks, dy)

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        self._require(params)
        self._require(dparams)
        for layer, its_params, its_dparams in zip(self.layers, params, dparams, strict=True):
            x, dx = layer.pushforward(its_params, x, its_dparams, dx)
        return x, dx

    def advance(self, params: Params, x: Array) -> Params:
        """The parameters of every layer after a training pass over x; see `modes`."""
        after: list[Params] = []
        for layer, its_params in zip(self.layers, params, strict=True):
            after.append(advanced(layer, its_params, x))
            x, _ = layer.forward(its_params, x)
        return tuple(after)

    def _require(self, params: Params) -> None:
        if not isinstance(params, Sequence) or len(params) != len(self.layers):
            raise ValueError(f"params={params!r}: must be a sequence, one for each of {len(self.layers)}")


def _backwards(pullbacks: list[Pullback], dy: Array) -> tuple[Params, Array]:
    dparams: list[Params] = []
    for pullback in reversed(pullbacks):
        its_dparams, dy = pullback(dy)
        dparams.append(its_dparams)
    return tuple(reversed(dparams)), dy


def sequential(*layers: Layer) -> Network:
    """The network of these layers in order.

    >>> from gradverify.reference import Activation, Dense
    >>> sequential(Dense(2, 3), Activation("tanh"))
    Network(layers=(Dense(inputs=2, units=3, bias=True, initialiser='glorot_uniform'),
                    Activation(name='tanh', setting=None)))
    """
    return Network(tuple(layers))


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class Objective:
    """What training minimises: L(params) = loss(y_true, layer(params, x)) + penalty(params), as a layer.

    The textbook's smallest example: one weight w = 0.5, input x = 2, target 4, prediction w x = 1.

    >>> from gradverify.reference import MSE, Dense, SGD
    >>> network = sequential(Dense(1, 1, bias=False))
    >>> params = ({"W": np.array([[0.5]])},)
    >>> x, y_true = np.array([[2.0]]), np.array([[4.0]])
    >>> float(network.forward(params, x)[0][0, 0])
    1.0
    >>> loss, pullback = Objective(network, MSE(), y_true).forward(params, x)
    >>> float(loss)
    9.0
    >>> dparams, dx = pullback(1.0)
    >>> float(dparams[0]["W"][0, 0])        # 2 (y_pred - y_true) x = 2 (1 - 4) 2
    -12.0
    >>> params, _ = SGD(0.1).step(params, dparams, SGD(0.1).init(params))
    >>> print(f"{params[0]['W'][0, 0]:.15g}")         # 0.5 - 0.1 (-12)
    1.7
    """

    layer: Layer
    loss: Loss
    y_true: Array
    penalty: Penalty | None = None

    def init(self, rng: np.random.Generator) -> Params:
        return self.layer.init(rng)

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        y_pred, layer_pullback = self.layer.forward(params, x)
        value, loss_pullback = self.loss.forward(self.y_true, y_pred)
        if self.penalty is None:
            return value, lambda dL: layer_pullback(loss_pullback(dL)[1])
        extra, penalty_pullback = self.penalty.forward(params)

        def pullback(dL: Array) -> tuple[Params, Array]:
            dparams, dx = layer_pullback(loss_pullback(dL)[1])
            return added(dparams, penalty_pullback(dL)), dx

        return value + extra, pullback

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        y_pred, dy_pred = self.layer.pushforward(params, x, dparams, dx)
        value, dvalue = self.loss.pushforward(self.y_true, y_pred, None, dy_pred)
        if self.penalty is None:
            return value, dvalue
        penalty = self.penalty
        extra, dextra = push(lambda p: penalty.forward(p)[0], (params,), (dparams,))
        return value + extra, dvalue + dextra
