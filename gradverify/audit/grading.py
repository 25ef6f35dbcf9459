"""Many submissions against one list of functions: a row for each of both, whatever the submission does."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from gradverify.audit.discovery import find_candidates
from gradverify.audit.journal import write_rows
from gradverify.audit.pool import Plan, Progress, run
from gradverify.audit.record import AuditEntry, AuditReport, Candidate
from gradverify.audit.sources import find_sources
from gradverify.records import Check, Verdict

HINTS = ("none", "place", "cause")


@dataclass(frozen=True)
class Task:
    """A function that every submission has to have, and what it is worth."""

    symbol: str
    points: float

    def is_in(self, candidate: Candidate) -> bool:
        """Whether a candidate is this function: ``layers:Dense`` in any folder, ``Dense`` in any file."""
        module, _, name = candidate.symbol.rpartition(":")
        wanted, _, own = self.symbol.rpartition(":")
        return own == name and (not wanted or wanted == module or module.endswith(f".{wanted}"))


@dataclass(frozen=True)
class Spec:
    """What is graded: the tasks, and the seed that gives everybody the same points."""

    tasks: tuple[Task, ...]
    seed: int = 0


@dataclass(frozen=True)
class Grade:
    """One function of one submission: `outcome` is a verdict, ``missing`` or ``not tried``."""

    submission: str
    symbol: str
    outcome: str
    points: float
    possible: float
    hint: str = ""
    entry: AuditEntry | None = None


def read_spec(path: str | PathLike[str]) -> Spec:
    """The spec in a TOML file: ``seed = 0`` and a ``[[function]]`` with ``symbol`` and ``points`` for each.

    ValueError for a file that says anything else.
    """
    with Path(path).open("rb") as file:
        try:
            content = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML: {error}") from error
    rows = content.get("function", [])
    if not rows or any(not isinstance(row.get("symbol"), str) for row in rows):
        raise ValueError(f"{path}: needs a [[function]] with symbol = 'module:name' for each function")
    tasks = tuple(Task(row["symbol"], float(row.get("points", 1))) for row in rows)
    return Spec(tasks, int(content.get("seed", 0)))


def grade(
    pattern: str, spec: Spec, plan: Plan, hints: str = "none", progress: Progress | None = None
) -> tuple[Grade, ...]:
    """A row for every submission and function: submissions are what `pattern` matches, in its order."""
    if hints not in HINTS:
        raise ValueError(f"hints={hints!r}: must be one of {HINTS}")
    root, relative = (Path("/"), pattern[1:]) if pattern.startswith("/") else (Path(), pattern)
    submissions = sorted(str(path) for path in root.glob(relative) if not path.name.startswith("."))
    if not submissions:
        raise ValueError(f"{pattern}: matches nothing")
    found = {(s, task): _candidate(s, task) for s in submissions for task in spec.tasks}
    wanted = [candidate for candidate in found.values() if candidate is not None]
    entries, _ = run(wanted, plan, progress)
    by_candidate = dict(zip(map(id, wanted), entries, strict=True))
    rows = [(s, task, by_candidate.get(id(c)) if c else None) for (s, task), c in found.items()]
    return tuple(replace(_grade(s, task, entry, hints), entry=entry) for s, task, entry in rows)


def as_report(grades: Sequence[Grade]) -> AuditReport:
    """Everything that was found, hints aside: an entry a row, as ``submission/module:name``."""
    entries = [grade.entry or AuditEntry(grade.symbol, "", reason="no such function, or no derivative beside it")
               for grade in grades]  # fmt: skip
    named = [replace(e, symbol=f"{grade.submission}/{e.symbol}") for grade, e in zip(grades, entries, strict=True)]
    return AuditReport(tuple(named))


def _candidate(submission: str, task: Task) -> Candidate | None:
    """The function of a task in a submission; else the file that could not be read, else None."""
    candidates = [c for source in find_sources([submission], notebooks=True) for c in find_candidates(source)]
    fitting = [c for c in candidates if task.is_in(c)]
    unreadable = [c for c in candidates if c.kind == "file" and task.symbol.startswith(f"{c.source.module}:")]
    return next(iter(fitting or unreadable), None)


def _grade(submission: str, task: Task, entry: AuditEntry | None, hints: str) -> Grade:
    name = Path(submission).name
    if entry is None:
        text = "no such function, or no derivative beside it" if hints != "none" else ""
        return Grade(name, task.symbol, "missing", 0.0, task.points, text)
    if entry.report is None:
        return Grade(name, task.symbol, "not tried", 0.0, task.points, entry.reason if hints != "none" else "")
    points = task.points if entry.verdict is Verdict.PASS else 0.0
    return Grade(name, task.symbol, entry.verdict.value, points, task.points, _hint(entry.report.checks, hints))


def _hint(checks: Sequence[Check], hints: str) -> str:
    failed = [c for c in checks if c.verdict is not Verdict.PASS]
    if hints == "none" or not failed:
        return ""
    first = failed[0]
    place = first.worst.path if first.worst is not None else first.wrt
    if hints == "place":
        return place
    cause = f"{first.causes[0].text}; {first.causes[0].remedy}" if first.causes else first.reason
    return f"{place}: {cause}"


_COLUMNS = ("submission", "symbol", "outcome", "points", "possible", "hint")


def write_grades(grades: Sequence[Grade], path: str | PathLike[str]) -> None:
    """The grades as CSV, whole or not at all."""
    write_rows(path, _COLUMNS, [tuple(getattr(grade, column) for column in _COLUMNS) for grade in grades])
