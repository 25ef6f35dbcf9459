"""A failed probe seen by differences at every step: evidence that needs no trust in an oracle's error bound."""

from __future__ import annotations

import math

from gradverify.judging import Finding
from gradverify.limits import BudgetSpent
from gradverify.records import Step

STEPS = tuple(2.0**-k for k in range(0, 49, 3))


def sweep(finding: Finding) -> tuple[Step, ...]:
    """Central differences of ``t -> <u, f(x + t v)>``, from steps as large as the entries down to their rounding.

    Their distance from the derivative falls as h^2 until the forward's rounding, eps / h, takes over. From a
    number that is not the derivative they stay away by its discrepancy, whatever the step.
    """
    phi, found = finding.trial.phi(finding.u, finding.v), []
    for h in STEPS:
        try:
            quotient = (phi(h) - phi(-h)) / (2 * h)
        except BudgetSpent:
            break
        except Exception:  # noqa: S112 - outside the forward's domain: this step has nothing to show
            continue
        found += [Step(h, quotient)] if math.isfinite(quotient) else []
    return tuple(found)
