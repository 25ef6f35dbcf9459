"""Second and third derivatives of TensorFlow code: right ones pass, wrong ones fail at their order."""

from __future__ import annotations

import pytest

import gradverify as gv
from tests.higher_orders import X, all_three_orders_pass, fails_first_at, third_derivative_is_of_the_cotangent

tf = pytest.importorskip("tensorflow")


@tf.custom_gradient
def tf_cube(x):
    return x**3, lambda dy: dy * tf.stop_gradient(3 * x**2)


@pytest.mark.parametrize("function", [tf.tanh, lambda x: tf.reduce_sum(tf.exp(x) * x)])
def test_right_derivatives_of_all_three_orders_pass(function):
    all_three_orders_pass(function, tf.constant(X))


def test_a_derivative_that_is_wrong_at_one_order_fails_there_and_not_below():
    fails_first_at(tf_cube, tf.constant(X), 2)


def test_a_third_derivative_is_that_of_the_cotangent_given():
    third_derivative_is_of_the_cotangent(lambda x: x**4, tf.constant(X))


@tf.custom_gradient
def half_by_upstream(dy, x):
    return 3 * x**2 * dy, lambda g: (g * x**2, g * 6 * x * dy)


@tf.custom_gradient
def tf_cube_by_upstream(x):
    return x**3, lambda dy: half_by_upstream(dy, x)


def test_a_backward_is_differentiated_by_its_upstream_gradient_too():
    report = gv.check(tf_cube_by_upstream, tf.constant(X), order=2, search="none")
    assert [check.mode for check in report.checks if check.verdict is gv.Verdict.FAIL] == ["upstream"]
