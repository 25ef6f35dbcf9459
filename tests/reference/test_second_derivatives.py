"""Second derivatives, and first ones in saturation, against fifty digits: where float64 alone could not tell."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradverify.reference import (
    MSE,
    Activation,
    BinaryCrossEntropy,
    CrossEntropy,
    Dense,
    LogSoftmax,
    Objective,
    Softmax,
    hessian_product,
    push_pullback,
    sequential,
)
from gradverify.reference.activations import FUNCTIONS
from gradverify.reference.curves import SELU_ALPHA, SELU_SCALE
from gradverify.reference.duals import Dual, push
from tests.reference.agreement import GAPS, assert_second_derivatives, noted

mp = mpmath.mp
POINTS = [-700.0, -40.0, -12.0, -3.5, -0.9, -1e-3, 0.25, 2.0, 4.0, 12.0, 20.0, 40.0, 700.0]


def logistic(x):
    return 1 / (1 + mp.exp(-x))


def either(x, right, left):
    return right if x > 0 else left


VALUES = {
    "identity": lambda x: x, "sigmoid": logistic, "tanh": mp.tanh, "relu": lambda x: either(x, x, 0 * x),
    "leaky_relu": lambda x: either(x, x, mp.mpf(0.01) * x), "softplus": lambda x: mp.log1p(mp.exp(x)),
    "log_sigmoid": lambda x: -mp.log1p(mp.exp(-x)), "silu": lambda x: x * logistic(x),
    "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x * logistic(mp.sqrt(8 / mp.pi) * (x + mp.mpf(0.044715) * x**3)),
    "elu": lambda x: either(x, x, mp.expm1(x)), "celu": lambda x: either(x, x, mp.expm1(x)),
    "selu": lambda x: mp.mpf(SELU_SCALE) * either(x, x, mp.mpf(SELU_ALPHA) * mp.expm1(x)),
    "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), "softsign": lambda x: x / (1 + abs(x)),
    "hard_sigmoid": lambda x: min(max((x + 3) / 6, 0 * x), 1 + 0 * x),
    "hard_tanh": lambda x: min(max(x, -1), 1 + 0 * x),
    "hard_swish": lambda x: x * min(max((x + 3) / 6, 0 * x), 1 + 0 * x),
}


def exact(name, x):
    """Value, slope and curvature by fifty digits, a Taylor expansion of mpmath's."""
    with mp.workdps(400 if abs(x) >= 20 else 120):
        found = [mp.diff(VALUES[name], mp.mpf(x), order) for order in range(3)]
        return [float(number) if abs(number) > mp.mpf(10) ** (20 - mp.dps) else 0.0 for number in found]


def test_every_activation_is_in_the_table():
    assert VALUES.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_slope_and_curvature_have_their_digits_everywhere(name):
    x = np.array(POINTS)
    y, _ = Activation(name).forward({}, x)
    (_, slope), (_, curvature) = push_pullback(Activation(name), {}, x, np.ones_like(x), {}, np.ones_like(x))
    # The exponent of a tail like e^(-x^2 / 2) is rounded before it is raised: the digits of x it takes are lost.
    tail = 2.0**-53 * x * x * (np.abs(x) * 0.2 + 1) if name.startswith("gelu") else 0
    truths = zip(*(exact(name, t) for t in POINTS), strict=True)
    for computed, expected in zip((y, slope, curvature), truths, strict=True):
        allowed = tail * np.abs(expected) + 1e-300
        GAPS.extend(("fifty digits", gap) for gap in np.maximum(np.abs(computed - expected) - allowed, 0)
                    / np.where(np.array(expected) == 0, 1, np.abs(expected)))
        assert np.all(np.abs(computed - expected) <= 1e-13 * np.abs(expected) + allowed)


def test_the_curvature_of_log_sigmoid_at_forty_is_tiny_and_not_zero():
    _, (_, curvature) = push_pullback(Activation("log_sigmoid"), {}, np.array([40.0]), np.ones(1), {}, np.ones(1))
    assert curvature[0] == pytest.approx(-4.248354255291589e-18, rel=1e-15)


