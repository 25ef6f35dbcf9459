"""What a page shows of a check, as plain values: the template only places them.

Everything here is bounded: names, lines, entries and rows are cut so that a page of 500 checks
stays below a megabyte whatever the audited code called its things.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from gradverify.records import Cause, Check, Entry, Report, Verdict
from gradverify.report import sentences, text, words

MOST_ROWS = 2000
MOST_NOTES = 24
NAME = 200
WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
HEAT_LEVELS = 10
MOST_SIDE = 64  # of a map of a leaf; beyond it a cell would be a few pixels
MOST_LINES = 8


@dataclass(frozen=True)
class Limits:
    """How much is shown of one check."""

    name: int
    text: int
    entries: int
    causes: int


IN_FULL = 60
FULL, BRIEF = Limits(NAME, 1500, 12, 3), Limits(80, 160, 0, 1)
SQUARES = 25_000  # entries drawn in maps, over the whole page


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
class HeatMap:
    """Where a leaf is wrong, its last axis across: for each heat the path around its entries."""

    width: int
    height: int
    cell: int
    paths: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Detail:
    """All there is to read about a check that did not pass."""

    row: Row
    sentence: str
    size: str
    advice: str
    pairs: tuple[Pair, ...]
    entries_left_out: int
    where: HeatMap | None
    causes: tuple[Cause, ...]
    lines: tuple[str, ...]
    again: str
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
    squares, found = SQUARES, []
    for number, (report, check) in enumerate(_ranked(reports)[:MOST_ROWS]):
        if check.verdict is verdict:
            drawn = number < IN_FULL and len(check.entries) <= squares
            squares -= len(check.entries) if drawn else 0
            where = heat_map(check) if drawn else None
            found.append(_detail(f"c{number}", report, check, FULL if number < IN_FULL else BRIEF, where))
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
    remarks = [check.output, sentences.ORDERS.get(check.order, ""), f"{check.mode} mode",
               "" if check.regime == sentences.GIVEN else check.regime]
    shape = " x ".join(map(str, check.shape)) or "scalar"
    return Row(
        anchor="" if check.ok else anchor, verdict=str(check.verdict), target=words.cut(check.target, name),
        leaf=words.cut(check.wrt, name), about=", ".join(words.cut(one, name) for one in remarks if one),
        result=words.cut_end(sentences.result(check), 2 * NAME), size=f"{words.cut(check.dtype, 40)} {shape}",
        oracle=sentences.oracles([check]),
        cost=f"{words.counted(check.evaluations, 'forward')}, {words.duration(check.seconds)}")


def _detail(anchor: str, report: Report, check: Check, room: Limits, where: HeatMap | None) -> Detail:
    listed = check.entries or ((check.worst,) if check.worst else ())
    ranked = sorted(listed, key=lambda entry: -_or_infinite(relative_error(entry)))[:room.entries]
    causes = sorted(check.causes, key=lambda cause: -cause.strength)[:room.causes]
    return Detail(
        row=row_of(check, anchor, room.name), sentence=words.cut_end(sentences.result(check), room.text),
        size=sentences.off_by(check), advice=_advice(check),
        pairs=tuple(pair_of(entry) for entry in ranked),
        entries_left_out=max(check.wrong_entries, len(listed)) - len(ranked),
        where=where, causes=tuple(_short_cause(cause, room.text) for cause in causes),
        lines=tuple(words.cut_end(line, room.text) for line in words.clean_lines(check.detail, MOST_LINES)),
        again=words.cut(text.again_command(report), 2 * NAME), confirmed=sentences.oracles([check]))


def _advice(check: Check) -> str:
    return sentences.inconclusive(check)[1] if check.verdict is Verdict.INCONCLUSIVE else ""


def _short_cause(cause: Cause, most: int) -> Cause:
    name, said, evidence, remedy = (words.cut_end(words.clean(part), most)
                                    for part in (cause.name, cause.text, cause.evidence, cause.remedy))
    return Cause(name, said or name, evidence, remedy, cause.strength)


def relative_error(entry: Entry) -> float:
    """|computed - expected| / |expected|: infinite where only expected is 0, NaN where it has no sense."""
    distance = abs(entry.computed - entry.expected)
    if entry.expected == 0.0:
        return math.inf if distance > 0 else distance
    return distance / abs(entry.expected)


def _or_infinite(value: float) -> float:
    return math.inf if math.isnan(value) else value


def heat(size: float) -> int:
    """A level of relative error, one a decade: 9 is all wrong, 0 a billionth or less."""
    if math.isnan(size) or size >= 1:
        return HEAT_LEVELS - 1
    return 0 if size <= 0 else max(0, HEAT_LEVELS - 1 + math.ceil(math.log10(size) - 0.5))


def pair_of(entry: Entry) -> Pair:
    """The two numbers with the digits they share set apart: the eye goes to where they part."""
    computed, expected = words.two_numbers(entry.computed, entry.expected, padded=True)
    shared = next((i for i, (a, b) in enumerate(zip(computed, expected, strict=False)) if a != b), 0)
    same = computed[:shared] if _aligned(computed, expected) else ""
    size = relative_error(entry)
    return Pair(words.cut(entry.path, NAME // 4), same, computed[len(same):], expected[len(same):],
                _size_words(entry, size), heat(size))


def _size_words(entry: Entry, size: float) -> str:
    if not (math.isfinite(entry.computed) and math.isfinite(entry.expected)):
        return "not finite"
    return words.relative(size) if math.isfinite(size) else "expected 0"


def _aligned(first: str, second: str) -> bool:
    wholes = [number.partition(".")[0] for number in (first, second)]
    return "e" not in first + second and len(wholes[0]) == len(wholes[1])


def heat_map(check: Check) -> HeatMap | None:
    """The wrong entries as squares on the leaf, where it is small enough to draw and has two of them."""
    if not check.shape or len(check.entries) < 2:
        return None
    width, height = check.shape[-1], math.prod(check.shape[:-1])
    if not (0 < width <= MOST_SIDE and 0 < height <= MOST_SIDE):
        return None
    wrong = {(_row_number(entry.index, check.shape), entry.index[-1]): heat(relative_error(entry))
             for entry in check.entries if len(entry.index) == len(check.shape)}
    return HeatMap(width, height, max(5, min(20, 400 // max(width, height))), _runs(wrong))


def _runs(levels: Mapping[tuple[int, int], int]) -> tuple[tuple[int, str], ...]:
    """For each heat one path of rectangles, neighbours in a row joined."""
    paths: dict[int, str] = {}
    for (row, column), level in sorted(levels.items()):
        if levels.get((row, column - 1)) == level:
            continue
        length = next(n for n in count(1) if levels.get((row, column + n)) != level)
        paths[level] = f"{paths.get(level, '')}M{column} {row}h{length}v1h-{length}z"
    return tuple(sorted(paths.items()))


def _row_number(index: Sequence[int], shape: Sequence[int]) -> int:
    row = 0
    for position, size in zip(index[:-1], shape[:-1], strict=True):
        row = row * size + position
    return row
