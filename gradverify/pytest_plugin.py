"""The pytest plugin: a fixture, a marker, a summary of the gradients checked, and files of it.

Every check of a test is heard through `gradverify.events`, whether it came through the fixture or
not. What was heard travels on pytest's own test report: under pytest-xdist
it reaches the controller that way, and only the controller counts, prints and writes.

At import this loads pytest and the standard library; a suite that checks no gradient pays for
nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gradverify import events

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from gradverify.records import Report

POLICIES = ("fail", "xfail", "warn")
FILES = ("json", "html")
READ: dict[str, Callable[[str], Any]] = {  # the options that make sense as one word of an ini file
    "order": int, "mode": str, "oracle": str, "search": str, "require": float, "tolerate": float,
    "budget": int, "seed": int,
}
COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
MARKER = ("gradverify(**options): options of assert_gradients, such as seed=3 or search='deep', for those "
          "calls of the test that do not name them")
CARRIED = "gradverify_reports"  # the attribute of a TestReport that holds what its phase heard


class GradientInconclusiveWarning(pytest.PytestWarning):
    """A gradient could not be judged, and ``gradverify_inconclusive = warn`` lets the test go on."""


@dataclass(frozen=True)
class Tested:
    """One report, the test that asked for it, and whether that test passed all the same."""

    nodeid: str
    passed: bool
    report: Report


@dataclass(eq=False)
class Recorder:
    """What this run of pytest was told to do and has heard."""

    policy: str
    options: dict[str, Any]
    files: dict[str, Path]
    worker: bool
    heard: list[Report] = field(default_factory=list)
    tested: list[Tested] = field(default_factory=list)
    item: pytest.Item | None = None

    def excuse(self, report: Report) -> bool:
        """What the ini file says of an inconclusive verdict; outside a test it says nothing."""
        __tracebackhide__ = True
        if self.item is None or self.policy == "fail":
            return False
        if self.policy == "xfail":
            pytest.xfail(str(report))
        _warn_at(self.item, str(report))
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a phase of a test heard, with the test's name, in whichever process it ran."""
        for each in getattr(report, CARRIED, ()):
            named = replace(each, meta={**each.meta, "nodeid": report.nodeid})
            self.tested.append(Tested(report.nodeid, report.passed, named))

    def take(self) -> tuple[Report, ...]:
        """What was heard since the last time."""
        taken = tuple(self.heard)
        self.heard.clear()
        return taken


RECORDER = pytest.StashKey[Recorder]()


