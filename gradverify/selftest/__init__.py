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
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from gradverify.checking import check
from gradverify.records import Report, Verdict
from gradverify.reference import Embedding
from gradverify.selftest.hunting import hunt, make_pool, shuffled, status
from gradverify.selftest.judging import Judgement, judge
from gradverify.selftest.mutants import Mutant, all_mutants
from gradverify.selftest.planting import planted
from gradverify.selftest.record import Counterexample, Hunt, SelftestReport, Tally
from gradverify.strategies import FRESH, Case, cases, climb, explore

__all__ = [
    "Counterexample", "Hunt", "Judgement", "Mutant", "SelftestReport", "Tally", "all_mutants", "hunt", "judge",
    "make_pool", "planted", "selftest", "shuffled", "status",
]

CHECKED = 100  # one network in so many goes through the whole of `check`
BATCH = 250  # networks between two looks at the clock
SHRINKING = 60.0  # seconds since the last smaller counterexample
CLIMBING = 4  # one batch in so many climbs towards the worst agreement; it repeats itself, so the others do not
_WHOLE = "check found what the probe did not"


def selftest(
    examples: int = 500, seed: int = 0, seconds: float | None = None, progress: Callable[[Tally], object] = id
) -> SelftestReport:
    """Judge so many random networks, or as many as fit into the time; stop at the first failure and shrink it."""
    if examples < 1:
        raise ValueError(f"examples={examples!r}: must be at least 1")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds={seconds!r}: must be greater than 0")
    run = _Run(math.inf if seconds is None else time.perf_counter() + seconds, progress)
    started = time.perf_counter()
    failure = None
    for batch, size in enumerate(_batches(examples)):
        run.climbing = batch % CLIMBING == CLIMBING - 1
        together = BATCH if run.climbing else FRESH
        found = explore(cases(), run.fails, size, key=seed * 1_000_003 + batch, run=together)
        failure = None if found is None else _counterexample(found.example)
        if failure is not None or run.late:
            break
    return SelftestReport(seed, time.perf_counter() - started, run.tally, failure)


def _batches(examples: int) -> list[int]:
    full, rest = divmod(examples, BATCH)
    return [BATCH] * full + ([rest] if rest else [])


@dataclass
class _Run:
    deadline: float
    progress: Callable[[Tally], object]
    tally: Tally = field(default_factory=Tally)
    climbing: bool = False
    answers: dict[str, bool] = field(default_factory=dict)

    @property
    def late(self) -> bool:
        return time.perf_counter() > self.deadline

    def fails(self, case: Case) -> bool:
        """Hypothesis has to see the same answer for the same case, early and late: so answers are kept."""
        name = repr(case)
        if name not in self.answers:
            if self.late:
                return False
            self.answers[name] = self._judged(case)
            if self.answers[name]:
                self.deadline = time.perf_counter() + SHRINKING
        return self.answers[name]

    def _judged(self, case: Case) -> bool:
        judgement = judge(case)
        self.tally.add(case, judgement)
        self.progress(self.tally)
        if self.climbing and judgement.verdict is Verdict.PASS and judgement.agreement > 0:
            climb(math.log10(judgement.agreement), "log10 agreement")
        return judgement.verdict is Verdict.FAIL or (_is_sampled(case) and self._fails_whole(case))

    def _fails_whole(self, case: Case) -> bool:
        verdict = _whole(case).verdict
        self.tally.checked[str(verdict)] += 1
        return verdict is Verdict.FAIL


def _is_sampled(case: Case) -> bool:
    """One in `CHECKED`, none with a padding row: that its gradient is zero is the layer's contract, not a fact."""
    first = case.architecture.layers[0]
    if isinstance(first, Embedding) and first.padding is not None:
        return False
    return zlib.crc32(repr(case).encode()) % CHECKED == 0


def _whole(case: Case) -> Report:
    return check(case.architecture.build(), case.params(), case.x(), search="none")


def _counterexample(case: Case) -> Counterexample:
    judgement = judge(case)
    if judgement.verdict is not Verdict.FAIL:
        judgement = Judgement(Verdict.FAIL, _WHOLE)
    try:
        return Counterexample(case, judgement, str(_whole(case)))
    except Exception as error:
        return Counterexample(case, judgement, f"check raises {type(error).__name__}: {error}")
