"""What a page shows of a check, as plain values: the template only places them.

Everything here is bounded: names, lines, entries and rows are cut so that a page of 500 checks
stays below a megabyte whatever the audited code called its things.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradverify.records import Cause, Check, Entry, Report, Verdict
from gradverify.report import sentences, text, words
from gradverify.report.figures import Maps, StepCurve, curve, heat, maps, relative_error

MOST_ROWS = 2000
MOST_NOTES = 24
NAME = 200
WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


@dataclass(frozen=True)
class Limits:
    """How much is shown of one check."""

    name: int
    text: int
    entries: int
    causes: int
    lines: int
    python: bool


@dataclass(frozen=True)
class Figures:
    """What is drawn of one check."""

    curve: StepCurve | None = None
    maps: Maps | None = None

    @property
    def size(self) -> int:
        """Characters of the page that they take, about."""
        return sum(figure.size for figure in (self.curve, self.maps) if figure is not None)


IN_FULL = 60
FULL, BRIEF = Limits(NAME, 1500, 12, 3, lines=8, python=True), Limits(80, 160, 0, 1, lines=2, python=False)
# A page of 500 checks stays below a megabyte whatever failed: figures have the room that texts leave, the first
# failures before the others. In characters: room for figures, what a failure's text takes of it, what is left anyway.
DRAWING, TEXT, LEAST_DRAWING = 620_000, 1_500, 30_000


@dataclass(frozen=True)
class Row:
    """One check as a row; `anchor` is empty where there is nothing more to read about it."""

    anchor: str
    verdict: str
    target: str
    leaf: str
    about: str
    result: str
    size: str
    oracle: str
    cost: str
    also: str  # found by a search, not shown: the names of causes


@dataclass(frozen=True)
class Pair:
    """An entry's two numbers: the digits they share, then the rest of each."""

    path: str
    same: str
    computed: str
    expected: str
    relative: str
    heat: int


@dataclass(frozen=True)
class Detail:
    """All there is to read about a check that did not pass."""

    row: Row
    sentence: str
    size: str
    advice: str
    pairs: tuple[Pair, ...]
    entries_left_out: int
    figures: Figures
    figures_left_out: bool
    causes: tuple[Cause, ...]
    lines: tuple[str, ...]
    again: str
    python: tuple[str, ...]
    confirmed: str


@dataclass(frozen=True)
class Remark:
    """The notes of one target, and the regimes that could not be tried on it."""

    target: str
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


def rows(reports: Sequence[Report]) -> list[Row]:
    """Every check, those that did not pass first, at most `MOST_ROWS`."""
    ranked = _ranked(reports)
    name = (FULL if len(ranked) <= IN_FULL else BRIEF).name
    return [row_of(check, f"c{number}", name) for number, (_, check) in enumerate(ranked[:MOST_ROWS])]


def details(reports: Sequence[Report], verdict: Verdict) -> list[Detail]:
    """All there is to read about the checks with this verdict; past `IN_FULL` of them the gist of each."""
    ranked, found = _ranked(reports)[:MOST_ROWS], []
    left = max(LEAST_DRAWING, DRAWING - TEXT * sum(not check.ok for _, check in ranked))
    for number, (report, check) in enumerate(ranked):
        if check.verdict is verdict:
            figures = Figures(curve(check), maps(check))
            left -= figures.size
            limits = FULL if number < IN_FULL else BRIEF
            found.append(_detail(f"c{number}", report, check, limits, figures if left > 0 else None))
    return found


def _ranked(reports: Sequence[Report]) -> list[tuple[Report, Check]]:
    pairs = [(report, check) for report in reports for check in report.checks]
    return sorted(pairs, key=lambda pair: WORST_FIRST.index(pair[1].verdict))


def remarks(reports: Sequence[Report]) -> list[Remark]:
    """The notes and skipped regimes of the targets that have any."""
    return [Remark(words.cut(report.target, NAME), _cut_all(report.notes), _cut_all(report.skipped))
            for report in reports if report.notes or report.skipped]


