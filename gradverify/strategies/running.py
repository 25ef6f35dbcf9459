"""Hypothesis without pytest: run a judgement on drawn examples, and hand back the smallest that failed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings, target
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning, NoSuchExample

T = TypeVar("T")


@dataclass(frozen=True)
class Found(Generic[T]):
    """The smallest example that failed, how many were drawn before the first failure, and all that ran."""

    example: T
    drawn: int
    ran: int


class _Failed(Exception):  # noqa: N818 - what Hypothesis shrinks, never seen outside
    pass


def explore(
    strategy: st.SearchStrategy[T], fails: Callable[[T], bool], examples: int, *, key: int = 0, shrink: bool = True
) -> Found[T] | None:
    """The smallest example for which `fails` is true among so many drawn from this seed, or None.

    The same seed draws the same examples. Nothing is read from or written to a database.
    """
    ran, drawn, smallest = 0, 0, []

    def judge(example: T) -> None:
        nonlocal ran, drawn
        ran += 1
        if fails(example):
            drawn = drawn or ran
            smallest[:] = [example]
            raise _Failed

    phases = (Phase.generate, Phase.target, *((Phase.shrink,) if shrink else ()))
    quietly = settings(max_examples=examples, deadline=None, database=None, phases=phases, derandomize=False,
                       suppress_health_check=list(HealthCheck), report_multiple_bugs=False, print_blob=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HypothesisWarning)
            seed(key)(quietly(given(strategy)(judge)))()
    except _Failed:
        return Found(smallest[0], drawn, ran)
    return None


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


def is_exploring(error: Any) -> bool:
    """Whether an exception is the one that `explore` raises."""
    return isinstance(error, _Failed)
