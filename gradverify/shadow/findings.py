"""What another checker said of a call beside what gradverify says of it."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradverify import events, limits
from gradverify.shadow.checkers import Checker

if TYPE_CHECKING:
    from gradverify.records import Report

PASSED, FAILED, NUMBER = "passed", "failed", "gave a number"
EVALUATIONS, SECONDS = 20_000, 30.0  # for one call, where nobody allows more or less


class Kind(StrEnum):
    """How the two compare."""

    MISSED = "missed"
    FALSE_ALARM = "false alarm"
    UNDECIDED = "undecided"
    UNASKED = "not rechecked"
    AGREED = "agreed"


@dataclass(frozen=True)
class Finding:
    """One call of a checker: where it stands, what was said, the reports of the recheck or why there is none."""

    checker: str
    where: str
    said: str
    kind: Kind
    reports: tuple[Report, ...] = ()
    reason: str = ""
    nodeid: str = ""


def recheck(checker: Checker, where: str, said: str, call: tuple[Any, ...]) -> Finding:
    """Ask gradverify what the call asked. Whatever goes wrong is the finding's reason, and nobody else's."""
    try:
        with _apart(), limits.within(_allowance()):
            reports = _reports(checker, call)
    except Exception as error:
        return Finding(checker.label, where, said, Kind.UNASKED, reason=_first_line(error))
    return Finding(checker.label, where, said, compare(said, [str(report.verdict) for report in reports]), reports)


def compare(said: str, verdicts: Sequence[str]) -> Kind:
    """What a checker's word is worth, given the verdicts; one that gave a number let it pass.

    >>> compare(PASSED, ["pass", "fail"]).value, compare(FAILED, ["pass"]).value
    ('missed', 'false alarm')
    """
    if "fail" in verdicts:
        return Kind.AGREED if said == FAILED else Kind.MISSED
    if "inconclusive" in verdicts or not verdicts:
        return Kind.UNDECIDED
    return Kind.FALSE_ALARM if said == FAILED else Kind.AGREED


def _reports(checker: Checker, call: tuple[Any, ...]) -> tuple[Report, ...]:
    from gradverify.checking import check

    reader = import_module(checker.reader)
    with getattr(reader, "preserved", contextlib.nullcontext)():
        asked = reader.questions(checker.name, *call)
        return tuple(check(q.target, *q.inputs, **{**events.with_defaults({}), **q.options}) for q in asked)


def _allowance() -> limits.Allowance:
    import time

    return limits.Allowance(EVALUATIONS, time.monotonic() + SECONDS)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


@contextmanager
def _apart() -> Iterator[None]:
    """Nothing that happens in the block is seen outside: no report, warning, log record, output or random draw."""
    with ExitStack() as stack:
        stack.enter_context(events.unheard())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        for put_back in (_logging(), *_random_states()):
            stack.callback(put_back)
        yield


def _logging() -> Callable[[], object]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    return lambda: logging.disable(before)


def _random_states() -> Iterator[Callable[[], object]]:
    state = random.getstate()
    yield lambda: random.setstate(state)
    if "numpy" in sys.modules:
        drawn = sys.modules["numpy"].random.get_state()
        yield lambda: sys.modules["numpy"].random.set_state(drawn)
