"""The layers and losses of every family on fifty digits, on wrapper arrays and on every floating dtype."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradverify.arrays import flatten
from gradverify.reference import (
    CTC,
    GLU,
    GRU,
    KL,
    L1,
    LSTM,
    MAE,
    MSE,
    RNN,
    Activation,
    Attention,
    AveragePool,
    BatchNorm,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Conv,
    ConvTransposed,
    Cosine,
    CrossEntropy,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalPool,
    GroupNorm,
    Hinge,
    Huber,
    LayerNorm,
    LearnedPositions,
    Maxout,
    MaxPool,
    MultiHeadAttention,
    Objective,
    Poisson,
    PReLU,
    Reshape,
    Residual,
    RMSNorm,
    RotaryPositions,
    SinusoidalPositions,
    Weighted,
    sequential,
)
from tests.reference.agreement import noted
from tests.reference.arithmetics import Digits, Wrapped, converted

RNG = np.random.default_rng(0)
PLANE, STEPS, ROWS = RNG.normal(size=(2, 4, 5, 4)), RNG.normal(size=(2, 3, 4)), RNG.normal(size=(3, 4))
SOFT = np.exp(ROWS) / np.exp(ROWS).sum(-1, keepdims=True)
MASK, STEP_MASK = RNG.random((2, 3, 3)) < 0.6, np.array([[True, True, False], [False, False, False]])
CONV = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}
LAYERS = [
    (Conv(4, 2, (3, 2)), PLANE), (Conv(4, 4, (2, 2), **CONV), PLANE), (ConvTransposed(4, 4, (2, 2), **CONV), PLANE),
    (MaxPool((2, 2), padding=1), PLANE), (AveragePool((2, 3), stride=1), PLANE), (GlobalPool(), PLANE),
    (GlobalPool("max"), PLANE), (Flatten(), PLANE), (Reshape((8, 10)), PLANE), (Dropout(0.5), PLANE),
    (BatchNorm(4), PLANE), (BatchNorm(4, training=False), PLANE), (GroupNorm(2, 4), PLANE), (LayerNorm((5, 4)), PLANE),
    (RMSNorm((4,)), PLANE), (Embedding(5, 3), np.array([[0, 4, 0]])), (PReLU(4), PLANE), (Maxout(2), ROWS),
    (GLU(), ROWS), (GLU("silu"), ROWS), (Residual(Dense(4, 4)), ROWS),
    (RNN(4, 3), STEPS), (LSTM(4, 3, output="states"), STEPS), (GRU(4, 3), {"x": STEPS, "mask": STEP_MASK}),
    (Attention(), {"query": STEPS, "key": STEPS, "value": STEPS, "mask": MASK}),
    (MultiHeadAttention(4, 2, True), STEPS),
    (SinusoidalPositions(), STEPS), (LearnedPositions(4, 4), STEPS), (RotaryPositions(), STEPS),
    (sequential(Conv(4, 2, (2, 2)), Activation("mish"), Flatten(), Dense(24, 2)), PLANE),
]
LOSSES = [(MAE(), ROWS * 0 + 1, ROWS), (Huber(0.5), ROWS * 0, ROWS), (Poisson(), SOFT, ROWS),
          (Hinge(), ROWS * 0 + 1, ROWS), (Cosine(), SOFT, ROWS), (KL(), SOFT, ROWS),
          (CrossEntropy(0.1, (1.0, 2.0, 3.0, 4.0)), np.array([0, 3, 1]), ROWS),
          (CategoricalCrossEntropy(), np.array([0, 3, 1]), SOFT), (BinaryCrossEntropy(), SOFT, ROWS),
          (BinaryCrossEntropy(False), SOFT, SOFT), (CTC(), np.array([[1, 2], [3, -1]]), STEPS),
          (CrossEntropy(), Weighted(np.array([0, 3, 1]), np.array([1, 2, 3])), ROWS)]
CASES = [*((layer, layer.init(np.random.default_rng(1)), x) for layer, x in LAYERS), *LOSSES]
digits = np.vectorize(Digits, otypes=[object])


def leaves(tree):
    return {name: leaf for name, leaf in flatten(tree, "y")[0].items() if leaf is not None}


def exact(tree):
    """The nearest doubles of fifty digits."""
    plain = np.vectorize(lambda element: float(Digits(element).value), otypes=[float])
    return {name: plain(leaf) for name, leaf in leaves(tree).items()}


@pytest.fixture(params=CASES, ids=lambda case: repr(case[0]))
def case(request):
    return request.param


def test_fifty_digits_run_the_same_forward_and_pullback(case):
    layer, params, x = case
    y, pullback = layer.forward(params, x)
    with mpmath.workdps(50):
        high, high_pullback = layer.forward(converted(params, digits), converted(x, digits))
        u = converted(y, lambda leaf: np.cos(np.arange(np.size(leaf))).reshape(np.shape(leaf)))
        both = (leaves(y), exact(high)), (leaves(pullback(u)), exact(high_pullback(converted(u, digits))))
    for computed, precise in both:
        assert computed.keys() == precise.keys()
        largest = max(np.abs(leaf).max(initial=0) for leaf in precise.values())
        for name, leaf in precise.items():
            noted("fifty digits", computed[name], leaf, largest / 64)
            np.testing.assert_allclose(computed[name], leaf, rtol=1e-12, atol=2e-15 * np.abs(leaf).max(initial=1))


def test_a_wrapper_array_runs_the_same_forward(case):
    layer, params, x = case
    y, _ = layer.forward(converted(params, Wrapped), converted(x, Wrapped))
    for name, leaf in leaves(layer.forward(params, x)[0]).items():
        np.testing.assert_array_equal(leaves(y)[name].inside, leaf)


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
def test_a_dtype_goes_in_and_comes_out(case, dtype):
    layer, params, x = case
    y, pullback = layer.forward(*(converted(tree, lambda leaf: np.asarray(leaf, dtype)) for tree in (params, x)))
    slopes = pullback(converted(y, np.ones_like))
    dtypes = {name: leaf.dtype for tree in (y, slopes) for name, leaf in leaves(tree).items()}
    assert set(dtypes.values()) == {np.dtype(dtype)}, dtypes


def test_an_objective_with_a_penalty_keeps_single_precision():
    params = {"W": np.ones((4, 2), np.float32), "b": np.zeros(2, np.float32)}
    objective = Objective(Dense(4, 2), MSE(), np.ones((3, 2), np.float32), L1(0.1))
    value, pullback = objective.forward(params, ROWS.astype(np.float32))
    assert value.dtype == pullback(1.0)[0]["W"].dtype == np.float32
