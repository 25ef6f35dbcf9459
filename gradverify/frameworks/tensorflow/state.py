"""Everything a call may leave behind, put back: seeds, variables, attributes, generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from gradverify.frameworks.tensorflow.reached import Reached, raw
from gradverify.frameworks.undoing import Undo, undo_attributes, undo_generator
from gradverify.targets.calling import Replay, replay

try:
    from keras.src.backend.common import global_state
except ImportError:  # not a public name; without it an unseeded Keras generator goes on drawing
    global_state = None
_SEEDS = "global_seed_generator"


@dataclass(frozen=True)
class State:
    """What every call starts from, and what is put back after it.

    With `seeded` TensorFlow's own seed is set before each call. That costs milliseconds, and only code
    that draws from it needs it.
    """

    calm: Replay
    kept: tuple[tuple[Any, Any], ...]  # each variable with its value
    undos: tuple[Undo, ...]
    seed: int
    seeded: bool = False

    @contextmanager
    def frozen(self, *, again: bool = False) -> Iterator[None]:
        """The user's code runs here; `again` after its forward: what is drawn again is another number."""
        seeds = self._seeds(self.seed + again)
        with self.calm():
            try:
                yield
            finally:
                self._put_back(seeds)

    def restore_variables(self) -> None:
        """All variables hold again what they held before: all that a graph can change."""
        for variable, value in self.kept:
            raw(variable).assign(value)

    def _seeds(self, seed: int) -> Any:
        if self.seeded:
            tf.random.set_seed(seed)
        generator = global_state.get_global_attribute(_SEEDS) if global_state is not None else None
        return generator, None if generator is None else tf.identity(raw(generator.state))

    def _put_back(self, seeds: Any) -> None:
        self.restore_variables()
        generator, value = seeds
        if generator is not None:
            raw(generator.state).assign(value)
        elif global_state is not None:
            global_state.set_global_attribute(_SEEDS, None)
        for undo in self.undos:
            undo()


def make_state(reached: Reached, values: list[Any], seed: int) -> State:
    """The state of everything reached and of the values among the arguments, as it is now."""
    variables = [held.variable for held in reached.variables.values()]
    undos = [undo for value in values if (undo := undo_generator(value)) is not None]
    return State(
        calm=replay(),
        kept=tuple((variable, tf.identity(raw(variable))) for variable in variables),
        undos=(*(undo_attributes(holder) for holder in reached.holders), *undos),
        seed=seed % 2**31,
    )
