"""The edit that makes a wrong gradient right: at the entries known, for other upstream gradients, elsewhere too."""

from __future__ import annotations

import ast
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, dot, magnitude, to_float64
from gradverify.diagnosis.case import Repair
from gradverify.judging import Finding
from gradverify.localize import Located
from gradverify.probes import draw_cotangent, draw_tangent
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR
from gradverify.repairs.edits import edits
from gradverify.repairs.harmless import only_compute, writes_in_place
from gradverify.repairs.running import TooLong, Watch, alone, frozen, outliving
from gradverify.repairs.sources import Edit, Function, Program, program_of
from gradverify.trial import Trial, cotangents

_MOST = 1500  # edits tried in a check
_SECONDS = 6.0  # of the processor, in a check: what is slower ends there
_LARGEST = 2**12  # numbers of a point
_LONGER = 20  # times the lines that the code takes unchanged, and a thousand more
_FINE = 1e-6  # of the error, by how much a mended entry may miss
_VISIBLE = 1e3  # times what may be missed, the error of a question that says something
_LONGEST = 90  # characters of a line


def repaired(finding: Finding, located: Located) -> Iterator[Repair]:
    """The first single edit of the backward by which the leaf becomes right and no other leaf becomes wrong.

    Nothing is tried where the code may do more than compute, or where another thread runs it too.
    """
    counts, search = finding.trial.counts, _Search(finding, located)
    if counts.mending is None:
        counts.mending = time.thread_time() + _SECONDS
    if finding.trial.size <= _LARGEST and search.tells and alone():
        yield from search.found()


@dataclass(frozen=True)
class _Question:
    """A point and an upstream gradient that were not asked before."""

    trial: Trial
    u: Arrays
    rng: np.random.Generator

    def holds(self, gradient: Arrays, leaves: list[str]) -> bool:
        """Whether the oracle says the same along a random direction in these leaves."""
        v = draw_tangent(self.rng, self.trial.point, leaves, self.trial.target.dtype)
        best = self.trial.expected(self.u, v, None).best
        if best.reason or not math.isfinite(best.error):
            return False
        room = FAIL_FACTOR * (best.error + NOISE_FACTOR * self.trial.target.eps * magnitude(gradient, v))
        return abs(dot(gradient, v) - best.value) <= room


@dataclass(frozen=True)
class _Search:
    finding: Finding
    located: Located

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
        """The repair, if a single edit is one; after a leaf that has none, others are asked for what is known alone."""
        counts = self.finding.trial.counts
        for edit in list(counts.repairs):  # what mends one leaf often mends the next
            if self._mends(*edit):
                yield _described(*edit[:2])
                return
        for edit in self._candidates():
            counts.edits += 1
            if counts.edits > _MOST or time.thread_time() > (counts.mending or 0.0):
                break
            if self._mends(*edit):
                counts.repairs.append(edit)
                yield _described(*edit[:2])
                return
        counts.edits = _MOST

    def _candidates(self) -> Iterator[tuple[Program, Edit, Around]]:
        trial, forward, backward = self.finding.trial, Watch(), Watch()
        forward.run(partial(trial.target.forward, trial.point))
        backward.run(_pullback(trial, self.finding.u))
        everything = {**forward.codes, **backward.codes}
        found = {code: _function(code, names) for code, names in everything.items() if not _is_part(code)}
        run = [found[code] for code in backward.codes if code in found]
        sources = [(part[1], part[2]) for part in run if part is not None]
        if len(sources) < len(run) or not only_compute(sources, {code.co_name for code in backward.codes}):
            return
        around = Around(outliving(everything), _LONGER * backward.lines + 1000)
        if around.tensors and any(writes_in_place(node) for node, _ in sources):
            return  # NumPy's arrays can be kept from being written to, others cannot
        nodes = [part[1] for part in found.values() if part is not None]
        for code in backward.codes:
            part = found.get(code)
            if part is not None and code not in forward.codes:
                yield from ((part[0], edit, around) for edit in edits(part[1], nodes))

    def _agrees(self, gradient: Arrays) -> bool:
        """Whether the entries that the oracle was asked for are as it says."""
        found = gradient.get(self.finding.leaf)
        if found is None:
            return False
        values = np.array([found[index] for index in self.located.indices], dtype=float)
        room = FAIL_FACTOR * self.located.bar + _FINE * self._gap
        return bool(np.all(np.abs(values - self.located.expected) <= room))

    def _mends(self, program: Program, edit: Edit, around: Around) -> bool:
        watch = Watch(around.most)
        try:
            with frozen(around.values), program.edited(edit, around.holders(program)):
                gradient = watch.run(partial(_gradient, self.finding.trial, self.finding.u))
                if not self._agrees(gradient):
                    return False
                answers = [Watch(around.most).run(partial(_gradient, q.trial, q.u)) for q in self._others]
        except (Exception, TooLong):  # an edit that does not compile, does not run, or does not end
            return False
        touched = [n for n in self.finding.trial.leaves if not _same(gradient.get(n), self._before.get(n))]
        return all(q.holds(g, touched) for q, g in zip(self._others, answers, strict=True))


class Around:
    """What is the same for every edit: values that outlive a run, how many lines it may take, who holds the code."""

    def __init__(self, values: list[Any], most: float) -> None:
        self.values, self.most = values, most
        self._holders: dict[int, list[tuple[FunctionType, int]]] = {}

    @property
    def tensors(self) -> bool:
        """Whether there are arrays of a framework among the values."""
        known = (np.ndarray, np.generic, type, ModuleType)
        return any(hasattr(x, "dtype") and hasattr(x, "shape") for x in self.values if not isinstance(x, known))

    def holders(self, program: Program) -> list[tuple[FunctionType, int]]:
        """The functions with code of this program, looked for once."""
        if id(program) not in self._holders:
            self._holders[id(program)] = program.holders()
        return self._holders[id(program)]


def _is_part(code: CodeType) -> bool:
    """A comprehension, which is a part of the function around it; or a module or a class body."""
    return code.co_name.startswith("<") and code.co_name != "<lambda>"


def _function(code: CodeType, names: Mapping[str, Any]) -> tuple[Program, Function, Mapping[str, Any]] | None:
    """The statement and the function that this code was compiled from, and its globals; None without a source."""
    program = program_of(code, names)
    node = program.node_of(code) if program is not None else None
    return None if program is None or node is None else (program, node, names)


def _gradient(trial: Trial, u: Arrays) -> Arrays:
    return _pullback(trial, u)()


def _pullback(trial: Trial, u: Arrays) -> Callable[[], Arrays]:
    """A backward pass after its forward, which costs nothing of the user's budget: hundreds are asked for."""
    if trial.target.linearize is None:
        return dict
    outputs, pullback = trial.target.linearize(trial.point, None)

    def pulled() -> Arrays:
        found = pullback(cotangents(u, outputs))
        given = {n: np.array(found[n], np.float64) for n in trial.leaves if found.get(n) is not None}
        return {n: g for n, g in given.items() if g.shape == np.shape(trial.point[n])}

    return pulled


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
    path = Path(program.file)
    name = path.name if path.name != "__init__.py" else f"{path.parent.name}/{path.name}"
    where = f"{name}:{getattr(edit.old, 'lineno', program.statement.lineno)}"
    return Repair(where, _short(before), _short(after), _short(line))


def _holds(node: ast.AST, part: ast.AST) -> bool:
    return any(inner is part for inner in ast.walk(node))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ..."
