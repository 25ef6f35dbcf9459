"""What a forward's derivative would be with a mistake in it, of the forward alone: no backward is read or written.

Each candidate is a run at x + ihv of which some operations carry another derivative (`arithmetic.altering`). One
that agrees with a wrong gradient at several points says which mistake was made, and on which line.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradverify.arithmetic.altering import WHOLE, Altering, Change, Edge, Operation
from gradverify.arithmetic.complextable import Watch
from gradverify.arithmetic.sites import shortened
from gradverify.arrays import Arrays, dot, is_floating
from gradverify.oracles.complexstep import Question, step_of

__all__ = ["Candidate", "Changes", "Operation", "Runs", "paths", "rules"]

Forward = Callable[[Arrays], Arrays]

_PASSES = 32  # of a loop that are told apart
_REDUCTIONS = {np.sum, np.mean, np.max, np.min}
_BILINEAR = {np.multiply, np.matmul, np.dot, np.outer}
_NEAR = 8  # operations between the start and the end of an elementwise piece


Changes = Mapping[Edge, Change]


@dataclass(frozen=True)
class Candidate:
    """A mistake: what kind, in words, and the changes that make it. `counts` where any number of times is meant.

    `what` is concerned, at the place `where`; it is taken `instead` of `own`, where something is.
    """

    kind: str
    what: str
    where: str
    changes: Changes
    counts: bool = False
    instead: str = ""
    own: str = ""


@dataclass(frozen=True)
class Runs:
    """The forward by complex steps, all floating leaves carried along, some operations altered."""

    forward: Forward
    allocates: bool = False

    def slope(self, point: Arrays, u: Arrays, v: Arrays, changes: Changes, known: Sequence[Operation] = ()) -> float:
        """``<u, J v>`` with these changes; `known` are the operations of an earlier run at the point."""
        return self._run(point, u, v, Altering(changes, known))

    def record(self, point: Arrays, u: Arrays, v: Arrays) -> tuple[float, list[Operation]]:
        """``<u, J v>`` as it is, and the operations on the way."""
        altering = Altering(records=True)
        return self._run(point, u, v, altering), altering.operations

    def _run(self, point: Arrays, u: Arrays, v: Arrays, altering: Altering) -> float:
        question = Question(self.forward, point, u, v, allocates=self.allocates)
        still = {n: np.zeros(np.shape(x)) for n, x in point.items() if n not in v and is_floating(x)}
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            run = question.run(step_of(point, v), Watch(altering=altering), {**v, **still})
        return dot(u, run.derivative)


def paths(operations: Sequence[Operation]) -> Iterator[Candidate]:
    """Each operand treated as a constant, those first beside which another one moves."""
    groups = _groups(operations).values()
    reductions = _reductions(operations)
    for junction in (True, False):
        for edges in groups:
            if (len(operations[edges[0][0]].moving) > 1) is junction:
                kind = "reduction" if junction and _is_reduced(operations, reductions, edges[0]) else "held"
                yield replace(_held(operations, edges, ""), kind=kind)


def _reductions(operations: Sequence[Operation]) -> list[Operation]:
    return [o for o in operations if o.func in _REDUCTIONS and o.result is not None]


def _is_reduced(operations: Sequence[Operation], reductions: Sequence[Operation], edge: Edge) -> bool:
    """Whether an operand is a sum (mean, maximum) of many entries."""
    user = operations[edge[0]]
    return any(user.is_made_of(o.result, edge[1]) for o in reductions if o.number < user.number)


def rules(recorded: Sequence[list[Operation]]) -> Iterator[Candidate]:
    """What else may be wrong in an operation or a loop, the commonest first."""
    operations = recorded[0]
    groups = _groups(operations)
    yield from _unreduced(operations)
    yield from _factors(operations, groups)
    yield from _slopes(recorded)
    for edges in groups.values():
        yield from _some_passes(operations, edges)


def _groups(operations: Sequence[Operation]) -> dict[Any, list[Edge]]:
    """The edges by where they stand in the source: the passes of a loop together."""
    groups: dict[Any, list[Edge]] = defaultdict(list)
    for operation in operations:
        for i in operation.moving:
            groups[*_place(operation), i].append((operation.number, i))
    return groups


def _place(operation: Operation) -> tuple[Any, Any]:
    """Where it stands in the source, and what it is."""
    return operation.site.key if operation.site else operation.number, operation.func


def _nothing(operation: Operation, run: Altering) -> Any:
    return 0.0


def _held(operations: Sequence[Operation], edges: Sequence[Edge], passes: str) -> Candidate:
    operand, where = _names(operations, edges[0])
    changes: Changes = dict.fromkeys(edges, _nothing)
    return Candidate("passes" if passes else "held", operand, where + passes, changes, counts=not passes)


def _names(operations: Sequence[Operation], edge: Edge) -> tuple[str, str]:
    """An operand as the source calls it, and the expression with its line."""
    number, i = edge
    operation = operations[number]
    name = getattr(operation.func, "__name__", "operation")
    site = operation.site
    if site is None:
        return f"operand {i + 1}", name
    operand = site.operand(i)
    whole = f"`{shortened(site.expression)}` ({site})" if site.expression else f"{name} at {site}"
    return (f"`{shortened(operand)}`" if operand else f"operand {i + 1} of {name}"), whole


def _some_passes(operations: Sequence[Operation], edges: list[Edge]) -> Iterator[Candidate]:
    """The operand held in some passes of a loop."""
    n = len(edges)
    if not 1 < n <= _PASSES:
        return
    for k in range(1, n):
        yield _held(operations, edges[:k], f", in the first {k} of {n} passes")
        yield _held(operations, edges[k:], f", in the last {n - k} of {n} passes")
    for k in range(1, n - 1):
        yield _held(operations, edges[k : k + 1], f", in pass {k + 1} of {n}")
    for step in range(2, min(n, 5)):
        for start in range(step):
            every = f", in every {('', '', 'second', 'third', 'fourth')[step]} of {n} passes"
            yield _held(operations, edges[start::step], every)


def _unreduced(operations: Sequence[Operation]) -> Iterator[Candidate]:
    """A sum (mean, maximum) of which each entry's own term alone is differentiated: the cross terms are missing."""
    users: dict[tuple[int, ...], list[tuple[Operation, int]]] = defaultdict(list)
    for o in operations:
        if o.values is not None:
            users[o.values.shape].extend((o, i) for i in o.moving)
    for reduction in (o for o in _reductions(operations) if o.moving == (0,)):
        for user, i in users[reduction.operands[0].shape]:
            if user.number > reduction.number and user.is_made_of(reduction.result, i):
                operand, where = _names(operations, (user.number, i))
                yield Candidate("diagonal", operand, where, {(user.number, i): _own_terms(reduction.number, i)})


