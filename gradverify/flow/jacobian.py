"""Singular values of the input-output Jacobian, example by example, and the gradient's noise scale.

A mean of squares hides what a network does to single directions: sizes that stay as they are may be the mean of a few
that explode and many that vanish (Saxe et al., 2014; Pennington et al., *Resurrecting the sigmoid*, 2017). The singular
values are found by Golub-Kahan bidiagonalisation with full reorthogonalisation, J by the forward mode and J^T by the
reverse mode, all examples at once. Both are verified first: against each other, <u, J v> = <J^T u, v>, and against a
difference of the forward pass, which trusts no rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradverify.arrays import EPS, dtype_name, to_float64
from gradverify.flow.record import Spectrum
from gradverify.flow.sites import Backward, Passage

STEPS = 8  # find the largest value of any network; the smallest needs as many as there are inputs or outputs
EXACT = 32  # inputs or outputs up to which so many steps are taken
NEW = 1e-6  # of a row's length: what is left below that when earlier directions are taken away is rounding
GROUPS = 8  # of examples, for the noise of the gradient
AGREE = 0.05  # of the size: a difference in float32 across kinks is no better, and wrong rules are off by more

Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Mode:
    """J and J^T on rows, one for each example: (examples, inputs) -> (examples, outputs) and back."""

    push: Map
    pull: Map
    inputs: int
    outputs: int
    examples: int


def spectrum(passage: Passage, rng: np.random.Generator) -> tuple[Spectrum | None, str]:
    """The singular values, or None and what stood in the way."""
    x, y = passage.x, passage.output
    if x is None or passage.push is None or x.dtype.kind != "f" or x.ndim < 2 or y.ndim < 2 or len(x) != len(y):
        return None, ""
    mode = _mode(passage, x, y)
    try:
        why = _disproved(passage, mode, rng)
        if why:
            return None, f"singular values of the Jacobian are not given: {why}"
        values = _singular_values(mode, rng)
    except Exception as error:  # a rule that has no forward mode says so in its framework's own words
        return None, f"singular values of the Jacobian are not given: {type(error).__name__}: {error}"[:200]
    if values is None:
        return None, ""
    fewest = min(mode.inputs, mode.outputs)
    mean, largest = _mean(mode, values, rng, exact=fewest <= EXACT), float(values.max())
    if fewest > EXACT:
        return Spectrum(mean, largest, math.nan), ("the smallest singular value of the Jacobian is not sought: it "
                                                   f"would take {fewest} passes in both directions")
    smallest, floor = float(values.min()), max(8 * EPS.get(dtype_name(y), 0.0), NEW) * largest
    why = f"the smallest singular value of the Jacobian is not resolved: below {floor:.1e}" if smallest < floor else ""
    return Spectrum(mean, largest, smallest), why


def _mode(passage: Passage, x: np.ndarray, y: np.ndarray) -> _Mode:
    assert passage.push is not None
    push = passage.push

    def forwards(v: np.ndarray) -> np.ndarray:
        return to_float64(push(v.reshape(x.shape).astype(x.dtype))).reshape(len(y), -1)

    def backwards(u: np.ndarray) -> np.ndarray:
        dx = passage.pull(u.reshape(y.shape).astype(y.dtype)).dx
        return np.zeros((len(x), x[0].size)) if dx is None else to_float64(dx).reshape(len(x), -1)

    return _Mode(forwards, backwards, x[0].size, y[0].size, len(x))


def _disproved(passage: Passage, mode: _Mode, rng: np.random.Generator) -> str:
    """Why the two modes cannot both be the derivative of the forward, example by example; empty if they may be."""
    u, v = rng.normal(size=(mode.examples, mode.outputs)), rng.normal(size=(mode.examples, mode.inputs))
    Jv, Ju = mode.push(v), mode.pull(u)
    size = np.linalg.norm(u) * np.linalg.norm(Jv) + np.linalg.norm(v) * np.linalg.norm(Ju)
    if not np.isfinite(size) or not size:
        return "they are not finite" if size else "the output does not move with the input"
    if abs(np.sum(u * Jv) - np.sum(v * Ju)) > 1e-3 * size:
        return "the forward mode and the reverse mode contradict each other"
    if passage.forward is not None and not _as_the_forward(passage, v, Jv):
        return "the forward mode is not that of the forward pass, by finite differences"
    alone = np.where(np.arange(mode.examples)[:, None] == 0, u, 0.0)
    return "examples depend on each other" if np.any(mode.pull(alone)[1:]) else ""


def _as_the_forward(passage: Passage, v: np.ndarray, Jv: np.ndarray) -> bool:
    assert passage.x is not None
    assert passage.forward is not None
    x = passage.x
    h = float(np.finfo(x.dtype).eps) ** (1 / 3) * (float(np.sqrt(np.mean(np.square(to_float64(x))))) or 1.0)
    ends = [to_float64(passage.forward((x + side * h * v.reshape(x.shape)).astype(x.dtype))) for side in (1, -1)]
    difference = ((ends[0] - ends[1]) / (2 * h)).reshape(Jv.shape)
    # Rounding of the outputs, divided by the step, is all that a difference shows of a derivative far below it.
    rounding = float(np.finfo(x.dtype).eps) * float(np.linalg.norm(ends[0])) / h
    off = float(np.linalg.norm(difference - Jv))
    return bool(off <= AGREE * float(np.linalg.norm(Jv)) + 8 * rounding)


def _singular_values(mode: _Mode, rng: np.random.Generator) -> np.ndarray | None:
    """Of every example, from the bidiagonal matrix of a few steps: (examples, steps)."""
    fewest = min(mode.inputs, mode.outputs)
    steps = fewest if fewest <= EXACT else STEPS
    wide = mode.outputs <= mode.inputs  # start on the smaller side, so that its steps exhaust it
    forth, back, size = (mode.pull, mode.push, mode.outputs) if wide else (mode.push, mode.pull, mode.inputs)
    p = _units(rng.normal(size=(mode.examples, size)))
    P, Q, B = [p], list[np.ndarray](), np.zeros((mode.examples, steps, steps + 1))
    for k in range(steps):
        q, B[:, k, k] = _next(forth(P[k]), Q, rng)
        Q.append(q)
        p, B[:, k, k + 1] = _next(back(q), P, rng)
        P.append(p)
    if not np.all(np.isfinite(B)):
        return None
    return np.asarray(np.linalg.svd(B, compute_uv=False))


def _next(a: np.ndarray, before: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What is new in each row, and its length; a random direction of length 0 where there is nothing new.

    Equal singular values exhaust a start early: those of the identity in one step.
    """
    whole = np.linalg.norm(a, axis=1)
    a = _less(a, before)
    length = np.linalg.norm(a, axis=1)
    length = np.where(length > NEW * whole, length, 0.0)
    fresh = _less(rng.normal(size=a.shape), before)
    return _units(np.where(length[:, None] > 0, a, fresh)), length


