"""Explanations for complex numbers, which come as leaves and outputs named ``z.real`` and ``z.imag``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradverify.diagnosis.case import Case
from gradverify.records import FAIL_FACTOR, Cause


def conjugate(case: Case) -> Iterator[Cause]:
    """A conjugate too few or too many.

    If g(u) is the gradient with every conjugate of a linear map missing, ``conj g(conj u)`` is the right one.
    """
    if not any(name.endswith(".imag") for name in (case.leaf, *case.u)):
        return
    mirrored = case.with_u({n: -x if n.endswith(".imag") else x for n, x in case.u.items()})
    if mirrored is None:
        return
    sign = -1.0 if case.leaf.endswith(".imag") else 1.0
    gap = np.abs(sign * case.take(mirrored) - case.expected)
    room = np.maximum(FAIL_FACTOR * case.located.bar, 1e-3 * np.max(np.abs(case.computed - case.expected), initial=0.0))
    if np.all(gap <= room):
        yield Cause(
            "conj-missing", "a complex conjugate is missing, or is one too many",
            "conjugating the upstream gradient and the result gives the expected entries",
            "the gradient of w = a z is dz = conj(a) dw in PyTorch's convention, dz = a dw in JAX's", 0.985,
        )  # fmt: skip