@pytest.mark.parametrize("z", [[0.3, -0.2, 1.0], [40.0, 0.0, -40.0], [700.0, 0.0, 0.0], [0.0, 0.0, 0.0]], ids=str)
@pytest.mark.parametrize("layer", [Softmax(), LogSoftmax()], ids=repr)
def test_every_entry_of_the_curvature_of_softmax_agrees_with_fifty_digits(layer, z):
    u, v, z = np.array([1.0, -0.5, 2.0]), np.array([0.5, 1.0, -1.5]), np.array(z)
    _, (_, bent) = push_pullback(layer, {}, z, u, {}, v)
    with mp.workdps(400):
        def slope(k, t):
            e = [mp.exp(mp.mpf(a) + t * mp.mpf(b)) for a, b in zip(z, v, strict=True)]
            p = [part / sum(e) for part in e]
            if isinstance(layer, LogSoftmax):
                return u[k] - p[k] * sum(u)
            return p[k] * (u[k] - sum(part * w for part, w in zip(p, u, strict=True)))

        expected = [float(mp.diff(lambda t, k=k: slope(k, t), 0)) for k in range(3)]
    np.testing.assert_allclose(*noted("fifty digits", bent, expected), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("x", [np.array([[40.0, 0.0], [0.1, 0.2]]), np.zeros((0, 2)), np.zeros((3, 2))], ids=str)
@pytest.mark.parametrize("layer", [Dense(2, 3), sequential(Dense(2, 4), Activation("tanh"), Dense(4, 2), Softmax()),
                                   sequential(Dense(2, 2), LogSoftmax())], ids=repr)
def test_chains_agree_with_a_complex_step_through_the_pullback(layer, x):
    assert_second_derivatives(layer, layer.init(np.random.default_rng(0)), x)


@pytest.mark.parametrize(("loss", "y_true"), [(CrossEntropy(), np.array([0])), (BinaryCrossEntropy(), np.eye(2)[:1])],
                         ids=repr)
def test_the_curvature_of_a_certain_and_right_prediction_is_tiny_and_not_zero(loss, y_true):
    scores = np.array([[40.0, -40.0]])
    _, along = hessian_product(Objective(Activation("identity"), loss, y_true), {}, scores, {}, np.array([[1.0, 0.0]]))
    assert 1e-36 < abs(along[0, 0]) < 1e-16


def test_a_hessian_product_is_a_column_of_the_hessian():
    x, y_true = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 1.0]]), np.array([[1.0], [2.0], [3.0]])
    linear = Objective(Dense(2, 1, bias=False), MSE(), y_true)
    columns = [hessian_product(linear, {"W": np.ones((2, 1))}, x, {"W": e[:, None]})[0]["W"][:, 0] for e in np.eye(2)]
    np.testing.assert_allclose(columns, 2 * x.T @ x / 3, rtol=1e-15)


def test_duals_nest_so_third_derivatives_come_for_free():
    def slope(x):
        return push(lambda t: FUNCTIONS["tanh"](t)[0], (x,), (np.ones(1),))[1]

    _, curvature = push(slope, (np.array([0.5]),), (np.ones(1),))
    _, third = push(lambda t: push(slope, (t,), (np.ones(1),))[1], (np.array([0.5]),), (np.ones(1),))
    assert curvature[0] == pytest.approx(float(mp.diff(mp.tanh, 0.5, 2)), rel=1e-12)
    assert third[0] == pytest.approx(float(mp.diff(mp.tanh, 0.5, 3)), rel=1e-12)


@pytest.mark.parametrize("call", [np.linalg.inv, np.arctan, np.multiply.reduce])
def test_what_has_no_rule_is_refused_and_not_guessed(call):
    with pytest.raises(TypeError, match="no rule for duals"):
        call(Dual(np.eye(2), np.eye(2)))
