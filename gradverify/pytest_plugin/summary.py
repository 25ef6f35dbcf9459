"""The section of a run's summary that is about gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradverify.pytest_plugin.recorder import Recorder, Tested
from gradverify.report import text, words

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def summarise(recorder: Recorder, terminal: TerminalReporter, verbosity: int) -> None:
    """One line a target that did not pass, and a count; what is acknowledged, and what no longer needs to be."""
    terminal.write_sep("=", "gradverify")
    for each in recorder.tested:
        if verbosity > 0 or (verbosity == 0 and not each.report.ok and not each.passed):
            terminal.write_line(_line(each), **{COLOURS[each.report.verdict.value]: True})
    known = [entry for each in recorder.tested for entry in recorder.acknowledgements(each.report)]
    for entry in dict.fromkeys(known if verbosity >= 0 else ()):
        terminal.write_line(f"known {words.cut(entry, 100)}")
    for entry in recorder.stale():
        terminal.write_line(f"stale acknowledgement: {words.cut(entry, 80)}: right now, remove it", yellow=True)
    terminal.write_line(_count(recorder))
    for kind, path in recorder.settings.files.items():
        if "shadow" not in kind:
            terminal.write_line(f"{kind} written to {path}")


def _line(each: Tested) -> str:
    head, target = text.HEADS[each.report.verdict], words.cut(each.report.target, 40)
    again = f"  {text.again_command(each.report)}" if each.report.again else ""
    return f"{head:<6}{target}  {text.result_text(each.report)}  [{each.nodeid}]{again}"


def _count(recorder: Recorder) -> str:
    tested: Sequence[Tested] = recorder.tested
    known = [each for each in tested if recorder.acknowledgements(each.report)]
    expected = sum(each.passed and not each.report.ok and each not in known for each in tested)
    aside = f"; {len(known)} acknowledged" if known else ""
    aside += f"; {expected} not passing, in tests that passed" if expected else ""
    return text.summary_line([each.report for each in tested]) + aside
