"""``--gradverify-audit=PACKAGE``: every derivative found in code nobody prepared is a test of its own.

Nothing is imported while collecting. The items run one after the other in a worker process, which is
replaced when one of them kills it; under pytest-xdist every worker of its has one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from gradverify import events
from gradverify.pytest_plugin.recorder import Recorder

if TYPE_CHECKING:
    from gradverify.audit.pool import Worker
    from gradverify.audit.record import AuditEntry, Candidate
    from gradverify.records import Report

SECONDS = 60.0  # for one candidate, where gradverify_seconds says nothing else


@dataclass(eq=False)
class Auditing:
    """The packages to audit, and the process that tries what is in them."""

    recorder: Recorder
    worker: Worker | None = field(default=None)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Beside what the session collects stand the packages."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            packages = self.recorder.settings.audit
            report.result += [AuditPackage.from_parent(collector, name=name, auditing=self) for name in packages]
        return report

    def attempt(self, candidate: Candidate) -> AuditEntry:
        """What came of trying a candidate in the worker process."""
        from gradverify.audit.pool import Worker, unreported

        if candidate.blocker:
            return unreported(candidate, candidate.blocker)
        if self.worker is None:
            self.worker = Worker()
        settings = self.recorder.settings
        return self.worker.ask(candidate, settings.options.get("seed", 0), settings.limits.get("seconds", SECONDS))

    def pytest_unconfigure(self) -> None:
        """The worker ends with the run."""
        if self.worker is not None:
            self.worker.stop()


class AuditPackage(pytest.Collector):
    """A package, folder or file to audit."""

    def __init__(self, name: str, auditing: Auditing, **keywords: Any) -> None:
        super().__init__(name, nodeid=name, **keywords)
        self.auditing = auditing

    def collect(self) -> Iterator[pytest.Item]:
        """An item for everything that carries a derivative by its names."""
        from gradverify.audit import find

        try:
            candidates = find(self.name)
        except ValueError as error:
            raise self.CollectError(f"--gradverify-audit={error}") from error
        for candidate in candidates:
            yield AuditItem.from_parent(self, candidate=candidate)


class AuditItem(pytest.Item):
    """One derivative to try, named by its symbol: ``module:Class``."""

    def __init__(self, candidate: Candidate, **keywords: Any) -> None:
        super().__init__(candidate.symbol, **keywords)
        self.candidate = candidate
        self.add_marker("gradverify_audit")

    def runtest(self) -> None:
        """Pass, fail, or skip with the reason why it could not be tried or decided."""
        auditing = self.parent.auditing  # type: ignore[union-attr]
        entry = auditing.attempt(self.candidate)
        strict = auditing.recorder.settings.strict
        if entry.report is None:
            (pytest.fail if strict else pytest.skip)(_untried(entry))
        report = entry.as_report()
        events.publish(report)
        _raise_unless_ok(report, strict=strict)

    def reportinfo(self) -> tuple[str, int, str]:
        """Where the code stands."""
        return self.candidate.source.path, self.candidate.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The report alone: there is no traceback to speak of."""
        known = isinstance(excinfo.value, (AssertionError, pytest.fail.Exception))
        return str(excinfo.value) if known else super().repr_failure(excinfo, style)


def _untried(entry: AuditEntry) -> str:
    return f"not tried: {entry.reason}" + (f"; to try it: {entry.remedy}" if entry.remedy else "")


def _raise_unless_ok(report: Report, *, strict: bool) -> None:
    from gradverify.records import GradientInconclusive, GradientMismatch

    if report.ok or events.excused(report):
        return
    if report.verdict.value == "fail":
        raise GradientMismatch(report)
    if strict:
        raise GradientInconclusive(report)
    pytest.skip(str(report).splitlines()[0])
