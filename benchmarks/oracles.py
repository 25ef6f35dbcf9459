"""Finite differences beside other people's: evaluations, error, and whether their own estimate of it holds.

    python benchmarks/oracles.py [--draws 100]

Writes reports/oracles.md, reports/oracles.csv and reports/oracles.svg. Every method answers the same cases; a
rival is then met again by our oracle with no more evaluations than it took itself (but never fewer than a
first rung's 14).
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from families import FAMILIES, Case, Family, draw_case
from peers import PEERS, Answer, ask, by_complex_step, plane

from gradverify.oracles.complexstep import complex_step
from gradverify.oracles.finite import finite

REPORTS = Path(__file__).parents[1] / "reports"
LEAST = 14
OURS, FOREIGN, RIVAL = "gradverify finite", "gradverify complex", "scipy cs"
EXACT = 2.0**-53  # of the slope's scale: nobody is ahead by less than the rounding of the truth itself
HEAD = ("family", "method", "evaluations", "median error", "max error", "coverage", "no estimate",
        "ours at its evaluations", "ratio of medians", "we are nearer")


@dataclass(frozen=True)
class Trial:
    """One answer beside the truth; `ours` is our error with the evaluations this one took."""

    case: Case
    answer: Answer
    ours: float

    @property
    def error(self) -> float:
        return distance(self.case, self.answer.value)

    @property
    def unit(self) -> float:
        return EXACT * self.case.scale

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.answer.error) and math.isfinite(self.answer.value)

    @property
    def covered(self) -> bool:
        return any(abs(self.answer.value - slope) <= self.answer.error for slope in self.case.slopes)


def distance(case: Case, value: float) -> float:
    """How far outside the one-sided slopes a value lies; they are one number but at a kink."""
    low, high = sorted(case.slopes)
    return max(low - value, value - high, 0.0) if math.isfinite(value) else math.inf


def remembered(phi: Callable[[float], float]) -> Callable[[float], float]:
    """The same forward, computed once for each t."""
    known: dict[float, float] = {}

    def at(t: float) -> float:
        if t not in known:
            known[t] = phi(t)
        return known[t]

    return at


def try_all(case: Case) -> dict[str, Trial]:
    """Every method on one case."""
    phi = remembered(case.phi)

    def with_budget(most: int) -> Answer:
        found = finite(phi, case.eps, budget=most)
        return Answer(found.value, found.error, found.evaluations)

    ours = with_budget(10**9)
    trials = {OURS: Trial(case, ours, distance(case, ours.value))}
    for name, method in PEERS.items():
        answer = ask(method, case, phi)
        again = with_budget(max(LEAST, answer.evaluations))
        trials[name] = Trial(case, answer, distance(case, again.value))
    return trials if case.eps > 1e-10 else trials | _foreign(case)


def _foreign(case: Case) -> dict[str, Trial]:
    found = complex_step(plane(case), {"x": np.array(case.x)}, {"y": np.ones(())}, {"x": np.array(case.v)})
    ours = Answer(found.value if not found.reason else math.nan, found.error, found.evaluations)
    mine = Trial(case, ours, distance(case, ours.value))
    return {FOREIGN: mine, RIVAL: Trial(case, by_complex_step(case), mine.error)}


def ratio(trials: list[Trial]) -> float:
    """Our median error over theirs, neither counted below the rounding of the truth."""
    unit = median(t.unit for t in trials)
    ours, theirs = median(t.ours for t in trials), median(t.error for t in trials)
    return quotient(ours + unit, theirs + unit)


def quotient(ours: float, theirs: float) -> float:
    """One error over another; 1 where both are nothing or both are infinite."""
    if ours == theirs:
        return 1.0
    return ours / theirs if theirs and math.isfinite(theirs) else 0.0 if theirs else math.inf


def nearer(trials: list[Trial]) -> float:
    """The share of draws in which our error is the smaller one; a tie is half."""
    scores = [0.5 if abs(t.ours - t.error) <= t.unit or t.ours == t.error else float(t.ours < t.error)
              for t in trials]
    return sum(scores) / len(scores)


def row(family: str, method: str, trials: list[Trial]) -> list[str]:
    """A line of the table."""
    errors = [t.error for t in trials]
    bounded = [t for t in trials if t.bounded]
    estimates = any(not math.isnan(t.answer.error) for t in trials)
    line = [family, method, f"{median(t.answer.evaluations for t in trials):.0f}", f"{median(errors):.1e}",
            f"{max(errors):.1e}", _share([t.covered for t in bounded]) if estimates else "",
            _share([not t.bounded for t in trials]) if estimates else ""]
    if method in (OURS, FOREIGN):
        return [*line, "", "", ""]
    return [*line, f"{median(t.ours for t in trials):.1e}", f"{ratio(trials):.2g}", f"{nearer(trials):.0%}"]


def _share(held: list[bool]) -> str:
    return f"{sum(held) / len(held):.1%}" if held else ""


Found = dict[str, dict[str, list[Trial]]]


def run(families: list[Family], draws: int, first: int) -> Found:
    """The trials of every family and method."""
    found: Found = {}
    for family in families:
        tried = [try_all(draw_case(family, seed)) for seed in range(first, first + draws)]
        found[family.name] = {name: [t[name] for t in tried] for name in tried[0]}
    return found


def summary(found: Found) -> list[list[str]]:
    """A line for each rival: coverage, and the accuracy at its own number of evaluations."""
    lines = []
    for method in (OURS, *PEERS, FOREIGN, RIVAL):
        parts = {family: methods[method] for family, methods in found.items() if method in methods}
        if not parts:
            continue
        trials = [t for part in parts.values() for t in part]
        bounded = [t for t in trials if t.bounded]
        lowest = min((f"{sum(t.covered for t in p if t.bounded) / sum(t.bounded for t in p):.1%} {family}"
                      for family, p in parts.items() if any(t.bounded for t in p)),
                     key=lambda text: float(text.split("%")[0]), default="")
        line = [method, str(len(trials)), _share([t.covered for t in bounded]), lowest]
        ratios = {family: ratio(part) for family, part in parts.items()}
        worst = max(ratios, key=lambda name: ratios[name])
        paired = median(quotient(t.ours + t.unit, t.error + t.unit) for t in trials)
        rest = ["", "", "", ""] if method in (OURS, FOREIGN) else [
            f"{nearer(trials):.0%}", f"{paired:.2g}", f"{median(ratios.values()):.2g}",
            f"{ratios[worst]:.2g} {worst}"]
        lines.append([*line, *rest])
    return lines


SUMMARY = ("method", "draws", "coverage", "lowest coverage of a family", "we are nearer",
           "median of error ratios", "median family", "worst family")


def as_table(head: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in [list(head), ["---"] * len(head), *rows]]


def write(found: Found, command: str) -> None:
    """The report, its numbers and its plot."""
    rows = [row(family, method, trials) for family, part in found.items() for method, trials in part.items()]
    with (REPORTS / "oracles.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEAD, *rows])
    lines = ["# Numerical derivatives beside each other", "", __doc__.split("\n\n")[2].replace("\n", " "), "",
             f"`{command}`", "", *as_table(SUMMARY, summary(found)), "", "## Every family", "",
             *as_table(HEAD, rows), ""]
    (REPORTS / "oracles.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100, help="for each family")
    parser.add_argument("--first", type=int, default=70000, help="the first seed")
    parser.add_argument("--only", default="", help="part of a family's name")
    options = parser.parse_args()
    chosen = [f for f in FAMILIES if options.only in f.name]
    write(run(chosen, options.draws, options.first), f"python benchmarks/oracles.py --draws {options.draws}")


if __name__ == "__main__":
    main()
