"""Whether a planted bug is found: the self-test of the self-test.

A bug that no gradient shows is none. `is_different` decides that without the search: the mutant runs on a pool
of small networks that contain what it may reach, and must be wrong by the oracle's judgement on at least one.
A mutant that only raises counts as stillborn, not as planted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gradverify.arrays import Arrays
from gradverify.records import Verdict
from gradverify.selftest.judging import Judgement, judge, make_subject
from gradverify.selftest.mutants import Mutant, all_mutants
from gradverify.selftest.planting import planted
from gradverify.selftest.record import Counterexample, Hunt
from gradverify.strategies import Case, cases, explore, parts_of

TRIED = 1000  # cases of the pool that a mutant is run on before it is called equivalent
APART = 1e-9  # relative; what the oracle then has to confirm


@dataclass(frozen=True)
class Known:
    """A case of the pool and its right gradient."""

    case: Case
    gradient: Arrays


def hunt(mutant: Mutant, examples: int = 200, seed: int = 0) -> Hunt:
    """Plant the bug, draw networks until one fails, and shrink it."""
    started = time.perf_counter()
    with planted(mutant) as touched:
        found = explore(cases(), lambda case: _fails(case, touched), examples, key=seed)
        failure = None if found is None else Counterexample(found.example, judge(found.example))
    drawn, ran = (examples, examples) if found is None else (found.drawn, found.ran)
    return Hunt(mutant, failure, drawn, ran, time.perf_counter() - started)


def _fails(case: Case, touched: tuple[type, ...]) -> bool:
    """Whether the case gives the bug away; without a part that the bug may reach it is the reference's own."""
    return _contains(case, touched) and judge(case, only_failures=True).verdict is Verdict.FAIL


def shuffled(seed: int) -> list[Mutant]:
    """All mutants in a random order."""
    mutants = list(all_mutants())
    random.Random(seed).shuffle(mutants)
    return mutants


@cache
def make_pool(size: int, seed: int = 0) -> tuple[Known, ...]:
    """Small networks at points where the oracle can judge them, with their right gradients."""
    drawn: list[Known] = []

    def keep(case: Case) -> bool:
        if judge(case).verdict is Verdict.PASS:
            drawn.append(Known(case, _gradient(case)))
        return False

    explore(cases(max_layers=2), keep, size, key=seed)
    return tuple(drawn)


def _gradient(case: Case) -> Arrays:
    with np.errstate(all="ignore"):
        subject = make_subject(case)
        return subject.gradient(subject.point, subject.u)


def status(mutant: Mutant, pool: Sequence[Known]) -> str:
    """``different``, ``stillborn`` or ``equivalent``, judged on the cases that contain what it reaches."""
    raised = ran = 0
    with planted(mutant) as touched:
        for known in _containing(pool, touched):
            try:
                gradient = _gradient(known.case)
            except Exception:
                raised += 1
                continue
            ran += 1
            if _apart(gradient, known.gradient) and _confirmed(judge(known.case)):
                return "different"
    return "stillborn" if raised else "equivalent"


def _containing(pool: Sequence[Known], touched: tuple[type, ...]) -> Iterator[Known]:
    chosen = (known for known in pool if _contains(known.case, touched))
    return (known for known, _ in zip(chosen, range(TRIED), strict=False))


def _contains(case: Case, touched: tuple[type, ...]) -> bool:
    return any(isinstance(part, touched) for part in _everything(case))


def _everything(case: Case) -> list[Any]:
    return [case.architecture.build(), case.loss, *parts_of(case.architecture.layers)]


def _apart(one: Arrays, other: Arrays) -> bool:
    return any(_differ(one.get(name), right) for name, right in other.items())


def _differ(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is not right
    if np.shape(left) != np.shape(right):
        return True
    with np.errstate(all="ignore"):
        gap = np.max(np.abs(np.asarray(left) - right), initial=0.0)
        return not gap <= APART * np.max(np.abs(right), initial=0.0)


def _confirmed(judgement: Judgement) -> bool:
    return judgement.verdict is Verdict.FAIL and not judgement.reason.startswith("raises")
