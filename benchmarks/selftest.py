"""The reference fuzzed, and bugs planted in it: the numbers of reports/selftest.md.

    python benchmarks/selftest.py --networks 20000 --bugs 300 [--minutes 5 10] [--seed 0]

The minutes, of the one and of the other, end it early. What was run is what is written down.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np

from gradverify.selftest import Hunt, SelftestReport, all_mutants, hunt, make_pool, selftest, shuffled, status

REPORT = Path(__file__).parents[1] / "reports" / "selftest.md"
EXAMPLES = 200
POOL = 2000  # networks of the pool that decides whether a mutant is a bug at all


def fuzzed(networks: int, seconds: float, seed: int) -> SelftestReport:
    report = selftest(networks, seed, seconds)
    print(report, flush=True)
    return report


def planted(seconds: float, bugs: int, seed: int) -> tuple[list[Hunt], Counter[str]]:
    pool, deadline = make_pool(POOL, seed), time.perf_counter() + seconds
    hunts, kinds = [], Counter()
    for mutant in shuffled(seed):
        if len(hunts) >= bugs or time.perf_counter() > deadline:
            break
        kinds[known := status(mutant, pool)] += 1
        if known == "different":
            hunts.append(hunt(mutant, EXAMPLES, seed))
            word = "found" if hunts[-1].found else "MISSED"
            print(f"{word:6} {hunts[-1].drawn:3} {hunts[-1].seconds:5.1f} s  {mutant}", flush=True)
    return hunts, kinds


def page(report: SelftestReport, hunts: list[Hunt], kinds: Counter[str], seed: int) -> str:
    found = [h for h in hunts if h.found]
    sizes = [h.failure.case.size for h in found]
    share = f"{len(found) / len(hunts):.1%}" if hunts else "none run"
    machine = f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} cores"
    rows = ["# The reference on trial", "",
            f"Written by `python benchmarks/selftest.py --seed {seed}` on {machine}.", "",
            "## Random networks", "", "```", str(report), "```", "", "## Planted bugs", "",
            "| | |", "|---|---|",
            f"| mutants of the sources | {len(all_mutants())} |",
            f"| examined | {sum(kinds.values())} |",
            f"| of them wrong by the oracle on a pool of {POOL} small networks: planted | {kinds['different']} |",
            f"| of them only raising | {kinds['stillborn']} |",
            f"| of them with the right gradient everywhere in the pool | {kinds['equivalent']} |",
            f"| found within {EXAMPLES} examples | {len(found)} ({share}) |"]
    if found:
        drawn = [h.drawn for h in found]
        rows += [f"| examples until found, median and largest | {median(drawn):.0f}, {max(drawn)} |",
                 f"| shrunk size in layers (a loss is one), median and largest | {median(sizes):.0f}, {max(sizes)} |"]
    rows += ["", "Missed:", "", *(f"- {h.mutant}" for h in hunts if not h.found)]
    rows += ["", "## By kind", "", "| slip | planted | found | an example, shrunk |", "|---|---|---|---|"]
    return "\n".join(rows + _by_kind(hunts)) + "\n"


def _by_kind(hunts: list[Hunt]) -> list[str]:
    rows = []
    for label in sorted({h.mutant.label for h in hunts}):
        own = [h for h in hunts if h.mutant.label == label]
        best = min((h for h in own if h.found), key=lambda h: h.failure.case.size, default=None)
        shown = "" if best is None else f"`{best.mutant.before}` -> `{best.mutant.after}`: `{best.failure.case!r}`"
        rows.append(f"| {label} | {len(own)} | {sum(h.found for h in own)} | {shown.replace('|', chr(92) + '|')} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=20_000)
    parser.add_argument("--bugs", type=int, default=300)
    parser.add_argument("--minutes", type=float, nargs=2, default=(1e4, 1e4))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    all_mutants()  # read before anything runs, so that an edit meanwhile does not part source and code
    report = fuzzed(given.networks, 60 * given.minutes[0], given.seed)
    hunts, kinds = planted(60 * given.minutes[1], given.bugs, given.seed)
    REPORT.write_text(page(report, hunts, kinds, given.seed), encoding="utf-8")
    print(f"{sum(h.found for h in hunts)} of {len(hunts)} planted bugs found; {REPORT}")


if __name__ == "__main__":
    main()