def _cut_all(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(words.cut(one, 2 * NAME) for one in texts[:MOST_NOTES])


def row_of(check: Check, anchor: str = "", name: int = NAME) -> Row:
    """One check as a row of any table."""
    mode = sentences.MODES.get(check.mode, f"{check.mode} mode")
    remarks = [check.output, sentences.ORDERS.get(check.order, ""), mode,
               "" if check.regime == sentences.GIVEN else check.regime]
    shape = " x ".join(map(str, check.shape)) or "scalar"
    return Row(
        anchor="" if check.ok else anchor, verdict=str(check.verdict), target=words.cut(check.target, name),
        leaf=words.cut(check.wrt, name), about=", ".join(words.cut(one, name) for one in remarks if one),
        result=words.cut_end(sentences.result(check), 2 * NAME), size=f"{words.cut(check.dtype, 40)} {shape}",
        oracle=sentences.oracles([check]),
        cost=f"{words.counted(check.evaluations, 'forward')}, {words.duration(check.seconds)}",
        also=" ".join(cause_names(check)))


def cause_names(check: Check) -> list[str]:
    """The likeliest cause's short name, in a list that is empty where there is none."""
    return [words.cut(max(check.causes, key=lambda cause: cause.strength).name, 40)] if check.causes else []


def _detail(anchor: str, report: Report, check: Check, room: Limits, figures: Figures | None) -> Detail:
    listed = check.entries or ((check.worst,) if check.worst else ())
    ranked = sorted(listed, key=_wrongness)[:room.entries]
    causes = sorted(check.causes, key=lambda cause: -cause.strength)[:room.causes]
    lines = words.clean_lines(check.detail, room.lines)
    return Detail(
        row=row_of(check, anchor, room.name), sentence=words.cut_end(sentences.result(check), room.text),
        size=sentences.off_by(check), advice=_advice(check),
        pairs=tuple(pair_of(entry) for entry in ranked),
        entries_left_out=max(check.wrong_entries, len(listed)) - len(ranked),
        figures=figures or Figures(), figures_left_out=figures is None,
        causes=tuple(_short_cause(cause, room.text) for cause in causes),
        lines=tuple(words.cut_end(line, room.text) for line in lines),
        again=words.cut(text.again_command(report), 2 * NAME), python=_python(report) if room.python else (),
        confirmed=sentences.oracles([check]))


def _wrongness(entry: Entry) -> float:
    size = relative_error(entry.computed, entry.expected)
    return -math.inf if math.isnan(size) else -size


def _python(report: Report) -> tuple[str, ...]:
    """The failure again in Python, for a debugger; nothing where the call was not saved under an ID."""
    identity = words.clean(report.again)
    if not identity.isalnum():
        return ()
    return ("import gradverify as gv", "from gradverify.saved import load", "",
            f'target, inputs, options = load("{identity[:NAME]}")', "print(gv.check(target, *inputs, **options))")


def _advice(check: Check) -> str:
    return sentences.inconclusive(check)[1] if check.verdict is Verdict.INCONCLUSIVE else ""


def _short_cause(cause: Cause, most: int) -> Cause:
    name, said, evidence, remedy = (words.cut_end(words.clean(part), most)
                                    for part in (cause.name, cause.text, cause.evidence, cause.remedy))
    return Cause(name, said or name, evidence, remedy, cause.strength)


def pair_of(entry: Entry) -> Pair:
    """The two numbers with the digits they share set apart: the eye goes to where they part."""
    computed, expected = words.two_numbers(entry.computed, entry.expected, padded=True)
    shared = next((i for i, (a, b) in enumerate(zip(computed, expected, strict=False)) if a != b), 0)
    same = computed[:shared] if _aligned(computed, expected) else ""
    size = relative_error(entry.computed, entry.expected)
    return Pair(words.cut(entry.path, NAME // 4), same, computed[len(same):], expected[len(same):],
                _size_words(entry, size), heat(size))


def _size_words(entry: Entry, size: float) -> str:
    if not (math.isfinite(entry.computed) and math.isfinite(entry.expected)):
        return "not finite"
    return words.relative(size) if math.isfinite(size) else "expected 0"


def _aligned(first: str, second: str) -> bool:
    wholes = [number.partition(".")[0] for number in (first, second)]
    return "e" not in first + second and len(wholes[0]) == len(wholes[1])
