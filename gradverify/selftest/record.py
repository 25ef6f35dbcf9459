"""What a self-test saw: counts, the worst agreement, and the smallest counterexample."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from gradverify import sheets
from gradverify.records import Cause, Sheet, Verdict
from gradverify.selftest.judging import Judgement
from gradverify.selftest.mutants import Mutant
from gradverify.strategies import Case

_SHOWN = 40  # events in the text of a report


@dataclass(frozen=True)
class Counterexample:
    """The smallest case that failed, the judgement on it, and what `check` says of the same network."""

    case: Case
    judgement: Judgement
    confirmed: str = ""

    def __str__(self) -> str:
        layers = f"{self.case.size} layer{'s' if self.case.size != 1 else ''}"
        lines = [f"FAIL  minimal counterexample, {layers}: {self.judgement.reason or 'another gradient'}"]
        if not math.isnan(self.judgement.expected):
            lines.append(f"      computed {self.judgement.computed:.12g}, expected {self.judgement.expected:.12g}; "
                         f"this probe resolves {self.judgement.bar:.1e}")
        lines += ["", "from gradverify.reference import *", "from gradverify.selftest import judge",
                  "from gradverify.strategies import *", "", f"print(judge({self.case!r}))"]
        return "\n".join(lines + (["", self.confirmed] if self.confirmed else []))


@dataclass
class Tally:
    """Counts that grow while networks are judged."""

    verdicts: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    worst: Judgement | None = None
    worst_case: Case | None = None

    def add(self, case: Case, judgement: Judgement, whole: str = "") -> None:
        """One more; `whole` is the verdict of `check` where that was asked."""
        if whole:
            self.checked[whole] += 1
        reason = f": {judgement.reason}" if judgement.verdict is Verdict.INCONCLUSIVE else ""
        self.verdicts[f"{judgement.verdict}{reason}"] += 1
        self.events.update(events_of(case))
        if judgement.verdict is Verdict.PASS and _further(judgement, self.worst):
            self.worst, self.worst_case = judgement, case

    @property
    def networks(self) -> int:
        """How many were judged."""
        return sum(self.verdicts.values())


def _further(one: Judgement, other: Judgement | None) -> bool:
    return other is None or one.agreement > other.agreement


def events_of(case: Case) -> set[str]:
    """What a case exercised, for the statistics."""
    names = {getattr(layer, "name", type(layer).__name__) for layer in case.architecture.layers}
    names |= {f"loss {type(case.loss).__name__}"} if case.loss is not None else set()
    return names | {f"upstream {case.upstream.layout}", "special entries" if case.point.entries else "normal values"}


@dataclass(frozen=True)
class SelftestReport:
    """`ok` where no network failed."""

    seed: int
    seconds: float
    tally: Tally
    failure: Counterexample | None = None
    interrupted: bool = False

    @property
    def verdict(self) -> Verdict:
        """`fail` with a counterexample, `pass` with at least one network that passed, else `inconclusive`."""
        if self.failure is not None:
            return Verdict.FAIL
        return Verdict.PASS if self.tally.verdicts["pass"] else Verdict.INCONCLUSIVE

    @property
    def ok(self) -> bool:
        """Whether the verdict is `pass`."""
        return self.verdict is Verdict.PASS

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def sheet(self) -> Sheet:
        """Every count as a row, the counterexample as a finding; what files and pages are made from."""
        tally = self.tally
        counts = (("verdict", tally.verdicts), ("check", tally.checked), ("event", tally.events))
        rows = tuple((what, name, count) for what, some in counts for name, count in some.most_common())
        return Sheet("selftest", "reference", str(self.verdict), self.ok, _headline(self), ("what", "name", "count"),
                     rows, _findings(self), notes=_notes(self))

    frame = sheets.frame
    to_json = sheets.to_json
    to_html = sheets.to_html
    _repr_html_ = sheets.fragment


def _headline(report: SelftestReport) -> str:
    networks = report.tally.networks
    rate = networks / report.seconds if report.seconds else 0.0
    return f"{networks} networks in {report.seconds:.1f} s ({rate:.0f} a second, seed {report.seed})"


def _findings(report: SelftestReport) -> tuple[Cause, ...]:
    if report.failure is None:
        return ()
    return (Cause("counterexample", "a gradient of the reference is not that of its forward", str(report.failure),
                  "run the lines of the evidence: they judge this network alone", 1.0),)


def _notes(report: SelftestReport) -> tuple[str, ...]:
    tally, notes = report.tally, ["interrupted: what was judged until then"] if report.interrupted else []
    if tally.worst is not None:
        notes.append(f"worst agreement of a pass {tally.worst.agreement:.1e}, its bar {tally.worst.bar:.1e}: "
                     f"{tally.worst_case!r}")
    return tuple(notes)


def _lines(report: SelftestReport) -> list[str]:
    tally, lines = report.tally, [_headline(report)]
    lines += ["  interrupted: what was judged until then"] if report.interrupted else []
    lines += _counts("verdicts", tally.verdicts) + _counts("check", tally.checked) + _counts("events", tally.events)
    if tally.worst is not None:
        lines.append(f"  worst agreement of a pass: {tally.worst.agreement:.1e} (its bar {tally.worst.bar:.1e})")
        lines.append(f"    {tally.worst_case!r}")
    lines.append("")
    lines.append(str(report.failure) if report.failure else f"{report.verdict}  no gradient of the reference failed")
    return lines


def _counts(name: str, counts: Counter[str]) -> list[str]:
    shown = ", ".join(f"{key} {count}" for key, count in counts.most_common(_SHOWN))
    return [f"  {name}: {shown}"] if counts else []


@dataclass(frozen=True)
class Hunt:
    """A planted bug: the counterexample that gave it away, after so many examples, or None."""

    mutant: Mutant
    failure: Counterexample | None
    drawn: int
    ran: int
    seconds: float

    @property
    def found(self) -> bool:
        """Whether it was."""
        return self.failure is not None

    def __str__(self) -> str:
        if self.failure is None:
            return f"planted  {self.mutant}\nmissed   in {self.ran} examples"
        seen = f"found    by example {self.drawn}, shrunk in {self.ran - self.drawn} more, {self.seconds:.1f} s"
        return f"planted  {self.mutant}\n{seen}\n\n{self.failure}"
