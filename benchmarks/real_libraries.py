"""Derivatives that other people wrote by hand, in libraries that other people use: all verdicts in one table.

    python benchmarks/real_libraries.py

Runs the example scripts and writes reports/real-libraries.md. Exit status 1 if a verdict is open: neither a pass nor a
failure that `by_hand` shows to be real.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from by_hand import Evidence, evidence  # puts the examples on the path
from facts import Fact

REPORT = Path(__file__).parents[1] / "reports" / "real-libraries.md"
SCRIPTS = (
    "scikit_learn_losses",
    "scikit_learn_mlp",
    "scikit_learn_gaussian_process",
    "scipy_rosenbrock",
    "statsmodels_likelihoods",
)
LIBRARIES = ("numpy", "scipy", "scikit-learn", "statsmodels")


def collect(script: str) -> tuple[list[Fact], float]:
    """The facts of one example, and the seconds they took (imports excepted)."""
    module, started = import_module(script), time.perf_counter()
    return list(module.facts()), time.perf_counter() - started


def table(facts: Iterable[Fact]) -> Iterator[str]:
    yield "| derivative | verdict | verified to, or what differs | forwards | backwards |"
    yield "|---|---|---|---|---|"
    for fact in facts:
        real = f"; [by hand](#{fact.shown.lower()})" if fact.shown else ""
        counts = f"{fact.report.forwards} | {fact.report.backwards}"
        yield f"| {fact.what} | {fact.report.verdict} | {fact.finding.removeprefix('to ')}{real} | {counts} |"


def by_hand(found: Evidence) -> Iterator[str]:
    known = f" Known upstream: {found.upstream}." if found.upstream else ""
    yield from (f"### {found.section}", "", f"{found.entry}: {found.why}.{known}", "")
    yield from ("| line | value |", "|---|---|")
    yield f"| what the library returns | {found.library:.10g} |"
    yield f"| closed form | {found.closed_form:.10g} |"
    yield f"| mpmath, 40 digits, from the formula of the function | {found.mpmath:.10g} |"
    yield f"| central difference in float64 | {found.difference:.10g} |"
    yield f"\nThe last three agree to {found.agree:.0e}; the first is off by {found.off:.2g} relatively.\n"


def page(sections: dict[str, tuple[list[Fact], float]], shown: list[Evidence]) -> Iterator[str]:
    facts = [fact for rows, _ in sections.values() for fact in rows]
    passed, real = sum(f.report.ok for f in facts), sum(f.as_it_should_be and not f.report.ok for f in facts)
    yield from ("# Hand-written derivatives in real libraries", "")
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    yield f"Written by `python benchmarks/real_libraries.py`, with {versions}."
    yield f"{len(facts)} derivatives: {passed} verified, {real} really wrong, {len(facts) - passed - real} open."
    yield "\n*Verified to* is the resolution of the check: the smallest relative error that it would have caught."
    for script, (rows, seconds) in sections.items():
        yield f"\n## examples/{script}.py ({seconds:.1f} s)\n"
        yield from table(rows)
    yield "\n## The failures, by hand\n"
    for found in shown:
        yield from by_hand(found)


def main() -> int:
    sections = {script: collect(script) for script in SCRIPTS}
    REPORT.write_text("\n".join(page(sections, list(evidence()))).rstrip() + "\n")
    still_open = [fact for rows, _ in sections.values() for fact in rows if not fact.as_it_should_be]
    for fact in still_open:
        print(f"open: {fact.what}\n{fact.report}")
    print(f"{REPORT.name}: {sum(len(rows) for rows, _ in sections.values())} derivatives, {len(still_open)} open")
    return 1 if still_open else 0


if __name__ == "__main__":
    sys.exit(main())
