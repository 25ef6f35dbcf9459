"""What second and third derivatives of any framework's code have to come to."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradverify as gv
from gradverify.records import Options
from gradverify.targets import make_targets

X = np.random.default_rng(5).normal(size=(1, 3))


def all_three_orders_pass(function: Any, x: Any) -> None:
    """Right derivatives pass, each order with a check of its own."""
    report = gv.check(function, x, order=3, search="none")
    assert report.ok, str(report)
    assert {check.order for check in report.checks} == {1, 2, 3}


def fails_first_at(function: Any, x: Any, order: int) -> None:
    """A derivative that is wrong at one order fails there, and not below."""
    report = gv.check(function, x, order=order, search="none")
    failed = [check for check in report.checks if check.verdict is gv.Verdict.FAIL]
    assert {check.order for check in failed} == {order}, str(report)
    assert failed[0].causes[0].name == "zero-gradient", str(report)
    assert all(check.verdict is gv.Verdict.PASS for check in report.checks if check.order < order)


def third_derivative_is_of_the_cotangent(fourth_power: Any, x: Any) -> None:
    """``D^3 <u, x^4>[v, w, .] = 24 x u v w``."""
    (target,) = make_targets(fourth_power, (x,), Options(order=3))
    u, v, w = np.random.default_rng(1).normal(size=(3, 1, 3))
    found = target.higher(target.point, {"out": u}, [{"x": v}, {"x": w}])
    np.testing.assert_allclose(found["x"], 24 * X * u * v * w, rtol=1e-12)
