"""Control runs: the same program trained again with one thing changed, against itself.

A remedy is tried before it is given: a rate is called too large only where a smaller one does far better. A
finding is told alone, since whatever else is seen may follow from it.

Sources: Karpathy, *A recipe for training neural networks* (2019), for the shuffled-label control;
LeCun et al., *Efficient backprop* (1998), section 4.3, for the scale of inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from gradverify.arrays import dot, flatten
from gradverify.convergence.losses import Losses, Reading, TrainingVerdict, read
from gradverify.convergence.program import Program, Run, leaves, run
from gradverify.records import Cause

Finding = Cause
BETTER = 0.5  # a control run is better if at most half of the loss is left at its end
MOVED = 0.01  # of the first loss, on average over the run
SHUFFLES, STUDENT = 6, 3.36  # the 99 % quantile of Student's t with 5 degrees of freedom
STUCK = (TrainingVerdict.STALLED, TrainingVerdict.DIVERGING, TrainingVerdict.OSCILLATING)


def runs(program: Program, own: Run, reading: Reading) -> Iterator[Finding]:
    """The first explanation that a control run confirms: those after it may follow from it."""
    with np.errstate(all="ignore"):
        found = (look(program, own, reading) for look in RUNS)
        yield from [cause for cause in (next((f for f in found if f is not None), None),) if cause is not None]


def _left(losses: tuple[float, ...]) -> float:
    """The loss at the end of a run; infinite where it is not finite."""
    last = float(np.median(losses[-3:]))
    return last if math.isfinite(last) else math.inf


def _pace(losses: tuple[float, ...]) -> float:
    """How far the loss is down on average over the run, in units of its first."""
    return 1 - float(np.mean(losses)) / losses[0] if losses[0] else 0.0


def _better(other: tuple[float, ...], own: tuple[float, ...]) -> bool:
    """Whether the other run fell much further: at least twice as far, or to at most half of the loss."""
    first, here, there = own[0], _left(own), _left(other)
    if not math.isfinite(here) or here > first:
        return there < 0.9 * first
    return there < BETTER * here or first - there > 2 * (first - here)


def rate_too_large(program: Program, own: Run, reading: Reading) -> Finding | None:
    """A run that diverges or swings, or falls hardly at all, falls with steps a tenth as long."""
    hardly = own.losses[0] - _left(own.losses) < 0.5 * abs(own.losses[0])
    if not (hardly or reading.verdict in STUCK or _is_rough(own.losses)):
        return None
    for factor in (0.1, 0.01):
        slower = run(program, pace=program.pace * factor)
        if _better(slower.losses, own.losses) and not _is_rough(slower.losses):
            return Cause(
                "rate-too-large",
                "the learning rate is too large",
                f"loss {_left(own.losses):.4g} as it is, {_left(slower.losses):.4g} with {factor:g} times the rate",
                f"multiply the learning rate by {factor:g}",
                1.0,
            )
    return None


def _is_rough(losses: tuple[float, ...]) -> bool:
    """Whether the loss goes up, and not a little, in more than a fifth of the epochs."""
    y = np.array(losses)
    if not np.all(np.isfinite(y)):
        return True
    return float(np.mean(np.diff(y) > 0.05 * np.abs(y[:-1]))) > 0.2


def rate_too_small(program: Program, own: Run, reading: Reading) -> Finding | None:
    """A run that still falls falls far further with steps ten times as long, as smoothly."""
    if reading.verdict not in (TrainingVerdict.FALLING, TrainingVerdict.STALLED):
        return None
    for factor in (10, 100):
        faster = replace(program, pace=program.pace * factor)
        quick = run(faster)
        if not _falls_further(own, quick, reading):
            return None
        if labels_say_nothing(faster, quick, reading) is None:  # else it would only learn by heart faster
            fallen, further = (own.losses[0] - _left(losses) for losses in (own.losses, quick.losses))
            return Cause(
                "rate-too-small", "the learning rate is too small",
                f"the loss falls by {fallen:.3g} as it is, by {further:.3g} with {factor} times the rate",
                f"multiply the learning rate by {factor}, and again if it still falls slowly", 1.0,
            )  # fmt: skip
    return None


def _falls_further(own: Run, quick: Run, reading: Reading) -> bool:
    """Whether a quicker run is so much better, and does not diverge, that the steps were too short."""
    fallen, further = own.losses[0] - _left(own.losses), own.losses[0] - _left(quick.losses)
    slow = abs(reading.tail.change) > 0.2 * fallen  # a straight line falls by a third in its last third
    better = further > 4 * max(fallen, 0.0) or (slow and _better(quick.losses, own.losses))
    return better and read(Losses(quick.losses)).verdict is not TrainingVerdict.DIVERGING


def unnormalised(program: Program, own: Run, reading: Reading) -> Finding | None:
    """Inputs of very different scale, brought to mean 0 and variance 1, let the loss fall far further."""
    x = np.asarray(program.x, np.float64)
    if x.ndim != 2 or x.shape[1] < 2:
        return None
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    used = deviation > 0
    size = np.sqrt(mean**2 + deviation**2)[used]
    if not used.any() or (
        size.max() < 10 * size.min()
        and 0.1 < np.median(size) < 10
        and np.max(np.abs(mean[used]) / deviation[used]) < 10
    ):
        return None
    scaled = run(program, x=(x - mean) / np.where(used, deviation, 1.0), validation=None)
    if not _better(scaled.losses, own.losses):
        return None
    return Cause(
        "unnormalised-inputs",
        "the inputs are of very different scale, or far from zero",
        f"feature sizes from {size.min():.3g} to {size.max():.3g}; standardised, the loss ends at "
        f"{_left(scaled.losses):.4g} instead of {_left(own.losses):.4g}",
        "subtract the mean and divide by the standard deviation of the training data",
        1.0,
    )


def dead_from_the_start(program: Program, own: Run, reading: Reading) -> Finding | None:
    """Most units of a layer get a gradient of exactly zero from every example, before the first step."""
    return _dead(program, program.params, "before the first step")


def dead_at_the_end(program: Program, own: Run, reading: Reading) -> Finding | None:
    """The same after training, where no smaller rate would have kept them alive."""
    return _dead(program, own.params, "after training") if reading.verdict is not TrainingVerdict.DIVERGING else None


def _dead(program: Program, params: Any, when: str) -> Finding | None:
    for name, g in leaves(program.gradient(params, program.x, program.y)).items():
        if g.ndim < 2 or g.shape[-1] < 3 or not np.all(np.isfinite(g)):
            continue
        share = float(np.mean(~np.any(g.reshape(-1, g.shape[-1]), axis=0)))
        if share >= 0.5:
            return Cause(
                "dead-units", f"{share:.0%} of the units of {name} get no gradient from any example, {when}",
                "their activation is flat wherever the data are",
                "smaller weights or biases, a smaller rate, or a leaky activation", 1.0,
            )  # fmt: skip
    return None


def labels_say_nothing(program: Program, own: Run, reading: Reading) -> Finding | None:
    """With the labels shuffled the loss falls as fast: they have nothing to do with the inputs.

    As fast: within what one more shuffle would reach with a chance of 99 %, by Student's t. How fast and not how
    far, since a network that learns by heart gets as far in the end.
    """
    if _pace(own.losses) < MOVED:
        return None  # a run that has hardly moved says nothing of its labels
    rng = np.random.default_rng((program.seed, 7))
    others = [run(program, y=program.y[rng.permutation(len(program.y))], validation=None) for _ in range(SHUFFLES)]
    gained, chance = _pace(own.losses), [_pace(other.losses) for other in others]
    reach = float(np.mean(chance)) + STUDENT * float(np.std(chance, ddof=1)) * math.sqrt(1 + 1 / SHUFFLES)
    if not math.isfinite(gained + reach) or gained > reach:
        return None
    return Cause(
        "shuffled-labels", "the labels have nothing to do with the inputs",
        f"on average over the run the loss is down by {gained:.0%}, with the labels shuffled by {min(chance):.0%} to "
        f"{max(chance):.0%}", "check that examples and labels are read, split and shuffled together", 1.0,
    )  # fmt: skip


def decay_too_strong(program: Program, own: Run, reading: Reading) -> Finding | None:
    """Without the weight decay that the step applies, the loss falls far further."""
    zeros, rebuild = flatten(program.params, "params")
    none = rebuild({n: np.zeros_like(np.asarray(w, np.float64)) for n, w in zeros.items()})
    moved, _ = program.step(program.params, none, program.state)
    before, after = leaves(program.params), leaves(moved)
    kappa = 1 - dot(after, before) / max(dot(before, before), 1e-300)
    if not 1e-6 < kappa < 1:
        return None

    def undecayed(params: Any, grads: Any, state: Any) -> tuple[Any, Any]:
        new, state = program.step(params, grads, state)
        old, again = flatten(params, "params")
        return again({n: w + kappa * old[n] for n, w in flatten(new, "params")[0].items()}), state

    free = run(replace(program, step=undecayed))
    if not _better(free.losses, own.losses):
        return None
    return Cause(
        "decay-too-strong",
        "the weight decay keeps the network from learning",
        f"{kappa:.2g} of every weight is lost in each step; without it the loss ends at {_left(free.losses):.4g} "
        f"instead of {_left(own.losses):.4g}",
        "divide the weight decay by 10",
        1.0,
    )


def overfitting(program: Program, own: Run, reading: Reading) -> Finding | None:
    """The validation loss has turned."""
    if reading.verdict is not TrainingVerdict.OVERFITTING:
        return None
    best = int(np.argmin(own.validation))
    return Cause(
        "overfitting",
        "the network learns its training data by heart",
        f"validation loss {own.validation[best]:.4g} after epoch {best}, {own.validation[-1]:.4g} at the end",
        f"stop at epoch {best}, more data, dropout, or weight decay",
        1.0,
    )


RUNS: tuple[Callable[[Program, Run, Reading], Finding | None], ...] = (
    dead_from_the_start, unnormalised, rate_too_large, dead_at_the_end, rate_too_small, decay_too_strong, overfitting,
    labels_say_nothing,
)  # fmt: skip
