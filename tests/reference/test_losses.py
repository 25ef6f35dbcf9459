"""Losses, their reductions, weights and smoothing, and the units with gates, against the complex step."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradverify.reference import (
    GLU,
    KL,
    MAE,
    MSE,
    NLL,
    Activation,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Cosine,
    CrossEntropy,
    Hinge,
    Huber,
    Maxout,
    Objective,
    Poisson,
    PReLU,
    Weighted,
)
from gradverify.reference.activations import FUNCTIONS
from tests.naming import stable
from tests.reference.agreement import assert_derivatives, assert_gradient, assert_second_derivatives

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(5, 4))
SOFT = np.exp(ROWS) / np.exp(ROWS).sum(-1, keepdims=True)
SIDES, SHARES = np.sign(ROWS[::-1]), np.array([[1.0, 0.0, 0.3, 0.9]] * 5)
LABELS = np.array([3, 0, 0, 2, 1])
CLASSES = (0.5, 2.0, 1.0, 3.0)
SATURATED = np.array([[700.0, 0.0, -700.0, 1.0], [40.0, 0.0, -40.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
CERTAIN = np.array([[1.0, 0.0, 0.0, 0.0]] * 3)

# loss, truth, prediction
CASES = [
    (MSE(), SOFT, ROWS), (MAE(), SOFT, ROWS), (Huber(0.7), SOFT, ROWS), (Poisson(), SHARES, ROWS),
    (Poisson(False), SHARES, SOFT), (Hinge(), SIDES, ROWS), (Hinge(0.2), SIDES, ROWS), (Cosine(), SOFT, ROWS),
    (CrossEntropy(), SOFT, 3 * ROWS), (CrossEntropy(), LABELS, 3 * ROWS), (CrossEntropy(), CERTAIN, SATURATED),
    (CrossEntropy(0.2, CLASSES), LABELS, ROWS), (CrossEntropy(0.2, CLASSES), SOFT, ROWS),
    (NLL(), SOFT, np.log(SOFT[::-1])), (NLL(0.1, CLASSES), LABELS, np.log(SOFT)),
    (CategoricalCrossEntropy(), SOFT, SOFT[::-1]), (CategoricalCrossEntropy(0.1, CLASSES), LABELS, SOFT),
    (KL(), SOFT, np.log(SOFT[::-1])),
    (BinaryCrossEntropy(), SHARES, ROWS), (BinaryCrossEntropy(smoothing=0.1, positive_weight=3.0), SHARES, ROWS),
    (BinaryCrossEntropy(), CERTAIN, SATURATED), (BinaryCrossEntropy(False), SHARES, SOFT),
    (BinaryCrossEntropy(), CERTAIN.astype(int), SATURATED), (BinaryCrossEntropy(False, 0.1), SHARES, SOFT),
]
WEIGHTED = [(loss, Weighted(t, np.arange(1.0, len(y) + 1)), y) for loss, t, y in CASES]


def name(value):
    return repr(value) if not isinstance(value, (np.ndarray, Weighted)) else type(value).__name__


def with_reductions(cases):
    return [(type(loss)(**{**vars(loss), "reduction": reduction}), t, y)
            for loss, t, y in cases for reduction in ("mean", "sum", "none")]


@pytest.mark.parametrize(("loss", "y_true", "y_pred"), with_reductions(CASES), ids=name)
def test_a_loss_agrees_with_the_complex_step_in_every_reduction(loss, y_true, y_pred):
    assert_derivatives(loss, y_true, y_pred)
    assert_gradient(loss, y_true, y_pred)


@pytest.mark.parametrize(("loss", "y_true", "y_pred"), with_reductions(WEIGHTED), ids=name)
def test_a_weighted_loss_agrees_with_the_complex_step(loss, y_true, y_pred):
    # The weights are constants: what moves is the truth and the prediction inside.
    still = Objective(Activation("identity"), loss, y_true)
    assert_derivatives(still, {}, y_pred)
    assert_gradient(still, {}, y_pred)


@pytest.mark.parametrize(("loss", "y_true", "y_pred"), CASES, ids=name)
def test_second_derivatives_agree_with_a_complex_step_through_the_pullback(loss, y_true, y_pred):
    assert_second_derivatives(loss, y_true, y_pred)


@pytest.mark.parametrize(("loss", "y_true", "y_pred"), CASES, ids=name)
def test_a_weight_of_zero_leaves_an_example_out(loss, y_true, y_pred):
    weights = np.array([1.0, 0.0, 2.0, 1.0, 1.0])[: len(y_pred)]
    kept = weights > 0
    value, pullback = loss.forward(Weighted(y_true, weights), y_pred)
    without, _ = loss.forward(Weighted(y_true[kept], weights[kept]), y_pred[kept])
    assert value == pytest.approx(without, rel=1e-14)
    assert not pullback(1.0)[1][1].any()


@pytest.mark.parametrize(("loss", "y_true", "y_pred"), CASES, ids=name)
def test_equal_weights_change_nothing_in_a_mean_and_scale_a_sum(loss, y_true, y_pred):
    threes = Weighted(y_true, np.full(len(y_pred), 3.0))
    mean, summed = loss, type(loss)(**{**vars(loss), "reduction": "sum"})
    assert mean.forward(threes, y_pred)[0] == pytest.approx(mean.forward(y_true, y_pred)[0], rel=1e-14)
    assert summed.forward(threes, y_pred)[0] == pytest.approx(3 * summed.forward(y_true, y_pred)[0], rel=1e-14)


@pytest.mark.parametrize(("loss", "y_true", "y_pred"), [
    (MAE(), np.zeros(2), np.zeros(2)), (Hinge(), np.ones(2), np.ones(2)), (Cosine(), ROWS, ROWS),
    (CategoricalCrossEntropy(), CERTAIN, CERTAIN), (BinaryCrossEntropy(False), CERTAIN, CERTAIN),
], ids=name)
def test_a_perfect_prediction_costs_nothing_and_pulls_nowhere(loss, y_true, y_pred):
    value, pullback = loss.forward(y_true, y_pred)
    assert value == 0
    assert np.isfinite(pullback(1.0)[1]).all()
    assert not pullback(1.0)[1].any() or isinstance(loss, (CategoricalCrossEntropy, BinaryCrossEntropy))


@pytest.mark.parametrize("margin", [1e-4, 1e-7])
def test_nearly_parallel_directions_keep_the_digits_of_their_distance(margin):
    t, y = np.array([[1.0, 0.0]]), np.array([[1.0, margin]])
    with mpmath.workdps(50):
        expected = 1 - 1 / mpmath.sqrt(1 + mpmath.mpf(margin) ** 2)
    assert Cosine().forward(t, y)[0] == pytest.approx(float(expected), rel=1e-8)


def test_a_row_of_zeros_has_no_direction_and_a_finite_gradient():
    value, pullback = Cosine().forward(np.array([[3.0, 4.0]]), np.zeros((1, 2)))
    assert value == 1
    np.testing.assert_allclose(pullback(1.0)[1], [[-0.6e8, -0.8e8]], rtol=1e-14)
    assert_gradient(Cosine(), np.array([[3.0, 4.0]]), np.zeros((1, 2)))


@pytest.mark.parametrize("z", [-700.0, -40.0, 0.0, 40.0, 700.0])
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_binary_cross_entropy_of_scores_agrees_with_fifty_digits(t, z):
    value, pullback = BinaryCrossEntropy(reduction="sum").forward(np.array([t]), np.array([z]))
    with mpmath.workdps(400):
        p = 1 / (1 + mpmath.exp(-mpmath.mpf(z)))
        expected = -mpmath.log(p if t else 1 - p)
        slope = p - mpmath.mpf(t)
    assert value == pytest.approx(float(expected), rel=1e-14)
    assert pullback(1.0)[1][0] == pytest.approx(float(slope), rel=1e-14)


def test_an_impossible_class_that_is_not_meant_costs_nothing():
    value, pullback = CategoricalCrossEntropy().forward(np.array([0]), np.array([[0.5, 0.0, 0.5]]))
    assert value == pytest.approx(np.log(2), rel=1e-15)
    np.testing.assert_array_equal(pullback(1.0)[1], [[-2, 0, 0]])


def test_the_divergence_of_a_distribution_from_itself_is_zero():
    assert KL().forward(SOFT, np.log(SOFT))[0] == pytest.approx(0, abs=1e-16)
    assert KL().forward(CERTAIN, np.log(np.full((3, 4), 0.25)))[0] == pytest.approx(np.log(4), rel=1e-15)


UNITS = [PReLU(), PReLU(4), Maxout(2), Maxout(4), *map(GLU, FUNCTIONS)]


@pytest.mark.parametrize("x", [ROWS, ROWS[:1], ROWS[:0], 30 * ROWS], ids=stable)
@pytest.mark.parametrize("layer", UNITS, ids=stable)
def test_a_unit_with_parameters_or_gates_agrees_with_the_complex_step(layer, x):
    params = layer.init(np.random.default_rng(0))
    assert_derivatives(layer, params, x)
    assert_gradient(layer, params, x)
    assert_second_derivatives(layer, params, x)


def test_prelu_has_a_slope_for_each_channel_of_a_picture():
    layer, x = PReLU(3), RNG.normal(size=(2, 3, 4, 5))
    assert_gradient(layer, {"a": np.array([0.1, 0.2, 0.3])}, x)


def test_of_tied_pieces_the_first_gets_the_gradient():
    _, pullback = Maxout(3).forward({}, np.ones((1, 3)))
    np.testing.assert_array_equal(pullback(np.ones((1, 1)))[1], [[1, 0, 0]])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: MSE("average"), "reduction='average': must be one of mean, sum, none"),
    (lambda: Huber(0.0), "delta=0.0: must be a finite number > 0"),
    (lambda: CrossEntropy(1.0), "smoothing=1.0: must be at least 0 and less than 1"),
    (lambda: CrossEntropy(class_weights=(1.0,)).forward(LABELS, ROWS), "(5, 4): must be rows of 1 classes"),
    (lambda: MSE().forward(Weighted(ROWS, np.ones(4)), ROWS), "weights of shape (4,): must be (5, 4), that of"),
    (lambda: MSE().forward(Weighted(ROWS, np.zeros(5)), ROWS), "the mean over nothing is undefined"),
    (lambda: Hinge().forward(ROWS[:, 0], ROWS[:, :1]), "y_true of shape (5,): must be that of y_pred, (5, 1)"),
    (lambda: GLU("rely"), "gate='rely': must be one of identity, "),
    (lambda: GLU().forward({}, ROWS[:, :3]), "x of shape (5, 3): its last axis must be even"),
    (lambda: Maxout(3).forward({}, ROWS), "x of shape (5, 4): its last axis must be a multiple of 3"),
    (lambda: PReLU(3).forward(PReLU(3).init(None), ROWS), "x of shape (5, 4): its second axis must be 3"),
], ids=stable)
def test_an_argument_that_makes_no_sense_is_named_with_its_value(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)