def _less(a: np.ndarray, before: list[np.ndarray]) -> np.ndarray:
    """The rows without their parts along earlier ones; twice, since once leaves what rounding did."""
    for b in [*before, *before]:
        a = a - np.sum(a * b, axis=1, keepdims=True) * b
    return a


def _units(a: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(a, axis=1, keepdims=True)
    return np.asarray(a / np.where(length > 0, length, 1.0))


def _mean(mode: _Mode, values: np.ndarray, rng: np.random.Generator, *, exact: bool) -> float:
    """The root mean square: of all values, or E|J^T u|^2 over random u where not all were found."""
    if exact:
        return float(np.sqrt(np.mean(np.square(values))))
    squares = [np.sum(np.square(mode.pull(rng.normal(size=(mode.examples, mode.outputs))))) for _ in range(STEPS)]
    return math.sqrt(float(np.mean(squares)) / mode.examples / min(mode.inputs, mode.outputs))


def noise_scale(passage: Passage, u: np.ndarray) -> float:
    """The batch size at which the noise of the gradient is as large as the gradient: tr(Cov) / |G|^2.

    From the gradients of up to eight groups of examples. For the mean g_k of n examples each, tr(Cov) is n times
    the variance of g_k, and |G|^2 that of their mean less what noise adds to it.

    Source: McCandlish et al., *An empirical model of large-batch training* (2018), equation 2.9 and appendix A.1.
    """
    groups = min(GROUPS, len(u)) if u.ndim > 1 else 1
    if groups < 2:
        return math.nan
    each = len(u) // groups
    parts = [_flat(passage.pull(_only(u, range(k * each, (k + 1) * each)))) for k in range(groups)]
    if any(part.shape != parts[0].shape for part in parts) or not parts[0].size:
        return math.nan
    largest = max(float(np.max(np.abs(part))) for part in parts)
    if not 0 < largest < math.inf:
        return math.nan
    g = np.array(parts) / largest
    mean = g.mean(axis=0)
    variance = float(np.sum(np.square(g - mean))) / (groups - 1)  # of the gradient of one group
    signal = float(np.sum(np.square(mean))) - variance / groups
    return each * variance / signal if signal > 0 else math.inf


def _only(u: np.ndarray, examples: range) -> np.ndarray:
    kept = np.zeros_like(u)
    kept[examples.start : examples.stop] = u[examples.start : examples.stop]
    return kept


def _flat(backward: Backward) -> np.ndarray:
    found = [to_float64(g).ravel() for grads in backward.grads.values() for g in grads.values()]
    return np.concatenate(found) if found else np.zeros(0)
