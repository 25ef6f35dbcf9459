"""What is tried of a candidate: a forward to feed, and the ways in which its backward may be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradverify.audit.inputs import Arguments
from gradverify.audit.search import silence
from gradverify.records import Options
from gradverify.targets import make_targets

Function = Callable[..., Any]
Build = Callable[[Arguments], Any]


@dataclass(frozen=True)
class Reading:
    """One way to understand a backward; `suffix` tells it from the plain one in the entry's convention.

    `build` makes the target, `wrt` names the leaves it speaks of (None: as the engine finds them), `notes`
    says what else there is to know of them.
    """

    build: Build
    suffix: str = ""
    wrt: Callable[[Any, Arguments], tuple[str, ...] | None] = lambda *_: None
    notes: Callable[[tuple[str, ...] | None], tuple[str, ...]] = lambda _: ()


@dataclass(frozen=True)
class Trial:
    """A forward, the arrays its object holds, and the readings of its derivative.

    `run` calls the forward on a copy of whatever it belongs to and returns the output.
    """

    forward: Function
    held: tuple[np.ndarray, ...]
    readings: tuple[Reading, ...]
    run: Callable[[Arguments], Any]
    extend: Callable[[Arguments], list[Arguments]] = lambda arguments: [arguments]
    own_loss: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    varied: Callable[[str, Any], Iterator[Trial]] = lambda *_: iter(())
    code: Any = None
    stated: tuple[tuple[int, ...], ...] = ()

    def returns_number(self, arguments: Arguments) -> bool:
        """Whether the forward returns a scalar at these arguments."""
        with silence():
            result = self.run(arguments)
        return np.size(result[0] if isinstance(result, tuple) else result) == 1


ADDS_OWN = ", to which it adds the gradient of a loss that it keeps to itself"


def adds_own(trial: Trial, reading: int, arguments: Arguments) -> bool:
    """Whether a forward returns its input as it is, and its backward the upstream gradient, scaled, plus a constant."""
    with silence():
        result = trial.run(arguments)
        first = result[0] if isinstance(result, tuple) and result else result
        if not (isinstance(first, np.ndarray) and np.array_equal(first, arguments.inputs[0])):
            return False
        options = Options(kwargs=dict(arguments.kwargs))
        target = make_targets(trial.readings[reading].build(arguments), arguments.inputs, options)[0]
        u = np.cos(np.arange(first.size)).reshape(first.shape)
        none, once, twice = (_pulled(target, k * u) for k in (0, 1, 2))
    return bool(np.any(none)) and np.allclose(twice - once, once - none, rtol=1e-9, atol=1e-12)


def _pulled(target: Any, u: np.ndarray) -> np.ndarray:
    y, pullback = target.linearize(target.point, None)
    return np.array(next(iter(pullback({next(iter(y)): u}).values())))
