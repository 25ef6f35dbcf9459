"""One wrong entry among many, located: how many directional evaluations that takes, and a whole check of a million.

    python benchmarks/located.py [--seeds 20]

Writes reports/located.md. An evaluation is one question ``<u, J v>`` to the oracle, v the direction.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import gradverify as gv
from gradverify.localize import locate
from gradverify.records import Estimate

SIZES = (1_000, 100_000, 1_000_000)
ERRORS = (1e-1, 1e-6)  # of the entry's own size


def questions(size: int, error: float, seed: int) -> tuple[int, bool]:
    """Evaluations until the wrong entry alone was asked, and whether it was named wrong, and no other."""
    rng = np.random.default_rng(seed)
    right = rng.normal(size=size)
    place = int(rng.integers(size))
    wrong = right.copy()
    wrong[place] += error * np.abs(right[place])
    asked: list[int] = []

    def ask(v: np.ndarray) -> Estimate:
        asked.append(place if np.count_nonzero(v) == 1 and v[place] else -1)
        return Estimate(float(right @ v), 2.0**-52 * float(np.abs(right) @ np.abs(v)), 1, "complex")

    found = locate("x", wrong, 2.0**-53 * np.abs(wrong), np.ones(size), ask, seed)
    named = [i for (i,), bad in zip(found.indices, found.wrong, strict=True) if bad]
    return asked.index(place) + 1 if place in asked else len(asked), named == [place]


def whole(side: int, seed: int) -> tuple[bool, int, float]:
    """A check of the sine of side x side numbers with one wrong entry: found there, forwards, seconds of processor."""
    rng = np.random.default_rng(seed)
    x, place = rng.normal(size=(side, side)), tuple(int(k) for k in rng.integers(side, size=2))

    def derivative(x: np.ndarray) -> np.ndarray:
        g = np.cos(x)
        g[place] *= 1.01
        return g

    started = time.process_time()
    report = gv.check(gv.function(np.sin, derivative=derivative), x, search="none", seed=seed)
    seconds = time.process_time() - started
    check = report.checks[0]
    right = report.verdict is gv.Verdict.FAIL and check.worst is not None and check.worst.index == place
    return right and check.wrong_entries == 1, report.forwards, seconds


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--whole", type=int, default=5, help="draws of the whole check")
    given = parser.parse_args()
    lines = ["# One wrong entry among many", "", f"`python benchmarks/located.py --seeds {given.seeds}`", "",
             "An evaluation is one question to the oracle, along one direction; asked for: at most 45 in a million entries.", "",
             "| entries | wrong by, of its size | located, alone | evaluations: median | most |", "|---|---|---|---|---|"]
    for size in SIZES:
        for error in ERRORS:
            runs = [questions(size, error, seed) for seed in range(given.seeds)]
            counts = [n for n, _ in runs]
            hits = sum(hit for _, hit in runs)
            lines.append(f"| {size:,} | {error:g} | {hits} of {given.seeds} | {np.median(counts):.0f} | {max(counts)} |")
    lines += ["", 'A whole `gv.check(..., search="none")` of `np.sin`, one entry of the derivative 1 % off:', "",
              "| entries | located | forwards, most | processor, s, most |", "|---|---|---|---|"]
    for side in (100, 1000):
        checks = [whole(side, seed) for seed in range(given.whole)]
        lines.append(f"| {side} x {side} | {sum(hit for hit, *_ in checks)} of {given.whole} | {max(n for _, n, _ in checks)} | "
                     f"{max(s for *_, s in checks):.1f} |")
    text = "\n".join(lines) + "\n"
    (Path(__file__).parents[1] / "reports" / "located.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
