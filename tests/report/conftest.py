"""Reports built by hand, for every format to print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gradverify.records import Cause, Check, Entry, Report, Sampled, Step, Verdict

CAUSE = Cause("other-derivative", "derivative of another function: the erf formula under a tanh forward",
              "fits the erf to 3e-16 in every entry",
              "differentiate the tanh form, or use erf in the forward", 0.9)
WORST = Entry("x", (3, 1), 0.842183, 0.841372)
ENTRIES = (WORST, *(Entry("x", (row, 2), 0.5 + 1e-4 * row, 0.5) for row in range(1, 5)))
SAMPLED = Sampled(((3, 1), (1, 2), (0, 0)), (0.842183, 0.5001, 1.0), (0.841372, 0.5, 1.0), (1e-15,) * 3)
# Of x^3 at 1, computed 3.12: the error of a central difference is h^2, then its rounding.
SWEEP = tuple(Step(2.0**-k, 3.11 + 4.0**-k + 1e-16 * 2.0**k) for k in range(0, 49, 3))
FAILED = Check("GELU", "x", "out", Verdict.FAIL, shape=(5, 10), worst=WORST, entries=ENTRIES,
               wrong_entries=50, sampled_entries=50, computed=3.12, expected=3.11, discrepancy=0.01,
               bar=2e-14, resolution=1.6e-15, causes=(CAUSE,), sampled=SAMPLED, sweep=SWEEP,
               oracle="complex+finite", evaluations=30, seconds=0.03, seed=7)
PASSED = Check("Affine", "x", "out", Verdict.PASS, shape=(3, 4), computed=1.0, expected=1.0, discrepancy=0.0,
               bar=1e-15, resolution=2.6e-15, entrywise=1.4e-13, oracle="complex+finite", evaluations=11)
UNDECIDED = Check("Quantize", "x", "out", Verdict.INCONCLUSIVE, reason="staircase", detail="step 0.004")
EVIL = "<script>alert(1)</script>\u202eevil\x1b[31m\n&'\""

Make = Callable[..., Any]


@pytest.fixture
def failed() -> Make:
    """A failed check, with some fields of one's own."""
    return lambda **fields: replace(FAILED, **fields)


@pytest.fixture
def passed() -> Make:
    """A passed check, with some fields of one's own."""
    return lambda **fields: replace(PASSED, **fields)


@pytest.fixture
def undecided() -> Make:
    """An inconclusive check, with some fields of one's own."""
    return lambda **fields: replace(UNDECIDED, **fields)


@pytest.fixture
def affine(passed: Make) -> Report:
    """A report that passes."""
    checks = tuple(passed(wrt=name) for name in ("x", "W", "b"))
    return Report("Affine", checks, forwards=11, backwards=4, seconds=0.002)


@pytest.fixture
def gelu(failed: Make) -> Report:
    """A report that fails."""
    return Report("GELU", (failed(),), forwards=30, backwards=9, seconds=0.03, again="3f9a")


@pytest.fixture
def quantize(undecided: Make) -> Report:
    """A report that decides nothing."""
    return Report("Quantize", (undecided(),))


@pytest.fixture
def evil(failed: Make) -> Report:
    """Everything that audited code can name is hostile."""
    cause = Cause(EVIL, EVIL, EVIL, EVIL, 0.5)
    worst = Entry(EVIL, (0,), 1.0, 2.0)
    check = failed(target=EVIL, wrt=EVIL, output=EVIL, regime=EVIL, oracle=EVIL, reason=EVIL, detail=EVIL,
                   dtype=EVIL, mode=EVIL, causes=(cause,), worst=worst, entries=(worst, worst), shape=(2,))
    other = replace(check, verdict=Verdict.INCONCLUSIVE)
    return Report(EVIL, (check, other, replace(check, verdict=Verdict.PASS)), (EVIL,), (EVIL,), again=EVIL)