def _own_terms(reduction: int, i: int) -> Change:
    return lambda operation, run: operation.with_slope(i, run.operations[reduction].operands[0].planes.imag)


def _slopes(recorded: Sequence[list[Operation]]) -> Iterator[Candidate]:
    """Pieces that are a function of one number, entry by entry: their slope another one, or one, in every pass."""
    operations = recorded[0]
    for ends in reversed(_by_place(operations).values()):
        for back in range(_NEAR, -1, -1):
            pairs = [(run[n - back], run[n]) for run in recorded for n in ends if n >= back and n < len(run)]
            if len(pairs) < len(ends) * len(recorded) or not all(map(_moves, pairs)) or not _elementwise(pairs):
                continue
            what, where = _piece(operations, operations[ends[0] - back], operations[ends[0]])
            for slope, function in _SLOPES.items():
                start = operations[ends[0] - back].moving[0]
                changes: Changes = {(n, WHOLE): _with(function, n - back, start) for n in ends}
                yield Candidate("slope", what, where, changes, instead=slope)


def _by_place(operations: Sequence[Operation]) -> dict[Any, list[int]]:
    """The operations by where they stand: the passes of a loop together."""
    found: dict[Any, list[int]] = defaultdict(list)
    for o in operations:
        found[_place(o)].append(o.number)
    return found


def _moves(pair: tuple[Operation, Operation]) -> bool:
    """Whether a piece begins with one moving operand, and ends with a result that moves."""
    start, end = pair
    return len(start.moving) == 1 and bool(end.moving) and end.slopes is not None


def _start(operation: Operation) -> Any:
    """How fast the operand moves with which a piece begins."""
    return operation.operands[operation.moving[0]].planes.imag


_SLOPES: dict[str, Callable[[Any], Any]] = {
    "1": np.ones_like, "y": lambda y: y, "1 - y": lambda y: 1 - y, "y^2": np.square, "1 - y^2": lambda y: 1 - y * y,
    "y (1 - y)": lambda y: y * (1 - y), "1 + y^2": lambda y: 1 + y * y, "1 / y": lambda y: 1 / y,
}


def _with(slope: Callable[[Any], Any], start: int, operand: int) -> Change:
    return lambda operation, run: slope(operation.values) * run.operations[start].operands[operand].planes.imag


def _piece(operations: Sequence[Operation], start: Operation, end: Operation) -> tuple[str, str]:
    argument, _ = _names(operations, (start.number, start.moving[0]))
    return f"as a function of {argument}", _names(operations, (end.number, 0))[1]


