"""The complex step's bound covers the error in every draw, and what it cannot believe it says."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import special

from gradverify.oracles.complexstep import complex_step

DRAWS = 20


def lift(function, arity=1):
    return np.frompyfunc(function, arity, 1)


class Numpy:
    """The functions of a family in float64."""

    exp, log, tanh, sqrt, sin, log1p = np.exp, np.log, np.tanh, np.sqrt, np.sin, np.log1p
    erf, var = special.erf, np.var
    abs, maximum, norm, solve = np.abs, np.maximum, np.linalg.norm, np.linalg.solve
    logaddexp, expit, gammaln = np.logaddexp, special.expit, special.gammaln


class Exact:
    """The same in mpmath, on object arrays."""

    exp, log, tanh, sqrt, sin = (lift(getattr(mpmath, f)) for f in ("exp", "log", "tanh", "sqrt", "sin"))
    erf, gammaln, expit = lift(mpmath.erf), lift(mpmath.loggamma), lift(lambda x: 1 / (1 + mpmath.exp(-x)))
    log1p = lift(lambda x: mpmath.log(1 + x))
    logaddexp = lift(lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b)), 2)
    abs, maximum = np.abs, np.maximum

    @staticmethod
    def var(x):
        return np.mean((x - np.mean(x)) ** 2)

    @staticmethod
    def norm(x):
        return mpmath.sqrt(np.sum(x**2))

    @staticmethod
    def solve(a, b):
        solution = mpmath.lu_solve(mpmath.matrix(a.tolist()), mpmath.matrix(b.tolist()))
        return np.array(list(solution), dtype=object)


def softmax(m, x):
    e = m.exp(x - x.max())
    return e / e.sum()


def logsumexp(m, x):
    return m.log(np.sum(m.exp(x - x.max()), keepdims=True)) + x.max()


def layer_norm(m, x):
    return (x - x.mean()) / (m.var(x) + 2.0**-17) ** 0.5


def mlp(m, x, w):
    for layer in w:
        x = m.tanh(x @ layer)
    return x


def normal(*sizes, shape=(4,), shift=0.0):
    return lambda r: {"x": r.choice(sizes) * r.normal(size=shape) + shift}


def deep(depth):
    return lambda r: {"x": r.normal(size=4), "w": r.normal(size=(depth, 4, 4))}


def decades(low, high):
    return lambda r: {"x": 10.0 ** r.uniform(low, high, 4)}


# name: (forward, draw of a point, whether it is well conditioned)
FAMILIES = {
    "mlp of 1": (mlp, deep(1), True),
    "mlp of 10": (mlp, deep(10), True),
    "relu mlp": (lambda m, x, w: m.maximum(m.maximum(x @ w[0], 0) @ w[1], 0) @ w[2], deep(3), True),
    "softmax": (softmax, normal(0.1, 1, 20), True),
    "saturated softmax": (softmax, normal(100, 500), False),
    "cross entropy": (lambda m, x: -m.log(softmax(m, x)[:1]), normal(1, 5), True),
    "logsumexp": (logsumexp, normal(1, 20), True),
    "layer norm": (layer_norm, normal(1, 30), True),
    "layer norm at 1e5": (layer_norm, normal(1, shift=1e5), False),
    "gelu tanh": (lambda m, x: x * (1 + m.tanh(0.75 * (x + x**3 / 16))), normal(0.1, 1, 5), True),
    "gelu erf": (lambda m, x: x * (1 + m.erf(x * 0.75)), normal(0.1, 1, 5), True),
    "offset": (lambda m, x: (x**2 + 1e6) - 1e6 + m.sin(x), normal(1), True),
    "log of an offset": (lambda m, x: m.log(1e6 + x), normal(1), True),
    "cancellation": (lambda m, x: m.log(1 - m.tanh(x) ** 2), normal(1, 4), False),
    "naive variance": (lambda m, x: 1 / ((x**2).mean() - x.mean() ** 2) + x, normal(1, shift=1e3), False),
    "all scales": (lambda m, x: m.log(x) * x + 1 / x, decades(-12, 12), True),
    "log1p": (lambda m, x: m.log1p(x**2), decades(-9, 9), True),
    "naive sigmoid": (lambda m, x: 1 / (1 + m.exp(-x)), normal(1, 10, 100), False),
    "expit": (lambda m, x: m.expit(x), normal(1, 10), True),
    "softplus": (lambda m, x: m.logaddexp(x, 0 * x), normal(1, 10), True),
    "deep saturation": (lambda m, x: m.tanh(x), normal(10, 50), False),
    "stiff": (lambda m, x: m.sin(300 * x), normal(1), False),
    "abs": (lambda m, x: m.abs(x) * x, normal(1), True),
    "norm": (lambda m, x: x / m.norm(x), normal(1e-9, 1, 1e9), True),
    "solve": (lambda m, x, w: m.solve(w[0], x), deep(1), False),
    "log gamma": (lambda m, x: m.gammaln(x), decades(-3, 2), True),
}


def truth(f, point, u, v, digits):
    """Central differences of step 1e-50."""
    exact, t = lift(mpmath.mpf), mpmath.mpf(10) ** -50
    with mpmath.workdps(digits):
        x = {name: exact(a) for name, a in point.items()}
        ahead = f(Exact, **{name: x[name] + t * exact(v[name]) for name in x})
        behind = f(Exact, **{name: x[name] - t * exact(v[name]) for name in x})
        return mpmath.mpf(np.sum((ahead - behind) * exact(u)) / (2 * t))


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
    assert estimate.evaluations == len(calls) - 1 == 5


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


def hidden(x):
    return np.asarray(x, dtype=float) * 2


@pytest.mark.parametrize("f", [
    hidden,
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
