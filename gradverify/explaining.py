"""Which entries of a wrong second derivative or pushforward are wrong, and why."""

from __future__ import annotations

import numpy as np

from gradverify.arrays import Arrays, to_float64
from gradverify.diagnosis import MATRIX_EXPLANATIONS, VECTOR_EXPLANATIONS, Case, diagnose
from gradverify.judging import Finding
from gradverify.localize import Located
from gradverify.probes import entry_sizes
from gradverify.records import NOISE_FACTOR, Cause
from gradverify.tangents import second_derivative

_MOST = 12  # a leaf with more entries than that has its first ones asked


def explain_hessian(finding: Finding) -> tuple[Located, tuple[Cause, ...]]:
    """The entries ``H[i, j]`` of the leaf, both i <= j and i > j, against the oracles, and the causes they show."""
    trial, leaf = finding.trial, finding.leaf
    size = np.size(trial.point[leaf])
    columns = [_column(finding, j) for j in range(min(size, _MOST))]
    matrix = np.stack(columns, axis=-1)[: len(columns)]
    expected, error = np.zeros(matrix.shape), np.zeros(matrix.shape)
    for i in range(len(columns)):
        for j in range(i, len(columns)):
            value, bound = _entry(finding, i, j)
            expected[i, j] = expected[j, i] = value
            error[i, j] = error[j, i] = bound
    indices = tuple(np.ndindex(matrix.shape))
    bar = error + NOISE_FACTOR * trial.target.eps * np.abs(matrix).max(initial=0.0)
    located = Located(f"{leaf} (second order)", indices, matrix.ravel(), expected.ravel(), bar.ravel(), complete=True)
    case = Case(leaf, matrix, {}, matrix, located, {}, {}, "float64", "float64")
    return located, diagnose(case, MATRIX_EXPLANATIONS)


def _unit(finding: Finding, flat: int) -> tuple[np.ndarray, float]:
    x = finding.trial.point[finding.leaf]
    v, size = np.zeros(np.size(x)), float(np.ravel(entry_sizes(x))[flat])
    v[flat] = size
    return v.reshape(np.shape(x)), size


def _column(finding: Finding, j: int) -> np.ndarray:
    product, trial = finding.trial.target.hessian_product, finding.trial
    if product is None:
        raise TypeError(f"{trial.target.name}: claims no second derivative")
    v, size = _unit(finding, j)
    row = product(trial.point, {finding.leaf: v}).get(finding.leaf)
    return np.zeros(v.size) if row is None else np.ravel(to_float64(row)) / size


def _entry(finding: Finding, i: int, j: int) -> tuple[float, float]:
    (v, a), (w, b) = _unit(finding, i), _unit(finding, j)
    best = second_derivative(finding.trial, finding.u, {finding.leaf: v}, {finding.leaf: w}, 0.0).best
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
