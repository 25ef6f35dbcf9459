"""What goes wrong while a failure is explained, or while evaluations run out, changes no verdict and is said."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import gradverify as gv
from gradverify import explaining

X = np.linspace(0.3, 1.2, 5)
WRONG = gv.function(np.sin, derivative=lambda x: 1.1 * np.cos(x))
RIGHT = gv.function(np.sin, derivative=np.cos)
JVP = gv.function(np.sin, jvp=lambda x, v: 1.1 * np.cos(x) * v)
HESSIAN = gv.function(lambda x: np.sum(x**3), gradient=lambda x: 3 * x**2, hessian=lambda x: np.diag(6.6 * x))


def raising(*_, **__):
    raise RuntimeError("the explanation is broken")


@pytest.mark.parametrize(("part", "target"), [
    ("explanations_of", WRONG), ("locate_in", WRONG), ("make_case", WRONG), ("sweep", WRONG), ("explain_forward", JVP),
    ("explain_higher", HESSIAN), ("diagnose", HESSIAN),
])
def test_a_failure_stands_when_its_explanation_raises_and_says_so(monkeypatch, part, target):
    monkeypatch.setattr(explaining, part, raising)
    report = gv.check(target, X, search="none")
    assert report.verdict is gv.Verdict.FAIL
    (cause,) = report.checks[-1].causes
    assert (cause.name, cause.evidence) == ("explanation-unavailable", "RuntimeError: the explanation is broken")
    assert cause.text in " ".join(str(report).split())


def test_entries_that_were_found_are_kept_when_the_causes_cannot_be(monkeypatch):
    monkeypatch.setattr(explaining, "explanations_of", raising)
    assert gv.check(WRONG, X, search="none").checks[0].worst.index == (1,)


@pytest.mark.parametrize("budget", [1, 10, 25, 35, 40, 60])
def test_a_spent_budget_is_called_by_its_name(budget):
    report = gv.check(RIGHT, X, budget=budget)
    assert report.ok or {check.reason for check in report.checks} == {"budget"}


def test_a_budget_too_small_for_the_explanation_keeps_the_failure():
    report = gv.check(WRONG, X, search="none", budget=300)
    assert report.verdict is gv.Verdict.FAIL
    assert report.checks[0].causes[0].remedy == "give it more: budget="


def test_a_deep_search_ends_with_its_budget_and_says_so():
    report = gv.check(RIGHT, X, search="deep", budget=1500)
    assert report.ok
    assert any("budget" in name for name in report.skipped)


@pytest.mark.parametrize(("factor", "said"), [(100.0, "off by 9900 %"), (0.01, "off by 99 %")])
def test_how_far_off_a_gradient_is_is_told_in_units_of_the_expected_one(factor, said):
    wrong = gv.function(np.sin, derivative=lambda x: factor * np.cos(x))
    assert said in str(gv.check(wrong, X, search="none"))


def test_a_name_that_is_bound_later_is_no_constant_and_no_error():
    def forward(x):
        return np.sin(x) if len(x) else later

    report = gv.check(gv.function(forward, derivative=np.cos), np.linspace(0.1, 1.0, 5), search="none")
    later = 0.5
    assert report.ok


def test_a_decorated_forward_with_a_setting_is_explained_like_any_other():
    def decorated(function):
        @functools.wraps(function)
        def call(*arguments, **keywords):
            return function(*arguments, **keywords)

        return call

    class Scaled:
        @decorated
        def forward(self, x, scale=0.5):
            self.x = x
            return np.sin(x) * np.exp(scale * x)

        def backward(self, dy):
            return dy * np.cos(self.x)

    (check,) = gv.check(Scaled(), np.linspace(0.1, 1.0, 5), search="none").checks
    assert check.verdict is gv.Verdict.FAIL
    assert check.causes[0].name != "explanation-unavailable"
