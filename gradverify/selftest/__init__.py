"""The reference on trial: random networks, judged by oracles that know nothing of it.

`selftest` draws networks and points and compares every gradient with the complex step; now and then the whole
of `check` is run on one. `hunt` plants a bug in the reference first, and must find it.

>>> report = selftest(examples=20, seed=1)
>>> report.ok, report.tally.networks > 10      # some are drawn twice, and judged once
(True, True)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gradverify.records import Verdict
from gradverify.selftest.batches import Judged, in_batches, outcomes, whole
from gradverify.selftest.hunting import hunt, make_pool, shuffled, status
from gradverify.selftest.judging import Judgement, judge
from gradverify.selftest.mutants import Mutant, all_mutants
from gradverify.selftest.planting import planted
from gradverify.selftest.record import Counterexample, Hunt, SelftestReport, Tally
from gradverify.strategies import Case

__all__ = [
    "Counterexample", "Hunt", "Judgement", "Mutant", "SelftestReport", "Tally", "all_mutants", "hunt", "judge",
    "make_pool", "planted", "selftest", "shuffled", "status",
]

_WHOLE = "check found what the probe did not"


def selftest(
    examples: int = 500, seed: int = 0, seconds: float | None = None, progress: Callable[[Tally], object] = id, *,
    jobs: int = 1, dask: Any = None,
) -> SelftestReport:
    """Judge so many random networks, or as many as fit into the time; stop at the first failure and shrink it.

    `jobs` processes share the work, or the cluster behind `dask`, a scheduler's address or a client. They draw what
    one process draws. Ctrl-C ends the run, and the report holds what was judged.
    """
    _require(examples, seconds, jobs)
    started, count = time.perf_counter(), _Count(progress)
    deadline = math.inf if seconds is None else time.time() + seconds
    failing, interrupted = None, False
    running = outcomes(in_batches(examples, seed, deadline), count.add, jobs, dask)
    try:
        for outcome in running:
            failing = outcome.failing
            if failing is not None or time.time() > deadline:
                break
    except KeyboardInterrupt:
        interrupted = True
    running.close()
    failure = None if failing is None else _counterexample(failing)
    return SelftestReport(seed, time.perf_counter() - started, count.tally, failure, interrupted)


def _require(examples: int, seconds: float | None, jobs: int) -> None:
    for keyword, number in (("examples", examples), ("jobs", jobs)):
        if number < 1:
            raise ValueError(f"{keyword}={number!r}: must be at least 1")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds={seconds!r}: must be greater than 0")


@dataclass
class _Count:
    """Puts together what batches tell; a case that two of them drew counts once."""

    progress: Callable[[Tally], object]
    tally: Tally = field(default_factory=Tally)
    seen: set[str] = field(default_factory=set)

    def add(self, judged: Judged) -> None:
        name = repr(judged.case)
        if name not in self.seen:
            self.seen.add(name)
            self.tally.add(judged.case, judged.judgement, judged.whole)
            self.progress(self.tally)


def _counterexample(case: Case) -> Counterexample:
    judgement = judge(case)
    if judgement.verdict is not Verdict.FAIL:
        judgement = Judgement(Verdict.FAIL, _WHOLE)
    try:
        return Counterexample(case, judgement, str(whole(case)))
    except Exception as error:
        return Counterexample(case, judgement, f"check raises {type(error).__name__}: {error}")
