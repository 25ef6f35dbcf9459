"""Quad, multiprecision and certified: the bound covers the error in every draw; what cannot be judged says so."""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from scipy import special
from scipy.special import softmax

from gradverify.arithmetic.quadarray import usable
from gradverify.arithmetic.scipyfunctions import ORIGINALS
from gradverify.oracles import quad as quad_module
from gradverify.oracles.certified import certified, enclose
from gradverify.oracles.line import Line, one_sided
from gradverify.oracles.multiprecision import multiprecision
from gradverify.oracles.multiprecision import truth as exact_truth
from gradverify.oracles.quad import quad
from tests.oracles.foreign_families import FAMILIES, Numpy, truth

DRAWS = 4  # of each of 26 families and each oracle
needs_quad = pytest.mark.skipif(not usable(), reason="numpy-quaddtype is not usable here")


def run_certified(*args, **options):
    pytest.importorskip("flint")
    return certified(*args, **options)


ORACLES = [pytest.param(multiprecision, id="mpmath"), pytest.param(run_certified, id="certified"),
           pytest.param(quad, id="quad", marks=needs_quad)]
DIFFERENCES = [ORACLES[0], ORACLES[2]]
every_oracle = pytest.mark.parametrize("oracle", ORACLES)


def ask(oracle, f, x, v=None, u=None, **options):
    x = np.asarray(x, float)
    with np.errstate(all="ignore"):
        y = np.asarray(f(x))
    u = np.ones(y.shape) if u is None else u
    v = np.ones(x.shape) if v is None else v
    return oracle(lambda p: {"y": f(p["x"])}, {"x": x}, {"y": u}, {"x": v}, **options)


@every_oracle
@pytest.mark.parametrize("family", FAMILIES)
def test_the_bound_covers_the_error_in_every_draw(oracle, family):
    f, draw, well_conditioned = FAMILIES[family]
    rng, bounds = np.random.default_rng(5), []
    for _ in range(DRAWS):
        point = draw(rng)
        v = {name: rng.normal(size=a.shape) for name, a in point.items()}
        with np.errstate(all="ignore"):
            u = rng.normal(size=np.shape(f(Numpy, **point)))
        estimate = oracle(lambda p: {"y": f(Numpy, **p)}, point, {"y": u}, v)
        # In saturation exp(-500) stands beside 1: hundreds of digits before the first that counts.
        expected = truth(f, point, u, v, digits=150 if well_conditioned else 1000)
        assert estimate.reason == ""
        assert abs(mpmath.mpf(estimate.value) - expected) <= estimate.error
        bounds.append(float(estimate.error / abs(expected)) if expected else 0.0)
    assert not well_conditioned or np.median(bounds) < 1e-14


def sech(x):
    return 1 / mpmath.cosh(x)


# forward, x, order, the closed form
CLOSED = {
    "tanh": (np.tanh, 2.0, 1, lambda x: sech(x) ** 2),
    "log-sigmoid, second": (lambda x: -np.logaddexp(0.0, -x), 40.0, 2, lambda x: -1 / (2 + 2 * mpmath.cosh(x))),
    "exp, third": (np.exp, 0.5, 3, mpmath.exp),
    "log": (np.log, 1e-300, 1, lambda x: 1 / x),
    "power": (lambda x: x**7, 1.3, 2, lambda x: 42 * x**5),
    "saturated tanh": (np.tanh, 50.0, 1, lambda x: sech(x) ** 2),
    "softplus": (lambda x: np.logaddexp(x, 0), -60.0, 1, lambda x: 1 / (1 + mpmath.exp(-x))),
}


@pytest.mark.parametrize("name", CLOSED)
def test_mpmath_agrees_with_closed_forms_to_thirty_digits(name):
    f, x, order, closed = CLOSED[name]
    one = {"x": np.ones(1)}
    found = exact_truth(lambda p: {"x": f(p["x"])}, {"x": np.array([x])}, one, one, order=order)
    with mpmath.workdps(60):
        assert abs(mpmath.mpf(found.value) / closed(mpmath.mpf(x)) - 1) < 1e-30


