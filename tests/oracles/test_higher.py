"""Second and third derivatives, along one direction and mixed: from the forward alone, each with a bound that holds."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gradverify as gv
from gradverify.arithmetic.quadarray import usable
from gradverify.oracles.finite import finite
from gradverify.oracles.higher import Question, confirm_higher, consult_higher, foreign
from gradverify.records import Estimate

A, B = np.array([0.75, -1.5]), np.array([2.0, 0.5])
U = {"y": np.ones(())}
needs_quad = pytest.mark.skipif(not usable(), reason="numpy-quaddtype is not usable here")
FOREIGN = ["complex", pytest.param("quad", marks=needs_quad), "mpmath"]


def forward(p):
    return {"y": np.sum(np.sin(p["x"]) * np.exp(p["c"])) + p["x"][0] * p["x"][1] * p["c"][0]}


POINT = {"x": np.array([0.3, -1.1]), "c": np.array([0.2, 0.4])}
S, C, E = np.sin(POINT["x"]), np.cos(POINT["x"]), np.exp(POINT["c"])
# directions, and the derivative by hand
ROWS = {
    "along x, twice": (({"x": A},) * 2, -np.sum(S * E * A * A) + 2 * A[0] * A[1] * 0.2),
    "mixed in x": (({"x": A}, {"x": B}), -np.sum(S * E * A * B) + (A[0] * B[1] + A[1] * B[0]) * 0.2),
    "mixed in x and c": (({"x": A}, {"c": B}), np.sum(C * E * A * B) + B[0] * (A[0] * -1.1 + A[1] * 0.3)),
    "along x, three times": (({"x": A},) * 3, -np.sum(C * E * A**3)),
    "two of x and one of c": (({"x": A}, {"x": A}, {"c": B}), -np.sum(S * E * A * A * B) + 2 * A[0] * A[1] * B[0]),
    "all different": (({"x": A}, {"x": B}, {"c": B}),
                      -np.sum(S * E * A * B * B) + (A[0] * B[1] + A[1] * B[0]) * B[0]),
    "what is zero": (({"c": A},) * 3, np.sum(S * E * A**3)),
}


def along(f, point, dtype=np.float64):
    def phi_of(d):
        return lambda t: float(f({n: (x + t * d.get(n, 0.0)).astype(dtype) for n, x in point.items()})["y"])

    return phi_of


def ask(f, point, directions, need=None, **options) -> Estimate:
    phi_of = along(f, point)
    opinion = consult_higher(
        along=phi_of, forward=f, point=point, u=U, directions=directions, eps=2.0**-52, need=need, **options
    )
    return opinion.best


@pytest.mark.parametrize("name", ROWS)
def test_the_ladder_covers_and_resolves_the_derivative_by_hand(name):
    directions, truth = ROWS[name]
    found = ask(forward, POINT, directions)
    assert found.covers(truth)
    assert found.error < 1e-9 * abs(truth)
    assert not found.native


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("oracle", FOREIGN)
def test_every_foreign_oracle_covers_it(name, oracle):
    directions, truth = ROWS[name]
    found = foreign(Question(forward, POINT, U, directions), oracle)
    assert found.covers(truth)
    assert found.error < 1e-8 * abs(truth)


@pytest.mark.parametrize("name", ROWS)
def test_differences_alone_cover_it_twice_over(name):
    directions, truth = ROWS[name]
    native = ask(forward, POINT, directions, oracle="finite")
    second = confirm_higher(along(forward, POINT), directions, 2.0**-52)
    assert native.covers(truth)
    assert second.covers(truth)
    assert max(native.error, second.error) < 1e-5 * abs(truth)
    assert native.value != second.value


def test_what_is_required_ends_the_climb():
    directions, truth = ROWS["all different"]
    loose, sharp = ask(forward, POINT, directions, need=1e-4), ask(forward, POINT, directions)
    assert loose.covers(truth)
    assert loose.evaluations < sharp.evaluations


def test_a_forward_in_float32_is_judged_in_float32():
    phi_of = along(forward, POINT, np.float32)
    for name in ("mixed in x", "along x, three times"):
        directions, truth = ROWS[name]
        found = consult_higher(
            along=phi_of, forward=None, point=POINT, u=U, directions=directions, eps=2.0**-23, need=None
        ).best
        assert found.covers(truth)
        assert found.native
        assert found.error < 0.5 * abs(truth)


@pytest.mark.parametrize("f", [np.abs, lambda x: np.maximum(x, 0), lambda x: x * np.abs(x), lambda x: (x > 0) + x])
@pytest.mark.parametrize("order", [2, 3])
def test_where_the_slope_has_a_corner_there_is_no_second_derivative(f, order):
    found = gv.derivative(f, 0.0, order=order)
    assert found.reason in ("kink", "jump")
    assert found.error == math.inf


def test_a_foreign_run_that_computes_something_else_is_not_believed():
    f = lambda p: {"y": np.sum(p["x"] ** 2) * (1.0 if isinstance(p["x"], np.ndarray) else 1.001)}  # noqa: E731
    found = ask(f, {"x": np.ones(2)}, ({"x": A},) * 2)
    assert not found.error < abs(found.value - 2 * A @ A)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_other_orders_are_refused_by_name(count):
    with pytest.raises(ValueError, match="must be 2 or 3"):
        ask(forward, POINT, ({"x": A},) * count)


@pytest.mark.parametrize(("order", "v", "truth"), [
    (2, None, 4 * math.exp(1.0)), (3, None, 8 * math.exp(1.0)), (2, [3.0, 5.0], 60 * math.exp(1.0)),
    (3, 1e-6, 8e-18 * math.exp(1.0)),
])
def test_the_public_function_has_an_order(order, v, truth):
    found = gv.derivative(lambda x: np.exp(2 * x), 0.5, v, order=order)
    assert found.covers(truth)
    assert found.error < 1e-9 * truth


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_ripple_is_no_step_of_a_narrower_computation(order):
    speed, height = 1.8e4, 2e-5
    found = finite(lambda t: math.exp(t) + height * math.sin(speed * t), order=order)
    assert found.covers(1 + height * [speed, 0.0, -(speed**3)][order - 1])
