"""Taylor remainders fall at the order that right derivatives give them, and only then."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gradverify as gv

X = np.random.default_rng(0).normal(size=(4, 5))


def function(f, df):
    return gv.function(f, derivative=df)


RIGHT = {
    "exp": (function(np.exp, np.exp), X, 2),
    "an even point of an odd function": (function(np.sin, np.cos), X, 2),
    "a small value on a large one": (function(lambda x: 1e9 + x**3, lambda x: 3 * x**2), X, 2),
    "fast": (function(lambda x: np.sin(1e4 * x), lambda x: 1e4 * np.cos(1e4 * x)), X, 2),
    "a kink elsewhere": (function(lambda x: np.maximum(x, 0.0), lambda x: 1.0 * (x > 0)), X, None),
    "linear": (function(lambda x: 3 * x, lambda x: 3 + 0 * x), X, None),
    "constant": (function(lambda x: 0 * x + 1, lambda x: 0 * x), X, None),
    "a true zero": (function(np.square, lambda x: 2 * x), np.zeros(3), 2),
    "one side outside the domain": (function(np.log, lambda x: 1 / x), np.abs(X), 2),
}
WRONG = {
    "a ten-millionth": (function(np.exp, lambda x: (1 + 1e-7) * np.exp(x)), X),
    "linear, a thousandth": (function(lambda x: 3 * x, lambda x: 3.001 + 0 * x), X),
    "sign at a tiny scale": (function(lambda x: 1e-9 * x**3, lambda x: -3e-9 * x**2), X),
    "detached": (function(np.sin, np.zeros_like), X),
    "not zero at a true zero": (function(np.square, lambda x: 2 * x + 1e-3), np.zeros(3)),
}
UNDECIDED = {
    "kink": (function(lambda x: np.maximum(x, 0.0), lambda x: 1.0 * (x > 0)), np.zeros(3)),
    "smooth": (function(lambda x: np.abs(x) ** 1.5, lambda x: 1.5 * np.sign(x) * np.abs(x) ** 0.5), np.zeros(3)),
    "slope": (function(np.exp, lambda x: (1 + 1e-9) * np.exp(x)), X),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_derivative_leaves_a_remainder_of_second_order(name):
    target, x, order = RIGHT[name]
    report = gv.check_taylor(target, x)
    assert report.ok, str(report)
    slope = report.remainders[1].slope
    assert slope is None if order is None else slope.value == pytest.approx(order, abs=max(slope.error, 0.02))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_derivative_leaves_a_first_order_term(name):
    target, x = WRONG[name]
    report = gv.check_taylor(target, x)
    assert report.verdict is gv.Verdict.FAIL
    assert report.remainders[1].slope.value == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("reason", UNDECIDED)
def test_what_the_remainder_cannot_tell_is_said(reason):
    target, x = UNDECIDED[reason]
    report = gv.check_taylor(target, x)
    assert (report.verdict, report.remainders[1].reason) == (gv.Verdict.INCONCLUSIVE, reason)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.01, "fail")])
def test_a_hessian_is_judged_by_the_third_order(factor, verdict):
    claim = gv.function(lambda x: np.sum(np.sin(x)), gradient=np.cos, hessian=lambda x: np.diag(-factor * np.sin(x)))
    report = gv.check_taylor(claim, X[0], order=2)
    assert report.verdict == verdict
    slopes = [row.slope.value for row in report.remainders]
    assert slopes == pytest.approx([1, 2, 3 if factor == 1 else 2], abs=0.02)


def test_the_size_of_the_error_is_told():
    report = gv.check_taylor(function(np.exp, lambda x: np.exp(x) + 1e-3), np.array([0.3]))
    v_times_u = report.remainders[0].values[-1] / report.remainders[0].steps[-1] / np.exp(0.3)
    assert abs(report.remainders[1].wrong_by) == pytest.approx(1e-3 * v_times_u, rel=1e-3)


def test_a_float32_module_is_judged_where_there_is_room():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    report = gv.check_taylor(net, torch.randn(5, 3, generator=torch.manual_seed(0)))
    assert report.ok
    assert {row.leaf for row in report.remainders} > {"0.weight", "2.bias"}
    assert max(row.resolution for row in report.remainders if row.order) < 1e-6


def test_the_central_difference_has_its_best_step_near_the_cube_root_of_eps():
    (sweep,) = gv.check_taylor(function(np.exp, np.exp), np.array([0.3])).sweeps
    step, error = sweep.best
    assert 1e-7 < step < 1e-3
    assert error < 1e-9


def test_the_report_is_a_table_json_and_a_page(tmp_path):
    report = gv.check_taylor(function(np.exp, np.exp), X)
    assert list(report.frame()["order"]) == [0, 1]
    report.to_json(tmp_path / "taylor.json")
    assert json.loads((tmp_path / "taylor.json").read_text())["kind"] == "taylor"
    report.to_html(tmp_path / "taylor.html")
    assert "falls as it should" in (tmp_path / "taylor.html").read_text()


@pytest.mark.parametrize(("options", "error"), [
    ({"order": 3}, "order=3"), ({"order": True}, "order=True"), ({"order": 2}, "claims no second derivative"),
])
def test_an_order_that_makes_no_sense_is_refused(options, error):
    with pytest.raises(ValueError, match=error):
        gv.check_taylor(function(np.exp, np.exp), X, **options)
