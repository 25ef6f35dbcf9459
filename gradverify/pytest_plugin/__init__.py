"""The pytest plugin: a fixture, markers, a summary of the gradients checked, and files of it.

Every check of a test is heard through `gradverify.events`, whether it came through the fixture or
not. What was heard travels on pytest's own test report: under pytest-xdist
it reaches the controller that way, and only the controller counts, prints and writes.

At import this loads pytest and the standard library; a suite that checks no gradient pays for
nothing else. What an option brings along is loaded when the option is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gradverify import events
from gradverify.pytest_plugin import settings as settings_
from gradverify.pytest_plugin.recorder import CARRIED, RECORDER, GradientInconclusiveWarning, Recorder, marked
from gradverify.pytest_plugin.settings import validate

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from gradverify.pytest_plugin.fixture import Asserting
    from gradverify.records import Report

__all__ = ["GradientInconclusiveWarning"]

MARKERS = (
    "gradverify(**options): options of assert_gradients for those calls of the test that do not name them",
    "gradverify_flow(**options): options of the fixture's flow() in the test",
    "gradverify_training(**options): options of the fixture's training() in the test",
    "gradverify_audit: what --gradverify-audit found; -m gradverify_audit runs nothing else",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Long options for what a run does, ini values for how every check is done."""
    settings_.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read and check the settings, and begin to listen."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    recorder = Recorder(settings_.read(config), hasattr(config, "workerinput"))
    config.stash[RECORDER] = recorder
    config.pluginmanager.register(recorder, "gradverify-recorder")
    events.listeners.append(recorder.heard.append)
    events.policies.append(recorder.excuse)
    _register_what_was_asked(config, recorder)


def _register_what_was_asked(config: pytest.Config, recorder: Recorder) -> None:
    if recorder.settings.shadow:
        from gradverify.pytest_plugin.shadowing import Shadowing

        config.pluginmanager.register(Shadowing(config, recorder), "gradverify-shadow")
    if recorder.settings.audit:
        from gradverify.pytest_plugin.auditing import Auditing

        config.pluginmanager.register(Auditing(recorder), "gradverify-auditing")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop listening."""
    recorder = config.stash.get(RECORDER, None)
    if recorder is not None:
        events.listeners.remove(recorder.heard.append)
        events.policies.remove(recorder.excuse)


@pytest.fixture(name="gradverify")
def gradverify_fixture(request: pytest.FixtureRequest) -> Asserting:
    """`gradverify.assert_gradients`: call it with a target and its inputs, or with one of `gradverify.cases`."""
    from gradverify.pytest_plugin.fixture import Asserting

    return Asserting(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let the options of the ini file and of the test's markers hold while it runs."""
    recorder = item.config.stash[RECORDER]
    recorder.take()  # what a module asserted while it was imported belongs to no test
    recorder.item = item
    try:
        with events.defaults({**recorder.settings.options, **marked(item, "gradverify")}), recorder.allowed():
            return (yield)
    finally:
        recorder.item = None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marker that makes no sense is an error of its test, also where nothing is asserted."""
    if any(marker.args for marker in item.iter_markers("gradverify")):
        pytest.fail("marker gradverify: takes options by name, such as seed=3", pytrace=False)
    if options := marked(item, "gradverify"):
        validate(options, "marker gradverify: ", _marker_failure)


def _marker_failure(message: str) -> BaseException:
    return pytest.fail.Exception(message.replace("Options.__init__() ", ""), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what this phase heard on the test's report; JUnit files get a property a target."""
    reports = item.config.stash[RECORDER].take()
    item.user_properties += [("gradverify", f"{report.verdict} {report.target}") for report in reports]
    test_report = yield
    if reports:
        setattr(test_report, CARRIED, reports)
    return test_report


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable(report: Any) -> Generator[None, Any, Any]:
    """As plain data between the processes of pytest-xdist and in report logs."""
    data = yield
    reports = getattr(report, CARRIED, ())
    if data is None or not reports:
        return data
    from gradverify.report import jsonfile

    return {**data, CARRIED: jsonfile.to_dict(reports)}


@pytest.hookimpl(wrapper=True)
def pytest_report_from_serializable(data: dict[str, Any]) -> Generator[None, Any, Any]:
    """The records again, in the process that counts them."""
    report = yield
    if report is not None and CARRIED in data:
        from gradverify.report import jsonfile

        setattr(report, CARRIED, jsonfile.from_dict(data[CARRIED]))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the files asked for, once, in the process that heard of every test; strict mode has the last word."""
    recorder = session.config.stash[RECORDER]
    if recorder.worker or session.config.option.collectonly:
        return
    reports = [each.report for each in recorder.tested]
    for kind, path in recorder.settings.files.items():
        if kind in settings_.FILES:
            path.parent.mkdir(parents=True, exist_ok=True)
            _writer(kind)(reports, path)
    if recorder.settings.strict and session.exitstatus == pytest.ExitCode.OK and recorder.stale():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _writer(kind: str) -> Callable[[Sequence[Report], Path], None]:
    from gradverify.report import html, jsonfile

    return {"json": jsonfile.write, "html": html.write}[kind]


def pytest_report_header(config: pytest.Config) -> str | None:
    """The settings that differ from the defaults, if any."""
    settings = str(config.stash[RECORDER].settings)
    return f"gradverify: {settings}" if settings else None


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """One line a target that did not pass, and a count; with -v every target, with -q the count."""
    recorder = config.stash[RECORDER]
    if recorder.worker or not recorder.tested:  # a worker of xdist summarises too, for nobody to read
        return
    if config.option.verbose >= -1:
        from gradverify.pytest_plugin.summary import summarise

        summarise(recorder, terminalreporter, config.option.verbose)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from gradverify.pytest_plugin.github import tell_github

        tell_github(recorder, terminalreporter, config)