@pytest.mark.parametrize("oracle", DIFFERENCES)
@pytest.mark.parametrize("name", sorted(set(CLOSED) - {"saturated tanh"}))
def test_higher_derivatives_are_covered(oracle, name):
    f, x, order, closed = CLOSED[name]
    estimate = ask(oracle, f, [x], order=order)
    with mpmath.workdps(60):
        expected = closed(mpmath.mpf(x))
        assert abs(mpmath.mpf(estimate.value) - expected) <= estimate.error < 1e-13 * abs(expected)


@pytest.mark.parametrize("oracle", DIFFERENCES)
def test_the_second_derivative_of_log_sigmoid_survives_at_40(oracle):
    assert f"{ask(oracle, lambda x: -np.logaddexp(0.0, -x), [40.0], order=2).value:.1e}" == "-4.2e-18"


def test_digits_are_added_until_saturation_is_resolved():
    estimate = ask(multiprecision, lambda x: np.log(1 - np.tanh(x) ** 2), [200.0])
    assert abs(estimate.value + 2) <= estimate.error < 1e-15


@needs_quad
def test_saturation_beyond_quad_widens_the_bound():
    estimate = ask(quad, lambda x: np.log(1 - np.tanh(x) ** 2), [30.0])
    assert 1e-15 < abs(estimate.value + 2) <= estimate.error


@every_oracle
@pytest.mark.parametrize(("f", "left", "right"), [
    (lambda x: np.maximum(x, 0), 0.0, 1.0),
    (np.abs, -1.0, 1.0),
    (lambda x: np.where(x > 0, x, 0.1 * x), 0.1, 1.0),
    (lambda x: np.sort(np.concatenate([x, 3 * x]))[0], 3.0, 1.0),
])
def test_a_kink_has_both_slopes_and_no_bound(oracle, f, left, right):
    estimate = ask(oracle, f, [0.0])
    assert (estimate.reason, estimate.error) == ("kink", np.inf)
    assert estimate.slopes == pytest.approx((left, right), rel=1e-14, abs=1e-20)
    assert not estimate.certified


@every_oracle
@pytest.mark.parametrize("f", [lambda x: (x > 0) * 1.0 + x, lambda x: (x >= 0) * 1.0 + x])
def test_a_jump_has_neither(oracle, f):
    estimate = ask(oracle, f, [0.0])
    assert (estimate.reason, estimate.error, estimate.slopes) == ("kink", np.inf, None)


@every_oracle
@pytest.mark.parametrize("distance", [1e-9, -1e-9, 1e-12, 3e-4])
def test_a_kink_nearby_is_none(oracle, distance):
    estimate = ask(oracle, lambda x: np.maximum(x - distance, 0) + x, [0.0])
    assert estimate.value == pytest.approx(1.0 if distance > 0 else 2.0, rel=1e-12)
    assert estimate.error < 1e-9


@every_oracle
def test_a_zero_of_third_order_is_a_zero(oracle):
    estimate = ask(oracle, lambda x: x**3, [0.0])
    assert estimate.reason == ""
    assert abs(estimate.value) <= estimate.error < 1e-20


@pytest.mark.parametrize("oracle", DIFFERENCES)
def test_a_kink_of_the_first_derivative_is_one_of_order_two(oracle):
    assert ask(oracle, lambda x: x * np.abs(x), [0.0], order=2).reason == "kink"
    assert ask(oracle, lambda x: x * np.abs(x), [0.0]).reason == ""


@every_oracle
@pytest.mark.parametrize("f", [
    lambda x: x * np.array([float(a) for a in x]),
    lambda x: np.linalg.svd(np.outer(x, x))[1],
    lambda x: x.astype(np.float32) * 2,
    lambda x: {}["missing"] if not isinstance(x, np.ndarray) else x,
    lambda x: np.array(["text"]) if not isinstance(x, np.ndarray) else x,
])
def test_what_cannot_be_run_is_unsupported_and_never_raised(oracle, f):
    estimate = ask(oracle, f, [0.5, 1.5])
    assert (estimate.reason, estimate.error) == ("unsupported", np.inf)


