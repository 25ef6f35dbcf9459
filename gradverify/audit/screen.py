"""Which of many losses a gradient may be of: one difference along each leaf, before the engine is asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradverify.audit.inputs import Arguments
from gradverify.audit.readings import Trial
from gradverify.audit.search import silence
from gradverify.records import Options
from gradverify.targets import make_targets

_STEP, _CLOSE = 1e-5, 1e-4  # of a central difference, and what it resolves with room to spare


def likeliest(trial: Trial, arguments: Arguments) -> list[int]:
    """The reading with the most leaves that agree with a difference; the first one where none agrees."""
    agreeing = [_leaves_that_agree(reading.build, arguments) for reading in trial.readings]
    return [int(np.argmax(agreeing))] if any(agreeing) else [0]


def _leaves_that_agree(build: Any, arguments: Arguments) -> int:
    try:
        with silence():
            target = make_targets(build(arguments), arguments.inputs, Options(kwargs=dict(arguments.kwargs)))[0]
            y, pullback = target.linearize(target.point, None)  # type: ignore[misc]
            gradient = pullback({name: np.ones(np.shape(out)) for name, out in y.items()})
            return sum(_agrees(target, leaf, g) for leaf, g in gradient.items() if g is not None)
    except Exception:  # a reading that does not apply agrees nowhere
        return 0


def _agrees(target: Any, leaf: str, gradient: Any) -> bool:
    x = np.asarray(target.point[leaf], dtype=float)
    v = np.random.default_rng(1).standard_normal(x.shape)
    ahead, behind = ({**target.point, leaf: x + sign * _STEP * v} for sign in (1, -1))
    rise = sum(float(np.sum(y)) for y in target.forward(ahead).values())
    rise -= sum(float(np.sum(y)) for y in target.forward(behind).values())
    slope, claimed = rise / (2 * _STEP), float(np.sum(gradient * v)) if np.shape(gradient) == x.shape else np.inf
    return abs(slope - claimed) <= _CLOSE * max(abs(slope), abs(claimed)) and slope != 0
