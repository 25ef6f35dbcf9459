"""Gradients that are right for something other than their own forward: a convention, not a plain bug."""

from __future__ import annotations

import math
from dataclasses import replace

from gradverify.records import Check, Report, Verdict

_ROUNDING = 1e-6  # of the printed worst entry; a sample more or less changes the factor by far more


def in_conventions(report: Report) -> Report:
    """The report in which gradients of the sum, where the forward returns the mean, are undecided.

    Loss functions return the mean over the samples next to the gradient of every sample's own
    loss. Whoever wrote both may divide elsewhere, so the factor is named and nothing is failed.
    """
    checks = tuple(_undecided(check) if _is_of_the_sum(check) else check for check in report.checks)
    kept = any(check.verdict is Verdict.FAIL for check in checks)
    return report if kept else replace(report, checks=checks, again="")


def _is_of_the_sum(check: Check) -> bool:
    if check.verdict is not Verdict.FAIL or not check.shape or not (check.worst and check.worst.expected):
        return False
    factor = check.worst.computed / check.worst.expected
    by_one_factor = bool(check.causes) and check.causes[0].name == "factor"
    sizes = {check.shape[0], math.prod(check.shape)}
    return by_one_factor and any(n > 1 and abs(factor / n - 1) < _ROUNDING for n in sizes)


def _undecided(check: Check) -> Check:
    assert check.worst is not None
    factor = round(check.worst.computed / check.worst.expected)
    text = f"the gradient is that of the sum, the forward returns the mean: right up to the factor {factor}"
    return replace(check, verdict=Verdict.INCONCLUSIVE, reason="convention", detail=text, causes=())