@every_oracle
def test_another_function_for_foreign_arrays_is_found_out(oracle):
    estimate = ask(oracle, lambda x: x * 2 if isinstance(x, np.ndarray) else x * 3, [0.5])
    assert (estimate.reason, estimate.error) == ("forward-inexact", np.inf)


@pytest.mark.parametrize("oracle", DIFFERENCES)
def test_a_forward_that_is_slightly_another_one_for_foreign_arrays_widens_the_bound(oracle):
    estimate = ask(oracle, lambda x: x**2 if type(x) is np.ndarray else x**2 * (1 + 1e-7), [0.5, 1.5])
    assert estimate.covers(4.0)
    assert 1e-7 < estimate.error < 1e-5


def test_what_is_slightly_another_forward_is_not_certified():
    f = lambda x: x**2 if type(x) is np.ndarray else x**2 * (1 + 1e-7)  # noqa: E731
    assert ask(run_certified, f, [0.5]).reason == "forward-inexact"


@every_oracle
def test_an_exception_that_the_forward_swallows_is_no_zero(oracle):
    def f(x):
        try:
            return np.linalg.eigvalsh(np.outer(x, x) + np.diag([1.0, 2.0]))
        except TypeError:
            return x * 0.0 + 3.0

    assert not ask(oracle, f, [0.5, 1.5]).error < np.inf


@pytest.mark.parametrize("oracle", DIFFERENCES)
def test_a_forward_that_differs_from_call_to_call_says_so(oracle):
    calls = []
    estimate = ask(oracle, lambda x: x * len(calls) if calls.append(1) is None else x, [0.5])
    assert estimate.reason == "nondeterministic"


@every_oracle
@pytest.mark.parametrize("f", [np.log, np.sqrt, np.arccosh, lambda x: x**0.5])
def test_outside_the_domain_there_is_no_bound(oracle, f):
    assert ask(oracle, f, [-1.0]).error == np.inf


@every_oracle
@pytest.mark.parametrize(("u", "v"), [(np.ones(3), None), (None, np.ones(3)), (None, np.ones((2, 1)))])
def test_a_question_of_the_wrong_shape_is_unsupported(oracle, u, v):
    assert ask(oracle, np.sin, [0.5, 1.5], v=v, u=u).reason == "unsupported"


@every_oracle
@pytest.mark.parametrize("x", [[np.nan], [np.inf, 1.0]])
def test_a_point_that_is_not_finite_has_no_bound(oracle, x):
    assert ask(oracle, np.sin, x).error == np.inf


@every_oracle
def test_nothing_moves_along_a_zero_tangent_and_in_an_empty_point(oracle):
    for x, v in (([0.5], np.zeros(1)), ([], None)):
        estimate = ask(oracle, np.sin, x, v=v)
        assert estimate.covers(0.0)
        assert estimate.error < 1e-20


@every_oracle
def test_the_point_and_integer_leaves_are_left_as_they_were(oracle):
    def in_place(p):
        p["x"] *= p["n"]
        return {"y": p["x"] * p["c"]}

    point = {"x": np.ones(2), "c": np.full(2, 0.1), "n": np.array([2, 3])}
    estimate = oracle(in_place, point, {"y": np.ones(2)}, {"x": np.ones(2)})
    assert estimate.value == pytest.approx(0.5, rel=1e-15)
    assert point["x"].tolist() == [1.0, 1.0]


@every_oracle
def test_every_forward_is_counted(oracle):
    calls = []
    estimate = ask(oracle, lambda x: calls.append(1) or x * 1.5, np.ones(1))
    assert estimate.evaluations == len(calls) - 1


@pytest.mark.parametrize("oracle", DIFFERENCES)
def test_the_same_seed_gives_the_same_estimate(oracle):
    f = partial(ask, oracle, lambda x: np.exp(np.sin(x)), [0.3, 0.4])
    assert f(seed=1) == f(seed=1)


