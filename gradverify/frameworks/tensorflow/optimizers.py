"""Keras optimizers as steppers, made anew from their own configuration for float64 variables."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gradverify.arrays import Arrays
from gradverify.convergence.steppers import Stepper


@dataclass
class _Run:
    """An optimizer and the variables it moves."""

    leaves: dict[str, Any]
    optimizer: Any


def make_stepper(obj: Any) -> Stepper:
    """The stepper of a Keras optimizer; the one given is never built or stepped."""
    optimizer = obj() if isinstance(obj, type) else obj
    kind, settings = type(optimizer), optimizer.get_config()

    def start(params: Arrays) -> _Run:
        with _wide():
            leaves = {n: keras.Variable(np.array(x, np.float64), dtype="float64") for n, x in params.items()}
            made = kind.from_config(dict(settings))
            made.build(list(leaves.values()))
            return _Run(leaves, made)

    library = kind.__module__.partition(".")[0] == "keras"
    return Stepper(kind.__name__, start, _step, _copier(start), _declared(kind.__name__, settings), library,
                   precision=1e-4)  # its constants are float32


def _step(params: Arrays, grads: Arrays, run: _Run) -> tuple[Arrays, _Run]:
    with _wide():
        for name, leaf in run.leaves.items():
            leaf.assign(params[name])
        run.optimizer.apply([keras.ops.convert_to_tensor(grads[n], dtype="float64") for n in run.leaves],
                            list(run.leaves.values()))  # fmt: skip
        return {n: _host(leaf) for n, leaf in run.leaves.items()}, run


def _host(value: Any) -> np.ndarray:
    with warnings.catch_warnings():
        # TensorFlow's tensors do not know NumPy 2's `copy` yet, and NumPy says so each time.
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.array(keras.ops.convert_to_numpy(value))


def _copier(start: Callable[[Arrays], _Run]) -> Callable[[_Run], _Run]:
    """Saved and loaded by the optimizer's own ``save_own_variables``, as a `.keras` file does it."""

    def copy(run: _Run) -> _Run:
        store: dict[str, Any] = {}
        run.optimizer.save_own_variables(store)
        loaded = start({n: _host(leaf) for n, leaf in run.leaves.items()})
        with _wide():
            loaded.optimizer.load_own_variables({k: _host(v) for k, v in store.items()})
        return loaded

    return copy


def _declared(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    rate = settings.get("learning_rate")
    known: dict[str, Any] = {"learning_rate": float(rate)} if isinstance(rate, (int, float)) else {}
    if name == "SGD":
        known["rule"] = "nesterov" if settings.get("nesterov") else "momentum" if settings.get("momentum") else "sgd"
    if settings.get("amsgrad"):
        known["rule"] = "amsgrad"
    # Keras decays apart from the gradient in every optimizer.
    known["decoupled"] = bool(settings.get("weight_decay"))
    return known


@contextmanager
def _wide() -> Iterator[None]:
    """Slots and rates are made in Keras's default dtype, which is float32."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(before)
