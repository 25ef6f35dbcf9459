"""Explanations by what each output contributes: which of the terms of the sum over outputs are missing.

The gradient of an entry is the sum of ``u_j dy_j/dx_i`` over all outputs j, and of each term or group
of terms an oracle can be asked alone: it is the gradient for a cotangent with everything else set to zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from gradverify.arrays import Arrays
from gradverify.diagnosis.case import Case, Index
from gradverify.records import Cause

_WITNESSES = 4  # wrong entries that an explanation has to account for
_TERMS = 24  # outputs of one entry that are asked one by one


def some_contributions(case: Case) -> Iterator[Cause]:
    """One term kept of several, the last one left out, or their mean: overwritten, picked, averaged."""
    chosen = _largest_gaps(case, _WITNESSES)
    terms = [_terms(case, case.located.indices[k]) for k in chosen]
    known = [(k, t) for k, t in zip(chosen, terms, strict=True) if t is not None and len(t) > 1]
    if len(known) < min(len(chosen), 2):
        return
    for name, text, remedy, pick in _PARTS:
        if all(_equal(case, k, pick(t)) for k, t in known):
            counts = ", ".join(str(len(t)) for _, t in known)
            yield Cause(
                name, text, f"so computed comes out in the {len(known)} wrong entries asked, which have {counts} terms",
                remedy, 0.89,
            )  # fmt: skip
            return


_ADD = "add up all of them: `+=`, np.add.at or a sum over the block, not an assignment or a slice"
_PARTS = (
    ("overwritten", "of the outputs that an entry reaches only the last counts: it overwrites the others", _ADD,
     lambda t: t[-1]),
    ("overwritten", "of the outputs that an entry reaches only the first counts: it is picked, the others are dropped",
     _ADD, lambda t: t[0]),
    ("averaged", "the contributions of the outputs that an entry reaches are averaged instead of summed",
     "a forward that copies an entry has a backward that sums, without dividing by the number of copies",
     lambda t: sum(t) / len(t)),
    ("missing-contribution", "the last of the outputs that an entry reaches is left out",
     "look at the end of the loop or slice over outputs: off by one", lambda t: sum(t[:-1])),
    ("missing-contribution", "the first of the outputs that an entry reaches is left out",
     "look at the start of the loop or slice over outputs: off by one", lambda t: sum(t[1:])),
)  # fmt: skip


def _largest_gaps(case: Case, most: int) -> list[int]:
    gap = np.where(case.located.wrong, np.abs(case.computed - case.expected), -1.0)
    return [int(k) for k in np.argsort(-gap, kind="stable")[:most] if gap[k] > 0 and np.isfinite(gap[k])]


def _equal(case: Case, k: int, value: float) -> bool:
    room = max(4 * case.located.bar[k], 1e-3 * abs(case.computed[k] - case.expected[k]))
    return bool(abs(value - case.computed[k]) <= room)


def _terms(case: Case, index: Index) -> list[float] | None:
    """What each output that the entry moves contributes to its gradient, in the order of memory."""
    moved = case.moved(index)
    places = [(name, j) for name, y in (moved or {}).items() for j in map(tuple, np.argwhere(y != 0).tolist())]
    if moved is None or not 1 < len(places) <= _TERMS:
        return None
    found = [case.expect_u(_only(case.u, name, j), (index,)) for name, j in places]
    return None if any(t is None for t in found) else [float(t[0]) for t in found if t is not None]


def _only(u: Arrays, name: str, index: Index) -> Arrays:
    masked = {n: np.zeros(np.shape(x)) for n, x in u.items()}
    masked[name][index] = u[name][index]
    return masked


def local_paths(case: Case) -> Iterator[Cause]:
    """Each slice of the leaf sees the outputs of the same slice alone, or of the next few: no path leads further."""
    (name, u), *more = case.u.items()
    chosen = [case.located.indices[k] for k in _largest_gaps(case, _WITNESSES)]
    if more or not chosen or case.x.ndim == 0 or case.x.size < 2:
        return
    pairs = [axes for axes in np.ndindex(case.x.ndim, u.ndim) if 1 < case.x.shape[axes[0]] == u.shape[axes[1]]]
    for axes, (reach, far) in product(pairs, _REACHES):
        if _sees_only(case, name, chosen, axes, reach):
            yield _local(axes[0], axes[1], reach, far)
            return


_REACHES: tuple[tuple[int, str], ...] = ((0, "outputs at the same index"), (1, "outputs up to one index further"),
                                         (2, "outputs up to two indices further"))


def _sees_only(case: Case, name: str, chosen: Sequence[Index], axes: Index, reach: int) -> bool:
    a, b = axes
    where = np.indices(case.u[name].shape)[b]
    for index in chosen:
        near = (where >= index[a]) & (where <= index[a] + reach)
        found = case.expect_u({name: case.u[name] * near}, (index,))
        if found is None or not _equal(case, case.located.indices.index(index), float(found[0])):
            return False
    return True


def _local(a: int, b: int, reach: int, far: str) -> Cause:
    cut = "truncated" if reach else "missing-path"
    return Cause(
        cut, f"along axis {a} each entry gets its gradient from {far} of axis {b} alone",
        f"with every other output's upstream gradient set to zero, expected becomes computed at axis {a}",
        "add what comes back along that axis: through later time steps (the recurrent path), other samples or channels",
        0.88,
    )  # fmt: skip


def adjoint(case: Case) -> Iterator[Cause]:
    """The map itself is applied to the upstream gradient, where its transpose should be."""
    pushed = case.push()
    if pushed is not None and case.x.ndim and case.explains(case.take(pushed)):
        yield Cause(
            "not-transposed", "the forward's own linear map is applied to the upstream gradient, not its transpose",
            "computed = J u in every entry asked, expected = J^T u",
            "transpose the matrix, reverse the order of sums and scans, flip the kernel, invert the permutation", 0.945,
        )  # fmt: skip


def swapped(case: Case) -> Iterator[Cause]:
    """The gradient is the one that another leaf should have."""
    for leaf, x in case.point.items():
        if leaf == case.leaf or np.shape(x) != case.x.shape:
            continue
        theirs = case.expect_of(leaf, case.located.indices)
        if theirs is not None and case.explains(theirs) and np.any(theirs):
            yield Cause(
                "swapped-leaves", f"this is the gradient of {leaf}",
                f"computed equals the expected gradient of {leaf} in every entry asked",
                "return the gradients in the order of the inputs", 0.955,
            )  # fmt: skip
            return


def forgotten_output(case: Case) -> Iterator[Cause]:
    """One of several outputs sends nothing back."""
    chosen = _largest_gaps(case, _WITNESSES)
    indices = tuple(case.located.indices[k] for k in chosen)
    for name in case.u if len(case.u) > 1 and indices else ():
        without = case.expect_u({n: np.zeros_like(x) if n == name else x for n, x in case.u.items()}, indices)
        if without is not None and all(_equal(case, k, float(e)) for k, e in zip(chosen, without, strict=True)):
            yield Cause(
                "output-forgotten", f"nothing comes back from the output {name}",
                f"with no upstream gradient at {name}, expected becomes computed",
                f"add the terms of {name}: the gradient is the sum over all outputs", 0.91,
            )  # fmt: skip
            return
