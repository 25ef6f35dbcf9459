"""The edit that makes a wrong gradient right: at the entries known, for other upstream gradients, elsewhere too."""

from __future__ import annotations

import ast
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, dot, magnitude, to_float64
from gradverify.judging import Finding
from gradverify.localize import Located
from gradverify.probes import draw_cotangent, draw_tangent
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR
from gradverify.repairs.edits import edits
from gradverify.repairs.sources import Edit, Function, Program, called, program_of
from gradverify.trial import Trial, like

_MOST = 6000  # edits tried in a check
_SECONDS = 4.0  # for one leaf
_FINE = 1e-6  # of the error, by how much a mended entry may miss
_VISIBLE = 1e3  # times what may be missed, the error of a question that says something
_LONGEST = 90  # characters of a line


@dataclass(frozen=True)
class Repair:
    """A change of the user's code: the place, what stands there, what should, and the whole statement with that."""

    where: str
    before: str
    after: str
    line: str


def repaired(finding: Finding, located: Located) -> Iterator[Repair]:
    """The first single edit of the backward by which the leaf becomes right and no other leaf becomes wrong."""
    search = _Search(finding, located, time.monotonic() + _SECONDS)
    if not finding.trial.large and search.tells:
        yield from search.found()


@dataclass(frozen=True)
class _Question:
    """A point and an upstream gradient that were not asked before."""

    trial: Trial
    u: Arrays
    rng: np.random.Generator

    def holds(self, gradient: Arrays, leaves: list[str]) -> bool | None:
        """Whether the oracle agrees along a random direction in these leaves; None where it cannot say."""
        v = draw_tangent(self.rng, self.trial.point, leaves, self.trial.target.dtype)
        best = self.trial.expected(self.u, v, None).best
        if best.reason or not math.isfinite(best.error):
            return None
        room = FAIL_FACTOR * (best.error + NOISE_FACTOR * self.trial.target.eps * magnitude(gradient, v))
        return abs(dot(gradient, v) - best.value) <= room


@dataclass(frozen=True)
class _Search:
    finding: Finding
    located: Located
    end: float

    @cached_property
    def _gap(self) -> float:
        return float(np.max(np.abs(self.located.computed - self.located.expected), initial=0.0))

    @property
    def tells(self) -> bool:
        """Whether the gradient is wrong by so much that a mended one could be told from it."""
        return self._gap > _VISIBLE * FAIL_FACTOR * float(np.max(self.located.bar, initial=0.0))

    @cached_property
    def _before(self) -> Arrays:
        return _gradient(self.finding.trial, self.finding.u)

    @cached_property
    def _others(self) -> list[_Question]:
        trial, rng = self.finding.trial, np.random.default_rng((self.finding.trial.options.seed, 43))
        step = draw_tangent(rng, trial.point, trial.leaves, trial.target.dtype)
        beside = {n: (to_float64(trial.point[n]) + 2.0**-5 * v).astype(trial.point[n].dtype) for n, v in step.items()}
        there = (trial, trial.at({**trial.point, **beside}))
        return [_Question(t, draw_cotangent(rng, t.base), rng) for t in there]

    def found(self) -> Iterator[Repair]:
        """The repair, if a single edit is one."""
        counts = self.finding.trial.counts
        for program, edit in self._candidates():
            if counts.edits >= _MOST or time.monotonic() > self.end:
                return
            counts.edits += 1
            if self._mends(program, edit):
                counts.repairs.append((program, edit))
                yield _described(program, edit)
                return

    def _candidates(self) -> Iterator[tuple[Program, Edit]]:
        trial = self.finding.trial
        yield from list(trial.counts.repairs)  # what mends one leaf often mends the next
        forward = called(partial(trial.target.forward, trial.point))
        backward = called(partial(_gradient, trial, self.finding.u))
        mended = _functions({code: names for code, names in backward.items() if code not in forward})
        if any(isinstance(n, ast.While) for _, node in mended for n in ast.walk(node)):
            return  # another number, and it may never end
        around = [node for _, node in (*mended, *_functions(forward))]
        for program, node in mended:
            yield from ((program, edit) for edit in edits(node, around))

    def _agrees(self, gradient: Arrays) -> bool:
        """Whether the entries that the oracle was asked for are as it says."""
        found = gradient.get(self.finding.leaf)
        if found is None:
            return False
        values = np.array([found[index] for index in self.located.indices], dtype=float)
        room = FAIL_FACTOR * self.located.bar + _FINE * self._gap
        return bool(np.all(np.abs(values - self.located.expected) <= room))

    def _mends(self, program: Program, edit: Edit) -> bool:
        try:
            with program.edited(edit):
                gradient = _gradient(self.finding.trial, self.finding.u)
                if not self._agrees(gradient):
                    return False
                answers = [_gradient(q.trial, q.u) for q in self._others]
        except Exception:  # an edit that does not compile, or does not run
            return False
        touched = [n for n in self.finding.trial.leaves if not _same(gradient.get(n), self._before.get(n))]
        verdicts = [q.holds(g, touched) for q, g in zip(self._others, answers, strict=True)]
        return True in verdicts and False not in verdicts


def _functions(codes: Mapping[CodeType, Mapping[str, Any]]) -> list[tuple[Program, Function]]:
    """The functions of this code that have a source, each with the statement it stands in."""
    found: list[tuple[Program, Function]] = []
    programs: dict[tuple[str, int], Program] = {}
    for code, names in codes.items():
        program = program_of(code, names)
        if program is not None:
            program = programs.setdefault((program.file, program.statement.lineno), program)
            node = program.node_of(code)
            found += [(program, node)] if node is not None else []
    return found


def _gradient(trial: Trial, u: Arrays) -> Arrays:
    """One backward pass that costs nothing of the user's budget: hundreds are asked for."""
    if trial.target.linearize is None:
        return {}
    outputs, pullback = trial.target.linearize(trial.point, None)
    u = {name: u.get(name, np.zeros(np.shape(y))) for name, y in outputs.items()}
    found = pullback({name: like(u[name], y) for name, y in outputs.items()})
    given = {n: np.array(found[n], np.float64) for n in trial.leaves if found.get(n) is not None}
    return {n: g for n, g in given.items() if g.shape == np.shape(trial.point[n])}


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.allclose(a, b, rtol=1e-12, atol=0.0, equal_nan=True))


def _described(program: Program, edit: Edit) -> Repair:
    before = ast.unparse(edit.old)
    around = [n for n in ast.walk(program.statement) if isinstance(n, (ast.stmt, ast.Lambda)) and _holds(n, edit.old)]
    innermost = min(around, key=lambda n: len(ast.unparse(n)), default=edit.old)
    with edit.applied():
        line = "nothing" if edit.new is None else ast.unparse(edit.new if innermost is edit.old else innermost)
        after = "nothing" if edit.new is None else ast.unparse(edit.new)
    where = f"{Path(program.file).name}:{getattr(edit.old, 'lineno', program.statement.lineno)}"
    return Repair(where, _short(before), _short(after), _short(line))


def _holds(node: ast.AST, part: ast.AST) -> bool:
    return any(inner is part for inner in ast.walk(node))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ..."
