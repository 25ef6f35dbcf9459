"""A located failure -> ranked causes. Each explanation is one row of `EXPLANATIONS`.

A row looks at the case and answers with a cause or nothing. What explains every wrong entry to
within the bars outranks what explains them roughly; of two exact ones the more specific comes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from gradverify.diagnosis.algebra import another_norm, elementwise, logits, skip_path
from gradverify.diagnosis.case import Case, Explanations
from gradverify.diagnosis.conjugates import conjugate
from gradverify.diagnosis.contributions import adjoint, forgotten_output, local_paths, some_contributions, swapped
from gradverify.diagnosis.formulas import (
    at_activation,
    dtype,
    epsilon,
    factor,
    nonfinite,
    passed_through,
    sign,
    spurious,
    upstream,
    zero_gradient,
)
from gradverify.diagnosis.functions import another_function
from gradverify.diagnosis.mistakes import mistakes
from gradverify.diagnosis.patterns import (
    asymmetric,
    diagonal_only,
    matrix_slices,
    missing_term,
    permuted,
    places,
    reduction,
    symmetrised,
    transposed,
)
from gradverify.diagnosis.repairs import STRENGTH, repairs
from gradverify.diagnosis.surroundings import hooked, redrawn
from gradverify.records import Cause

EXPLANATIONS: Explanations = (
    hooked, redrawn, nonfinite, zero_gradient, spurious, upstream, conjugate, passed_through, at_activation, sign,
    transposed, symmetrised, diagonal_only, another_function, another_norm, logits, swapped, adjoint, factor, reduction,
    forgotten_output, epsilon, dtype, permuted, elementwise, skip_path, missing_term, places,
)  # fmt: skip
LAST_RESORTS: Explanations = (some_contributions, local_paths, mistakes, repairs)  # they ask the oracle many times
VECTOR_EXPLANATIONS: Explanations = (nonfinite, zero_gradient, spurious, sign, factor, permuted)
MATRIX_EXPLANATIONS: Explanations = (nonfinite, zero_gradient, spurious, sign, factor, asymmetric, matrix_slices)


_SEARCHING: ContextVar[bool] = ContextVar("searching", default=True)


@contextmanager
def without_last_resorts() -> Iterator[None]:
    """Leave out what asks the oracle many times: for whoever asks of many readings and wants the cause of one."""
    token = _SEARCHING.set(False)
    try:
        yield
    finally:
        _SEARCHING.reset(token)


def diagnose(case: Case, explanations: Explanations | None = None) -> tuple[Cause, ...]:
    """The causes that hold, the strongest first; ``unexplained`` if none does."""
    *_, causes = explanations_of(case, explanations)
    return causes


GOOD = 0.88  # nothing that is asked for last says more
_ENOUGH = {**dict.fromkeys(LAST_RESORTS, GOOD), repairs: STRENGTH}


def explanations_of(case: Case, explanations: Explanations | None = None) -> Iterator[tuple[Cause, ...]]:
    """The causes after each further explanation, so that whoever has to stop keeps what was found."""
    found: list[Cause] = []
    last = LAST_RESORTS if _SEARCHING.get() else ()
    for explain in explanations or (*EXPLANATIONS, *last):
        if all(cause.strength <= _ENOUGH.get(explain, 1.0) for cause in found):
            found = sorted([*found, *explain(case)], key=lambda cause: -cause.strength)
            yield tuple(found)
    yield tuple(found) or (_unexplained(case),)


def at_singular_point(reason: str, computed: float, expected: float, slopes: tuple[float, float] | None) -> Cause:
    """The cause of a failure that exists only exactly at a kink or a tie."""
    if reason == "tie":
        return Cause(
            "wrong-at-tie", "where several entries tie, their gradients do not add up",
            f"moving the tied entries together changes the output by {expected:.6g}, the gradient says {computed:.6g}",
            "give the gradient to one of the tied entries, or share it among them; not to each of them", 0.9,
        )  # fmt: skip
    sides = f"between {min(slopes):.6g} and {max(slopes):.6g}" if slopes else f"at most {expected:.6g}"
    return Cause(
        "wrong-at-kink", "exactly at the kink the value is no slope of either side, nor between them",
        f"the one-sided slopes leave room {sides}, computed is {computed:.6g}",
        "return a subgradient there: the derivative of either side or anything between", 0.9,
    )  # fmt: skip


def _unexplained(case: Case) -> Cause:
    gap = np.abs(case.computed - case.expected)
    rel = float(np.linalg.norm(gap) / max(float(np.linalg.norm(case.expected)), float(np.linalg.norm(gap)), 1e-300))
    return Cause(
        "unexplained", "the gradient differs by no known pattern",
        f"{int(case.located.wrong.sum())} of {len(gap)} entries asked differ, by {rel:.2g} of the gradient's size",
        "derive this leaf's gradient again, term by term, against the entries shown", 0.05,
    )  # fmt: skip


__all__ = [
    "EXPLANATIONS", "GOOD", "MATRIX_EXPLANATIONS", "VECTOR_EXPLANATIONS", "Case", "at_singular_point", "diagnose",
    "explanations_of", "without_last_resorts",
]  # fmt: skip
