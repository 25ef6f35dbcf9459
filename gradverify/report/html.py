"""Reports as one page that needs nothing else: no network, no file beside it.

The page's own policy (Content-Security-Policy) forbids every request, and any style or script but
the two it carries, so a name that slipped through the escaping could still do nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradverify.records import Report, Verdict, worst_verdict
from gradverify.report import sentences, text, views, words
from gradverify.report.files import write_whole

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
OPEN_AT_MOST = 3
FRAGMENT_ROWS = 40
MOST_CAUSES = 12


def write(reports: Sequence[Report], path: str | PathLike[str]) -> None:
    """Write the page; an older one is replaced in one step."""
    write_whole(path, page(reports))


def page(reports: Sequence[Report], title: str = "Gradients") -> str:
    """The whole page: overview, what failed and why, what is undecided, and every check."""
    failures = list(views.details(reports, Verdict.FAIL))
    undecided = list(views.details(reports, Verdict.INCONCLUSIVE))
    rows = views.rows(reports)
    total = sum(len(report.checks) for report in reports)
    verdict = str(worst_verdict(_verdicts(reports)))
    return environment().get_template("page.html").render(
        title=words.cut(title, views.NAME), headline=headline(reports), verdict=verdict,
        summary=text.summary_line(reports), counts=_counts(reports), total=total, rows=rows,
        left_out=total - len(rows), failures=failures, undecided=undecided, remarks=views.remarks(reports),
        open_at_most=OPEN_AT_MOST, version=words.version(), causes=_causes(reports), reasons=_reasons(reports),
        style=asset("style.css"), script=asset("script.js"),
        style_hash=digest("style.css"), script_hash=digest("script.js"))


def fragment(report: Report) -> str:
    """A small table for notebooks, legible on a light and on a dark background."""
    checks = sorted(report.checks, key=lambda check: check.ok)
    again = text.again_command(report) if report.verdict is Verdict.FAIL else ""
    return environment().get_template("fragment.html").render(
        target=words.cut(report.target, views.NAME), verdict=str(report.verdict), cost=text.cost(report),
        rows=[views.row_of(check) for check in checks[:FRAGMENT_ROWS]], left_out=len(checks[FRAGMENT_ROWS:]),
        again=words.cut(again, 2 * views.NAME))


def headline(reports: Sequence[Report]) -> str:
    """The outcome in one sentence."""
    verdicts = _verdicts(reports)
    failed, undecided = verdicts.count(Verdict.FAIL), verdicts.count(Verdict.INCONCLUSIVE)
    total = words.counted(len(verdicts), "target")
    if failed:
        return f"{failed} of {total} {'has' if failed == 1 else 'have'} a wrong gradient."
    if undecided:
        return f"No gradient is wrong; {undecided} of {total} could not be decided."
    return f"Every gradient is right: {total}." if verdicts else "Nothing was checked."


def _verdicts(reports: Sequence[Report]) -> list[Verdict]:
    return [report.verdict for report in reports]


def _counts(reports: Sequence[Report]) -> dict[str, int]:
    verdicts = [check.verdict for report in reports for check in report.checks]
    return {str(verdict): verdicts.count(verdict) for verdict in views.WORST_FIRST}


def _causes(reports: Sequence[Report]) -> list[tuple[str, int]]:
    """What is wrong and how often, the most frequent first."""
    names = Counter(name for report in reports for check in report.checks for name in views.cause_names(check))
    return names.most_common(MOST_CAUSES)


def _reasons(reports: Sequence[Report]) -> list[tuple[str, str]]:
    seen = {check.reason for report in reports for check in report.checks
            if check.verdict is Verdict.INCONCLUSIVE and check.reason in sentences.REASONS}
    return [(reason, sentences.REASONS[reason][0]) for reason in sorted(seen)]


@cache
def environment() -> Environment:
    """The templates beside this module, escaping whatever they are given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)


@cache
def asset(name: str) -> Any:
    """A file of our own, put into a page as it is."""
    from markupsafe import Markup

    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file


def digest(name: str) -> str:
    """What the page's policy knows that file by."""
    return b64encode(sha256(str(asset(name)).encode("utf-8")).digest()).decode("ascii")
