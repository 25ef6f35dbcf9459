"""What the engine said of one reading of a derivative at one point, and which of two answers settles more."""

from __future__ import annotations

from dataclasses import dataclass

from gradverify.audit.conventions import IN_PLACE
from gradverify.audit.inputs import Arguments
from gradverify.audit.readings import Trial
from gradverify.diagnosis import GOOD
from gradverify.records import Report, Verdict

ERRORS = 4  # the rank of an answer that is nothing but errors


@dataclass(frozen=True)
class Answer:
    """The engine's report of one reading, with what the audit made of it."""

    report: Report
    suffix: str
    reading: int = 0
    arguments: Arguments | None = None
    trial: Trial | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every parameter that matters has a gradient."""
        return not any("no gradient of it was found" in note for note in self.report.notes)

    @property
    def is_settled(self) -> bool:
        """Whether it passed, or is known to be right for something else."""
        unsure = {c.reason for c in self.report.checks if c.verdict is not Verdict.PASS}
        return unsure <= {"convention"}

    def is_better_than(self, other: Answer) -> bool:
        """Whether it settles more, and says nothing about fewer leaves than an answer that settles anything.

        Readings come with the likelier first: where that one cannot be decided, as in saturation, the failure of
        another says only that it is not what was meant.
        """
        if self.completes(other) or other.completes(self):
            return self.completes(other)
        mine, others = ({c.wrt for c in tried.report.checks} for tried in (self, other))
        if self.rank == other.rank == 0:
            return mine > others
        if self.rank == other.rank == 1 and bool(self.right) != bool(other.right):
            return bool(self.right)  # what is right about some leaves is meant, and wrong about the others
        if self.rank == other.rank == 1:  # a reading that holds at the point itself is the one that is meant
            return other.fails_as_given and not self.fails_as_given
        if (self.rank, other.rank) == (1, 2):
            return False
        return self.rank < other.rank and (other.rank >= ERRORS - 1 or mine >= others)

    def completes(self, other: Answer) -> bool:
        """Whether it fails more parameters of the same reading than another, which passes, speaks of."""
        passed = self.passed
        named = {c.wrt for c in other.report.checks}
        same = self.suffix == other.suffix and self.rank == 1 and other.rank == 0
        return same and not other.is_whole and passed >= named

    @property
    def passed(self) -> set[str]:
        """The leaves with a check that passes."""
        return {c.wrt for c in self.report.checks if c.verdict is Verdict.PASS}

    @property
    def right(self) -> set[str]:
        """The leaves that pass and fail nowhere."""
        return self.passed - {c.wrt for c in self.report.checks if c.verdict is Verdict.FAIL}

    @property
    def fails_as_given(self) -> bool:
        """Whether it fails at the inputs themselves, and not only at special values or layouts."""
        return any(c.verdict is Verdict.FAIL and c.regime == "given" for c in self.report.checks)

    @property
    def lacks_explanation(self) -> bool:
        """Whether a failure has no cause that nothing asked for last could better."""
        failed = [c for c in self.report.checks if c.verdict is Verdict.FAIL]
        return any(max((cause.strength for cause in c.causes), default=0.0) <= GOOD for c in failed)

    @property
    def rank(self) -> int:
        """The better answer has the smaller rank: a pass, a fail, undecided, a wrong shape, nothing but errors.

        Gradients that are all right next to an array that is changed in place rank as a pass.
        """
        if _only_errors(self.report):
            return ERRORS
        if self.report.verdict is Verdict.FAIL and _is_shape(self.report):
            return ERRORS - 1
        if {c.reason for c in self.report.checks if c.verdict is not Verdict.PASS} <= set(IN_PLACE):
            return 0
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 2}[self.report.verdict]


def _only_errors(report: Report) -> bool:
    return bool(report.checks) and all(
        c.verdict is Verdict.INCONCLUSIVE and c.reason == "error" for c in report.checks
    )


def _is_shape(report: Report) -> bool:
    failed = [c for c in report.checks if c.verdict is Verdict.FAIL]
    return any(c.reason in ("shape", "dtype") for c in failed)
