"""A training program as its parts, so that each of them can be tried on its own and the whole run again.

The parts are the user's own functions: `loss` and `gradient` of a batch, `step` of the optimizer. Nothing about
them is assumed; the checks in `controls` find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, flatten

Batch = tuple[Any, Any]


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class Program:
    """What is trained, on what, and how.

    loss(params, x, y) -> number; gradient(params, x, y) -> a tree like params; step(params, grads, state) ->
    (params, state), with `state` the first one. predict(params, x) -> outputs is the network as it is used
    afterwards (needed to see dropout left on, a softmax twice, examples that depend on each other). `pace` scales
    every step: what the learning rate would do, for any optimizer without momentum of its own.
    """

    params: Any
    loss: Callable[[Any, Any, Any], Any]
    gradient: Callable[[Any, Any, Any], Any]
    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    x: Any
    y: Any
    state: Any = None
    predict: Callable[[Any, Any], Any] | None = None
    validation: Batch | None = None
    epochs: int = 30
    batch_size: int | None = None
    shuffle: bool = True
    seed: int = 0
    pace: float = 1.0
    name: str = "program"

    @staticmethod
    def of_network(network: Any, params: Any, x: Any, y: Any, *, loss: Any, optimizer: Any, **more: Any) -> Program:
        """The parts of training a network of the reference, or anything with the same methods."""

        def value(p: Any, a: Any, b: Any) -> float:
            return float(loss.forward(b, network.forward(p, a)[0])[0])

        def gradient(p: Any, a: Any, b: Any) -> Any:
            y_pred, pullback = network.forward(p, a)
            return pullback(loss.forward(b, y_pred)[1](1.0)[1])[0]

        return Program(params, value, gradient, optimizer.step, x, y, optimizer.init(params),
                       more.pop("predict", lambda p, a: network.forward(p, a)[0]), **more)

    def moved(self, params: Any, grads: Any, state: Any) -> tuple[Any, Any]:
        """One step, times the pace."""
        after, state = self.step(params, grads, state)
        if self.pace == 1.0:
            return after, state
        new, rebuild = flatten(after, "params")
        old, _ = flatten(params, "params")
        return rebuild({n: w if w is None else old[n] + self.pace * (w - old[n]) for n, w in new.items()}), state

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """One epoch."""
        n = len(self.x)
        size = self.batch_size or n
        order = rng.permutation(n) if self.shuffle and size < n else np.arange(n)
        for start in range(0, n, size):
            rows = order[start : start + size]
            yield self.x[rows], self.y[rows]


@dataclass(frozen=True, eq=False)
class Run:
    """The losses of a run after every epoch, the first before it, and the parameters at its end."""

    losses: tuple[float, ...]
    validation: tuple[float, ...]
    params: Any


def run(program: Program, **changes: Any) -> Run:
    """Train from the beginning, with these fields of the program replaced."""
    program = replace(program, **changes)
    rng = np.random.default_rng(program.seed)
    params, state = program.params, program.state
    losses, held_out = [_loss(program, params)], _held_out(program, params)
    with np.errstate(all="ignore"):
        for _ in range(program.epochs):
            for x, y in program.batches(rng):
                params, state = program.moved(params, program.gradient(params, x, y), state)
            losses.append(_loss(program, params))
            held_out += _held_out(program, params)
    return Run(tuple(losses), tuple(held_out), params)


def _loss(program: Program, params: Any) -> float:
    return float(program.loss(params, program.x, program.y))


def _held_out(program: Program, params: Any) -> list[float]:
    return [float(program.loss(params, *program.validation))] if program.validation is not None else []


def leaves(tree: Any) -> Arrays:
    """The arrays of a tree by path."""
    return {name: np.asarray(x, np.float64) for name, x in flatten(tree, "params")[0].items() if x is not None}
