"""How often the bound of finite differences covers the truth, and how much larger than the error it is.

    python benchmarks/coverage.py --draws 20000

Writes reports/coverage.md and reports/coverage.csv: a row a family, then every miss.
"""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from families import FAMILIES, Case, Family, draw_case

from gradverify.oracles.finite import finite
from gradverify.records import Estimate

REPORTS = Path(__file__).parents[1] / "reports"
HEAD = ("family", "draws", "coverage", "infinite", "median relative bound", "share within goal",
        "goal", "median bound/error", "median evaluations", "most evaluations", "reasons")


@dataclass(frozen=True)
class Trial:
    """One estimate beside the truth."""

    seed: int
    case: Case
    found: Estimate

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
        """Whether a bound was given and does not hold, for both slopes where there are two."""
        left, right = self.case.slopes
        if abs(left - right) > 1e-12 * abs(left) and self.found.reason == "kink":
            return not (self.found.covers(left) and self.found.covers(right))
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


def run(family: Family, draws: int, first: int, require: float) -> list[Trial]:
    """So many cases of one family, each to a relative bound or, where that is 0, as well as can be."""
    cases = ((seed, draw_case(family, seed)) for seed in range(first, first + draws))
    return [Trial(seed, c, finite(c.phi, c.eps, require * c.scale or None)) for seed, c in cases]


def summarise(family: Family, trials: list[Trial]) -> list[str]:
    """A row of the table."""
    bounded = [t for t in trials if t.bounded]
    covered = sum(not t.missed for t in bounded)
    loose = [t.looseness for t in bounded if not math.isnan(t.looseness)]
    evaluations = [t.found.evaluations for t in trials]
    within = sum(t.relative <= family.goal for t in trials) / len(trials) if family.goal else math.nan
    return [family.name, str(len(trials)), f"{covered / max(1, len(bounded)):.2%}",
            f"{1 - len(bounded) / len(trials):.2%}", f"{median(t.relative for t in trials):.1e}",
            f"{within:.1%}" if family.goal else "", f"{family.goal:.0e}" if family.goal else "",
            f"{median(loose):.0f}" if loose else "", f"{median(evaluations):.0f}", str(max(evaluations)),
            _reasons(trials)]


def _reasons(trials: list[Trial]) -> str:
    seen = [t.found.reason for t in trials if t.found.reason]
    return ", ".join(f"{reason} {seen.count(reason) / len(trials):.1%}" for reason in sorted(set(seen)))


def describe(trial: Trial) -> str:
    """A miss, with what is needed to see it again."""
    return (f"- {trial.case.family}, seed {trial.seed} ({trial.case.note}): {trial.found}, "
            f"truth {trial.case.slopes[0]:.17g} .. {trial.case.slopes[1]:.17g}")


def write(rows: list[list[str]], misses: list[str], total: int, bounded: int) -> None:
    """The table as Markdown and CSV."""
    REPORTS.mkdir(exist_ok=True)
    with (REPORTS / "coverage.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEAD, *rows])
    table = ["| " + " | ".join(row) + " |" for row in [list(HEAD), ["---"] * len(HEAD), *rows]]
    share = 1 - len(misses) / max(1, bounded)
    lines = ["# Coverage of the bound of finite differences", "",
             f"{total} draws, {bounded} with a bound, {len(misses)} misses: coverage {share:.4%}.",
             "An infinite bound is not counted as covering. Made by `python benchmarks/coverage.py`.", "",
             *table, "", "## Misses", "", *(misses or ["None."]), ""]
    (REPORTS / "coverage.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    """Run all families, or those whose name contains --only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2400, help="over all families")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--require", type=float, default=0.0, help="the relative bound to stop at")
    parser.add_argument("--only", default="", help="part of a family's name")
    options = parser.parse_args()
    chosen = [f for f in FAMILIES if options.only in f.name]
    each = -(-options.draws // len(chosen))
    found = [(family, run(family, each, options.first, options.require)) for family in chosen]
    trials = [t for _, part in found for t in part]
    misses = [describe(t) for t in trials if t.missed]
    write([summarise(f, part) for f, part in found], misses, len(trials), sum(t.bounded for t in trials))


if __name__ == "__main__":
    main()
