"""Explanations by mending the backward: the one change of its code with which the gradient is right."""

from __future__ import annotations

from collections.abc import Iterator

from gradverify.diagnosis.case import Case
from gradverify.records import Cause

STRENGTH = 0.65  # a pattern that explains as much says why, not only where


def repairs(case: Case) -> Iterator[Cause]:
    """The line that is wrong, if changing it alone is enough."""
    for found in case.repairs():
        yield Cause(
            "wrong-line", f"{found.where}: `{found.before}` should be `{found.after}`",
            "with this one change the gradient agrees with the oracle: for two upstream gradients, at two points",
            f"`{found.line}`", STRENGTH,
        )  # fmt: skip
