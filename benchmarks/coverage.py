"""How often the bounds of the oracles cover the truth, and how much larger than the error they are.

    python benchmarks/coverage.py --draws 20400 --others 100 [--store FOLDER]

Writes reports/coverage.md and reports/coverage.csv: finite differences taken as far as they go, a row a family;
then every other way to ask on so many draws of each family, a row each; then every miss. With a folder to store what
is done, a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import math
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from families import FAMILIES, Case, Family, draw_case
from peers import of_array

import gradverify as gv
from gradverify.oracles.finite import finite, second_opinion
from gradverify.oracles.higher import Question, foreign
from gradverify.oracles.opinion import FOREIGN
from gradverify.records import Estimate

FINE = 1e-6
MOST_NOTES = 6
REPORTS = Path(__file__).parents[1] / "reports"
HEAD = ("family", "draws", "coverage", "infinite", "median relative bound", "share within goal",
        "goal", "median bound/error", "median evaluations", "most evaluations", "reasons")


@dataclass(frozen=True)
class Trial:
    """One estimate beside the truth."""

    seed: int
    case: Case
    found: Estimate
    way: str = ""

    @property
    def truth(self) -> float:
        """The slope nearest to the estimate: at a kink either one will do."""
        return min(self.case.slopes, key=lambda s: abs(s - self.found.value))

    @property
    def bounded(self) -> bool:
        """Whether a bound was given at all."""
        return math.isfinite(self.found.error)

    @property
    def missed(self) -> bool:
        """Whether a bound was given and does not hold for both slopes, where there are two."""
        left, right = self.case.slopes
        return self.bounded and not (self.found.covers(left) and self.found.covers(right))

    @property
    def relative(self) -> float:
        """The bound in units of the derivative's scale."""
        return self.found.error / self.case.scale if self.case.scale else math.inf

    @property
    def looseness(self) -> float:
        """The bound over the error, nan where either says nothing."""
        error = abs(self.found.value - self.truth)
        return self.found.error / error if error and self.bounded else math.nan


Ask = Callable[[Case], Estimate]


def run(family: Family, draws: int, first: int, ask: Ask, order: int = 1, way: str = "") -> list[Trial]:
    """So many cases of one family."""
    cases = ((seed, draw_case(family, seed, order)) for seed in range(first, first + draws))
    with np.errstate(all="ignore"):
        return [Trial(seed, c, ask(c), way) for seed, c in cases]


def natively(require: float = 0.0, order: int = 1) -> Ask:
    """Finite differences, to a relative bound or, where that is 0, as well as can be."""
    return lambda c: finite(c.phi, c.eps, require * c.scale or None, order)


def within(budget: int) -> Ask:
    """Finite differences with a budget."""
    return lambda c: finite(c.phi, c.eps, budget=budget)


def by_foreign(name: str, order: int = 1) -> Ask:
    """A foreign oracle alone."""

    def ask(c: Case) -> Estimate:
        f = of_array(c)
        forward = lambda p: {"y": f(p["x"])}  # noqa: E731
        point, u, v = {"x": np.array(c.x)}, {"y": np.ones(())}, {"x": np.array(c.v)}
        if order > 1:
            return foreign(Question(forward, point, u, (v,) * order), name)
        return FOREIGN[name](forward, point, u, v)

    return ask


def publicly(order: int = 1) -> Ask:
    """`gradverify.derivative`."""

    def ask(c: Case) -> Estimate:
        try:
            return gv.derivative(of_array(c), np.array(c.x), np.array(c.v), order=order)
        except TypeError:  # the value at the point is not finite
            return Estimate(math.nan, math.inf, 0, "none", "domain")

    return ask


WAYS: dict[str, tuple[Ask, int]] = {
    "finite, 1e-6 required": (natively(1e-6), 1), "finite, 1e-3 required": (natively(1e-3), 1),
    "finite, 1e-1 required": (natively(1e-1), 1), "second opinion": (lambda c: second_opinion(c.phi, c.eps), 1),
    "finite, order 2": (natively(order=2), 2), "finite, order 3": (natively(order=3), 3),
    "finite, 14 evaluations": (within(14), 1), "finite, 31 evaluations": (within(31), 1),
    "complex step": (by_foreign("complex"), 1), "complex steps, order 2": (by_foreign("complex", 2), 2),
    "complex steps, order 3": (by_foreign("complex", 3), 3),
    "quad": (by_foreign("quad"), 1), "quad, order 2": (by_foreign("quad", 2), 2), "quad, order 3": (by_foreign("quad", 3), 3),
    "mpmath": (by_foreign("mpmath"), 1), "mpmath, order 2": (by_foreign("mpmath", 2), 2),
    "mpmath, order 3": (by_foreign("mpmath", 3), 3), "certified": (by_foreign("certified"), 1),
    "derivative": (publicly(), 1), "derivative, order 2": (publicly(2), 2), "derivative, order 3": (publicly(3), 3),
}  # fmt: skip
NATIVE = ("finite", "second")


