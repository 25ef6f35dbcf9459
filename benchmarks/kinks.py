"""Smooth, kink or jump: what `classify` calls points whose nature is known.

    python benchmarks/kinks.py [--draws 2000]

Writes reports/kinks.md. A bend of at least 1e-3 of the slope lies at the point, or at least 1e-6 away
from it, where the point itself is smooth.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from gradverify.oracles.kinks import Side, classify

REPORTS = Path(__file__).parents[1] / "reports"
SMALLEST_GAP, SMALLEST_DISTANCE = 1e-3, 1e-6
HEAD = ("case", "draws", "right", "wrong", "undecided", "slopes within their errors", "median evaluations",
        "most evaluations")


@dataclass(frozen=True)
class Trial:
    """A point of a known kind beside what was found; `slopes` are the true one-sided ones."""

    seed: int
    kind: str
    slopes: tuple[float, float]
    found: Side

    @property
    def undecided(self) -> bool:
        return self.found.kind == "undecided"

    @property
    def wrong(self) -> bool:
        return not self.undecided and self.found.kind != self.kind

    @property
    def covered(self) -> bool:
        left, right = self.slopes
        side = self.found
        return abs(side.left - left) <= side.left_error and abs(side.right - right) <= side.right_error


Bend = Callable[[float], float]


def smooth_part(rng: np.random.Generator) -> tuple[Bend, float]:
    """A smooth function of t and its slope at 0."""
    a, b, x, size = rng.normal(), rng.normal(), rng.uniform(0.5, 2), 10 ** rng.uniform(-6, 6)
    slope = size * x * (a * math.cos(a * x) + b * math.exp(b * x))
    return lambda t: size * (math.sin(a * (x + x * t)) + math.exp(b * (x + x * t))), float(slope)


def draw(kind: str, seed: int) -> Trial:
    """A point of this kind; one with a kink or a jump nearby is itself smooth."""
    rng = np.random.default_rng([seed, len(kind)])
    base, slope = smooth_part(rng)
    gap = abs(slope) * 10 ** rng.uniform(math.log10(SMALLEST_GAP), 1)
    distance = 10 ** rng.uniform(math.log10(SMALLEST_DISTANCE), -0.5) * rng.choice([-1.0, 1.0])
    away = distance if "near" in kind else 0.0
    if "kink" in kind:
        sides = (-1.0, 1.0) if kind == "kink" else (math.copysign(1.0, -away),) * 2
        found = classify(lambda t: base(t) + gap / 2 * abs(t - away))
        return Trial(seed, _point(kind), (slope + sides[0] * gap / 2, slope + sides[1] * gap / 2), found)
    step = gap if "jump" in kind else 0.0
    return Trial(seed, _point(kind), (slope, slope), classify(lambda t: base(t) + step * (t > away)))


def _point(kind: str) -> str:
    return "smooth" if "near" in kind else kind


KINDS = ("smooth", "kink", "jump", "kink near", "jump near")


def row(kind: str, trials: list[Trial]) -> list[str]:
    """A line of the table."""
    decided = [t for t in trials if not t.undecided and not t.wrong]
    used = [t.found.evaluations for t in trials]
    wrong, undecided = sum(t.wrong for t in trials), sum(t.undecided for t in trials)
    return [kind, str(len(trials)), str(len(decided)), str(wrong), f"{undecided} ({undecided / len(trials):.1%})",
            f"{sum(t.covered for t in decided) / max(1, len(decided)):.2%}", f"{median(used):.0f}", str(max(used))]


def write(found: dict[str, list[Trial]], command: str) -> None:
    """The table, and whatever went wrong or stayed open."""
    rows = [row(kind, trials) for kind, trials in found.items()]
    rows.append(row("all", [t for trials in found.values() for t in trials]))
    odd = [f"- {kind}, seed {t.seed}: called {t.found.kind}, slopes {t.slopes[0]:.9g} and {t.slopes[1]:.9g}, found "
           f"{t.found.left:.9g} +- {t.found.left_error:.1e} and {t.found.right:.9g} +- {t.found.right_error:.1e}"
           for kind, trials in found.items() for t in trials if t.wrong or t.undecided or not t.covered]
    table = ["| " + " | ".join(line) + " |" for line in [list(HEAD), ["---"] * len(HEAD), *rows]]
    lines = ["# Smooth, kink or jump", "", f"`{command}`", "",
             f"Gaps from {SMALLEST_GAP:.0e} to 10 slopes, at 0 or from {SMALLEST_DISTANCE:.0e} to 0.3 away (near).", "",
             *table, "", "## Wrong, undecided, or with slopes outside their errors", "", *(odd or ["None."]), ""]
    (REPORTS / "kinks.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000, help="over all kinds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    each = range(options.first, options.first + -(-options.draws // len(KINDS)))
    found = {kind: [draw(kind, seed) for seed in each] for kind in KINDS}
    write(found, f"python benchmarks/kinks.py --draws {options.draws} --first {options.first}")


if __name__ == "__main__":
    main()
