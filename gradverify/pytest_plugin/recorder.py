"""What one run of pytest heard, in the process that ran it and in the one that counts."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from gradverify import limits
from gradverify.pytest_plugin.settings import Settings

if TYPE_CHECKING:
    from gradverify.acknowledged import Acknowledged
    from gradverify.records import Report

CARRIED = "gradverify_reports"  # the attribute of a TestReport that holds what its phase heard


class GradientInconclusiveWarning(pytest.PytestWarning):
    """A gradient could not be judged, and ``gradverify_inconclusive = warn`` lets the test go on."""


@dataclass(frozen=True, eq=False)
class Tested:
    """One report, the test that asked for it, and whether that test passed all the same."""

    nodeid: str
    passed: bool
    report: Report
    file: str = ""
    line: int = 1


@dataclass(eq=False)
class Recorder:
    """What this run of pytest was told to do and has heard."""

    settings: Settings
    worker: bool
    heard: list[Report] = field(default_factory=list)
    tested: list[Tested] = field(default_factory=list)
    item: pytest.Item | None = None

    def __post_init__(self) -> None:
        allowed = self.settings.limits
        end = time.monotonic() + allowed.get("run_seconds", math.inf)
        self.allowance = limits.Allowance(allowed.get("run_budget", math.inf), end)

    def excuse(self, report: Report) -> bool:
        """Whether a test may go on: a mismatch that is acknowledged, or what the ini file says of an open verdict."""
        __tracebackhide__ = True
        if report.verdict.value == "fail":
            return bool(self.acknowledgements(report))
        if self.item is None or self.settings.strict or self.settings.policy == "fail":
            return False
        if self.settings.policy == "xfail":
            pytest.xfail(str(report))
        _warn_at(self.item, str(report))
        return True

    def acknowledgements(self, report: Report) -> tuple[Acknowledged, ...]:
        """The entries of `pyproject.toml` that know of all mismatches of a report."""
        if not self.settings.acknowledged:
            return ()
        from gradverify.acknowledged import acknowledging

        return acknowledging(report, self.settings.acknowledged)

    def stale(self) -> tuple[Acknowledged, ...]:
        """The entries that know of a mismatch which is none any more."""
        if not self.settings.acknowledged:
            return ()
        from gradverify.acknowledged import stale

        return stale((each.report for each in self.tested), self.settings.acknowledged)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a phase of a test heard, with the test's name, in whichever process it ran."""
        if str(report.outcome) == "rerun":  # a plugin's word for a failure that does not count
            return
        for each in getattr(report, CARRIED, ()):
            named = replace(each, meta={**each.meta, "nodeid": report.nodeid})
            file, line, _ = report.location
            self.tested.append(Tested(report.nodeid, report.passed, named, file, (line or 0) + 1))

    def take(self) -> tuple[Report, ...]:
        """What was heard since the last time."""
        taken = tuple(self.heard)
        self.heard.clear()
        return taken

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """The limits of the run and of each check hold in the block."""
        with ExitStack() as stack:
            stack.enter_context(limits.seconds_for_each_check(self.settings.limits.get("seconds")))
            stack.enter_context(limits.within(self.allowance))
            yield


RECORDER = pytest.StashKey[Recorder]()


def _warn_at(item: pytest.Item, message: str) -> None:
    # At the test's own first line: no number of frames leads from here to the call, fixture or not.
    path, line, _ = item.location
    warnings.warn_explicit(message, GradientInconclusiveWarning, path, (line or 0) + 1)


def marked(item: pytest.Item, name: str) -> dict[str, Any]:
    """The keywords of the markers of a name; the one nearest to the test wins."""
    nearest_last = reversed(list(item.iter_markers(name)))
    return {key: value for marker in nearest_last for key, value in marker.kwargs.items()}
