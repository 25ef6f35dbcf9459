"""The factors of the chain rule, one by one, with their sizes: what backpropagation multiplies.

In `neuron`, z = w x + b, y_pred = f(z), L = (y_true - y_pred)^2, and

    dL/dw = dL/dy_pred  dy_pred/dz  dz/dw = 2 (y_pred - y_true)  f'(z)  x.

Where a gradient vanishes or explodes, one of these factors is small or large; the view says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradverify.arrays import flatten, norm
from gradverify.reference.activations import Activation
from gradverify.reference.layer import Array, Layer, Loss, Params, Pullback
from gradverify.reference.losses import MSE
from gradverify.reference.networks import Network


@dataclass(frozen=True)
class Factor:
    """One named number of a computation, and the formula it came from."""

    name: str
    formula: str
    value: float

    def __str__(self) -> str:
        return f"{self.name:<12} = {self.formula:<22} = {self.value:g}"


@dataclass(frozen=True)
class Explanation:
    """A forward pass, the factors of the chain, and their product."""

    forward: tuple[Factor, ...]
    factors: tuple[Factor, ...]
    gradient: Factor

    def __str__(self) -> str:
        return "\n".join(map(str, (*self.forward, *self.factors, self.gradient)))


def explain(
    *, x: float, w: float, y_true: float, b: float = 0.0, activation: Activation | None = None
) -> Explanation:
    """The chain dL/dw = dL/dy_pred dy_pred/dz dz/dw of a network of one neuron under squared error.

    >>> print(explain(x=2.0, w=0.5, y_true=4.0))
    z            = w x + b                = 1
    y_pred       = identity(z)            = 1
    L            = (y_true - y_pred)^2    = 9
    dL/dy_pred   = 2 (y_pred - y_true)    = -6
    dy_pred/dz   = identity'(z)           = 1
    dz/dw        = x                      = 2
    dL/dw        = -6 * 1 * 2             = -12

    A saturated sigmoid lets almost nothing through, however wrong the prediction is:

    >>> print(explain(x=2.0, w=5.0, y_true=0.0, activation=Activation("sigmoid")).gradient)
    dL/dw        = 1.99991 * 4.53958e-05 * 2 = 0.000181575
    """
    f = activation or Activation("identity")
    z = w * x + b
    y_pred, dy_pred_dz = _value_and_slope(f, z)
    L, loss_pullback = MSE().forward(y_true, y_pred)
    dL_dy_pred = float(loss_pullback(1.0)[1])
    forward = (Factor("z", "w x + b", z), Factor("y_pred", f"{f.name}(z)", y_pred),
               Factor("L", "(y_true - y_pred)^2", float(L)))
    factors = (Factor("dL/dy_pred", "2 (y_pred - y_true)", dL_dy_pred),
               Factor("dy_pred/dz", f"{f.name}'(z)", dy_pred_dz), Factor("dz/dw", "x", x))
    product = " * ".join(f"{factor.value:g}" for factor in factors)
    return Explanation(forward, factors, Factor("dL/dw", product, dL_dy_pred * dy_pred_dz * x))


def _value_and_slope(f: Activation, z: float) -> tuple[float, float]:
    y, dy = f.pushforward({}, np.array(z), {}, np.array(1.0))
    return float(y), float(dy)


@dataclass(frozen=True)
class Link:
    """One layer of a network as the gradient passes it on its way back.

    Euclidean norms over the whole batch: `received` is |dL/da_k| at its output, `passed` |dL/da_{k-1}| at
    its input, `params` that of its parameters' gradient.
    """

    layer: str
    received: float
    passed: float
    params: float

    @property
    def factor(self) -> float:
        """What this layer multiplied the size of the gradient by: below 1 it shrinks, above 1 it grows."""
        return self.passed / self.received if self.received else 0.0

    def __str__(self) -> str:
        return f"{self.layer:<12} |dL/da| {self.received:.3g} * {self.factor:.3g} = {self.passed:.3g}"


def explain_network(
    network: Network, params: Params, x: Array, y_true: Array, loss: Loss | None = None
) -> tuple[Link, ...]:
    """What each layer did to the size of the gradient, from the last layer to the first.

    >>> from gradverify.reference import Dense, sequential
    >>> layers = [Dense(1, 1, bias=False), Activation("sigmoid")] * 3
    >>> one = np.ones((1, 1))
    >>> for link in explain_network(sequential(*layers), ({"W": one}, {}) * 3, one, one)[::2]:
    ...     print(link)
    sigmoid      |dL/da| 0.675 * 0.224 = 0.151
    sigmoid      |dL/da| 0.151 * 0.219 = 0.0331
    sigmoid      |dL/da| 0.0331 * 0.197 = 0.00651
    """
    pullbacks: list[Pullback] = []
    for layer, its_params in zip(network.layers, params, strict=True):
        x, pullback = layer.forward(its_params, x)
        pullbacks.append(pullback)
    _, loss_pullback = (loss or MSE()).forward(y_true, x)
    return _links(network.layers, pullbacks, loss_pullback(1.0)[1])


def _links(layers: Sequence[Layer], pullbacks: Sequence[Pullback], da: Array) -> tuple[Link, ...]:
    links: list[Link] = []
    for layer, pullback in zip(reversed(layers), reversed(pullbacks), strict=True):
        received = norm({"da": da})
        dparams, da = pullback(da)
        links.append(Link(_label(layer), received, norm({"da": da}), _size(dparams)))
    return tuple(links)


def _size(dparams: Params) -> float:
    """The norm of what has a gradient; running statistics and keys of dropout have none."""
    return norm({name: g for name, g in flatten(dparams, "params")[0].items() if g is not None})


def _label(layer: Layer) -> str:
    return layer.name if isinstance(layer, Activation) else type(layer).__name__