def tasks(draws: int, others: int, first: int, families: list[Family]) -> list[tuple[str, str, int, int]]:
    """What is to be run: a family asked in one way, the main one without a name; each a share for one process."""
    main = [("", f.name, draws, first) for f in families]
    return main + [(way, f.name, others, first) for way in WAYS for f in families
                   if way.startswith(NATIVE) or f.eps < 1e-10]


def share(task: tuple[str, str, int, int]) -> list[Trial]:
    """One task, its trials without the functions in their cases: those cannot go from process to process."""
    way, name, draws, first = task
    ask, order = WAYS.get(way, (natively(), 1))
    family = next(f for f in FAMILIES if f.name == name)
    return [replace(t, case=replace(t.case, phi=abs, formula=abs)) for t in run(family, draws, first, ask, order, way)]


def stored(folder: Path, task: tuple[str, str, int, int]) -> list[Trial]:
    """The trials of a task, from the folder if they are there."""
    name = "-".join("".join(c if c.isalnum() else "_" for c in str(part)) for part in task)
    path = folder / f"{name}.pickle"
    if path.exists():
        return list(pickle.loads(path.read_bytes()))
    trials = share(task)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(trials))
    return trials


def line_of(way: str, trials: list[Trial]) -> list[str]:
    """A row for one of the other ways."""
    bounded = [t for t in trials if t.bounded]
    return [way, str(len(trials)), str(len(bounded)), str(sum(t.missed for t in trials)),
            f"{median(t.relative for t in bounded) if bounded else math.inf:.1e}", f"{median(t.found.evaluations for t in trials):.0f}",
            _reasons(trials)]


def summarise(family: Family, trials: list[Trial]) -> list[str]:
    """A row of the table."""
    bounded = [t for t in trials if t.bounded]
    covered = sum(not t.missed for t in bounded)
    loose = [t.looseness for t in bounded if not math.isnan(t.looseness)]
    evaluations = [t.found.evaluations for t in trials]
    within = sum(t.relative <= (family.goal or FINE) for t in trials) / len(trials)
    return [family.name, str(len(trials)), f"{covered / max(1, len(bounded)):.2%}",
            f"{1 - len(bounded) / len(trials):.2%}", f"{median(t.relative for t in trials):.1e}",
            f"{within:.1%}", f"{family.goal:.0e}" if family.goal else f"({FINE:.0e})",
            _short(median(loose)) if loose else "", f"{median(evaluations):.0f}", str(max(evaluations)),
            _reasons(trials)]


def _short(number: float) -> str:
    return f"{number:.0f}" if number < 1e6 else f"{number:.0e}"


def _reasons(trials: list[Trial]) -> str:
    seen = [t.found.reason for t in trials if t.found.reason]
    return ", ".join(f"{reason} {seen.count(reason) / len(trials):.1%}" for reason in sorted(set(seen)))


def asked(families: dict[str, list[Trial]], more: dict[str, list[Trial]]) -> list[list[str]]:
    """What the oracles are held to, what was found, and whether that is enough; the smooth families are those with a goal."""
    smooth = [f for f in FAMILIES if f.goal and f.name in families]
    every = [t for part in families.values() for t in part if t.bounded]
    lows = {f.name: _covered(families[f.name]) for f in FAMILIES if f.name in families and any(t.bounded for t in families[f.name])}
    fine = {f.name: sum(t.relative <= (f.goal or 0.0) for t in families[f.name]) / len(families[f.name]) for f in smooth}
    loose = {f.name: median(t.looseness for t in families[f.name] if not math.isnan(t.looseness)) for f in smooth}
    rigorous = [t for t in more.get("certified", []) if t.bounded]
    rows = [
        ["coverage, finite differences, all draws with a bound", ">= 99.95%", f"{_covered(every):.4%}", _covered(every) >= 0.9995],
        ["the lowest of a family", ">= 99.95%", _extreme(lows, min, ".3%"), min(lows.values()) >= 0.9995],
        ["coverage, certified", "100%", f"{_covered(rigorous):.2%} of {len(rigorous)}", _covered(rigorous) == 1.0],
        ["smooth families: draws within the goal, the lowest", ">= 90%", _extreme(fine, min, ".1%"), min(fine.values()) >= 0.9],
        ["smooth families: median bound over error, the highest", "< 1000", _extreme(loose, max, ".0f"), max(loose.values()) < 1000],
    ]  # fmt: skip
    return [[*row[:3], "yes" if row[3] else "NO"] for row in rows]


