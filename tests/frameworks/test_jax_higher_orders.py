"""Second and third derivatives of JAX code: right ones pass, wrong ones fail at their order."""

from __future__ import annotations

import pytest

import gradverify as gv
from tests.higher_orders import X, all_three_orders_pass, fails_first_at, third_derivative_is_of_the_cotangent

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


@jax.custom_vjp
def jax_cube(x):
    return x**3


jax_cube.defvjp(lambda x: (x**3, x), lambda x, dy: (dy * jax.lax.stop_gradient(3 * x**2),))


@pytest.mark.parametrize("function", [jnp.tanh, lambda x: jnp.sum(jnp.exp(x) * x), jax.nn.softmax])
def test_right_derivatives_of_all_three_orders_pass(function):
    all_three_orders_pass(function, jnp.asarray(X))


def test_a_derivative_that_is_wrong_at_one_order_fails_there_and_not_below():
    fails_first_at(jax_cube, jnp.asarray(X), 2)


def test_jax_is_judged_by_both_compositions_of_modes():
    report = gv.check(jnp.tanh, jnp.asarray(X), order=2, search="none")
    assert [check.mode for check in report.checks if check.order == 2] == ["reverse", "reverse over reverse", "upstream"]
    assert report.ok


def test_a_third_derivative_is_that_of_the_cotangent_given():
    third_derivative_is_of_the_cotangent(lambda x: x**4, jnp.asarray(X))


@jax.custom_vjp
def half_by_upstream(dy, x):
    return 3 * x**2 * dy


half_by_upstream.defvjp(lambda dy, x: (3 * x**2 * dy, (dy, x)), lambda kept, g: (g * kept[1] ** 2, g * 6 * kept[1] * kept[0]))


@jax.custom_vjp
def jax_cube_by_upstream(x):
    return x**3


jax_cube_by_upstream.defvjp(lambda x: (x**3, x), lambda x, dy: (half_by_upstream(dy, x),))


def test_a_backward_is_differentiated_by_its_upstream_gradient_too():
    report = gv.check(jax_cube_by_upstream, jnp.asarray(X), order=2, search="none")
    assert [check.mode for check in report.checks if check.verdict is gv.Verdict.FAIL] == ["upstream"]
