"""``--gradverify-shadow``: the gradient checks of a suite nobody changed, each asked once more.

A listener stands in the place of each checker; it lets the original answer first and answers as it did.
What the recheck found travels on the test's report and is shown by the controller. No test changes
its outcome.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gradverify.pytest_plugin.recorder import Recorder
from gradverify.shadow.checkers import Checker
from gradverify.shadow.findings import FAILED, NUMBER, PASSED, Finding, Kind, recheck
from gradverify.shadow.patching import Patches

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

CARRIED = "gradverify_shadow"  # the attribute of a TestReport that holds what its phase found
VERDICTS = ("AssertionError", "GradcheckError")  # how a checker says no; any other exception says nothing


@dataclass(eq=False)
class Shadowing:
    """The listeners of a run, and what they found."""

    config: pytest.Config
    recorder: Recorder
    asked: list[Finding] = field(default_factory=list)
    found: list[Finding] = field(default_factory=list)
    busy: bool = False

    def __post_init__(self) -> None:
        self.patches = Patches(self.listener)
        self.patches.install()

    def pytest_unconfigure(self) -> None:
        """Every checker is itself again."""
        self.patches.remove()

    def listener(self, checker: Checker, original: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in the place of a checker."""

        @functools.wraps(original)
        def heard(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if self.busy or self.recorder.item is None:
                return original(*args, **kwargs)
            if checker.late:
                return self.later(checker, original(*args, **kwargs), (args, kwargs))
            return self.answer(checker, original, args, kwargs, (args, kwargs))

        return heard

    def later(self, checker: Checker, check: Callable[..., Any], made: tuple[Any, ...]) -> Callable[..., Any]:
        """The same of a function that a checker returned; `made` is what it was made from."""

        @functools.wraps(check)
        def heard(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if self.busy:
                return check(*args, **kwargs)
            return self.answer(checker, check, args, kwargs, (*made, args, kwargs))

        return heard

    def answer(
        self, checker: Checker, original: Callable[..., Any], args: Any, kwargs: Any, call: tuple[Any, ...]
    ) -> Any:
        """The original's own answer, raised or returned; the recheck comes after it."""
        __tracebackhide__ = True
        self.busy = True
        try:
            result = original(*args, **kwargs)
        except Exception as error:
            if type(error).__name__ in VERDICTS:
                self.ask(checker, FAILED, call)
            raise
        else:
            self.ask(checker, NUMBER if checker.number else FAILED if result is False else PASSED, call)
            return result
        finally:
            self.busy = False

    def ask(self, checker: Checker, said: str, call: tuple[Any, ...]) -> None:
        """Recheck a call and keep what came of it."""
        where = _where(self.config.rootpath)
        if self.recorder.allowance.left:
            self.asked.append(recheck(checker, where, said, call))
        else:
            reason = "what the run may spend is spent"
            self.asked.append(Finding(checker.label, where, said, Kind.UNASKED, reason=reason))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put what this phase found on the test's report."""
        report = yield
        found = [_judged(replace(each, nodeid=report.nodeid), passed=report.passed) for each in self.asked]
        self.asked.clear()
        if found:
            setattr(report, CARRIED, tuple(found))
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self, report: Any) -> Generator[None, Any, Any]:
        """As plain data between the processes of pytest-xdist."""
        data = yield
        found = getattr(report, CARRIED, ())
        if data is None or not found:
            return data
        from gradverify.report import shadow

        return {**data, CARRIED: shadow.encode(found)}

    @pytest.hookimpl(wrapper=True)
    def pytest_report_from_serializable(self, data: dict[str, Any]) -> Generator[None, Any, Any]:
        """The findings again."""
        report = yield
        if report is not None and CARRIED in data:
            setattr(report, CARRIED, tuple(_finding(each) for each in data[CARRIED]))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test found, in whichever process it ran."""
        self.found += getattr(report, CARRIED, ())

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """The table of findings, and the file that was asked for."""
        if self.recorder.worker:
            return
        from gradverify.report import shadow

        terminalreporter.write_sep("=", "gradverify shadow")
        for line in shadow.lines(self.found, verbose=self.config.option.verbose > 0):
            terminalreporter.write_line(line)
        path = self.recorder.settings.files.get("shadow-json")
        if path is not None:
            shadow.write(self.found, path)
            terminalreporter.write_line(f"findings written to {path}")


def _judged(finding: Finding, *, passed: bool) -> Finding:
    """A number was judged by the test it was given to."""
    if finding.said == NUMBER and finding.kind is Kind.MISSED and not passed:
        return replace(finding, kind=Kind.AGREED)
    return finding


def _finding(content: dict[str, Any]) -> Finding:
    from gradverify.report import jsonfile

    return Finding(**{**content, "kind": Kind(content["kind"]), "reports": jsonfile.from_dict(content["reports"])})


def _where(root: Path) -> str:
    """``tests/test_layer.py:12``: the innermost line of the project that led to the call."""
    frame = sys._getframe(2)  # noqa: SLF001 - the standard library has no other name for it
    while frame.f_back is not None and not _is_in(root, frame.f_code.co_filename):
        frame = frame.f_back
    file = Path(frame.f_code.co_filename)
    return f"{file.relative_to(root) if file.is_relative_to(root) else file.name}:{frame.f_lineno}"


def _is_in(root: Path, file: str) -> bool:
    inside = Path(file).is_relative_to(root) and "site-packages" not in file
    return inside and not Path(file).is_relative_to(Path(__file__).parents[2] / "gradverify")