def _covered(trials: list[Trial]) -> float:
    bounded = [t for t in trials if t.bounded]
    return 1.0 - sum(t.missed for t in bounded) / max(1, len(bounded))


def _extreme(shares: dict[str, float], which: Callable[..., str], form: str) -> str:
    name = which(shares, key=lambda key: shares[key])
    return f"{shares[name]:{form}} ({name})"


def unbounded(families: dict[str, list[Trial]]) -> list[str]:
    """The draws without a bound, a line for each family and reason that has some, and what was drawn there."""
    lines = []
    for name, trials in families.items():
        open_ended = [t for t in trials if not t.bounded]
        for reason in sorted({t.found.reason for t in open_ended}):
            part = [t for t in open_ended if t.found.reason == reason]
            lines.append(f"- {name}: {len(part)} of {len(trials)}, {reason}: {_drawn(part)}")
    return lines or ["None."]


def _drawn(trials: list[Trial]) -> str:
    """What the cases were drawn with, and how steep they are."""
    notes = sorted({t.case.note for t in trials}, key=_number)
    shown = ", ".join(notes) if len(notes) <= MOST_NOTES else f"{notes[0]} to {notes[-1]}"
    slopes = sorted(t.case.scale for t in trials)
    return f"{shown}; slopes of {slopes[0]:.1e} to {slopes[-1]:.1e}"


def _number(note: str) -> tuple[float, str]:
    try:
        return float(note), note
    except ValueError:
        return math.inf, note


def describe(trial: Trial) -> str:
    """A miss, with what is needed to see it again."""
    return (f"- {trial.way or 'finite'}: {trial.case.family}, seed {trial.seed} ({trial.case.note}): {trial.found}, "
            f"truth {trial.case.slopes[0]:.17g} .. {trial.case.slopes[1]:.17g}")


def as_table(head: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in [list(head), ["---"] * len(head), *rows]]


def write(rows: list[list[str]], families: dict[str, list[Trial]], more: dict[str, list[Trial]], command: str) -> None:
    """The tables as Markdown, that of the families as CSV."""
    trials = [t for part in families.values() for t in part]
    REPORTS.mkdir(exist_ok=True)
    with (REPORTS / "coverage.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEAD, *rows])
    bounded = sum(t.bounded for t in trials)
    missed = [describe(t) for part in (trials, *more.values()) for t in part if t.missed]
    share = 1 - sum(t.missed for t in trials) / max(1, bounded)
    lines = ["# Coverage of the bounds of the oracles", "", f"`{command}`", "", "## Finite differences", "",
             f"{len(trials)} draws, {bounded} with a bound, {sum(t.missed for t in trials)} misses: coverage {share:.4%}.",
             "An infinite bound is not counted as covering. As nothing is required, rungs are taken while they promise",
             "a better one. A goal in brackets is none: nine in ten are asked only of the smooth families.", "", *as_table(ASKED, asked(families, more)), "", *as_table(HEAD, rows), "",
             "## Draws without a bound", "", *unbounded(families), "", "## Every other way to ask", "",
             *as_table(MORE, [line_of(way, part) for way, part in more.items()]), "",
             "## Misses", "", *(missed or ["None."]), ""]
    (REPORTS / "coverage.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


ASKED = ("of what", "asked", "found", "met")
MORE = ("asked", "draws", "with a bound", "misses", "median relative bound", "median evaluations", "reasons")


def main() -> None:
    """Run all families, or those whose name contains --only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2400, help="over all families")
    parser.add_argument("--others", type=int, default=10, help="for each family and each of the other ways")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--store", type=Path, help="a folder for what is done, to go on later")
    parser.add_argument("--only", default="", help="part of a family's name")
    options = parser.parse_args()
    chosen = [f for f in FAMILIES if options.only in f.name]
    each = -(-options.draws // len(chosen))
    asked = tasks(each, options.others, options.first, chosen)
    with ProcessPoolExecutor(options.jobs) as pool:
        work = partial(stored, options.store) if options.store else share
        found = dict(zip(asked, pool.map(work, asked), strict=True))
    families = {f.name: found["", f.name, each, options.first] for f in chosen}
    more = {way: [t for task, part in found.items() if task[0] == way for t in part] for way in WAYS}
    command = f"python benchmarks/coverage.py --draws {options.draws} --others {options.others}"
    write([summarise(f, families[f.name]) for f in chosen], families, more, command)


if __name__ == "__main__":
    main()
