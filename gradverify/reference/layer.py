"""What every layer, loss and network of the reference is: a forward, and the derivative of it.

A layer never stores anything between calls. `forward` returns its output together with a *pullback*,
a function that remembers what the backward pass needs and turns the gradient of the loss with
respect to the output, ``dy = dL/dy``, into the gradients with respect to the parameters and the input:

    y, pullback = layer.forward(params, x)          # z = w x + b, a = f(z), ...
    dparams, dx = pullback(dy)                      # dL/dparams = dL/dy dy/dparams,  dL/dx = dL/dy dy/dx

That is the whole of backpropagation: a network calls the forwards in order and the pullbacks in reverse.
The *pushforward* asks the opposite question, how much the output moves when parameters and input do:

    y, dy = layer.pushforward(params, x, dparams, dx)

Both are products with the same Jacobian J, from its two sides: ``<u, J v> = <J^T u, v>`` for every u and v.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

Array: TypeAlias = Any  # an ndarray, or an array of another arithmetic that speaks NumPy's protocols
Params: TypeAlias = Any  # a tree of arrays: dict, tuple, list
Pullback: TypeAlias = Callable[[Array], tuple[Params, Array]]


@runtime_checkable
class Layer(Protocol):
    """What a layer answers to; a `Network` answers to it too and is therefore a layer."""

    def init(self, rng: np.random.Generator) -> Params: ...

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]: ...

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]: ...


@runtime_checkable
class Loss(Protocol):
    """A layer whose parameters are the truth: ``forward(y_true, y_pred) -> (L, pullback)``.

    ``pullback(dL)`` returns ``(dL/dy_true, dL/dy_pred)``; the first is None where the truth is a class
    number and has no derivative.
    """

    def forward(self, y_true: Array, y_pred: Array) -> tuple[Array, Pullback]: ...

    def pushforward(
        self, y_true: Array, y_pred: Array, dy_true: Array, dy_pred: Array
    ) -> tuple[Array, Array]: ...


def shape_of(x: Array) -> tuple[int, ...]:
    """The shape of an array of any arithmetic, and ``()`` for a plain number."""
    return tuple(getattr(x, "shape", ()))


def require_size(keyword: str, value: Any) -> None:
    """Raise unless `value` is a positive integer, in words that name the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{keyword}={value!r}: must be a positive integer")
