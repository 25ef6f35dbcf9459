"""Two runs side by side: what is newly wrong, what was mended, what is resolved less well than before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gradverify.records import Check, Report, Verdict
from gradverify.report import sentences, words

KINDS = ("newly wrong", "no longer decided", "still wrong", "mended", "decided now", "coarser", "new", "gone")
COARSER = 100.0  # times the resolution of before: less is the luck of a seed

Key = tuple[str, str, str, int, str, str]


@dataclass(frozen=True)
class Change:
    """One leaf of one target in two runs; an empty sentence where a run did not have it."""

    kind: str
    target: str
    leaf: str
    then: str
    now: str


@dataclass(frozen=True)
class Comparison:
    """Everything that differs, and everything that is still wrong."""

    changes: tuple[Change, ...]
    compared: int

    @property
    def worse(self) -> bool:
        """Whether something is wrong that was not, or is new and wrong."""
        return any(change.kind == "newly wrong" for change in self.changes)

    @property
    def summary(self) -> str:
        """One line: how many checks were compared, and how many changed in which way."""
        counts = [f"{len(changes)} {kind}" for kind, changes in self.by_kind()]
        return f"{words.counted(self.compared, 'check')} compared: {', '.join(counts) or 'nothing changed'}"

    def by_kind(self) -> list[tuple[str, list[Change]]]:
        """The changes of each kind that there are, the worst kind first."""
        found = [(kind, [change for change in self.changes if change.kind == kind]) for kind in KINDS]
        return [(kind, changes) for kind, changes in found if changes]

    def __str__(self) -> str:
        lines = [line for kind, changes in self.by_kind() for change in changes for line in _lines(kind, change)]
        return "\n".join([*lines, self.summary])


def _lines(kind: str, change: Change) -> list[str]:
    head = f"{kind}  {words.cut(change.target, 60)}  {words.cut(change.leaf, 40)}"
    said = [f"      {when:<5}{words.cut_end(words.clean(what), 98)}"
            for when, what in (("then", change.then), ("now", change.now)) if what]
    return [head, *said]


def compare(then: Sequence[Report], now: Sequence[Report]) -> Comparison:
    """What changed, check by check; checks are the same if target, leaf, output, order, mode and regime are.

    A failure that a search found may stand at another point each time: it is compared as what it is,
    a check that one run has and the other has not.
    """
    before, after = _by_key(then), _by_key(now)
    changes = [_change(key, before.get(key), after.get(key)) for key in {**before, **after}]
    known = [change for change in changes if change is not None]
    return Comparison(tuple(sorted(known, key=lambda change: KINDS.index(change.kind))), len(before | after))


def _by_key(reports: Iterable[Report]) -> dict[Key, Check]:
    """The worst check of each key: parametrised tests may check one target many times."""
    found: dict[Key, Check] = {}
    for report in reports:
        for check in report.checks:
            key = (report.target, check.wrt, check.output, check.order, check.mode, check.regime)
            if key not in found or _rank(check) > _rank(found[key]):
                found[key] = check
    return found


def _rank(check: Check) -> tuple[int, float]:
    order = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
    return order.index(check.verdict), check.resolution if math.isfinite(check.resolution) else 0.0


def _change(key: Key, then: Check | None, now: Check | None) -> Change | None:
    kind = _kind(then, now)
    either = now or then
    if not kind or either is None:
        return None
    return Change(kind, key[0], sentences.leaf_label(either), *(_said(check) for check in (then, now)))


def _kind(then: Check | None, now: Check | None) -> str:
    if now is None:
        return "gone"
    if now.verdict is Verdict.FAIL:
        return "still wrong" if then is not None and then.verdict is Verdict.FAIL else "newly wrong"
    if then is None:
        return "new"
    if now.verdict is Verdict.INCONCLUSIVE:
        return "no longer decided" if then.verdict is Verdict.PASS else ""
    return {Verdict.FAIL: "mended", Verdict.INCONCLUSIVE: "decided now"}.get(then.verdict, _coarser(then, now))


def _coarser(then: Check, now: Check) -> str:
    return "coarser" if now.resolution > COARSER * then.resolution > 0 else ""


def _said(check: Check | None) -> str:
    return f"{check.verdict}: {sentences.result(check)}" if check is not None else ""


def merged(runs: Iterable[Sequence[Report]]) -> tuple[Report, ...]:
    """The reports of several runs in order; one that two files both hold is there once."""
    found: dict[str, Report] = {}
    for run in runs:
        for report in run:
            found.setdefault(repr(report), report)  # NaN is not equal to itself; its text is
    return tuple(found.values())
