from __future__ import annotations

import logging
import random
import warnings

import numpy as np
import pytest

from gradverify import events
from gradverify.shadow.checkers import CHECKERS, Checker
from gradverify.shadow.findings import FAILED, NUMBER, PASSED, Kind, compare, recheck

SCIPY = next(checker for checker in CHECKERS if checker.number)
X = np.array([0.5, 1.5])


@pytest.mark.parametrize(("said", "verdicts", "kind"), [
    (PASSED, ["pass", "pass"], Kind.AGREED),
    (PASSED, ["pass", "fail"], Kind.MISSED),
    (NUMBER, ["fail"], Kind.MISSED),
    (FAILED, ["fail", "pass"], Kind.AGREED),
    (FAILED, ["pass"], Kind.FALSE_ALARM),
    (FAILED, ["pass", "inconclusive"], Kind.UNDECIDED),
    (PASSED, ["inconclusive"], Kind.UNDECIDED),
    (PASSED, [], Kind.UNDECIDED),
])
def test_two_opinions_make_a_finding(said, verdicts, kind) -> None:
    assert compare(said, verdicts) is kind


def ask(gradient):
    return recheck(SCIPY, "here:1", NUMBER, ((lambda x: np.sum(x**3), gradient, X), {}))


def test_a_recheck_finds_what_a_tolerance_hides() -> None:
    assert ask(lambda x: 3 * x**2).kind is Kind.AGREED
    assert ask(lambda x: 3.00003 * x**2).kind is Kind.MISSED


def test_whatever_goes_wrong_is_a_reason_and_no_exception() -> None:
    finding = recheck(Checker("m", "n", "theirs", "no.such.module"), "here:1", PASSED, ((), {}))
    assert finding.kind is Kind.UNASKED
    assert "No module named" in finding.reason
    assert ask(lambda x: 1 / 0).kind is Kind.UNDECIDED


def test_nobody_outside_notices(capsys, caplog) -> None:
    def noisy(x):
        print("noise")
        warnings.warn("noise", stacklevel=1)
        logging.getLogger("theirs").error("noise")
        return np.sum(x * np.random.rand() * random.random())

    heard = []
    events.listeners.append(heard.append)
    np.random.seed(3)
    random.seed(3)
    before = np.random.get_state()[1].tolist(), random.getstate()
    recheck(SCIPY, "here:1", NUMBER, ((noisy, lambda x: x, X), {}))
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before
    events.listeners.remove(heard.append)
    assert (heard, caplog.records, capsys.readouterr().out) == ([], [], "")
