"""Explanations by rerunning the forward with a mistake in it: the one whose derivative is the one computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from gradverify.diagnosis.case import Case, Mistake
from gradverify.records import Cause

_STRENGTH = 0.69


def mistakes(case: Case) -> Iterator[Cause]:
    """The first mistake that explains the gradient in every question asked."""
    for found, times in case.mistakes():
        if found.kind != "slope" or not _entry_by_entry(case):
            yield _CAUSES[found.kind](found, times)
            return


def _entry_by_entry(case: Case) -> bool:
    """Whether all of it is one function of one number: its derivative is nobody's product of pieces."""
    diagonal = case.diagonal()
    return diagonal is not None and bool(np.allclose(diagonal, case.expected, rtol=1e-6, atol=0))


_EVIDENCE = "a forward with exactly this mistake has the computed gradient: for three upstream gradients, at two points"


def _held(found: Mistake, times: float) -> Cause:
    if times == 0 and found.kind == "reduction":
        return Cause(
            "missing-cross-terms",
            f"the cross terms are missing: {found.what} in {found.where} is treated as a constant", _EVIDENCE,
            f"{found.what} depends on every entry: for a softmax dx = y * (dy - sum(dy * y))", _STRENGTH,
        )  # fmt: skip
    if times == 0:
        return Cause(
            "missing-path", f"nothing comes back through {found.what} in {found.where}: it is treated as a constant",
            _EVIDENCE, f"add the term for {found.what} there", _STRENGTH,
        )  # fmt: skip
    said = "with its sign flipped" if times == -1 else f"{times:.9g} times"
    return Cause(
        "path-factor", f"what comes back through {found.what} in {found.where} counts {said}",
        _EVIDENCE, "the other paths are right: look at the factor of this one alone", _STRENGTH,
    )  # fmt: skip


def _passes(found: Mistake, times: float) -> Cause:
    return Cause(
        "truncated", f"nothing comes back through {found.what} in {found.where}",
        _EVIDENCE, "let the backward go through every pass of the loop, and hand on what it carries", _STRENGTH,
    )  # fmt: skip


def _diagonal(found: Mistake, times: float) -> Cause:
    return Cause(
        "diagonal-only",
        f"the cross terms are missing: of {found.what} in {found.where} each entry sees its own term alone",
        _EVIDENCE, "add the terms of the other entries: for a softmax dx = y * (dy - sum(dy * y))", _STRENGTH,
    )  # fmt: skip


def _slope(found: Mistake, times: float) -> Cause:
    taken = found.instead
    said = "its own derivative is forgotten" if taken == "1" else f"its derivative is taken to be {taken}"
    return Cause(
        "wrong-slope", f"y = {found.where}, {found.what}: {said}", _EVIDENCE,
        "multiply by the derivative of exactly this piece", _STRENGTH,
    )  # fmt: skip


def _factor(found: Mistake, times: float) -> Cause:
    return Cause(
        "wrong-factor",
        f"{found.where} is differentiated by {found.what} with {found.instead} in the place of {found.own}",
        _EVIDENCE, f"the derivative of this product by {found.what} has the factor {found.own}", _STRENGTH,
    )  # fmt: skip


def _transposed(found: Mistake, times: float) -> Cause:
    return Cause(
        "transposed", f"what comes back through {found.what} in {found.where} is transposed", _EVIDENCE,
        "transpose what arrives at this product; square sizes hide this", _STRENGTH,
    )  # fmt: skip


def _setting(found: Mistake, times: float) -> Cause:
    other = f"{found.what} = {found.instead}"
    return Cause(
        "setting-forgotten", f"the gradient is the one for {other}: the backward does without it",
        f"a forward with {other} has the computed gradient: for three upstream gradients, at two points",
        f"use {found.what} in the backward as the forward does", _STRENGTH,
    )  # fmt: skip


_CAUSES: dict[str, Callable[[Mistake, float], Cause]] = {
    "reduction": _held, "setting": _setting,
    "held": _held, "passes": _passes, "diagonal": _diagonal, "slope": _slope, "factor": _factor,
    "transposed": _transposed,
}
