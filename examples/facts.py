"""What the scripts beside this one print: a line for each derivative, its verdict and how well it was verified."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gradverify import Check, Report, Verdict


@dataclass(frozen=True)
class Fact:
    """One derivative that somebody else wrote, and what the check of it came to.

    `shown` names the section of reports/real-libraries.md that shows a failure by hand to be real.
    """

    what: str
    report: Report
    shown: str = ""

    @property
    def as_it_should_be(self) -> bool:
        """A pass, or a failure that has been shown by hand."""
        return self.report.verdict is (Verdict.FAIL if self.shown else Verdict.PASS)

    @property
    def finding(self) -> str:
        """``to 2e-13``, order by order, or the size of the discrepancy."""
        if self.report.verdict is Verdict.PASS:
            return "to " + ", ".join(_resolved(self.report))
        return "; ".join(_broken(check) for check in self.report.checks if not check.ok)


def _resolved(report: Report) -> list[str]:
    """The coarsest resolution of each kind of check; float32 kernels have a formula and an implementation."""
    kinds: dict[str, float] = {}
    for check in report.checks:
        kinds[_kind(check, report)] = max(kinds.get(_kind(check, report), 0.0), check.resolution)
    return [f"{kind} {worst:.0e}".strip() for kind, worst in kinds.items()]


def _kind(check: Check, report: Report) -> str:
    if check.regime == "implementation":
        return f"{check.dtype} implementation"
    if any(c.regime == "implementation" for c in report.checks):
        return "formula"
    orders = {c.order for c in report.checks}
    return {1: "gradient", 2: "Hessian"}[check.order] if len(orders) > 1 else ""


def _broken(check: Check) -> str:
    order = ", second order" if check.order > 1 else ""
    if check.worst is not None:
        return f"{check.worst}{order}"
    reason = f" ({check.reason})" if check.reason else ""
    return f"{check.wrt}{order}{reason}: computed {check.computed:.6g}, expected {check.expected:.6g}"


def show(facts: Iterable[Fact]) -> None:
    """Print the facts as they come, and a last line that counts them."""
    known = []
    for fact in facts:
        known.append(fact)
        print(f"{fact.report.verdict!s:<12}  {fact.what:<46}  {fact.finding}")
        if fact.shown:
            print(f"{'':14}real: shown by hand in reports/real-libraries.md, {fact.shown}")
    passed = sum(fact.report.ok for fact in known)
    real = sum(fact.as_it_should_be and not fact.report.ok for fact in known)
    print(f"{len(known)} derivatives: {passed} verified, {real} really wrong, {len(known) - passed - real} open")
