"""Gradient descent on a data set: the whole of it at each step, a part, or a single example.

    full batch     batch_size=None   the exact gradient; smooth descent; every step costs a pass over the data
    mini-batch     1 < batch_size    an estimate with noise ~ 1/sqrt(batch_size); many steps a pass
    stochastic     batch_size=1      the noisiest and cheapest step; circles the minimum unless eta shrinks

The gradient of a random batch is an unbiased estimate of the full one, because the loss is a mean.
Source: Bottou, Curtis and Nocedal, *Optimization methods for large-scale machine learning* (2018), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from gradverify.arrays import flatten, norm
from gradverify.reference.layer import Array, Layer, Loss, Params, require_size
from gradverify.reference.networks import Objective
from gradverify.reference.optimizers import Optimizer


@dataclass(frozen=True)
class Step:
    """One update: the loss and the length of the gradient before it, on the examples it used."""

    step: int
    epoch: int
    loss: float
    gradient_norm: float
    examples: int


Callback: TypeAlias = Callable[[Step, Params], "bool | None"]


@dataclass(frozen=True)
class History:
    """What happened: one `Step` an update, and the loss over all data after each epoch.

    `epoch_losses` has one entry more than there were epochs: its first is the loss before training.
    """

    steps: tuple[Step, ...]
    epoch_losses: tuple[float, ...]

    @property
    def losses(self) -> tuple[float, ...]:
        """The loss of every step, on the examples that step used."""
        return tuple(step.loss for step in self.steps)


def train(
    network: Layer, params: Params, x: Array, y_true: Array, *, loss: Loss, optimizer: Optimizer, epochs: int,
    batch_size: int | None = None, rng: np.random.Generator | None = None, callback: Callback | None = None,
) -> tuple[Params, History]:
    """Minimise the loss; return new parameters and the history. `params` is left as it was.

    Each epoch passes once over the data in an order drawn from `rng` (needed unless the batch is full).
    `callback` sees each step with the parameters after it, and ends training by returning True.

    >>> from gradverify.reference import MSE, SGD, Dense
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> line, start = Dense(1, 1), {"W": np.zeros((1, 1)), "b": np.zeros(1)}
    >>> fitted, history = train(line, start, x, 3 * x + 1, loss=MSE(), optimizer=SGD(0.2), epochs=200)
    >>> round(float(fitted["W"][0, 0]), 4), round(float(fitted["b"][0]), 4)
    (3.0, 1.0)
    >>> history.epoch_losses[0], history.epoch_losses[-1] < 1e-8
    (22.0, True)
    """
    size = _require_batch(len(x), len(y_true), batch_size, rng)
    require_size("epochs", epochs)
    steps: list[Step] = []
    epoch_losses = [_loss(network, params, x, y_true, loss)]
    state = optimizer.init(params)
    for epoch in range(epochs):
        for rows in _batches(len(x), size, rng):
            value, grads = _gradient(network, params, x[rows], y_true[rows], loss)
            params, state = optimizer.step(params, grads, state)
            steps.append(Step(len(steps), epoch, value, _length(grads), len(x[rows])))
            if callback is not None and callback(steps[-1], params):
                return params, History(tuple(steps), (*epoch_losses, _loss(network, params, x, y_true, loss)))
        epoch_losses.append(_loss(network, params, x, y_true, loss))
    return params, History(tuple(steps), tuple(epoch_losses))


def _require_batch(n: int, targets: int, size: int | None, rng: np.random.Generator | None) -> int:
    if n == 0 or n != targets:
        raise ValueError(f"x has {n} examples and y_true {targets}: must be the same number, at least 1")
    if size is None:
        return n
    require_size("batch_size", size)
    if size < n and rng is None:
        raise ValueError(f"batch_size={size!r} of {n} examples: the order is random and needs rng")
    return min(size, n)


def _batches(n: int, size: int, rng: np.random.Generator | None) -> Iterator[np.ndarray | slice]:
    if size == n or rng is None:
        yield slice(None)
        return
    order = rng.permutation(n)
    for start in range(0, n, size):
        yield order[start : start + size]


def _gradient(network: Layer, params: Params, x: Array, y_true: Array, loss: Loss) -> tuple[float, Params]:
    value, pullback = Objective(network, loss, y_true).forward(params, x)
    return float(value), pullback(1.0)[0]


def _loss(network: Layer, params: Params, x: Array, y_true: Array, loss: Loss) -> float:
    return float(Objective(network, loss, y_true).forward(params, x)[0])


def _length(grads: Params) -> float:
    leaves, _ = flatten(grads, "grads")
    return norm({name: g for name, g in leaves.items() if g is not None})
