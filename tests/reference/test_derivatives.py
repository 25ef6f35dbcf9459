"""Every derivative of the reference against the complex step and central differences, both written out here.

The complex step f'(x) = Im f(x + i h) / h has no truncation at h = 1e-30 and subtracts nothing, so what is
left is rounding, saturation included.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradverify.arrays import flatten
from gradverify.reference import (
    MSE,
    Activation,
    CrossEntropy,
    Dense,
    LogSoftmax,
    Objective,
    Softmax,
    sequential,
)
from gradverify.reference.activations import FUNCTIONS, tanh
from tests.reference.agreement import noted

H = 1e-30
ORDINARY = np.linspace(-2.9, 2.9, 12).reshape(3, 4)
SATURATED = np.array([[-700.0, -40.0, -20.0, -12.0], [-5.0, -1e-8, 1e-8, 5.0], [12.0, 20.0, 40.0, 700.0]])
POINTS = {"ordinary": ORDINARY, "saturated": SATURATED, "tied": np.full((2, 4), 0.25),
          "one example": ORDINARY[0], "two batch axes": ORDINARY[None], "empty batch": ORDINARY[:0]}
ACTIVATIONS = [*map(Activation, FUNCTIONS), Activation("leaky_relu", 0.3)]
DEEP = sequential(Dense(4, 6), Activation("tanh"), sequential(Dense(6, 3), Softmax()))
LAYERS = [*ACTIVATIONS, Softmax(), LogSoftmax(), Dense(4, 5), Dense(4, 2, bias=False), DEEP]
SLOPES = {"sigmoid": lambda x: 1 / (4 * mpmath.cosh(x / 2) ** 2),
          "tanh": lambda x: 1 / mpmath.cosh(x) ** 2,
          "softplus": lambda x: 1 / (1 + mpmath.exp(-x)),
          "gelu": lambda x: mpmath.ncdf(x) + x * mpmath.npdf(x)}
VALUES = {"sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
          "silu": lambda x: x / (1 + mpmath.exp(-x)), "gelu": lambda x: x * mpmath.ncdf(x),
          "gelu_tanh": lambda x: x / (1 + mpmath.exp(-mpmath.sqrt(8 / mpmath.pi) * (x + 0.044715 * x**3)))}


def moved(tree, tangent, t):
    leaves, rebuild = flatten(tree, "t")
    steps, _ = flatten(tangent, "t")
    return rebuild({name: leaf + t * steps[name] for name, leaf in leaves.items()})


def complex_step(layer, params, x, dparams, dx):
    return np.imag(layer.forward(moved(params, dparams, 1j * H), x + 1j * H * dx)[0]) / H


def random_like(tree, rng):
    leaves, rebuild = flatten(tree, "t")
    return rebuild({name: rng.uniform(0.5, 1.5, np.shape(leaf)) for name, leaf in leaves.items()})


def inner(a, b):
    pairs = zip(flatten(a, "")[0].values(), flatten(b, "")[0].values(), strict=True)
    return sum(float(np.sum(u * v)) for u, v in pairs if u is not None)


def agreement(layer, params, x, seed=1):
    """Pushforward and complex step, and <u, J v> as pullback and complex step have it."""
    rng = np.random.default_rng(seed)
    dparams, dx = random_like(params, rng), rng.uniform(0.5, 1.5, np.shape(x))
    y, dy = layer.pushforward(params, x, dparams, dx)
    expected = complex_step(layer, params, x, dparams, dx)
    u = random_like(y, rng)
    du = layer.forward(params, x)[1](u)
    return (noted("complex step", dy, expected),
            noted("complex step", inner(du, (dparams, dx)), inner(u, expected)))


@pytest.mark.parametrize("x", POINTS.values(), ids=POINTS)
@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_layer_agrees_with_the_complex_step_forwards_and_backwards(layer, x):
    pushed, pulled = agreement(layer, layer.init(np.random.default_rng(0)), x)
    np.testing.assert_allclose(*pushed, rtol=1e-12, atol=1e-14 * np.abs(pushed[1]).max(initial=0))
    np.testing.assert_allclose(*pulled, rtol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_every_entry_of_a_slope_has_its_digits_in_both_tails(activation):
    _, pullback = activation.forward({}, SATURATED)
    expected = complex_step(activation, {}, SATURATED, {}, np.ones_like(SATURATED))
    np.testing.assert_allclose(pullback(np.ones_like(SATURATED))[1], expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", SLOPES)
def test_a_slope_agrees_with_its_formula_in_fifty_digits(name):
    with mpmath.workdps(50):
        expected = [float(SLOPES[name](mpmath.mpf(x))) for x in SATURATED.flat]
    _, pullback = Activation(name).forward({}, SATURATED.ravel())
    np.testing.assert_allclose(pullback(np.ones(12))[1], expected, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_keeps_its_digits_in_the_left_tail(name):
    with mpmath.workdps(50):
        expected = float(VALUES[name](mpmath.mpf(-6)))
    assert Activation(name).forward({}, np.array(-6.0))[0] == pytest.approx(expected, rel=1e-14, abs=0)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_layer_agrees_with_a_central_difference(layer):
    rng = np.random.default_rng(2)
    params = layer.init(rng)
    dparams, dx, h = random_like(params, rng), rng.uniform(0.5, 1.5, ORDINARY.shape), 2.0**-17
    right, left = (layer.forward(moved(params, dparams, t), ORDINARY + t * dx)[0] for t in (h, -h))
    _, dy = layer.pushforward(params, ORDINARY, dparams, dx)
    np.testing.assert_allclose(dy, (right - left) / (2 * h), atol=1e-9 * np.abs(dy).max())


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_inputs_neither_overflow_nor_give_nan(name, dtype):
    x = np.array([-1e30, -1e15, 1e15, 1e30], dtype)
    y, pullback = Activation(name).forward({}, x)
    assert np.isfinite(y).all()
    assert np.isfinite(pullback(np.ones_like(x))[1]).all()


def test_a_certain_class_keeps_its_tiny_probability_of_being_wrong():
    z, u, tiny = np.array([40.0, 0.0]), np.array([1.0, 0.0]), np.exp(-40.0)
    y, pullback = LogSoftmax().forward({}, z)
    assert y[0] == pytest.approx(-tiny, rel=1e-14)
    np.testing.assert_allclose(pullback(u)[1], [tiny, -tiny], rtol=1e-14)
    np.testing.assert_allclose(Softmax().forward({}, z)[1](u)[1], [tiny, -tiny], rtol=1e-14)


def test_scores_of_minus_infinity_are_classes_that_cannot_be():
    y, pullback = LogSoftmax().forward({}, np.array([0.0, -np.inf, 0.0]))
    np.testing.assert_allclose(np.exp(y), [0.5, 0.0, 0.5])
    np.testing.assert_allclose(pullback(np.array([1.0, 0.0, 0.0]))[1], [0.5, 0.0, -0.5])


def test_relu_passes_nothing_at_its_kink():
    _, pullback = Activation("relu").forward({}, np.array([-0.0, 0.0]))
    assert not pullback(np.ones(2))[1].any()


def test_the_slope_textbooks_give_for_tanh_would_not_pass_here():
    y, times_slope = tanh(np.array([20.0]))
    assert 1 - y[0] * y[0] == 0.0
    assert times_slope(np.ones(1))[0] == pytest.approx(float(1 / mpmath.cosh(20) ** 2), rel=1e-15)


SOFT = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
SCORES = np.array([[1.0, -2.0, 0.5], [40.0, 0.0, -40.0]])


@pytest.mark.parametrize(("loss", "y_true", "y_pred"), [
    (MSE(), ORDINARY, ORDINARY[::-1]), (MSE(), np.array(4.0), np.array(1.0)), (CrossEntropy(), SOFT, SCORES),
    (CrossEntropy(), SOFT[0], SCORES[0]), (CrossEntropy(), 3 * SOFT, SCORES),
], ids=repr)
def test_a_loss_agrees_with_the_complex_step_in_both_arguments(loss, y_true, y_pred):
    pushed, pulled = agreement(loss, y_true, y_pred)
    np.testing.assert_allclose(*pushed, rtol=1e-13)
    np.testing.assert_allclose(*pulled, rtol=1e-13)


def test_class_numbers_mean_the_rows_with_a_single_one():
    rows = CrossEntropy().forward(np.eye(3)[[1, 0]], SCORES)
    numbers = CrossEntropy().forward(np.array([1, 0]), SCORES)
    assert numbers[0] == rows[0]
    np.testing.assert_array_equal(numbers[1](2.0)[1], rows[1](2.0)[1])
    assert numbers[1](1.0)[0] is None


def test_the_gradient_of_a_certain_and_right_prediction_is_tiny_and_not_zero():
    _, pullback = CrossEntropy().forward(np.array([0]), SCORES[1:, :2])
    np.testing.assert_allclose(pullback(1.0)[1], [[-np.exp(-40.0), np.exp(-40.0)]], rtol=1e-14)


@pytest.mark.parametrize(("loss", "y_true"), [(MSE(), SOFT[:, :2]), (CrossEntropy(), np.array([0, 1]))],
                         ids=repr)
def test_a_network_with_its_loss_is_a_layer_too(loss, y_true):
    objective = Objective(sequential(Dense(3, 4), Activation("sigmoid"), Dense(4, 2)), loss, y_true)
    pushed, pulled = agreement(objective, objective.init(np.random.default_rng(3)), SCORES / 10)
    np.testing.assert_allclose(*pushed, rtol=1e-12)
    np.testing.assert_allclose(*pulled, rtol=1e-12)
