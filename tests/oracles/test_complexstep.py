"""The complex step's bound covers the error in every draw, and what it cannot believe it says."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import special

from gradverify.oracles.complexstep import complex_step
from tests.oracles.foreign_families import FAMILIES, Numpy, softmax, truth

DRAWS = 20


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bound_covers_the_error_in_every_draw(family):
    f, draw, well_conditioned = FAMILIES[family]
    rng, bounds = np.random.default_rng(3), []
    for seed in range(DRAWS):
        point = draw(rng)
        v = {name: rng.normal(size=a.shape) for name, a in point.items()}
        with np.errstate(all="ignore"):
            u = rng.normal(size=np.shape(f(Numpy, **point)))
        estimate = complex_step(lambda p: {"y": f(Numpy, **p)}, point, {"y": u}, v, seed)
        # In saturation exp(-500) stands beside 1: hundreds of digits before the first that counts.
        expected = truth(f, point, u, v, digits=150 if well_conditioned else 1000)
        assert estimate.reason == ""
        assert abs(mpmath.mpf(estimate.value) - expected) <= estimate.error
        bounds.append(float(estimate.error / abs(expected)) if expected else 0.0)
    assert not well_conditioned or np.median(bounds) < 1e-13


def ask(f, x, v=None, u=None):
    x = np.asarray(x, float)
    y = np.asarray(f(x))
    u = np.ones(y.shape) if u is None else u
    v = np.ones(x.shape) if v is None else v
    return complex_step(lambda p: {"y": f(p["x"])}, {"x": x}, {"y": u}, {"x": v})


def test_only_the_leaves_of_the_tangent_move():
    forward = lambda p: {"y": p["x"] * p["w"]}  # noqa: E731
    point = {"x": np.array([3.0]), "w": np.array([5.0])}
    estimate = complex_step(forward, point, {"y": np.ones(1)}, {"w": np.ones(1)})
    assert estimate.value == 3.0
    assert estimate.oracle == "complex"
    assert not estimate.native


def test_an_output_that_does_not_depend_on_the_tangent_is_zero():
    ones = np.ones(2)
    estimate = complex_step(lambda p: {"y": p["c"] * 2}, {"x": ones, "c": ones}, {"y": ones}, {"x": ones})
    assert estimate.value == 0.0
    assert estimate.error < 1e-200


def test_outputs_without_a_cotangent_are_left_alone():
    forward = lambda p: {"y": p["x"] ** 2, "count": np.array(3)}  # noqa: E731
    estimate = complex_step(forward, {"x": np.ones(1)}, {"y": np.ones(1)}, {"x": np.ones(1)})
    assert estimate.value == 2.0


def test_the_same_seed_gives_the_same_estimate():
    assert ask(np.tanh, [0.3, 0.4]) == ask(np.tanh, [0.3, 0.4])


def test_every_forward_is_counted():
    calls = []
    estimate = ask(lambda x: calls.append(1) or x, np.ones(1))
    assert estimate.evaluations == len(calls) - 1 == 6


@pytest.mark.parametrize(("f", "left", "right"), [
    (lambda x: np.maximum(x, 0), 0.0, 1.0),
    (lambda x: x * (x > 0), 0.0, 1.0),
    (np.abs, -1.0, 1.0),
    (lambda x: np.where(x > 0, x, 0.1 * x), 0.1, 1.0),
])
def test_a_kink_has_both_slopes_and_no_bound(f, left, right):
    estimate = ask(f, [0.0])
    assert (estimate.reason, estimate.error) == ("kink", np.inf)
    assert estimate.slopes == pytest.approx((left, right), rel=1e-15)


@pytest.mark.parametrize("f", [np.sqrt, np.linalg.norm, lambda x: np.sqrt(x * x), lambda x: (x > 0) * 1.0 + x,
                               lambda x: np.where(x == 0, 5.0, x), lambda x: np.floor(x) + x])
def test_where_no_slope_exists_there_is_no_bound(f):
    estimate = ask(f, [0.0])
    assert estimate.error == np.inf
    assert estimate.reason == "kink"


def test_ties_that_leave_the_slope_alone_are_smooth():
    estimate = ask(lambda x: softmax(Numpy, x), np.zeros(4), v=np.array([1.0, 2.0, 3.0, 5.0]), u=np.eye(4)[0])
    assert estimate.reason == ""
    assert estimate.value == pytest.approx((1 - 11 / 4) / 4, rel=1e-14)


@pytest.mark.parametrize("f", [
    lambda x: x * np.array([float(a) for a in x]),
    lambda x: x * 2 if isinstance(x, np.ndarray) else x * 3,
    lambda x: np.linalg.svd(np.outer(x, x))[1],
    special.logsumexp,
    lambda x: x.astype(np.float32) * 2,
    lambda x: {}["missing"] if not isinstance(x, np.ndarray) else x,
])
def test_what_cannot_be_believed_is_unsupported_and_never_raised(f):
    estimate = ask(f, [0.5, 1.5])
    assert (estimate.reason, estimate.error) == ("unsupported", np.inf)


def test_a_forward_that_differs_from_call_to_call_says_so():
    calls = []
    assert ask(lambda x: x * len(calls) if calls.append(1) is None else x, [0.5]).reason == "nondeterministic"


def test_a_forward_that_leaves_its_domain_says_so():
    with np.errstate(all="ignore"):
        assert ask(np.log, [-1.0]).reason == "domain"


def test_the_point_is_left_as_it_was():
    def in_place(p):
        p["x"] *= 2
        p["c"] += 1
        return {"y": p["x"] * p["c"]}

    point = {"x": np.ones(2), "c": np.ones(2)}
    estimate = complex_step(in_place, point, {"y": np.ones(2)}, {"x": np.ones(2)})
    assert estimate.value == 8.0
    assert point["x"].tolist() == point["c"].tolist() == [1.0, 1.0]


def test_cancellation_that_the_inputs_last_bits_do_not_reach_widens_the_bound():
    estimate = ask(lambda x: np.log(1 - np.tanh(x) ** 2), [12.0])
    assert abs(estimate.value + 2.0) <= estimate.error < 1e-3
    assert abs(estimate.value + 2.0) > 1e-9


def test_cancellation_among_constants_widens_the_bound_too():
    forward = lambda p: {"y": p["x"] * (1 - np.tanh(p["c"]) ** 2)}  # noqa: E731
    one = np.ones(1)
    estimate = complex_step(forward, {"x": one, "c": 12 * one}, {"y": one}, {"x": one})
    assert estimate.covers(float(mpmath.sech(12) ** 2))
    assert estimate.error < 1e-4 * estimate.value


@pytest.mark.parametrize("scale", [1e-100, 1e-12, 1e12, 1e100])
def test_the_step_follows_the_scale_of_the_point(scale):
    estimate = ask(np.log, [2.0 * scale], v=np.array([scale]))
    assert estimate.value == pytest.approx(0.5, rel=1e-14)
    assert estimate.error < 1e-13


@pytest.mark.parametrize(("f", "x", "truth"), [
    (lambda x: (x * 1e-150) ** 2 * 1e300, 2.0, 4.0),
    (lambda x: x + (x * 1e-150) ** 2 * 1e300, 2.0, 5.0),
    (lambda x: np.log(np.exp(-x)), 650.0, -1.0),
    (lambda x: np.exp(x) / (np.exp(x) + np.exp(-649.0)), -650.0, math.e / (1 + math.e) ** 2),
])
def test_what_underflows_beside_the_real_part_widens_the_bound(f, x, truth):
    assert ask(f, [x]).covers(truth)


def test_a_tangent_in_float32_moves_its_leaf_too():
    x, v = np.linspace(0.1, 1.0, 10), np.ones(10, np.float32)
    estimate = complex_step(lambda p: {"y": np.sin(p["x"])}, {"x": x}, {"y": np.ones(10)}, {"x": v})
    assert estimate.covers(float(np.sum(np.cos(x))))


def _briefly(f, x):
    forward = lambda p: {"y": f(p["x"])}  # noqa: E731
    return complex_step(forward, {"x": x}, {"y": np.ones_like(x)}, {"x": np.ones_like(x)}, known=forward({"x": x}))


def test_where_the_outputs_are_known_one_run_does():
    x = np.linspace(0.1, 1.0, 10)
    estimate = _briefly(np.sin, x)
    assert estimate.evaluations == 1
    assert estimate.covers(float(np.sum(np.cos(x))))


@pytest.mark.parametrize("f", [np.abs, lambda x: np.exp(-600.0 - x)], ids=["a tie", "faint numbers"])
def test_what_one_run_cannot_settle_is_asked_in_full(f):
    assert _briefly(f, np.zeros(3)).evaluations > 1