def _elementwise(pairs: Sequence[tuple[Operation, Operation]]) -> bool:
    """Whether along both directions each entry of the one moves by the same multiple of that of the other."""
    speeds = [(_start(x), y.slopes) for x, y in pairs]
    if any(dx.shape != dy.shape or not np.all(dx) for dx, dy in speeds):
        return False
    slopes = [dy / dx for dx, dy in speeds]
    half = len(slopes) // 2
    alike = all(np.all(np.abs(a - b) <= 1e-9 * np.abs(a)) for a, b in zip(slopes[:half], slopes[half:], strict=True))
    return alike and any(np.ptp(slope) > 0 for slope in slopes)


Factor = Callable[[Operation, Altering], Any]


def _factors(operations: Sequence[Operation], groups: Mapping[Any, list[Edge]]) -> Iterator[Candidate]:
    """Products of which one factor's derivative has another number beside it than the other factor."""
    for edges in groups.values():
        number, i = edges[0]
        product = operations[number]
        if product.func not in _BILINEAR or len(product.operands) != 2 or len(edges) > _PASSES:
            continue
        operand, where = _names(operations, edges[0])
        own = _names(operations, (number, 1 - i))[0]
        for name, factor in _other_factors(operations, edges):
            changes: Changes = dict.fromkeys(edges, _beside(i, factor))
            yield Candidate("factor", operand, where, changes, instead=name, own=own)
        if product.func is not np.multiply and _square(product.values):
            yield Candidate("transposed", operand, where, dict.fromkeys(edges, _transposed(i)))


def _beside(i: int, factor: Factor) -> Change:
    def change(operation: Operation, run: Altering) -> Any:
        slope, other = operation.operands[i].planes.imag, factor(operation, run)
        return slope if other is None else operation.func(*[slope if j == i else other for j in range(2)])

    return change


def _transposed(i: int) -> Change:
    own = _beside(i, lambda operation, run: _plain(operation.operands[1 - i]))
    return lambda operation, run: own(operation, run).T


def _square(x: Any) -> bool:
    return x is not None and x.ndim == 2 and x.shape[0] == x.shape[1] > 1


def _other_factors(operations: Sequence[Operation], edges: Sequence[Edge]) -> Iterator[tuple[str, Factor]]:
    """Nothing, the transpose, the neighbouring pass's, or another number of the same shape."""
    number, i = edges[0]
    own = [_plain(operations[n].operands[1 - i]) for n, _ in edges]
    if operations[number].func is np.multiply:
        yield "nothing", lambda operation, run: None
    elif _square(own[0]):
        yield "its transpose", lambda operation, run: _plain(operation.operands[1 - i]).T
    if len(edges) > 1 and any(not np.array_equal(own[0], w) for w in own[1:]):
        order = [n for n, _ in edges]
        yield "what the next pass has there", _of_pass(order, 1 - i, 1)
        yield "what the pass before has there", _of_pass(order, 1 - i, -1)
    if own[0].size > 1:
        yield from _others(operations, [n for n, _ in edges], own)


def _others(
    operations: Sequence[Operation], order: list[int], own: list[np.ndarray]
) -> Iterator[tuple[str, Factor]]:
    """Results and operands of other operations that have the same shape and other values; in a loop of every pass."""
    seen = [own[0]]
    apart = len(operations) if len(order) == 1 else order[1] - order[0]
    for k in range(max(0, order[0] - apart), min(len(operations), order[0] + apart)):
        other = operations[k]
        for j, x in enumerate((other.values, *other.operands), start=-1):
            value = None if x is None else _plain(x)
            if value is None or value.shape != own[0].shape or any(np.array_equal(value, w) for w in seen):
                continue
            seen.append(value)
            name = other.site.operand(j) if j >= 0 and other.site else other.site.expression if other.site else ""
            yield f"`{shortened(name)}`" if name else f"another number of shape {value.shape}", _beyond(k - order[0], j)


def _beyond(away: int, j: int) -> Factor:
    """The result (j = -1) or the operand of the operation so many further."""

    def factor(operation: Operation, run: Altering) -> Any:
        other = run.known[operation.number + away]
        return other.values if j < 0 else _plain(other.operands[j])

    return factor


def _of_pass(order: list[int], operand: int, shift: int) -> Factor:
    """The other factor as it is so many passes later; after the last one what follows it, before the first zero."""

    def factor(operation: Operation, run: Altering) -> Any:
        at = order.index(operation.number) + shift
        if 0 <= at < len(order):
            return _plain(run.known[order[at]].operands[operand])
        own = _plain(operation.operands[operand])
        return _made_next(run.known, order, operand) if shift > 0 else np.zeros_like(own)

    return factor


def _made_next(known: Sequence[Operation], order: list[int], operand: int) -> Any:
    """What the last pass hands on: made where the first one makes what the second finds."""
    handed = _plain(known[order[1]].operands[operand])
    made = [n for n in range(order[0], order[1]) if np.array_equal(known[n].values, handed)]
    return known[order[-1] + made[-1] - order[0]].values


def _plain(x: Any) -> np.ndarray:
    return np.asarray(x.planes.real if hasattr(x, "planes") else x)
