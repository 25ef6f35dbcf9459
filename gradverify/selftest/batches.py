"""The networks of a self-test in batches that know nothing of one another, so that any process may judge any of them.

The same seed and number draw the same batch wherever it runs. Cases drawn by two batches are counted once, by
whoever puts the batches together.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradverify.checking import check
from gradverify.records import Report, Verdict
from gradverify.reference import Embedding
from gradverify.selftest.judging import Judgement, judge
from gradverify.sharing import each
from gradverify.strategies import FRESH, Case, cases, climb, explore

CHECKED = 100  # one network in so many goes through the whole of `check`
BATCH = 250  # networks drawn together
SHRINKING = 60.0  # seconds since the last smaller counterexample
CLIMBING = 4  # one batch in so many climbs towards the worst agreement; it repeats itself, so the others do not


@dataclass(frozen=True)
class Batch:
    """So many examples drawn from a seed; none is begun after the deadline, a time of the clock."""

    seed: int
    number: int
    size: int
    deadline: float = math.inf


@dataclass(frozen=True)
class Judged:
    """A case and what came of it; `whole` is the verdict of `check` where that was asked too."""

    case: Case
    judgement: Judgement
    whole: str = ""


Tell = Callable[[Judged], object]


@dataclass(frozen=True)
class Outcome:
    """What a batch saw, and the smallest case that failed."""

    judged: tuple[Judged, ...]
    failing: Case | None


def in_batches(examples: int, seed: int, deadline: float = math.inf) -> list[Batch]:
    """So many examples, a batch at a time."""
    starts = range(0, examples, BATCH)
    return [Batch(seed, k, min(BATCH, examples - start), deadline) for k, start in enumerate(starts)]


def run_batch(batch: Batch, tell: Tell = id) -> Outcome:
    """Judge a batch, and shrink the first failure; `tell` hears of every case at once."""
    run = _Run(batch.deadline, tell, climbing=batch.number % CLIMBING == CLIMBING - 1)
    together = BATCH if run.climbing else FRESH
    found = explore(cases(), run.fails, batch.size, key=batch.seed * 1_000_003 + batch.number, run=together)
    return Outcome(tuple(run.judged), None if found is None else found.example)


@dataclass
class _Run:
    deadline: float
    tell: Tell
    climbing: bool = False
    judged: list[Judged] = field(default_factory=list)
    answers: dict[str, bool] = field(default_factory=dict)

    def fails(self, case: Case) -> bool:
        """Hypothesis has to see the same answer for the same case, early and late: so answers are kept."""
        name = repr(case)
        if name not in self.answers:
            if time.time() > self.deadline:
                return False
            self.answers[name] = self._fails(case)
            if self.answers[name]:
                self.deadline = time.time() + SHRINKING
        return self.answers[name]

    def _fails(self, case: Case) -> bool:
        judgement = judge(case)
        failed = judgement.verdict is Verdict.FAIL
        seen = Judged(case, judgement, "" if failed or not is_sampled(case) else str(whole(case).verdict))
        self.judged.append(seen)
        self.tell(seen)
        if self.climbing and judgement.verdict is Verdict.PASS and judgement.agreement > 0:
            climb(math.log10(judgement.agreement), "log10 agreement")
        return failed or seen.whole == Verdict.FAIL


def is_sampled(case: Case) -> bool:
    """One in `CHECKED`, none with a padding row: that its gradient is zero is the layer's contract, not a fact."""
    first = case.architecture.layers[0]
    if isinstance(first, Embedding) and first.padding is not None:
        return False
    return zlib.crc32(repr(case).encode()) % CHECKED == 0


def whole(case: Case) -> Report:
    """What `check` says of the network."""
    return check(case.architecture.build(), case.params(), case.x(), search="none")


def outcomes(
    todo: Sequence[Batch], tell: Tell, jobs: int = 1, dask: Any = None
) -> Generator[Outcome, None, None]:
    """The outcome of every batch: made here case by case, or elsewhere and told when it is whole."""
    if dask is None and jobs == 1:
        yield from (run_batch(batch, tell) for batch in todo)
        return
    for outcome in each(run_batch, todo, jobs, dask):
        for seen in outcome.judged:
            tell(seen)
        yield outcome
