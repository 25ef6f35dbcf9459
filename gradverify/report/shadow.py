"""What a recheck of other people's checks found, as lines of a terminal and as JSON.

A finding has the attributes `checker`, `where`, `said`, `kind`, `reports`, `reason` and `nodeid`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any

from gradverify.records import Report, Verdict
from gradverify.report import jsonfile, text, words
from gradverify.report.files import write_whole

SCHEMA_VERSION = 1
SHOWN = ("missed", "false alarm")
MOST = 40
MEANING = {"missed": "it let a wrong derivative pass", "false alarm": "it refused a right one",
           "undecided": "gradverify cannot decide", "not rechecked": "gradverify was not asked"}


def encode(findings: Iterable[Any]) -> list[dict[str, Any]]:
    """The findings as plain data, their reports as in the other JSON files."""
    return [{**vars(each), "kind": str(each.kind), "reports": jsonfile.to_dict(each.reports)} for each in findings]


def write(findings: Sequence[Any], path: str | PathLike[str]) -> None:
    """Write the findings as JSON; an older file is replaced in one step."""
    content = {"schema_version": SCHEMA_VERSION, "gradverify": words.version(), "findings": encode(findings)}
    write_whole(path, json.dumps(content, allow_nan=False, indent=1) + "\n")


def lines(findings: Sequence[Any], *, verbose: bool) -> list[str]:
    """Three lines for each thing found, alike ones together, and a count of all."""
    shown = [each for each in findings if verbose or each.kind in SHOWN]
    groups: dict[tuple[str, ...], list[Any]] = {}
    for each in shown:
        groups.setdefault((each.kind, each.checker, each.where, said_of(each)), []).append(each)
    found = [line for group in list(groups.values())[:MOST] for line in _lines(group)]
    more = [f"and {len(groups) - MOST} more; --gradverify-shadow-json has them all"] if len(groups) > MOST else []
    return [*found, *more, summary(findings)]


def _lines(group: Sequence[Any]) -> list[str]:
    first = group[0]
    times = f" and {len(group) - 1} more" if len(group) > 1 else ""
    head = f"{first.kind}: {first.checker} at {words.cut(first.where, 50)}: {MEANING.get(first.kind, 'both agree')}"
    return [words.cut_end(head, text.WIDTH), f"      {words.cut_end(said_of(first), text.WIDTH - 6)}",
            f"      [{words.cut(first.nodeid, text.WIDTH - 20)}]{times}"]


def said_of(finding: Any) -> str:
    """What gradverify says of the call, in one line: the worst of its reports."""
    if not finding.reports:
        return words.clean(finding.reason)
    worst = max(finding.reports, key=lambda report: _ORDER[report.verdict])
    return f"{text.HEADS[worst.verdict]} {words.cut(worst.target, 30)}  {text.result_text(worst)}{_cause(worst)}"


_ORDER = {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 1, Verdict.FAIL: 2}


def _cause(report: Report) -> str:
    causes = [cause.name for check in report.checks for cause in check.causes if check.verdict is Verdict.FAIL]
    return f"; cause {words.clean(causes[0])}" if causes else ""


def summary(findings: Sequence[Any]) -> str:
    """``14 calls rechecked beside their own verdict: 12 agreed, 1 missed, 1 false alarm (2 s)``."""
    kinds = [str(each.kind) for each in findings]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("agreed", *MEANING) if kind in kinds)
    seconds = words.duration(sum(report.seconds for each in findings for report in each.reports))
    total = words.counted(len(findings), "call")
    return f"{total} of other checkers: {counts} ({seconds}); no test changed its outcome" if findings else (
        "no call of another gradient checker was heard")
