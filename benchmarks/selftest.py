"""The reference fuzzed, and bugs planted in it: the numbers of reports/selftest.md.

    python benchmarks/selftest.py networks --count 24000 --seed 0
    python benchmarks/selftest.py bugs --first 0 --last 600
    python benchmarks/selftest.py page

The first two may be split over time and processes, by seed and by range: each leaves what it found in a file of
its own under --store. The page is made of all of them: what was run is what is written down.
"""

from __future__ import annotations

import argparse
import os
import pickle
import platform
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np

from gradverify.selftest import Hunt, SelftestReport, all_mutants, hunt, make_pool, selftest, shuffled, status
from gradverify.selftest.hunting import TRIED
from gradverify.selftest.judging import make_subject
from gradverify.strategies import Case, cases, explore

REPORT = Path(__file__).parents[1] / "reports" / "selftest.md"
EXAMPLES = 200
POOL = 2500  # networks of the pool that decides whether a mutant is a bug at all
Planted = tuple[list[Hunt], "Counter[str]"]


def fuzz(count: int, seed: int, seconds: float | None, store: Path) -> None:
    """Random networks, judged."""
    report = selftest(count, seed, seconds)
    print(report, flush=True)
    (store / f"networks-{seed}.pickle").write_bytes(pickle.dumps(report))


def rate(count: int = 1000) -> float:
    """Networks drawn and run, forward and pullback, in a second of one processor."""
    ran, started = 0, time.process_time()

    def run(case: Case) -> bool:
        nonlocal ran
        subject = make_subject(case)
        subject.gradient(subject.point, subject.u)
        ran += 1
        return False

    with np.errstate(all="ignore"):
        explore(cases(), run, count)
    return ran / (time.process_time() - started)


def plant(first: int, last: int, seed: int, store: Path) -> None:
    """A range of the shuffled mutants: whether each is a bug at all, and if so whether it is found."""
    pool = make_pool(POOL, seed)
    hunts, kinds = [], Counter()
    for mutant in shuffled(seed)[first:last]:
        kinds[known := status(mutant, pool)] += 1
        if known == "different":
            hunts.append(hunt(mutant, EXAMPLES, seed))
            word = "found" if hunts[-1].found else "MISSED"
            print(f"{word:6} {hunts[-1].drawn:3} {hunts[-1].seconds:5.1f} s  {mutant}", flush=True)
    (store / f"bugs-{seed}-{first}.pickle").write_bytes(pickle.dumps((hunts, kinds)))


def found_in(store: Path) -> tuple[list[SelftestReport], list[Hunt], Counter[str]]:
    """All that was run."""
    reports = [pickle.loads(path.read_bytes()) for path in sorted(store.glob("networks-*"))]
    parts: list[Planted] = [pickle.loads(path.read_bytes()) for path in sorted(store.glob("bugs-*"))]
    return reports, [h for hunts, _ in parts for h in hunts], sum((kinds for _, kinds in parts), Counter())


def page(reports: list[SelftestReport], hunts: list[Hunt], kinds: Counter[str]) -> str:
    found = [h for h in hunts if h.found]
    sizes = [h.failure.case.size for h in found]
    share = f"{len(found) / len(hunts):.1%}" if hunts else "none run"
    machine = f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} cores, others at work"
    rows = ["# The reference on trial", "", f"Written by `python benchmarks/selftest.py` on {machine}.", "",
            "## Random networks", "",
            f"{sum(r.tally.networks for r in reports)} networks, {sum(r.failure is not None for r in reports)} failures.",
            f"Drawn and run, forward and pullback: {rate():.0f} a second of one processor (100 are asked).", "",
            *(line for report in reports for line in ("```", str(report), "```", "")), "## Planted bugs", "",
            "| | |", "|---|---|",
            f"| mutants of the sources | {len(all_mutants())} |",
            f"| examined | {sum(kinds.values())} |",
            f"| of them wrong by the oracle on a pool of {POOL} small networks, half at special points: planted | {kinds['different']} |",
            f"| of them only raising | {kinds['stillborn']} |",
            f"| of them with the right gradient in {TRIED} networks of the pool, or all that contain the place | {kinds['equivalent']} |",
            f"| found within {EXAMPLES} examples (at least 300 planted and 98% found are asked) | {len(found)} ({share}) |"]
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
    parser.add_argument("part", choices=("networks", "bugs", "page"))
    parser.add_argument("--count", type=int, default=24_000, help="examples drawn; one in nine is drawn twice")
    parser.add_argument("--time", type=float, help="stop drawing networks after so many seconds")
    parser.add_argument("--first", type=int, default=0, help="of the mutants")
    parser.add_argument("--last", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, default=Path(tempfile.gettempdir()) / "gradverify-selftest")
    given = parser.parse_args()
    given.store.mkdir(exist_ok=True)
    all_mutants()  # read before anything runs, so that an edit meanwhile does not part source and code
    if given.part == "networks":
        fuzz(given.count, given.seed, given.time, given.store)
    elif given.part == "bugs":
        plant(given.first, given.last, given.seed, given.store)
    else:
        REPORT.write_text(page(*found_in(given.store)), encoding="utf-8")


if __name__ == "__main__":
    main()
