"""Gradient descent on a data set: the whole of it at each step, a part, or a single example.

    full batch     batch_size=None   the exact gradient; smooth descent; every step costs a pass over the data
    mini-batch     1 < batch_size    an estimate with noise ~ 1/sqrt(batch_size); many steps a pass
    stochastic     batch_size=1      the noisiest and cheapest step; circles the minimum unless eta shrinks

The gradient of a random batch is an unbiased estimate of the full one, because the loss is a mean.
Source: Bottou, Curtis and Nocedal, *Optimization methods for large-scale machine learning* (2018), section 3.

Losses over whole data sets are taken as the network is used afterwards: without dropout, with running
statistics (`modes.evaluating`), and without the penalty. The gap between those of the training and the
validation data is *overfitting*; early stopping goes back to where the second was smallest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from gradverify.arrays import flatten, norm
from gradverify.reference.layer import Layer, Loss, Params, require_size
from gradverify.reference.modes import advanced, evaluating
from gradverify.reference.networks import Objective
from gradverify.reference.optimizers import Optimizer, State
from gradverify.reference.penalties import Penalty
from gradverify.reference.trees import length_of, rows_of


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

    `epoch_losses` has one entry more than there were epochs: its first is the loss before training. So has
    `validation_losses`, where there were validation data. `best_epoch` is that of the smallest loss watched,
    0 for before training; the parameters that `train` returned are those of it where it stops early.
    """

    steps: tuple[Step, ...]
    epoch_losses: tuple[float, ...]
    validation_losses: tuple[float, ...] = ()
    best_epoch: int = 0
    stopped_early: bool = False

    @property
    def losses(self) -> tuple[float, ...]:
        """The loss of every step, on the examples that step used."""
        return tuple(step.loss for step in self.steps)

    def rows(self) -> list[dict[str, Any]]:
        """One dict a step, ready for a table; the last step of an epoch has the losses after it too."""
        last = {step.epoch: step.step for step in self.steps}
        rows = [asdict(step) for step in self.steps]
        for name, losses in (("epoch_loss", self.epoch_losses), ("validation_loss", self.validation_losses)):
            for epoch, loss in enumerate(losses[1:]):
                rows[last[epoch]][name] = loss
        return rows


@dataclass(frozen=True)
class EarlyStopping:
    """Ends training after `patience` epochs without a loss smaller than the best by more than `min_change`.

    It watches the validation loss, or that of the training data where there is no other.
    Source: Prechelt, *Early stopping - but when?* (1998).
    """

    patience: int = 5
    min_change: float = 0.0

    def __post_init__(self) -> None:
        require_size("patience", self.patience)
        if not self.min_change >= 0:
            raise ValueError(f"min_change={self.min_change!r}: must be >= 0")

    def best(self, losses: list[float]) -> int:
        """The last epoch that was better than all before it by enough."""
        best = 0
        for epoch, loss in enumerate(losses):
            if loss < losses[best] - self.min_change:
                best = epoch
        return best


@dataclass(frozen=True)
class _Task:
    """What stays the same from step to step."""

    network: Layer
    x: Any
    y_true: Any
    loss: Loss
    optimizer: Optimizer
    penalty: Penalty | None

    def step(self, params: Params, state: State, rows: Any) -> tuple[Params, State, float, float]:
        """One update on these rows: parameters, state, loss and length of the gradient."""
        x = rows_of(self.x, rows)
        objective = Objective(self.network, self.loss, rows_of(self.y_true, rows), self.penalty)
        value, pullback = objective.forward(params, x)
        grads = pullback(1.0)[0]
        moved, state = self.optimizer.step(params, grads, state)
        return advanced(self.network, moved, x), state, float(value), _length(grads)

    def loss_of(self, params: Params, x: Any, y_true: Any) -> float:
        """The loss of the network as it is used afterwards."""
        return float(Objective(evaluating(self.network), self.loss, y_true).forward(params, x)[0])


def train(
    network: Layer, params: Params, x: Any, y_true: Any, *, loss: Loss, optimizer: Optimizer, epochs: int,
    batch_size: int | None = None, rng: np.random.Generator | None = None, callback: Callback | None = None,
    penalty: Penalty | None = None, validation: tuple[Any, Any] | None = None, stopping: EarlyStopping | None = None,
) -> tuple[Params, History]:
    """Minimise the loss; return new parameters and the history. `params` is left as it was.

    Each epoch passes once over the data in an order drawn from `rng` (needed unless the batch is full).
    `callback` sees each step with the parameters after it, and ends training by returning True. With
    `stopping` the parameters returned are those of the best epoch, not of the last.

    >>> from gradverify.reference import MSE, SGD, Dense
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> line, start = Dense(1, 1), {"W": np.zeros((1, 1)), "b": np.zeros(1)}
    >>> fitted, history = train(line, start, x, 3 * x + 1, loss=MSE(), optimizer=SGD(0.2), epochs=200)
    >>> round(float(fitted["W"][0, 0]), 4), round(float(fitted["b"][0]), 4)
    (3.0, 1.0)
    >>> history.epoch_losses[0], history.epoch_losses[-1] < 1e-8
    (22.0, True)
    """
    require_size("epochs", epochs)
    n = length_of(x)
    size = _require_batch(n, length_of(y_true), batch_size, rng)
    task = _Task(network, x, y_true, loss, optimizer, penalty)
    steps: list[Step] = []
    losses, watched = [task.loss_of(params, x, y_true)], _watched(task, params, validation)
    state, best, best_epoch, stopped = optimizer.init(params), params, 0, False
    for epoch in range(epochs):
        ended = False
        for rows in _batches(n, size, rng):
            params, state, value, length = task.step(params, state, rows)
            steps.append(Step(len(steps), epoch, value, length, n if isinstance(rows, slice) else len(rows)))
            ended = callback is not None and bool(callback(steps[-1], params))
            if ended:
                break
        losses.append(task.loss_of(params, x, y_true))
        watched += _watched(task, params, validation)
        best_epoch = (stopping or EarlyStopping()).best(watched or losses)
        best = params if best_epoch == epoch + 1 else best
        stopped = stopping is not None and epoch + 1 - best_epoch >= stopping.patience
        if ended or stopped:
            break
    history = History(tuple(steps), tuple(losses), tuple(watched), best_epoch, stopped)
    return (params if stopping is None else best), history


def _watched(task: _Task, params: Params, validation: tuple[Any, Any] | None) -> list[float]:
    return [] if validation is None else [task.loss_of(params, *validation)]


def _require_batch(n: int, targets: int, size: int | None, rng: np.random.Generator | None) -> int:
    if n == 0 or n != targets:
        raise ValueError(f"x has {n} examples and y_true {targets}: must be the same number, at least 1")
    if size is None:
        return n
    require_size("batch_size", size)
    if size < n and rng is None:
        raise ValueError(f"batch_size={size!r} of {n} examples: the order is random and needs rng")
    return min(size, n)


def _batches(n: int, size: int, rng: np.random.Generator | None) -> Iterator[Any]:
    if size == n or rng is None:
        yield slice(None)
        return
    order = rng.permutation(n)
    for start in range(0, n, size):
        yield order[start : start + size]


def _length(grads: Params) -> float:
    leaves, _ = flatten(grads, "grads")
    return norm({name: g for name, g in leaves.items() if g is not None})
