"""What a diagnosis may ask about a failed leaf, put together from its trial."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np

from gradverify.altered import altered
from gradverify.arrays import Arrays, dtype_name, to_float64
from gradverify.diagnosis import Case
from gradverify.judging import Finding, estimator, moved_outputs
from gradverify.localize import Located
from gradverify.probes import entry_sizes, unit
from gradverify.repairs import repaired
from gradverify.trial import Trial

_DIAGONAL = 64
Answer = TypeVar("Answer")


def make_case(finding: Finding, located: Located) -> Case:
    """The failure with its arrays, and closures that ask the same target and oracle again."""
    trial, leaf = finding.trial, finding.leaf

    def at(point: Arrays) -> np.ndarray | None:
        g = trial.raw_gradient(finding.u, point={**trial.point, **point}).get(leaf)
        return None if g is None else to_float64(g)

    def with_u(u: Arrays) -> np.ndarray | None:
        g = trial.raw_gradient(u).get(leaf)
        return None if g is None else to_float64(g)

    def expect(point: Arrays, indices: tuple[tuple[int, ...], ...]) -> np.ndarray | None:
        there = trial.at({**trial.point, **point})
        return _entries(there, finding.u, leaf, indices, by=finding.opinion.by)

    def expect_u(u: Arrays, indices: tuple[tuple[int, ...], ...]) -> np.ndarray | None:
        return _entries(trial, u, leaf, indices, by=finding.opinion.by)

    return Case(
        leaf=leaf, x=to_float64(trial.point[leaf]), point=trial.point, gradient=finding.gradient.value[leaf],
        located=located, u=finding.u, outputs=trial.base, sizes=_sizes(trial, leaf),
        gradient_dtype=finding.gradient.dtypes.get(leaf, ""), leaf_dtype=dtype_name(trial.point[leaf]),
        at=_guarded(at), with_u=_guarded(with_u), expect=_guarded(expect), expect_u=_guarded(expect_u),
        expect_of=_guarded(lambda other, indices: _entries(trial, finding.u, other, indices, by=finding.opinion.by)),
        diagonal=_guarded(lambda: _diagonal(trial, finding, located, by=finding.opinion.by)),
        push=_guarded(lambda: _pushed(trial, finding)), moved=_guarded(lambda index: _moved(trial, leaf, index)),
        unhooked=_unhooked(finding), redrawn=_redrawn(finding), mistakes=lambda: altered(finding),
        repairs=lambda: repaired(finding, located),
    )  # fmt: skip


def _unhooked(finding: Finding) -> dict[str, Callable[[], np.ndarray | None]]:
    known = finding.trial.target.unhooked
    hooks = known(finding.leaf) if known is not None else {}
    return {what: _guarded(partial(_by, gradient, finding)) for what, gradient in hooks.items()}


def _redrawn(finding: Finding) -> Callable[[], np.ndarray | None]:
    again = finding.trial.target.redrawn
    return lambda: None if again is None else _guarded(partial(_by, again, finding))()


def _by(gradient: Callable[[Arrays, Arrays], Arrays], finding: Finding) -> np.ndarray | None:
    """The leaf's gradient by another way to it."""
    g = gradient(finding.trial.point, finding.u).get(finding.leaf)
    return None if g is None else to_float64(g)


def _guarded(question: Callable[..., Answer | None]) -> Callable[..., Answer | None]:
    """The same question, answered by None where the target will not take it."""

    def asked(*args: Any) -> Answer | None:
        try:
            with np.errstate(all="ignore"):
                return question(*args)
        except Exception:
            return None

    return asked


def _entries(
    trial: Trial, u: Arrays, leaf: str, indices: tuple[tuple[int, ...], ...], *, by: str
) -> np.ndarray:
    ask, sizes = estimator(trial, u, leaf, by=by), entry_sizes(trial.point[leaf])
    values = []
    for index in indices:
        v = np.zeros(sizes.shape)
        v[index] = sizes[index]
        values.append(ask(v).value / sizes[index])
    return np.array(values, dtype=float)


def _diagonal(trial: Trial, finding: Finding, located: Located, *, by: str) -> np.ndarray | None:
    (name, y), *more = trial.base.items()
    if more or y.shape != np.shape(trial.point[finding.leaf]) or len(located.indices) > _DIAGONAL:
        return None
    values = []
    for index in located.indices:
        only = np.zeros(y.shape)
        only[index] = finding.u[name][index]
        values.append(_entries(trial, {name: only}, finding.leaf, (index,), by=by)[0])
    return np.array(values)


_STEP = 2.0**-12


def _pushed(trial: Trial, finding: Finding) -> np.ndarray | None:
    """``J u`` by a difference, where the output has the leaf's shape."""
    (name, y), *more = trial.base.items()
    if more or y.shape != np.shape(trial.point[finding.leaf]):
        return None
    u = finding.u[name]
    step = _STEP * float(np.max(entry_sizes(trial.point[finding.leaf]))) / float(np.max(np.abs(u)))
    ahead, behind = (trial.forward(trial.moved(t, {finding.leaf: u}))[name] for t in (step, -step))
    return np.asarray((to_float64(ahead) - to_float64(behind)) / (2 * step))


def _moved(trial: Trial, leaf: str, index: tuple[int, ...]) -> Arrays:
    """By how much the outputs differ where one entry has moved a little; not at all where it is not read."""
    moved = moved_outputs(trial, {leaf: unit(trial.point[leaf], index)})
    return {name: np.where(np.abs(dy) > 2.0**-40 * np.abs(trial.base[name]), dy, 0.0) for name, dy in moved.items()}


def _sizes(trial: Trial, leaf: str) -> dict[str, float]:
    """Numbers a forgotten factor is likely to be, by what they are called; the batch first."""
    sizes: dict[str, float] = {}
    inputs = [x for n, x in trial.point.items() if np.ndim(x) > 1]
    arrays = [*trial.base.values(), *inputs, trial.point[leaf]]
    for array in arrays:
        if np.ndim(array):
            sizes.setdefault("batch size", float(np.shape(array)[0]))
            sizes.setdefault("number of entries", float(np.size(array)))
            sizes.setdefault("last axis", float(np.shape(array)[-1]))
    for name, value in trial.point.items():
        if np.size(value) == 1 and name != leaf:
            sizes.setdefault(name, float(np.reshape(to_float64(value), ())))
    for c in trial.target.constants:
        sizes.setdefault(f"{c:.9g}", c)
        if c < 1:
            sizes.setdefault(f"(1 - {c:.9g})", 1 - c)
    return {name: value for name, value in sizes.items() if value not in (0.0, 1.0)}