def test_without_the_package_quad_is_unsupported(monkeypatch):
    monkeypatch.setattr(quad_module, "quadruple", lambda: (_ for _ in ()).throw(ImportError()))
    assert ask(quad, np.sin, [0.5]).reason == "unsupported"


def test_one_sided_stencils_differentiate_powers_exactly():
    for order in (1, 2, 3):
        for side in (-1, 1):
            assert sum(w * k**order for k, w in one_sided(order, side).items()) == mpmath.factorial(order)


SCIPY = {
    "logsumexp": (lambda x: special.logsumexp(x) + 0, lambda p: p),
    "logsumexp of rows": (lambda x: special.logsumexp(np.stack([x, 2 * x]), axis=1)[0], lambda p: p),
    "weighted": (lambda x: special.logsumexp(x, b=np.array([1.0, 2.0, 3.0])),
                 lambda p: p * [1, 2, 3] / (p @ [1, 2, 3])),
    "softmax": (lambda x: softmax(x)[0], lambda p: p[0] * ([1, 0, 0] - p)),
    "log_softmax": (lambda x: special.log_softmax(x, axis=-1)[1], lambda p: [0, 1, 0] - p),
}


@every_oracle
@pytest.mark.parametrize("name", SCIPY)
@pytest.mark.parametrize("x", [[0.3, -1.2, 0.7], [5.0, 5.0, 5.0], [1000.0, 999.0, -3.0]])
def test_scipys_functions_of_arrays_are_carried_under_either_name(oracle, name, x):
    f, gradient = SCIPY[name]
    v = np.array([1.0, 2.0, 4.0])
    p = np.exp(np.array(x) - max(x)) / np.sum(np.exp(np.array(x) - max(x)))
    estimate = ask(oracle, f, x, v=v)
    assert estimate.reason == ""
    assert estimate.value == pytest.approx(float(np.dot(gradient(p), v)), rel=1e-13)
    assert special.softmax is softmax is ORIGINALS["softmax"]


def mlp(*sizes, batch):
    rng = np.random.default_rng(0)
    shapes = list(pairwise(sizes))
    point = {"x": rng.normal(size=(batch, sizes[0]))}
    point |= {f"w{i}": rng.normal(size=s) / np.sqrt(s[0]) for i, s in enumerate(shapes)}

    def forward(p):
        y = p["x"]
        for i in range(len(shapes)):
            y = np.tanh(y @ p[f"w{i}"])
        return {"y": y}

    u, v = {"y": rng.normal(size=(batch, sizes[-1]))}, {k: rng.normal(size=a.shape) for k, a in point.items()}
    return forward, point, u, v


def test_the_enclosure_of_an_mlp_has_a_relative_radius_under_1e_25():
    pytest.importorskip("flint")
    forward, point, u, v = mlp(32, 32, 32, 8, batch=4)
    estimate = certified(forward, point, u, v)
    found = enclose(Line(forward, point, u, v), bits=128)
    assert estimate.certified
    assert estimate.error < 1e-15 * abs(estimate.value)
    assert float(found.ball.rad() / abs(found.ball)) < 1e-25


def test_an_enclosure_knows_a_softmax_with_ties():
    pytest.importorskip("flint")

    def softmax(x):
        e = np.exp(x - x.max())
        return e / e.sum()

    estimate = ask(certified, softmax, np.zeros(4), v=np.array([1.0, 2.0, 3.0, 5.0]), u=np.eye(4)[0])
    assert estimate.certified
    assert abs(estimate.value - (1 - 11 / 4) / 4) <= estimate.error + 1e-16


@needs_quad
def test_quad_verifies_a_network_in_a_second_or_so():
    forward, point, u, v = mlp(64, 128, 64, batch=32)
    quad(forward, point, u, v)
    started = time.process_time()
    estimate = quad(forward, point, u, v)
    assert time.process_time() - started < 3  # 0.4 s on an idle core; what is caught is a slow route
    assert estimate.error < 1e-14 * abs(estimate.value)
