"""Which mistake a wrong gradient amounts to: the forward with that mistake, against what the target computed.

Three questions, each with its own cotangent and direction, the last at another point too: a candidate that
agrees in all of them is no chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, to_float64
from gradverify.judging import Finding
from gradverify.oracles.altered import Candidate, Changes, Operation, Runs, paths, rules
from gradverify.probes import draw_cotangent, draw_tangent
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR
from gradverify.trial import Counts, Trial

_MOST = 1000  # runs of the forward in a check, whatever the number of wrong leaves
_WORK = 300_000  # operations in all of these runs: about ten seconds
_FINE = 1e-6  # of the error, by how much a candidate may miss it
_VISIBLE = 1e3  # times what may be missed, the error of a question that says something


@dataclass
class Asked:
    """One question: what was computed and expected, how well that is known, and the operations on the way."""

    point: Arrays
    u: Arrays
    v: Arrays
    computed: float
    expected: float
    room: float
    known: list[Operation]

    @property
    def tells(self) -> bool:
        """Whether the gradient is wrong here by so much that a candidate could be told from another."""
        return abs(self.computed - self.expected) > _VISIBLE * self.room


def altered(finding: Finding) -> Iterator[tuple[Candidate, float]]:
    """The mistakes that explain the gradient, and how many times their path counts: 0 where nothing comes back."""
    trial = finding.trial
    if not trial.target.foreign or trial.large or trial.regions or trial.target.dtype != "float64":
        return
    runs = _runs(trial)
    try:
        asked = list(_ask(finding, runs))
    except Exception:  # a forward that no complex number passes through, or that has no gradient nearby
        return
    if sum(a.tells for a in asked) < 2 or not asked[0].tells:
        return
    search = _Search(runs, asked, trial.counts)
    yield from search.found()
    for setting in trial.target.settings():
        for value in (0.0, 1.0):
            with setting.replaced(value):
                found = search.explained(Candidate("setting", setting.name, "", {}, instead=f"{value:g}"))
            if found is not None:
                yield found


def _runs(trial: Trial) -> Runs:
    """With NumPy's allocations carrying numbers too, where it needs that."""
    v = draw_tangent(np.random.default_rng(0), trial.point, trial.leaves, "float64")
    u = draw_cotangent(np.random.default_rng(0), trial.base)
    try:
        Runs(trial.forward).slope(trial.point, u, v, {})
    except Exception:
        return Runs(trial.forward, allocates=True)
    return Runs(trial.forward)


def _ask(finding: Finding, runs: Runs) -> Iterator[Asked]:
    trial, leaf = finding.trial, finding.leaf
    rng = np.random.default_rng((trial.options.seed, 41))
    for k in range(3):
        there = trial if k < 2 else _beside(trial, rng)
        u = finding.u if k == 0 else draw_cotangent(rng, trial.base)
        v = draw_tangent(rng, there.point, [leaf], "float64")
        gradient = there.gradient(u)
        computed, noise = gradient.probe(v)
        expected, known = runs.record(there.point, u, v)
        room = FAIL_FACTOR * (NOISE_FACTOR * noise + 64 * trial.eps * abs(expected))
        yield Asked(there.point, u, v, computed, expected, room, known)


def _beside(trial: Trial, rng: np.random.Generator) -> Trial:
    """Every leaf moved by a few hundredths of each entry's size."""
    moved = {n: to_float64(trial.point[n]) + 2.0**-5 * v
             for n, v in draw_tangent(rng, trial.point, trial.leaves, "float64").items()}  # fmt: skip
    return trial.at({**trial.point, **moved})


@dataclass
class _Search:
    """Candidates held against the questions, until the runs are used up."""

    runs: Runs
    asked: list[Asked]
    counts: Counts

    def found(self) -> Iterator[tuple[Candidate, float]]:
        """The candidates that explain every question, with the number of times that their path counts."""
        # What explains one leaf often explains the next.
        yield from self._matching(list(self.counts.mistakes))
        single = list(paths(self.asked[0].known))
        yield from self._matching(single)
        neutral = self._neutral(single)
        if neutral:
            yield from self._matching(_beside_neutral(single, neutral))
        yield from self._matching(_beside_neutral(rules([a.known for a in self.asked[:2]]), neutral))

    def _matching(self, candidates: Iterable[Any]) -> Iterator[tuple[Candidate, float]]:
        for candidate in candidates:
            if self._is_spent():
                return
            found = self.explained(candidate)
            if found is not None:
                self.counts.mistakes.append(candidate)
                yield found

    def _is_spent(self) -> bool:
        return self.counts.reruns > _MOST or self.counts.reruns * len(self.asked[0].known) > _WORK

    def explained(self, candidate: Candidate) -> tuple[Candidate, float] | None:
        """The candidate, if it explains every question."""
        times = self._times(candidate)
        return None if times is None else (candidate, times)

    def _neutral(self, single: Sequence[Candidate]) -> Changes:
        """Paths that come to nothing, such as the one through the maximum that a softmax subtracts.

        Whoever derives by hand leaves them out, and then makes a mistake elsewhere.
        """
        edges: Changes = {}
        for candidate in single:
            if all(abs(a.expected - self._slope(candidate.changes, a)) <= a.room for a in self.asked[:2]):
                edges = {**edges, **candidate.changes}
        together = [abs(a.expected - self._slope(edges, a)) <= a.room for a in self.asked]
        return edges if edges and all(together) else {}

    def _times(self, candidate: Candidate) -> float | None:
        """How many times the path must count to explain every question; None where no number does."""
        times = 0.0
        for k, question in enumerate(self.asked):
            slope = self._slope(candidate.changes, question)
            share = question.expected - slope
            if not np.isfinite(slope) or abs(share) <= question.room:
                return None
            if k == 0 and candidate.counts:
                times = _round((question.computed - slope) / share)
            fine = question.room + _FINE * abs(question.computed - question.expected)
            if abs(slope + times * share - question.computed) > fine:
                return None
        return times

    def _slope(self, changes: Changes, question: Asked) -> float:
        self.counts.reruns += 1
        try:
            return self.runs.slope(question.point, question.u, question.v, changes, question.known)
        except Exception:
            return float("nan")


def _beside_neutral(candidates: Iterable[Candidate], neutral: Changes) -> Iterator[Candidate]:
    return (replace(c, changes={**neutral, **c.changes}) for c in candidates)


def _round(times: float) -> float:
    """The number itself, or the whole one or its inverse that it is to within a millionth."""
    for near in (round(times), *(1 / n for n in range(2, 65)), *(-1 / n for n in range(2, 65))):
        if abs(times - near) <= 1e-6:
            return float(near)
    return times
