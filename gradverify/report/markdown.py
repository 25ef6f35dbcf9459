r"""Reports as Markdown, for a pull request, a step summary or a wiki.

Names from audited code stand in code spans or are escaped: nothing in them becomes markup.

>>> escaped("a|b <i>*c*"), code("x|`y`")
('a\\|b &lt;i&gt;\\*c\\*', '``x\\|`y` ``')
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from os import PathLike

from gradverify.records import Check, Report, Verdict
from gradverify.report import sentences, text, words
from gradverify.report.compare import Comparison
from gradverify.report.files import write_whole

MOST_ROWS, NAME, TEXT = 100, 80, 300
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$@])")


def escaped(said: str) -> str:
    """Text in which no character means anything to Markdown or HTML."""
    plain = words.clean(said).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)


def code(name: str) -> str:
    """A name as a code span that may stand in a table."""
    short = words.cut(name, NAME).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", short)), default=0))
    space = " " if short.endswith("`") or not short else ""
    return f"{fence}{space if short.startswith('`') or not short else ''}{short}{space}{fence}"


def render(reports: Sequence[Report], title: str = "Gradients") -> str:
    """The outcome, then a table of what is wrong, what is undecided, and what passed."""
    lines = [f"## {escaped(title)}", "", escaped(text.summary_line(reports)), ""]
    for verdict, heading, columns in (
            (Verdict.FAIL, "Wrong gradients", ("target", "leaf", "result", "cause", "again")),
            (Verdict.INCONCLUSIVE, "Not decided", ("target", "leaf", "what stood in the way", "try"))):
        found = [(report, check) for report in reports for check in report.checks if check.verdict is verdict]
        if found:
            make = _failure if verdict is Verdict.FAIL else _undecided
            lines += [f"### {heading}", "", *_table(columns, [make(*pair) for pair in found]), ""]
    passed = [report for report in reports if report.ok]
    if passed:
        rows = [(code(report.target), escaped(sentences.precision(report.checks) or "holds")) for report in passed]
        lines += ["<details><summary>Right gradients</summary>", "", *_table(("target", "how well"), rows), "",
                  "</details>", ""]
    return "\n".join(lines)


def _failure(report: Report, check: Check) -> tuple[str, ...]:
    cause = max(check.causes, key=lambda cause: cause.strength) if check.causes else None
    size = sentences.off_by(check)
    result = words.cut_end(sentences.result(check) + (f"; {size}" if size else ""), TEXT)
    said = escaped(words.cut_end(f"{cause.text or cause.name}; {cause.remedy}", TEXT)) if cause else ""
    again = text.again_command(report)
    return (code(report.target), code(sentences.leaf_label(check)), escaped(result), said, code(again) if again else "")


def _undecided(report: Report, check: Check) -> tuple[str, ...]:
    seen, advice = sentences.inconclusive(check)
    return (code(report.target), code(sentences.leaf_label(check)), escaped(words.cut_end(seen, TEXT)),
            escaped(words.cut_end(advice, TEXT)))


def _table(columns: Iterable[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = list(columns)
    lines = [_line(head), _line(["---"] * len(head)), *map(_line, rows[:MOST_ROWS])]
    return lines + ([f"\nand {len(rows) - MOST_ROWS} more"] if len(rows) > MOST_ROWS else [])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def render_comparison(found: Comparison, title: str = "Gradients, then and now") -> str:
    """What changed between two runs, one table a kind of change."""
    lines = [f"## {escaped(title)}", "", escaped(found.summary), ""]
    for kind, changes in found.by_kind():
        rows = [(code(change.target), code(change.leaf), escaped(change.then), escaped(change.now))
                for change in changes]
        lines += [f"### {escaped(kind.capitalize())}", "", *_table(("target", "leaf", "then", "now"), rows), ""]
    return "\n".join(lines)


def write(said: str, path: str | PathLike[str]) -> None:
    """Write the page; an older one is replaced in one step."""
    write_whole(path, said)
