"""Which rule an optimizer follows, and with which constants, from the steps it takes.

It is asked with gradients of random signs and sizes, large enough that no eps shows, always at parameters of
zero, where no weight decay acts. Asked again with gradients four times as large, it shows the degree of its
rule, which leaves few to try. The rate enters linearly and is solved for; the shares (momentum, betas) are
fitted by nonlinear least squares from the values in use. Twelve steps of ten entries leave no two rules alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradverify.arrays import Arrays
from gradverify.convergence.rules import RIGHT, WRONG, Rule
from gradverify.convergence.steppers import SHAPES, Stepper

STEPS, SIZE = 12, 1e6
MATCH = 1e-6  # relative residual of a rule that was found: eps and rounding stay far below, another rule far above
_STARTS: dict[int, list[tuple[float, ...]]] = {
    1: [(0.9,), (0.999,), (0.5,)],
    2: [(0.9, 0.999), (0.95, 0.9), (0.5, 0.5), (0.999, 0.9)],
}


@dataclass(frozen=True)
class Match:
    """A rule with fitted constants, and how far the steps are from it, relative to their size."""

    rule: Rule
    learning_rate: float
    constants: tuple[float, ...]
    residual: float

    def __str__(self) -> str:
        named = [f"{n} {c:.5g}" for n, c in zip(self.rule.constants, self.constants, strict=True)]
        return f"{self.rule.name} with rate {', '.join([f'{self.learning_rate:.5g}', *named])}"


def responses(stepper: Stepper, gradients: Sequence[Arrays], place: float = 0.0) -> list[Arrays]:
    """The steps taken for these gradients, one after another, each from parameters that all equal `place`."""
    fixed = {name: np.full(np.shape(g), place) for name, g in gradients[0].items()}
    state, found = stepper.start(fixed), []
    for g in gradients:
        own = {name: np.array(x) for name, x in g.items()}
        moved, state = stepper.step({name: x.copy() for name, x in fixed.items()}, own, state)
        found.append({name: x - place for name, x in settled(moved, fixed).items()})
    return found


def settled(moved: Arrays, like: Arrays) -> Arrays:
    """What a step returned, as float64 and in the order of the leaves given (JAX sorts the keys of a dict)."""
    return {name: np.array(moved[name], np.float64) for name in like}


def flat(arrays: Arrays) -> np.ndarray:
    """All entries in one row."""
    return np.concatenate([np.ravel(x) for x in arrays.values()])


def identify(stepper: Stepper) -> Match | None:
    """The first rule, right ones first, that explains the steps to `MATCH`; None where none does."""
    asked = _questions(SIZE)
    taken = np.array([flat(d) for d in responses(stepper, asked)])
    more = np.array([flat(d) for d in responses(stepper, _questions(4 * SIZE))])
    if not np.all(np.isfinite(taken)) or not np.any(taken) or not np.any(more):
        return None
    degree = float(np.log2(np.linalg.norm(more) / np.linalg.norm(taken))) / 2
    gradients = np.array([flat(g) for g in asked])
    likely = [rule for rule in (*RIGHT, *WRONG) if abs(rule.degree - degree) < 1e-3]
    if not _same_elsewhere(stepper, asked, taken):
        return None
    found = (fit(rule, gradients, taken) for rule in likely)
    return next((match for match in found if match.residual < MATCH and match.learning_rate > 0), None)


def _same_elsewhere(stepper: Stepper, asked: Sequence[Arrays], taken: np.ndarray) -> bool:
    """Whether parameters of one change the steps by no more than a decay, the same for all entries.

    LARS and LAMB scale the step by the size of the parameters: from zero they look like momentum and Adam.
    """
    change = np.array([flat(d) for d in responses(stepper, asked, 1.0)]) - taken
    spread = change - change.mean(axis=1, keepdims=True)
    return bool(np.linalg.norm(spread) <= 1e-3 * np.linalg.norm(taken))


def _questions(size: float) -> list[Arrays]:
    """Gradients of that size, the last four a thousandth of it: a maximum over the past shows when they shrink."""
    rng = np.random.default_rng(41)
    sizes = [size] * (STEPS - 4) + [size / 1000] * 4
    return [{n: c * rng.choice([-1, 1], s) * rng.uniform(0.3, 3, s) for n, s in SHAPES.items()} for c in sizes]


def fit(rule: Rule, gradients: np.ndarray, taken: np.ndarray) -> Match:
    """The constants of the rule that come nearest to the steps taken."""
    from scipy.optimize import least_squares

    if not rule.constants:
        return _match(rule, (), gradients, taken)

    def left(z: np.ndarray) -> np.ndarray:
        return _residual(rule, _shares(z), gradients, taken)

    best: Match | None = None
    for start in _STARTS[len(rule.constants)]:
        found = least_squares(left, _logits(start), xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=60)
        match = _match(rule, _shares(found.x), gradients, taken)
        best = match if best is None or match.residual < best.residual else best
        if best.residual < MATCH / 100:
            break
    assert best is not None
    return best


def _shares(z: np.ndarray) -> tuple[float, ...]:
    return tuple(float(1 / (1 + np.exp(-x))) for x in np.clip(z, -16, 16))


def _logits(shares: Sequence[float]) -> np.ndarray:
    s = np.array(shares)
    return np.asarray(np.log(s / (1 - s)))


def _solved(
    rule: Rule, constants: Sequence[float], gradients: np.ndarray, taken: np.ndarray
) -> tuple[float, np.ndarray]:
    """The rate by least squares and what it leaves, both relative to the size of the steps."""
    with np.errstate(all="ignore"):
        direction = np.nan_to_num(rule.direction(gradients, *constants), posinf=1e12, neginf=-1e12)
    size = float(np.sum(direction**2))
    rate = -float(np.sum(direction * taken)) / size if size else 0.0
    return rate, (taken + rate * direction) / float(np.sqrt(np.sum(taken**2)))


def _residual(rule: Rule, constants: Sequence[float], gradients: np.ndarray, taken: np.ndarray) -> np.ndarray:
    return np.ravel(_solved(rule, constants, gradients, taken)[1])


def _match(rule: Rule, constants: tuple[float, ...], gradients: np.ndarray, taken: np.ndarray) -> Match:
    rate, left = _solved(rule, constants, gradients, taken)
    return Match(rule, rate, constants, float(np.sqrt(np.sum(left**2))))
