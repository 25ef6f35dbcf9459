"""What a failure keeps for its figures: the differences at every step, and every entry that was asked."""

from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv

WRONG = gv.function(np.exp, derivative=lambda x: 1.01 * np.exp(x))


def errors(check, number):
    return np.array([abs(step.quotient - number) / abs(check.expected) for step in check.sweep])


def test_differences_reach_what_was_expected_and_stay_away_from_what_was_computed():
    (check,) = gv.check(WRONG, np.array([0.5, 1.0])).checks[:1]
    assert errors(check, check.expected).min() < 1e-9
    assert errors(check, check.computed)[3:-3] == pytest.approx(0.01, rel=0.05)


def test_steps_outside_the_domain_are_left_out():
    def log(x):
        if np.any(x <= 0):
            raise ValueError("not positive")
        return np.log(x)

    (check,) = gv.check(gv.function(log, derivative=lambda x: 1.01 / x), np.linspace(0.5, 2.0, 20),
                       search="none").checks
    assert 0 < len(check.sweep) < 17
    assert max(step.h for step in check.sweep) < 1


def test_a_pass_keeps_no_figures():
    (check, *_) = gv.check(gv.function(np.exp, derivative=np.exp), np.array([0.5])).checks
    assert (check.sampled, check.sweep) == (None, ())


def test_every_entry_that_was_asked_is_kept_right_or_wrong():
    slip = np.where(np.arange(6) == 4, 1.1, 1.0)
    wrong = gv.function(np.exp, derivative=lambda x: slip * np.exp(x))
    sampled = gv.check(wrong, np.linspace(0, 1, 6), search="none").checks[0].sampled
    off = np.abs(np.array(sampled.computed) - sampled.expected) > 4 * np.array(sampled.bar)
    assert (sampled.indices, off.tolist()) == (tuple((i,) for i in range(6)), [False] * 4 + [True, False])
