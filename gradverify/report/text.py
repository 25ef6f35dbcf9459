"""Reports as plain text for terminals, assertion messages and logs.

A failing report takes at most `LINES` lines of `WIDTH` columns, whatever failed and however long
the names are: the worst first, what is left out counted.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradverify.records import Cause, Check, Report, Verdict
from gradverify.report import sentences, words

if TYPE_CHECKING:
    from rich.table import Table

WIDTH, LINES = 110, 25
MOST_BLOCKS = 4
HEADS = {Verdict.PASS: "pass", Verdict.FAIL: "FAIL", Verdict.INCONCLUSIVE: "?"}
STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "yellow"}
INDENT = " " * 6

Lines = list[str]


def report_text(report: Report, width: int = WIDTH) -> str:
    """What was wrong or how well it passed, in the fewest lines that say it."""
    tail = _tail(report, width)
    blocks = _blocks(report, width)
    shown: Lines = []
    for number, block in enumerate(blocks):
        # One line stays free for "and N more".
        if number and (number == MOST_BLOCKS or len(shown) + len(block) + len(tail) >= LINES):
            shown += _more(report, number, len(blocks))
            break
        shown += block
    return "\n".join(words.cut_end(line, width).rstrip() for line in shown + tail)


def _blocks(report: Report, width: int) -> list[Lines]:
    failed = in_order(_of(report, Verdict.FAIL))
    if failed:
        several = len({check.output for check in report.checks}) > 1
        return [_failure(report, failed, number, several, width) for number in range(len(failed))]
    return [_inconclusive(report, group, width) for group in _groups(_of(report, Verdict.INCONCLUSIVE))]


def _more(report: Report, shown: int, blocks: int) -> Lines:
    failed = in_order(_of(report, Verdict.FAIL))[shown:]
    leaves = words.listed((sentences.leaf_label(check) for check in failed), 70)
    return [f"{INDENT}and {blocks - shown} more" + (f": {leaves}" if leaves else "")]


def in_order(checks: Sequence[Check]) -> list[Check]:
    """At the given point before elsewhere, first order before second."""
    return sorted(checks, key=lambda check: (check.regime not in sentences.HERE, check.order))


def _of(report: Report, verdict: Verdict) -> list[Check]:
    return [check for check in report.checks if check.verdict is verdict]


def _head(verdict: Verdict, target: str) -> str:
    return f"{HEADS[verdict]:<6}{words.cut(target, 40)}  "


def _fold(first: str, text: str, width: int, most: int) -> Lines:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=INDENT + " " * 7,
                         max_lines=most, placeholder=" ...", break_on_hyphens=False)


def _field(label: str, text: str, width: int, most: int) -> Lines:
    return _fold(f"{INDENT}{label:<7}", text, width, most) if text else []


def _failure(report: Report, failed: Sequence[Check], number: int, several: bool, width: int) -> Lines:
    check, most = failed[number], 1 if number else 3
    head = _head(Verdict.FAIL, report.target) + sentences.leaf_label(check, with_output=several) + "  "
    said = sentences.failure(check)
    if check.regime in sentences.HERE:
        lines = _fold(head, said, width, min(most + 1, 2))
    else:
        lines = _fold(head, sentences.ELSEWHERE + words.cut(check.regime, 150), width, 2)
        lines += _fold(INDENT, said, width, 1)
    lines += _fold(INDENT, sentences.off_by(check), width, 1)
    return lines + _explanation(check, failed[:number], width, most)


def _explanation(check: Check, before: Sequence[Check], width: int, most: int) -> Lines:
    if not check.causes:
        said = words.clean_lines(check.detail, most)
        return [line for text in said for line in _fold(INDENT, text, width, 1)]
    cause = check.causes[0]
    same = [other for other in before if other.causes and other.causes[0].text == cause.text]
    if same:
        return _field("cause", f"as for {words.cut(same[0].wrt, 40)}", width, 1)
    return [*_field("cause", _cause_text(cause), width, most),
            *_field("try", words.clean(cause.remedy), width, min(most, 2))]


def _cause_text(cause: Cause) -> str:
    text, evidence = words.clean(cause.text or cause.name), words.clean(cause.evidence)
    return f"{text} ({evidence})" if evidence and evidence not in text else text


def _groups(checks: Sequence[Check]) -> list[list[Check]]:
    groups: dict[tuple[Any, ...], list[Check]] = {}
    for check in checks:
        key = (check.reason, check.detail, check.regime, check.order, check.mode)
        groups.setdefault(key, []).append(check)
    return list(groups.values())


def _inconclusive(report: Report, group: Sequence[Check], width: int) -> Lines:
    check = max(group, key=lambda one: one.resolution)
    seen, advice = sentences.inconclusive(check)
    leaves = words.listed((sentences.leaf_label(one) for one in group), 50)
    head = _head(Verdict.INCONCLUSIVE, report.target)
    lines = _fold(f"{head}{leaves}  ", f"inconclusive: {seen}", width, 2)
    lines += _fold(INDENT, advice, width, 2)
    trace = words.clean_lines(check.detail, 3)
    return lines + [words.cut_end(f"{INDENT}  {line}", width) for line in trace if len(trace) > 1]


def _tail(report: Report, width: int) -> Lines:
    lines = _aside(report, width) + _passed(report, width)
    for note in report.notes[:2]:
        lines += _field("note", words.clean(note), width, 1)
    if len(report.notes) > 2:
        lines.append(f"{INDENT}and {words.counted(len(report.notes) - 2, 'more note')}")
    return lines + _again(report, width)


def _aside(report: Report, width: int) -> Lines:
    undecided = _of(report, Verdict.INCONCLUSIVE)
    if report.checks and (not undecided or report.verdict is not Verdict.FAIL):
        return []
    leaves = words.listed((sentences.leaf_label(check) for check in undecided), 60)
    reasons = words.listed((sentences.reason_words(check.reason)[0] for check in undecided), 300)
    return _fold(_head(Verdict.INCONCLUSIVE, report.target), f"{leaves}  inconclusive: {reasons}"
                 if undecided else "inconclusive: nothing was checked", width, 2)


def _passed(report: Report, width: int) -> Lines:
    wrong = {check.wrt for check in _of(report, Verdict.FAIL) if check.regime in sentences.HERE}
    passed = [check for check in _of(report, Verdict.PASS) if check.wrt not in wrong]
    if not passed:
        return []
    leaves = words.listed((words.cut(check.wrt, 30) for check in passed), 45)
    orders = sorted({check.order for check in passed})
    which = f", orders {words.joined(map(str, orders))}" if orders[-1] > 1 else ""
    how_well = sentences.precision(passed)
    text = f"{leaves}  {how_well}{which}".rstrip()
    return _fold(_head(Verdict.PASS, report.target), f"{text}  ({cost(report)})", width, 2)


def cost(report: Report) -> str:
    """``11 forwards, 4 backwards, 2 ms``, and the regimes that could not be tried."""
    parts = [words.counted(report.forwards, "forward"), words.counted(report.backwards, "backward")]
    parts += [words.duration(report.seconds)]
    if report.skipped:
        parts.append(f"{words.counted(len(report.skipped), 'regime')} skipped")
    return ", ".join(parts)


def _again(report: Report, width: int) -> Lines:
    failed = _of(report, Verdict.FAIL)
    if not report.again or not failed:
        return []
    names = sentences.oracles(failed)
    confirmed = f"        confirmed by {names}" if names else ""
    return _field("again", again_command(report) + confirmed, width, 2)


def again_command(report: Report) -> str:
    """The line that shows the failure again."""
    known = words.clean(report.again)
    return known if " " in known or not known else f"gradverify again {known}"


def result_text(report: Report) -> str:
    """The report in one sentence, worst check first, for a row of a table."""
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        checks = in_order(_of(report, verdict))
        if checks:
            more = f"; and {len(checks) - 1} more" if len(checks) > 1 else ""
            return f"{sentences.leaf_label(checks[0])}  {sentences.result(checks[0])}{more}"
    return sentences.precision(report.checks) or ("holds" if report.checks else "nothing was checked")


def table(reports: Sequence[Report]) -> Table:
    """A `rich` table for the command line, one row a target; nothing in it is read as markup."""
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
    for column in ("verdict", "target", "result"):
        rows.add_column(column, overflow="fold")
    rows.add_column("time", justify="right", no_wrap=True)
    for report in reports:
        rows.add_row(Text(HEADS[report.verdict], STYLES[report.verdict]), Text(words.cut(report.target, 60)),
                     Text(result_text(report)), Text(words.duration(report.seconds), "dim"))
    return rows


def summary_line(reports: Sequence[Report]) -> str:
    """``12 targets: 9 pass, 2 fail, 1 inconclusive (310 checks, 3.2 s)``."""
    verdicts = [report.verdict for report in reports]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict if verdict in verdicts)
    checks = sum(len(report.checks) for report in reports)
    seconds = words.duration(sum(report.seconds for report in reports))
    total = words.counted(len(reports), "target")
    return f"{total}: {counts} ({words.counted(checks, 'check')}, {seconds})" if reports else total
