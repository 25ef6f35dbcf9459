"""What a run may still spend: forward evaluations, and seconds where a run has to end.

Verdicts do not depend on it. What is not decided when the allowance is gone is inconclusive, with
the reason ``budget`` or ``timeout``; nothing is ever passed for want of time. The clock is read
between two evaluations: it ends what is slow, not what hangs inside one call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass


class BudgetSpent(BaseException):
    """The evaluations (``budget``) or the seconds (``timeout``) that were allowed have been used.

    Like a key pressed by the user it must reach whoever agreed to it: an oracle that takes whatever
    a forward raises for a refusal would otherwise report a domain's edge.
    """

    def __init__(self, reason: str = "budget") -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(eq=False)
class Allowance:
    """Forward evaluations left, and the time of `time.monotonic` at which to end."""

    evaluations: float = math.inf
    deadline: float = math.inf

    def spend(self) -> None:
        """Take one evaluation; raises `BudgetSpent` where none is left or the time is up."""
        if self.evaluations <= 0:
            raise BudgetSpent("budget")
        if time.monotonic() > self.deadline:
            raise BudgetSpent("timeout")
        self.evaluations -= 1

    @property
    def left(self) -> bool:
        """Whether another evaluation is allowed now."""
        return self.evaluations > 0 and time.monotonic() <= self.deadline


_allowances: list[Allowance] = []
_seconds: list[float] = []


def spend() -> None:
    """Take one evaluation from every allowance that holds here."""
    for allowance in _allowances:
        allowance.spend()


@contextmanager
def within(allowance: Allowance) -> Iterator[Allowance]:
    """The allowance holds in the block, beside those around it.

    >>> with within(Allowance(evaluations=1)):
    ...     spend()
    ...     spend()
    Traceback (most recent call last):
    gradverify.limits.BudgetSpent: budget
    """
    _allowances.append(allowance)
    try:
        yield allowance
    finally:
        _allowances.remove(allowance)


@contextmanager
def seconds_for_each_check(seconds: float | None) -> Iterator[None]:
    """Every check that begins in the block has so many seconds; None changes nothing."""
    if seconds is not None:
        _seconds.append(seconds)
    try:
        yield
    finally:
        if seconds is not None:
            _seconds.pop()


@contextmanager
def one_check() -> Iterator[None]:
    """A check begins: its seconds count from here."""
    with ExitStack() as stack:
        if _seconds:
            stack.enter_context(within(Allowance(deadline=time.monotonic() + min(_seconds))))
        yield
