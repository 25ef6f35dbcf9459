"""Our oracles beside other people's: evaluations, error, and whether their own estimate of it holds.

    python benchmarks/oracles.py [--draws 100]

Writes reports/oracles.md, reports/oracles.csv and reports/oracles.svg. Every method answers the same cases
with its defaults. "At its evaluations" is our error with no more evaluations than the rival took, but never
fewer than the 14 of a first rung; "as called" is our error with as many as we like, which a rival of a fixed
step could not use. Errors are compared after adding the rounding of the truth, 2^-53 of the slope's scale.
A budget of so few evaluations leaves no bound where a kink, a pole or an oscillation lies within an eighth of the
point's size; the value is then that of quotients closer by, and counts here like any other.
What follows a budget was tuned on seeds 0 to 100 and 70000 to 70100; the page is of others. Up to four evaluations more
than the budget tell a staircase from a line before a bound is given; they do not enter the value.
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
from peers import PEERS, Answer, ask, by_complex_step, by_derivative

from gradverify.oracles.finite import finite

REPORTS = Path(__file__).parents[1] / "reports"
LEAST = 14
OURS, PUBLIC, RIVAL = "gradverify finite", "gradverify.derivative", "scipy cs"
EXACT = 2.0**-53  # of the slope's scale: nobody is ahead by less than the rounding of the truth itself
HEAD = ("family", "method", "evaluations", "median error", "max error", "coverage", "no estimate",
        "our error at its evaluations", "ratio", "our error as called", "ratio")


@dataclass(frozen=True)
class Trial:
    """One answer beside the truth, our error with the evaluations this one took, and with our own number."""

    case: Case
    answer: Answer
    ours: float = math.nan
    full: float = math.nan

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

    def with_budget(most: float) -> Answer:
        found = finite(phi, case.eps, budget=most)
        return Answer(found.value, found.error, found.evaluations)

    ours = with_budget(math.inf)
    full = distance(case, ours.value)
    trials = {OURS: Trial(case, ours)}
    for name, method in PEERS.items():
        answer = ask(method, case, phi)
        again = with_budget(max(LEAST, answer.evaluations))
        trials[name] = Trial(case, answer, distance(case, again.value), full)
    return trials if case.eps > 1e-10 else trials | _off_the_line(case)


def _off_the_line(case: Case) -> dict[str, Trial]:
    """Complex steps: theirs, and our public function, which tries one and confirms it."""
    ours = by_derivative(case)
    error = distance(case, ours.value)
    return {PUBLIC: Trial(case, ours), RIVAL: Trial(case, by_complex_step(case), error, error)}


def ratio(trials: list[Trial], which: str) -> float:
    """Our median error over theirs."""
    unit = median(t.unit for t in trials)
    return quotient(median(getattr(t, which) for t in trials) + unit, median(t.error for t in trials) + unit)


def quotient(ours: float, theirs: float) -> float:
    """One error over another; 1 where both are nothing or both are infinite."""
    if ours == theirs:
        return 1.0
    return ours / theirs if theirs and math.isfinite(theirs) else 0.0 if theirs else math.inf


def row(family: str, method: str, trials: list[Trial]) -> list[str]:
    """A line of the table."""
    errors = [t.error for t in trials]
    bounded = [t for t in trials if t.bounded]
    estimates = any(not math.isnan(t.answer.error) for t in trials)
    line = [family, method, f"{median(t.answer.evaluations for t in trials):.0f}", f"{median(errors):.1e}",
            f"{max(errors):.1e}", _share([t.covered for t in bounded]) if estimates else "",
            _share([not t.bounded for t in trials]) if estimates else ""]
    if method in (OURS, PUBLIC):
        return [*line, "", "", "", ""]
    return [*line, *(text for which in ("ours", "full") for text in
                     (f"{median(getattr(t, which) for t in trials):.1e}", f"{ratio(trials, which):.2g}"))]


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
    """A line for each method: coverage of its own estimate, and our accuracy beside it."""
    lines = []
    for method in (OURS, PUBLIC, *PEERS, RIVAL):
        parts = {family: methods[method] for family, methods in found.items() if method in methods}
        if parts:
            lines.append([method, *_coverage(parts), *(_accuracy(parts) if method not in (OURS, PUBLIC) else [""] * 4)])
    return lines


def _coverage(parts: dict[str, list[Trial]]) -> list[str]:
    bounded = {family: [t.covered for t in part if t.bounded] for family, part in parts.items()}
    shares = {family: sum(held) / len(held) for family, held in bounded.items() if held}
    if not shares:
        return [str(sum(map(len, parts.values()))), "none given", ""]
    worst = min(shares, key=lambda family: shares[family])
    everything = [held for part in bounded.values() for held in part]
    return [str(sum(map(len, parts.values()))), _share(everything), f"{shares[worst]:.1%} {worst}"]


def _accuracy(parts: dict[str, list[Trial]]) -> list[str]:
    """The median over all draws of our error over theirs, and the family where we do worst."""
    texts = []
    for which in ("ours", "full"):
        paired = [quotient(getattr(t, which) + t.unit, t.error + t.unit) for part in parts.values() for t in part]
        ratios = {family: ratio(part, which) for family, part in parts.items()}
        worst = max(ratios, key=lambda name: ratios[name])
        behind = sum(r > 2.0 for r in ratios.values())
        texts += [f"{median(paired):.2g}", f"{ratios[worst]:.2g} {worst}; over 2 in {behind} of {len(ratios)}"]
    return texts


SUMMARY = ("method", "draws", "coverage of its own estimate", "lowest of a family", "at its evaluations: median ratio",
           "worst family", "as called: median ratio", "worst family")


def as_table(head: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in [list(head), ["---"] * len(head), *rows]]


def write(found: Found, command: str) -> None:
    """The report, its numbers and its plot."""
    rows = [row(family, method, trials) for family, part in found.items() for method, trials in part.items()]
    with (REPORTS / "oracles.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEAD, *rows])
    lines = ["# Numerical derivatives beside each other", "", *(__doc__ or "").strip().split("\n")[4:], "",
             f"`{command}`", "", *as_table(SUMMARY, summary(found)), "", "## Every family", "",
             *as_table(HEAD, rows), ""]
    (REPORTS / "oracles.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def plot(found: Found) -> None:
    """Median error and evaluations of every method, a row a family."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "gradverify"  # the same numbers give the same file
    figure, axes = plt.subplots(1, 2, figsize=(13, 9), sharey=True, layout="constrained")
    names = list(found)[::-1]
    for method, marker in zip((OURS, "numdifftools", "scipy.differentiate", "scipy 3-point", "scipy 2-point",
                               "jax numerical_jvp", "autograd numerical_jvp"), "os^v<>d", strict=True):
        relative = [median(t.error / (t.case.scale or 1.0) for t in found[name][method]) for name in names]
        spent = [median(t.answer.evaluations for t in found[name][method]) for name in names]
        style = {"s": 60, "zorder": 3} if method == OURS else {"s": 22, "alpha": 0.7}
        for axis, values in zip(axes, (np.clip(relative, 1e-17, 1e3), spent), strict=True):
            axis.scatter(values, names, marker=marker, label=method, **style)
    for axis, title in zip(axes, ("median error over the slope's scale", "median forward evaluations"), strict=True):
        axis.set(xscale="log", xlabel=title)
        axis.grid(alpha=0.3)
    axes[1].legend(loc="lower right", fontsize=8)
    figure.savefig(REPORTS / "oracles.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100, help="for each family")
    parser.add_argument("--first", type=int, default=200000, help="the first seed")
    parser.add_argument("--only", default="", help="part of a family's name")
    options = parser.parse_args()
    chosen = [f for f in FAMILIES if options.only in f.name]
    found = run(chosen, options.draws, options.first)
    write(found, f"python benchmarks/oracles.py --draws {options.draws}")
    plot(found)


if __name__ == "__main__":
    main()
