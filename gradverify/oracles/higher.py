"""Derivatives of order 2 and 3 along several directions, from the forward alone.

With ``q(d)`` the n-th derivative of ``<u, f(x + t d)>`` at t = 0, polarisation gives the mixed one:

    D^n[v_1, ..., v_n] = sum over s in {-1, 1}^(n-1) of s_2 ... s_n q(v_1 + s_2 v_2 + ... + s_n v_n) / (2^(n-1) n!)

Native q are higher differences. Foreign ones are differences too, of one order less and of complex
steps: D^(n-1) along the other directions of ``<u, J(x + t d) v_n>``, which is exact to rounding. At
113 bits and with mpmath q comes from a stencil of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from gradverify.arrays import Arrays, axpy, to_float64
from gradverify.oracles.complexstep import complex_step
from gradverify.oracles.finite import finite, second_opinion
from gradverify.oracles.multiprecision import multiprecision
from gradverify.oracles.opinion import RUNGS, Forward, Opinion, Phi
from gradverify.oracles.quad import quad
from gradverify.records import Estimate

Along = Callable[[Arrays], Phi]
Pure = Callable[[Arrays], Estimate]

ORDERS = (2, 3)
FINE = 1e-10  # relative: where nothing is required, a coarser bound is worth the next rung
ROUNDING = 2.0**-50  # of the terms: the sum's own
BROKEN = ("kink", "jump", "staircase", "nondeterministic")
AT_HIGHER_ORDER: dict[str, Callable[..., Estimate]] = {"quad": quad, "mpmath": multiprecision}


@dataclass(frozen=True)
class Question:
    """``D^n <u, f>[directions]`` at a point; `need` is the absolute error that is enough."""

    forward: Forward | None
    point: Arrays
    u: Arrays
    directions: tuple[Arrays, ...]
    need: float | None = None
    seed: int = 0

    @property
    def order(self) -> int:
        return len(self.directions)

    @property
    def numbers(self) -> int:
        """How many the forward handles, about: what quad and mpmath cost grows with them."""
        return sum(np.size(x) for x in (*self.point.values(), *self.u.values()))

    def enough(self, value: float) -> float:
        """The bound that ends the climb."""
        return FINE * abs(value) if self.need is None else self.need

    def each(self, order: int) -> float | None:
        """The bound that is enough for one term of the polarised sum: 2^(n-1) of them over 2^(n-1) n!."""
        return None if self.need is None else self.need * math.factorial(order)


def consult_higher(
    *, along: Along, forward: Forward | None, point: Arrays, u: Arrays, directions: Sequence[Arrays], eps: float,
    need: float | None, oracle: str = "auto", seed: int = 0,
) -> Opinion:  # fmt: skip
    """``D^n <u, f>`` along n = 2 or 3 directions: differences, and a foreign oracle that agrees with them.

    ``along(d)`` is ``t -> <u, f(x + t d)>`` in the forward's own dtype. Give one direction n times for the
    derivative along it, different ones for the mixed one: ``<w, H v>`` is that of (v, w). `forward`
    is None where it runs in its own dtype only; `need` is the absolute error that is enough.
    """
    question = Question(forward, point, u, tuple(directions), need, seed)
    if question.order not in ORDERS:
        raise ValueError(f"directions: {question.order} of them; must be 2 or 3, one for each order")
    native = _native(question, along, eps)
    opinion = Opinion(native, native)
    if forward is None or oracle == "finite":
        return opinion
    for name in ("complex", *AT_HIGHER_ORDER) if oracle == "auto" else (oracle,):
        if oracle == "auto" and question.numbers > RUNGS.get(name, math.inf):
            continue
        opinion = _joined(opinion, native, foreign(question, name))
        if opinion.by == name and opinion.best.error <= question.enough(opinion.best.value):
            break
    return opinion


def confirm_higher(along: Along, directions: Sequence[Arrays], eps: float, seed: int = 0) -> Estimate:
    """A second native opinion, by other nodes and steps, held against plain central differences."""
    order = len(directions)
    return mixed(lambda d: second_opinion(along(d), eps, order=order, seed=seed + 1), directions, "finite central")


def foreign(question: Question, name: str) -> Estimate:
    """The same from complex steps, quadruple precision or mpmath alone; ``unsupported`` from any other."""
    ask, forward = AT_HIGHER_ORDER.get(name), question.forward
    if forward is None or (ask is None and name != "complex"):
        return Estimate(math.nan, math.inf, 0, name, "unsupported")
    if ask is None:
        return _differences_of_complex_steps(question, forward)

    def pure(d: Arrays) -> Estimate:
        return ask(forward, question.point, question.u, d, seed=question.seed, order=question.order)

    return mixed(pure, question.directions, name)


def mixed(pure: Pure, directions: Sequence[Arrays], oracle: str) -> Estimate:
    """``D^n[v_1, ..., v_n]`` from n-th derivatives along one direction at a time, their bounds added."""
    first, *others = directions
    if all(_same(first, other) for other in others):
        return replace(pure(first), oracle=oracle)
    signs = [(1, *s) for s in product((1, -1), repeat=len(others))]
    terms = [pure(_combined(directions, s)) for s in signs]
    weight = 2 ** len(others) * math.factorial(len(directions))
    value = sum(math.prod(s) * q.value for s, q in zip(signs, terms, strict=True))
    error = sum(q.error + ROUNDING * abs(q.value) for q in terms)
    reasons = {q.reason for q in terms}
    reason = "flat" if reasons == {"flat"} else next(iter(sorted(reasons - {"", "flat"})), "")
    return Estimate(value / weight, error / weight, sum(q.evaluations for q in terms), oracle, reason)


def _same(v: Arrays, w: Arrays) -> bool:
    return v is w or (v.keys() == w.keys() and all(np.array_equal(v[name], w[name]) for name in v))


def _combined(directions: Sequence[Arrays], signs: Sequence[int]) -> Arrays:
    """``sum_k s_k v_k``; a direction does not move the leaves it does not name."""
    total: Arrays = {}
    for v, sign in zip(directions, signs, strict=True):
        total |= {name: total.get(name, 0.0) + sign * to_float64(x) for name, x in v.items()}
    return total


def _native(question: Question, along: Along, eps: float) -> Estimate:
    def pure(d: Arrays) -> Estimate:
        if not any(np.any(x) for x in d.values()):
            return Estimate(0.0, 0.0, 0, "finite")
        return finite(along(d), eps, question.each(question.order), question.order, seed=question.seed)

    return mixed(pure, question.directions, "finite")


def _differences_of_complex_steps(question: Question, forward: Forward) -> Estimate:
    """``d^(n-1)/dt^(n-1) <u, J(x + t d) v_n>``: one order less is left to differences."""
    *outer, inner = question.directions
    calls, refused = 0, False

    def pure(d: Arrays) -> Estimate:
        def slope(t: float) -> float:
            nonlocal calls, refused
            step = complex_step(forward, axpy(t, d, question.point), question.u, inner, question.seed)
            calls, refused = calls + step.evaluations, refused or step.reason not in ("", "domain", "kink")
            return step.value if not step.reason and math.isfinite(step.error) else math.nan

        return finite(slope, require=question.each(len(outer)), order=len(outer), seed=question.seed)

    found = mixed(pure, outer, "complex")
    if refused:
        return Estimate(math.nan, math.inf, calls, "complex", "unsupported")
    return replace(found, evaluations=calls)


def _joined(before: Opinion, native: Estimate, found: Estimate) -> Opinion:
    """What is believed after one more foreign oracle has spoken."""
    if native.reason in BROKEN or found.reason == "unsupported":
        return before
    if found.reason == "kink" and native.error > abs(native.value):
        return Opinion(replace(native, error=math.inf, reason="kink"), native, found)
    if found.reason or not math.isfinite(found.error + native.error):
        return before
    gap = abs(found.value - native.value)
    if gap > found.error + native.error:
        apart = replace(native, error=native.error + gap + found.error, reason="disagreement")
        return before if before.by != "finite" else Opinion(apart, native, found)
    return Opinion(found, native, found) if before.by == "finite" or found.error < before.best.error else before
