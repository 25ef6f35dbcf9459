"""Annotations and a step summary, where a run is one of GitHub Actions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gradverify.pytest_plugin.recorder import Recorder, Tested
from gradverify.report import github

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

MOST_ANNOTATIONS = 50


def tell_github(recorder: Recorder, terminal: TerminalReporter, config: pytest.Config) -> None:
    """One annotation for each test that a gradient failed, and all targets in the summary of the step."""
    failed = [each for each in recorder.tested if not each.report.ok and not each.passed]
    for each in failed[:MOST_ANNOTATIONS]:
        terminal.write_line(github.annotation(each.report, _file(each, config), each.line))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(github.step_summary([each.report for each in recorder.tested]))


def _file(each: Tested, config: pytest.Config) -> str:
    """The file as GitHub knows it: from the root of the checkout."""
    path = (config.rootpath / each.file).resolve()
    root = Path(os.environ.get("GITHUB_WORKSPACE", config.rootpath)).resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
