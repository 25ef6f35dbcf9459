"""Second and third derivatives of autograd's users' code: right ones pass, wrong ones fail at their order."""

from __future__ import annotations

import pytest

import gradverify as gv
from tests.higher_orders import X, all_three_orders_pass, fails_first_at, third_derivative_is_of_the_cotangent

anp = pytest.importorskip("autograd.numpy")

from autograd.extend import defvjp, primitive  # noqa: E402


@primitive
def taped_cube(x):
    return x**3


defvjp(taped_cube, lambda y, x: lambda dy: dy * anp.array(3 * getattr(x, "_value", x) ** 2))


@pytest.mark.parametrize("function", [anp.tanh, lambda x: anp.sum(anp.exp(x) * x), lambda x: anp.dot(x, x.T) ** 2])
def test_right_derivatives_of_all_three_orders_pass(function):
    all_three_orders_pass(function, X)


def test_a_derivative_that_is_wrong_at_one_order_fails_there_and_not_below():
    fails_first_at(taped_cube, X, 2)


def test_a_third_derivative_is_that_of_the_cotangent_given():
    third_derivative_is_of_the_cotangent(lambda x: x**4 + 0 * anp.sin(x), X)


@primitive
def half_by_upstream(dy, x):
    return 3 * x**2 * dy


@primitive
def cube_by_upstream(x):
    return x**3


defvjp(half_by_upstream, lambda y, dy, x: lambda g: g * x**2, lambda y, dy, x: lambda g: g * 6 * x * dy)
defvjp(cube_by_upstream, lambda y, x: lambda dy: half_by_upstream(dy, x))


def test_a_backward_is_differentiated_by_its_upstream_gradient_too():
    report = gv.check(cube_by_upstream, X, order=2, search="none")
    assert [check.mode for check in report.checks if check.verdict is gv.Verdict.FAIL] == ["upstream"]
