"""Findings, refused claims and exceptions as the rows of a report."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradverify.arrays import dtype_name
from gradverify.explaining import explained
from gradverify.judging import Finding
from gradverify.limits import BudgetSpent
from gradverify.records import Cause, Check, Verdict
from gradverify.targets.gradients import WrongClaim
from gradverify.trial import Trial


@dataclass(frozen=True)
class Row:
    """How a row of the report differs from the default: its regime, mode and order."""

    regime: str = "given"
    mode: str = "reverse"
    order: int = 1


def rows_of(trial: Trial, run: Callable[[], list[Finding]], **row: Any) -> list[Check]:
    """The findings as checks; a broken contract is a failure, any other exception an ``error``."""
    where, started = Row(**row), time.perf_counter()
    spent = trial.counts.forwards
    try:
        findings = run()
    except WrongClaim as claim:
        return [_claim_check(trial, claim, where)]
    except BudgetSpent as end:
        return [blank(trial, ", ".join(trial.leaves), Verdict.INCONCLUSIVE, where, reason=end.reason)]
    except Exception:
        text = traceback.format_exc()
        return [
            blank(trial, ", ".join(trial.leaves), Verdict.INCONCLUSIVE, where, reason="error", detail=text)
        ]
    seconds = (time.perf_counter() - started) / max(len(findings), 1)
    evaluations = (trial.counts.forwards - spent) // max(len(findings), 1)
    return [replace(_check_of(trial, f, where), seconds=seconds, evaluations=evaluations) for f in findings]


def _check_of(trial: Trial, finding: Finding, where: Row) -> Check:
    d, leaf = finding.decision, finding.leaf
    known = blank(
        trial, leaf, d.verdict, where, reason=d.reason, oracle=finding.oracle, computed=d.computed, expected=d.expected,
        discrepancy=d.discrepancy, bar=d.bar, resolution=d.resolution, entrywise=finding.entrywise,
    )  # fmt: skip
    return known if d.verdict is not Verdict.FAIL else explained(finding, known)


def blank(trial: Trial, leaf: str, verdict: Verdict, where: Row, **fields: Any) -> Check:
    """A row about one leaf, or about several named together."""
    x = trial.point.get(leaf)
    return Check(
        target=trial.target.name, wrt=leaf, output=", ".join(trial.outputs), verdict=verdict, regime=where.regime,
        mode=where.mode, order=where.order, shape=np.shape(x) if x is not None else (), seed=trial.options.seed,
        dtype=dtype_name(x) if x is not None else trial.target.dtype, **fields,
    )  # fmt: skip


_CLAIM_TEXT = {"not-summed": "the gradient is not summed over the axes along which the leaf was broadcast"}
_CLAIM_ADVICE = {
    "shape": "return one array of the leaf's own shape: sum over broadcast axes, transpose or reshape the result",
    "dtype": "return real floating numbers",
    "not-summed": "sum it over the axes along which the leaf was broadcast: db = dout.sum(axis=0)",
    "missing": "store the gradient in the backward where the parameter is",
}


def _claim_cause(trial: Trial, claim: WrongClaim) -> str:
    """A gradient with an axis too many was not summed over what was broadcast."""
    if claim.cause != "shape" or claim.leaf not in trial.point or claim.shape is None:
        return claim.cause
    own = np.shape(trial.point[claim.leaf])
    more = len(claim.shape) > len(own) and claim.shape[len(claim.shape) - len(own) :] == own
    ones = len(claim.shape) == len(own) and all(
        b in (a, 1) for a, b in zip(claim.shape, own, strict=True)
    )
    return "not-summed" if more or ones else claim.cause


def _claim_check(trial: Trial, claim: WrongClaim, where: Row) -> Check:
    name = _claim_cause(trial, claim)
    cause = Cause(name, _CLAIM_TEXT.get(name, claim.text), claim.text, _CLAIM_ADVICE[name], 1.0)
    leaf = claim.leaf or trial.leaves[0]
    return blank(trial, leaf, Verdict.FAIL, where, reason=claim.cause, detail=claim.text, causes=(cause,))
