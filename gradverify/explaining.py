"""A failure explained: which entries are wrong, and why; of pullbacks, pushforwards and higher derivatives."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gradverify.arrays import Arrays, to_float64
from gradverify.diagnosis import (
    MATRIX_EXPLANATIONS,
    VECTOR_EXPLANATIONS,
    Case,
    at_singular_point,
    diagnose,
    explanations_of,
)
from gradverify.domains import entries_are_free
from gradverify.judging import Finding, locate_in
from gradverify.limits import BudgetSpent
from gradverify.localize import Located
from gradverify.probes import entry_sizes
from gradverify.questions import make_case
from gradverify.records import NOISE_FACTOR, Cause, Check
from gradverify.sweeps import sweep
from gradverify.tangents import higher_derivative


def explained(finding: Finding, known: Check) -> Check:
    """The failure with its entries and causes. The verdict stands, and says so, where its explanation breaks off."""
    try:
        for more in _stages(finding, known):
            known = more
    except (Exception, BudgetSpent) as error:
        known = replace(known, causes=(*known.causes, _broken_off(error)))
    return known


def _broken_off(error: BaseException) -> Cause:
    spent = isinstance(error, BudgetSpent)
    lines = traceback.format_exception_only(error)
    return Cause(
        "explanation-unavailable", "the gradient is wrong; its explanation broke off before a cause was found",
        f"the {error.reason} was used up" if isinstance(error, BudgetSpent) else lines[-1].strip(),
        "give it more: budget=" if spent else "the two numbers above need no explanation to differ", 0.01,
    )  # fmt: skip


def _stages(finding: Finding, known: Check) -> Iterator[Check]:
    """The failure, better explained each time."""
    if known.reason in ("tie", "kink"):
        slopes = finding.opinion.native.slopes
        yield replace(known, causes=(at_singular_point(known.reason, known.computed, known.expected, slopes),))
    elif known.order > 1 and known.mode != "upstream":
        yield _with_entries(known, *explain_higher(finding, known.order))
    else:
        yield (known := replace(known, sweep=sweep(finding)))
        yield from _places_and_causes(finding, known)


def _places_and_causes(finding: Finding, known: Check) -> Iterator[Check]:
    trial, leaf = finding.trial, finding.leaf
    if known.mode in ("forward", "upstream"):
        yield _with_entries(known, *explain_forward(finding))
    elif entries_are_free(trial.regions.get(leaf)):
        located = finding.located or locate_in(trial, finding.u, finding.gradient, leaf, by=finding.opinion.by)
        yield _with_entries(known, located, ())
        yield from (_with_entries(known, located, causes) for causes in explanations_of(make_case(finding, located)))


def _with_entries(known: Check, located: Located, causes: tuple[Cause, ...]) -> Check:
    entries = located.entries()
    return replace(
        known, causes=causes, entries=entries, worst=entries[0] if entries else None,
        wrong_entries=int(located.wrong.sum()), sampled_entries=len(located.indices), sampled=located.sampled,
    )  # fmt: skip


_MOST = 12  # a leaf with more entries than that has its first ones asked


def explain_higher(finding: Finding, order: int) -> tuple[Located, tuple[Cause, ...]]:
    """The entries ``H[i, j]`` of the leaf, both i <= j and i > j, against the oracles, and the causes they show.

    Of the third derivative these are the entries of ``T[v, ., .]`` for the direction v of the probe.
    """
    trial, leaf, outer = finding.trial, finding.leaf, (finding.v,) * (order - 2)
    size = np.size(trial.point[leaf])
    columns = [_column(finding, outer, j) for j in range(min(size, _MOST // (order - 1)))]
    matrix = np.stack(columns, axis=-1)[: len(columns)]
    expected, error = np.zeros(matrix.shape), np.zeros(matrix.shape)
    for i in range(len(columns)):
        for j in range(i, len(columns)):
            value, bound = _entry(finding, outer, i, j)
            expected[i, j] = expected[j, i] = value
            error[i, j] = error[j, i] = bound
    indices = tuple(np.ndindex(matrix.shape))
    bar = error + NOISE_FACTOR * trial.target.eps * np.abs(matrix).max(initial=0.0)
    name = f"{leaf} ({_ORDERS[order]} order)"
    located = Located(name, indices, matrix.ravel(), expected.ravel(), bar.ravel(), complete=True)
    case = Case(leaf, matrix, {}, matrix, located, {}, {}, "float64", "float64")
    return located, diagnose(case, MATRIX_EXPLANATIONS)


def _unit(finding: Finding, flat: int) -> tuple[np.ndarray, float]:
    x = finding.trial.point[finding.leaf]
    v, size = np.zeros(np.size(x)), float(np.ravel(entry_sizes(x))[flat])
    v[flat] = size
    return v.reshape(np.shape(x)), size


_ORDERS = {2: "second", 3: "third"}


def _column(finding: Finding, outer: tuple[Arrays, ...], j: int) -> np.ndarray:
    higher, trial = finding.trial.target.higher, finding.trial
    if higher is None:
        raise TypeError(f"{trial.target.name}: claims no second derivative")
    v, size = _unit(finding, j)
    row = higher(trial.point, finding.u, (*outer, {finding.leaf: v})).get(finding.leaf)
    return np.zeros(v.size) if row is None else np.ravel(to_float64(row)) / size


def _entry(finding: Finding, outer: tuple[Arrays, ...], i: int, j: int) -> tuple[float, float]:
    (v, a), (w, b) = _unit(finding, i), _unit(finding, j)
    directions = (*outer, {finding.leaf: v}, {finding.leaf: w})
    best = higher_derivative(finding.trial, finding.u, directions, 0.0).best
    return best.value / (a * b), best.error / (a * b)


def explain_forward(finding: Finding) -> tuple[Located, tuple[Cause, ...]]:
    """The entries of ``J v``, one output entry at a time, against the oracles, and the causes they show."""
    trial, push = finding.trial, finding.trial.target.pushforward
    if push is None:
        raise TypeError(f"{trial.target.name}: claims no forward mode")
    pushed = {name: to_float64(y) for name, y in push(trial.point, finding.v).items()}
    name = max(trial.base, key=lambda n: pushed[n].size)
    indices = tuple(np.ndindex(pushed[name].shape))[: _MOST**2]
    estimates = [trial.expected(_only(trial.base, name, index), finding.v, None).best for index in indices]
    computed = np.array([pushed[name][index] for index in indices])
    expected, error = np.array([e.value for e in estimates]), np.array([e.error for e in estimates])
    bar = error + NOISE_FACTOR * trial.target.eps * np.abs(computed).max(initial=0.0)
    located = Located(f"J v of {name}", indices, computed, expected, bar, complete=len(indices) == pushed[name].size)
    case = Case(finding.leaf, pushed[name], {}, pushed[name], located, {}, {}, "float64", "float64")
    return located, diagnose(case, VECTOR_EXPLANATIONS)


def _only(outputs: Arrays, name: str, index: tuple[int, ...]) -> Arrays:
    u = {n: np.zeros(y.shape) for n, y in outputs.items()}
    u[name][index] = 1.0
    return u
