"""Hypothesis without pytest: run a judgement on drawn examples, and hand back the smallest that failed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings, target
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning, NoSuchExample
from hypothesis.internal.conjecture import providers

T = TypeVar("T")


@dataclass(frozen=True)
class Found(Generic[T]):
    """The smallest example that failed, how many were drawn before the first failure, and all that ran."""

    example: T
    drawn: int
    ran: int


class _Failed(Exception):  # noqa: N818 - what Hypothesis shrinks, never seen outside
    pass


# From the eleventh example of a run on, Hypothesis copies parts of an example over others, five times for each
# new one. Here that repeats the same layers: of 36 kinds, 200 examples in one run saw 30, in runs of ten all.
FRESH = 10


def explore(
    strategy: st.SearchStrategy[T], fails: Callable[[T], bool], examples: int, *, key: int = 0, run: int = FRESH
) -> Found[T] | None:
    """The smallest example for which `fails` is true among so many drawn from this seed, or None.

    They are drawn in runs of `run` examples; the same seed draws the same ones. There is no database.
    """
    judged = 0
    for number, start in enumerate(range(0, examples, run)):
        found = _run(strategy, fails, min(run, examples - start), (key << 20) + number, first=number == 0)
        if found is not None:
            return replace(found, drawn=judged + found.drawn, ran=judged + found.ran)
        judged += min(run, examples - start)
    return None


def _run(
    strategy: st.SearchStrategy[T], fails: Callable[[T], bool], examples: int, key: int, *, first: bool
) -> Found[T] | None:
    """One run; the simplest example, with which each begins, is judged in the first alone."""
    ran, drawn, smallest = 0 if first else -1, 0, list[T]()

    def judge(example: T) -> None:
        nonlocal ran, drawn
        ran += 1
        if ran and fails(example):
            drawn = drawn or ran
            smallest[:] = [example]
            raise _Failed

    try:
        with warnings.catch_warnings(), _without_local_constants():
            warnings.simplefilter("ignore", HypothesisWarning)
            seed(key)(_settings(examples + (not first))(given(strategy)(judge)))()
    except _Failed:
        return Found(smallest[0], drawn, ran)
    return None


@contextmanager
def _without_local_constants() -> Iterator[None]:
    """Nothing is drawn from the constants in the modules that happen to be imported: a seed means the same everywhere.

    Hypothesis has no setting for that; where its internals have other names the draws are as it makes them.
    """
    kept = {name: vars(providers).get(name) for name in ("_get_local_constants", "CONSTANTS_CACHE", "Constants")}
    if None in kept.values():
        yield
        return
    none = kept["Constants"]()  # type: ignore[misc]
    vars(providers).update({"_get_local_constants": lambda: none, "CONSTANTS_CACHE": {}})
    try:
        yield
    finally:
        vars(providers).update(kept)


def _settings(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck),
                    phases=(Phase.generate, Phase.target, Phase.shrink), report_multiple_bugs=False, print_blob=False)


def minimal(
    strategy: st.SearchStrategy[T], condition: Callable[[T], bool] = lambda _: True, examples: int = 500
) -> T:
    """The smallest example that meets the condition; `hypothesis.errors.NoSuchExample` where none did.

    Deterministic, unlike `hypothesis.find` without settings of its own.
    """
    found = explore(strategy, condition, examples)
    if found is None:
        raise NoSuchExample(repr(strategy))
    return found.example


def climb(value: float, label: str = "") -> None:
    """Tell Hypothesis to look for examples where the value is larger; see `hypothesis.target`."""
    target(value, label=label)
