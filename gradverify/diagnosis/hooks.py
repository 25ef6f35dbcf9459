"""The explanation by a hook: without it the gradient is right."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradverify.diagnosis.case import Case
from gradverify.records import FAIL_FACTOR, Cause


def hooked(case: Case) -> Iterator[Cause]:
    """A hook that the user put on a tensor or a module changes the gradient on its way."""
    (everything, without), *each = case.unhooked.items() or [("", lambda: None)]
    if not _is_right(case, without()):
        return
    what = next((one for one, without in each if _is_right(case, without())), everything)
    yield Cause(
        "hook", f"{what} changes the gradient, which is right without",
        "with the hook left out every entry asked is the expected one; training sees what the hook leaves",
        "let the hook return the gradient as it came, or say which derivative is meant: surrogate=", 0.995,
    )  # fmt: skip


def _is_right(case: Case, gradient: np.ndarray | None) -> bool:
    if gradient is None:
        return False
    gap = np.abs(case.take(gradient) - case.expected)
    close = 1e-3 * np.abs(case.computed - case.expected)
    return bool(np.all(gap <= np.maximum(FAIL_FACTOR * case.located.bar, close)))
