"""Explanations by place: axes swapped, terms missing along an axis, wrong only in some entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from gradverify.diagnosis.case import Case
from gradverify.records import FAIL_FACTOR, Cause


def transposed(case: Case) -> Iterator[Cause]:
    """Square, and right after a transposition."""
    g = case.gradient
    if g.ndim != 2 or g.shape[0] != g.shape[1] or g.shape[0] < 2:
        return
    if np.all(
        np.abs(case.take(g.T) - case.expected)
        <= FAIL_FACTOR * case.located.bar + 1e-9 * np.abs(case.expected)
    ):
        yield Cause(
            "transposed", "the gradient is transposed", "computed[i, j] = expected[j, i] in every entry asked",
            "swap the factors of the matrix product, or transpose the result; square sizes hide this", 0.95,
        )  # fmt: skip


def symmetrised(case: Case) -> Iterator[Cause]:
    """The gradient on symmetric matrices, as decompositions of one triangle return it."""
    if case.x.ndim != 2 or case.x.shape[0] != case.x.shape[1] or not case.located.complete:
        return
    expected = np.zeros(case.x.shape)
    for index, value in zip(case.located.indices, case.expected, strict=True):
        expected[index] = value
    if case.explains(case.take((expected + expected.T) / 2)):
        yield Cause(
            "symmetrised", "this is the gradient on symmetric matrices alone: each entry shares with its mirror image",
            "computed = (expected + its transpose) / 2 in every entry",
            f"if {case.leaf} is always symmetric, say so: domain={{{case.leaf!r}: 'symmetric'}}", 0.94,
        )  # fmt: skip


def permuted(case: Case) -> Iterator[Cause]:
    """The right values in the wrong places."""
    if not case.located.complete or len(case.expected) < 2:
        return
    close = 1e-3 * float(np.max(np.abs(case.computed - case.expected), initial=0.0))
    if (
        np.all(np.abs(np.sort(case.computed) - np.sort(case.expected)) <= close)
        and np.ptp(case.expected) > close
    ):
        yield Cause(
            "permuted", "the right values stand in the wrong places",
            "sorted, computed and expected agree", "check the order of axes, indices or reshapes", 0.85,
        )  # fmt: skip


def diagonal_only(case: Case) -> Iterator[Cause]:
    """The cross terms of the Jacobian are missing."""
    diagonal = case.diagonal()
    if diagonal is not None and case.explains(diagonal):
        yield Cause(
            "diagonal-only", "only the diagonal of the Jacobian is used: the cross terms are missing",
            "computed_i = u_i dy_i/dx_i in every entry asked",
            "add the terms of the other outputs: for a softmax dx = y * (dy - sum(dy * y))", 0.95,
        )  # fmt: skip


_FEW = 16  # rows and entries for which each row's share of a gradient is worth asking


def reduction(case: Case) -> Iterator[Cause]:
    """The right shares of the rows, put together wrongly: over another axis, over everything, only some of them."""
    parts = _parts(case)
    if parts is None:
        return
    for name, text, total in _totals(parts):
        if case.explains(case.take(total.reshape(case.x.shape))):
            yield Cause(
                name, text, f"the shares of the {len(parts)} rows, put together that way, give the computed entries",
                "sum over the axes along which the leaf was broadcast, and over no other: db = dout.sum(axis=0)", 0.93,
            )  # fmt: skip
            return


def _totals(parts: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    rows, size = parts.shape
    if rows == size:
        yield "wrong-axis", "the gradient is summed over the wrong axis", parts.sum(axis=1)
    yield "wrong-axis", "the gradient is summed over everything", np.full(size, parts.sum())
    yield "not-summed", "the gradient is that of the first row alone", parts[0]
    yield "not-summed", "the share of the first row is left out of the gradient", parts[1:].sum(axis=0)
    yield "not-summed", "the share of the last row is left out of the gradient", parts[:-1].sum(axis=0)


def _parts(case: Case) -> np.ndarray | None:
    """What the oracle expects of each row of a cotangent alone, one row of the result each."""
    (name, u), *more = case.u.items()
    broadcast = 0 < case.x.ndim < u.ndim
    if more or not broadcast or not case.located.complete or not 1 < len(u) <= _FEW or not 1 < case.x.size <= _FEW:
        return None
    masks = (np.arange(len(u)).reshape(-1, *[1] * (u.ndim - 1)) == i for i in range(len(u)))
    rows = [case.expect_u({name: u * mask}, tuple(np.ndindex(case.x.shape))) for mask in masks]
    return None if any(row is None for row in rows) else np.array(rows)


def missing_term(case: Case) -> Iterator[Cause]:
    """The gap is one known pattern along one axis."""
    if not case.located.complete or case.x.ndim == 0:
        return
    gap = np.zeros(case.x.shape)
    for i, c, e in zip(case.located.indices, case.computed, case.expected, strict=True):
        gap[i] = e - c
    size = float(np.linalg.norm(gap) / max(float(np.linalg.norm(case.expected)), 1e-300))
    for name, text, patterns in _TERMS:
        for axes in _axes_of(case.x.ndim):
            if not _spanned(gap, [make(case, axes) for make in patterns], axes):
                continue
            along = f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
            yield Cause(
                name, f"a term is missing: {text} along {along}",
                f"expected - computed is that pattern along {along}; its size is {size:.2g} of the gradient",
                "differentiate the statistics (mean, variance, maximum) too: they depend on the input", 0.75,
            )  # fmt: skip
            return


def _axes_of(ndim: int) -> list[tuple[int, ...]]:
    """The axes a statistic is usually taken over: all, all but one, one. What holds over more axes says more."""
    everything = tuple(range(ndim))
    but_one = [everything[:k] + everything[k + 1 :] for k in everything if ndim > 2]
    return [*([everything] if ndim > 1 else []), *but_one, *((k,) for k in everything)]


Pattern = Callable[[Case, tuple[int, ...]], np.ndarray]


def _ones(case: Case, axes: tuple[int, ...]) -> np.ndarray:
    return np.ones(case.x.shape)


def _centred(case: Case, axes: tuple[int, ...]) -> np.ndarray:
    return np.asarray(case.x - case.x.mean(axis=axes, keepdims=True))


def _input(case: Case, axes: tuple[int, ...]) -> np.ndarray:
    return case.x


def _output(case: Case, axes: tuple[int, ...]) -> np.ndarray:
    return np.asarray(next(iter(case.outputs.values())))


_TERMS: tuple[tuple[str, str, tuple[Pattern, ...]], ...] = (
    ("missing-mean-term", "the same amount in every entry (the path through a mean or sum)", (_ones,)),
    ("missing-variance-term", "proportional to x - mean(x) (the path through the variance)", (_centred,)),
    ("missing-norm-term", "proportional to x (the path through a norm)", (_input,)),
    ("missing-output-term", "proportional to the output", (_output,)),
    ("missing-statistics", "that of the paths through the mean and the variance", (_ones, _centred)),
)


def _spanned(gap: np.ndarray, patterns: list[np.ndarray], axes: tuple[int, ...]) -> bool:
    """Whether along these axes the gap is a sum of multiples of the patterns, which are orthogonal there."""
    entries, rest = math.prod(gap.shape[axis] for axis in axes), gap
    if entries <= len(patterns) + 1 or any(pattern.shape != gap.shape for pattern in patterns):
        return False
    for pattern in patterns:
        inner = np.sum(gap * pattern, axis=axes, keepdims=True)
        weight = np.sum(pattern * pattern, axis=axes, keepdims=True)
        rest = rest - pattern * inner / np.where(weight > 0, weight, 1.0)
    return bool(np.linalg.norm(rest) <= 1e-5 * np.linalg.norm(gap))


def places(case: Case) -> Iterator[Cause]:
    """Wrong only in a region that has a name."""
    wrong, right = case.located.wrong, ~case.located.wrong
    if not wrong.any() or not right.any():
        return
    for name, text, mask in _regions(case):
        inside = case.take(mask.astype(float)) > 0
        if inside.any() and np.array_equal(inside, wrong):
            yield Cause(
                name, f"wrong only {text}",
                f"{int(wrong.sum())} entries there are wrong, {int(right.sum())} elsewhere are right",
                "look at the branch or slice that handles exactly these entries", 0.7,
            )  # fmt: skip
            return


def _regions(case: Case) -> Iterator[tuple[str, str, np.ndarray]]:
    yield from _slices(case)
    yield from _blocked(case)
    yield from _boxes(case)


def _slices(case: Case) -> Iterator[tuple[str, str, np.ndarray]]:
    x = case.x
    yield "wrong-at-zero", "where the input is exactly zero", x == 0
    yield "wrong-sign-branch", "where the input is negative", x < 0
    yield "wrong-sign-branch", "where the input is positive", x > 0
    for axis in range(x.ndim):
        where = np.indices(x.shape)[axis]
        for i in {0, x.shape[axis] - 1}:
            yield "one-slice", f"at index {i} of axis {axis}", where == i
        for i in range(min(x.shape[axis], 16)):
            yield "one-slice", f"at index {i} of axis {axis}", where == i
    if x.ndim == 2 and min(x.shape) > 1:
        eye = np.eye(x.shape[0], x.shape[1])
        yield "diagonal", "on the diagonal", eye > 0
        yield "diagonal", "off the diagonal", eye == 0
    if x.size and np.abs(x).max() > 4:
        yield (
            "wrong-in-saturation",
            "where |input| is large",
            np.abs(x) > np.abs(x[_right_mask(case)]).max(initial=0.0),
        )


def _blocked(case: Case) -> Iterator[tuple[str, str, np.ndarray]]:
    """Where nothing comes through: what a mask, a clip, a dropout or a padding holds back, the gradient lets pass."""
    held = np.zeros(case.x.shape, bool)
    for i, e in zip(case.located.indices, case.expected, strict=True):
        held[i] = e == 0
    yield "mask-forgotten", "where the forward lets nothing through (a mask, clip, dropout or padding)", held


_NO_CHANCE = 6  # wrong entries that fill a box, and right ones outside it


def _boxes(case: Case) -> Iterator[tuple[str, str, np.ndarray]]:
    """The smallest box around the wrong entries, where it is less than the leaf and they are too many for chance."""
    wrong = np.array([i for i, bad in zip(case.located.indices, case.located.wrong, strict=True) if bad])
    if case.x.ndim == 0 or not _NO_CHANCE <= len(wrong) <= len(case.computed) - _NO_CHANCE:
        return
    low, high = wrong.min(axis=0), wrong.max(axis=0) + 1
    cut = [axis for axis, n in enumerate(case.x.shape) if high[axis] - low[axis] < n]
    inside = np.zeros(case.x.shape, bool)
    inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    last = bool(cut) and all(high[axis] == case.x.shape[axis] for axis in cut)
    thin = len(cut) == 1 and high[cut[0]] - low[cut[0]] == 1
    where = ", ".join(f"axis {axis}: {low[axis]} to {high[axis] - 1}" for axis in cut)
    yield "one-slice" if thin else "last-block" if last else "block", f"in a block ({where})", inside


def matrix_slices(case: Case) -> Iterator[Cause]:
    """Wrong entries that fill a row, a column, both, or the diagonal."""
    wrong = np.zeros(case.gradient.shape, bool)
    for index, bad in zip(case.located.indices, case.located.wrong, strict=True):
        wrong[index] = bad
    rows = np.flatnonzero(wrong.any(axis=1) & wrong.any(axis=0))
    on_diagonal = wrong.any() and np.array_equal(wrong, wrong & np.eye(len(wrong), dtype=bool))
    cross = [int(i) for i in rows if wrong.sum() == wrong[i].sum() + wrong[:, i].sum() - wrong[i, i]]
    if on_diagonal or cross:
        text = "on the diagonal" if on_diagonal else f"in row and column {cross[0]}"
        yield Cause(
            "one-slice", f"wrong only {text}", f"{int(wrong.sum())} entries there are wrong, the others are right",
            "look at the derivative by exactly this entry", 0.7,
        )  # fmt: skip


def _right_mask(case: Case) -> np.ndarray:
    mask = np.zeros(case.x.shape, bool)
    for i, wrong in zip(case.located.indices, case.located.wrong, strict=True):
        mask[i] = not wrong
    return mask


def asymmetric(case: Case) -> Iterator[Cause]:
    """A second derivative that is not symmetric."""
    h = case.gradient
    if np.any(np.abs(h - h.T) > 1e-6 * np.abs(h).max(initial=0.0)):
        i, j = np.unravel_index(int(np.argmax(np.abs(h - h.T))), h.shape)
        yield Cause(
            "asymmetric", "the second derivative is not symmetric",
            f"[{i}, {j}] is {h[i, j]:.6g}, [{j}, {i}] is {h[j, i]:.6g}",
            "one of the two mixed derivatives misses a term: both are the same number", 0.85,
        )  # fmt: skip