def _warn_at(item: pytest.Item, message: str) -> None:
    # At the test's own first line: no number of frames leads from here to the call, fixture or not.
    path, line, _ = item.location
    warnings.warn_explicit(message, GradientInconclusiveWarning, path, (line or 0) + 1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Long options for the files, ini values for the policy and for the defaults of every check."""
    group = parser.getgroup("gradverify", "gradients")
    for kind in FILES:
        group.addoption(f"--gradverify-{kind}", metavar="PATH",
                        help=f"write every gradient report of this run to PATH as {kind.upper()}")
    policies = " | ".join(POLICIES)
    parser.addini("gradverify_inconclusive", f"what an inconclusive verdict does: {policies}", default="fail")
    for name in READ:
        parser.addini(f"gradverify_{name}", f"default of `{name}=` for every assert_gradients", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Read and check the settings, and begin to listen."""
    config.addinivalue_line("markers", MARKER)
    recorder = Recorder(_policy(config), _ini_options(config), _files(config), hasattr(config, "workerinput"))
    config.stash[RECORDER] = recorder
    config.pluginmanager.register(recorder, "gradverify-recorder")
    events.listeners.append(recorder.heard.append)
    events.policies.append(recorder.excuse)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop listening."""
    recorder = config.stash.get(RECORDER, None)
    if recorder is not None:
        events.listeners.remove(recorder.heard.append)
        events.policies.remove(recorder.excuse)


def _policy(config: pytest.Config) -> str:
    policy = str(config.getini("gradverify_inconclusive"))
    if policy not in POLICIES:
        raise pytest.UsageError(f"gradverify_inconclusive={policy!r}: must be one of {POLICIES}")
    return policy


def _ini_options(config: pytest.Config) -> dict[str, Any]:
    written = {name: str(config.getini(f"gradverify_{name}")) for name in READ}
    options = {name: _read(name, text) for name, text in written.items() if text}
    if options:  # the records are loaded for those alone who set something
        _validate(options, "ini value gradverify_", pytest.UsageError)
    return options


def _read(name: str, text: str) -> Any:
    try:
        return READ[name](text)
    except ValueError as error:
        raise pytest.UsageError(f"ini value gradverify_{name}={text!r}: {error}") from error


def _validate(options: Mapping[str, Any], where: str, problem: Callable[[str], BaseException]) -> None:
    from gradverify.records import Options

    try:
        Options(**options)
    except (TypeError, ValueError) as error:
        raise problem(f"{where}{error}") from error


def _files(config: pytest.Config) -> dict[str, Path]:
    given = {kind: config.getoption(f"--gradverify-{kind}") for kind in FILES}
    paths = {kind: config.invocation_params.dir / name for kind, name in given.items() if name}
    for kind, path in paths.items():
        if path.is_dir():
            raise pytest.UsageError(f"--gradverify-{kind}={path}: is a directory")
    return paths


@pytest.fixture(name="gradverify")
def gradverify_fixture() -> Callable[..., Report]:
    """`gradverify.assert_gradients`: call it with a target and its inputs."""
    return _assert_gradients


def _assert_gradients(target: Any, *inputs: Any, **options: Any) -> Report:
    __tracebackhide__ = True
    from gradverify.checking import assert_gradients

    return assert_gradients(target, *inputs, **events.with_defaults(options))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let the options of the ini file and of the test's markers hold while it runs."""
    recorder = item.config.stash[RECORDER]
    recorder.take()  # what a module asserted while it was imported belongs to no test
    recorder.item = item
    try:
        with events.defaults({**recorder.options, **_marked_options(item)}):
            return (yield)
    finally:
        recorder.item = None


def _marked_options(item: pytest.Item) -> dict[str, Any]:
    """The keywords of the markers; the one nearest to the test wins."""
    nearest_last = reversed(list(item.iter_markers("gradverify")))
    return {name: value for marker in nearest_last for name, value in marker.kwargs.items()}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marker that makes no sense is an error of its test, also where nothing is asserted."""
    if any(marker.args for marker in item.iter_markers("gradverify")):
        pytest.fail("marker gradverify: takes options by name, such as seed=3", pytrace=False)
    if options := _marked_options(item):
        _validate(options, "marker gradverify: ", _marker_failure)


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
    """Write the files asked for, once, in the process that heard of every test."""
    recorder = session.config.stash[RECORDER]
    if recorder.worker or session.config.option.collectonly:
        return
    reports = [each.report for each in recorder.tested]
    for kind, path in recorder.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _writer(kind)(reports, path)


def _writer(kind: str) -> Callable[[Sequence[Report], Path], None]:
    from gradverify.report import html, jsonfile

    return {"json": jsonfile.write, "html": html.write}[kind]


def pytest_report_header(config: pytest.Config) -> str | None:
    """The settings that differ from the defaults, if any."""
    recorder = config.stash[RECORDER]
    policy = {} if recorder.policy == "fail" else {"inconclusive": recorder.policy}
    settings = ", ".join(f"{name}={value}" for name, value in {**policy, **recorder.options}.items())
    return f"gradverify: {settings}" if settings else None


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """One line a target that did not pass, and a count; with -v every target, with -q the count."""
    recorder = config.stash[RECORDER]
    verbosity = config.option.verbose
    if not recorder.tested or verbosity < -1:
        return
    terminalreporter.write_sep("=", "gradverify")
    for each in recorder.tested:
        if verbosity > 0 or (verbosity == 0 and not each.report.ok and not each.passed):
            terminalreporter.write_line(_line(each), **{COLOURS[each.report.verdict.value]: True})
    terminalreporter.write_line(_count(recorder.tested))
    for kind, path in recorder.files.items():
        terminalreporter.write_line(f"{kind} written to {path}")


def _line(each: Tested) -> str:
    from gradverify.report import text, words

    head, target = text.HEADS[each.report.verdict], words.cut(each.report.target, 40)
    again = f"  {text.again_command(each.report)}" if each.report.again else ""
    return f"{head:<6}{target}  {text.result_text(each.report)}  [{each.nodeid}]{again}"


def _count(tested: Sequence[Tested]) -> str:
    from gradverify.report.text import summary_line

    expected = sum(each.passed and not each.report.ok for each in tested)
    aside = f"; {expected} not passing, in tests that passed" if expected else ""
    return summary_line([each.report for each in tested]) + aside
