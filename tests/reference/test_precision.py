"""One source, any precision: the same forward on every dtype, on wrapper arrays and on objects."""

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
from gradverify.reference.activations import FUNCTIONS
from tests.reference.arithmetics import Digits, Wrapped, converted

X = np.array([[-3.0, -0.5, 0.25, 2.0], [0.0, 40.0, -40.0, 1.0]])
LAYERS = [*map(Activation, FUNCTIONS), Softmax(), LogSoftmax(), Dense(4, 3),
          Objective(sequential(Dense(4, 3), Activation("tanh")), MSE(), np.ones((2, 3), np.float16)),
          Objective(sequential(Dense(4, 3)), CrossEntropy(), np.array([2, 0]))]


@pytest.fixture(params=LAYERS, ids=repr)
def layer(request):
    return request.param


@pytest.fixture
def params(layer):
    return layer.init(np.random.default_rng(0))


def test_objects_of_fifty_digits_run_the_same_forward(layer, params):
    as_objects = np.vectorize(Digits, otypes=[object])
    with mpmath.workdps(50):
        y, _ = layer.forward(converted(params, as_objects), as_objects(X))
        exact = np.vectorize(lambda element: float(Digits(element).value), otypes=[float])(y)
    np.testing.assert_allclose(layer.forward(params, X)[0], exact, rtol=1e-13, atol=1e-16)


def test_fifty_digits_reach_the_output(layer, params):
    as_objects = np.vectorize(lambda t: Digits(t) + Digits("1e-40"), otypes=[object])
    with mpmath.workdps(50):
        moved, plain = (layer.forward(converted(params, convert), convert(X[:, ::-1]))[0]
                        for convert in (as_objects, np.vectorize(Digits, otypes=[object])))
        change = np.max(np.abs(np.vectorize(lambda d: float(Digits(d).value), otypes=[float])(moved - plain)))
    assert 1e-45 < change < 1e-38 or isinstance(layer, (Softmax, LogSoftmax))


def test_a_wrapper_array_runs_the_same_forward(layer, params):
    y, _ = layer.forward(converted(params, Wrapped), Wrapped(X))
    assert isinstance(y, Wrapped)
    np.testing.assert_array_equal(y.inside, layer.forward(params, X)[0])


def test_gelu_refuses_extended_precision_which_scipy_has_no_erfc_for():
    with pytest.raises(TypeError, match="erfc"):
        Activation("gelu").forward({}, X.astype(np.longdouble))


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer != Activation("gelu")], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_a_dtype_goes_in_and_comes_out(layer, params, dtype):
    y, pullback = layer.forward(converted(params, lambda w: w.astype(dtype)), X.astype(dtype))
    dparams, dx = pullback(np.ones_like(y))
    grads = [g for g in flatten((dparams, dx), "g")[0].values() if g is not None]
    assert {a.dtype for a in (y, *grads)} == {np.dtype(dtype)}


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer != Activation("gelu")], ids=repr)
def test_extended_precision_agrees_with_double(layer, params):
    y, pullback = layer.forward(converted(params, np.longdouble), X.astype(np.longdouble))
    double, double_pullback = layer.forward(params, X)
    u = np.ones_like(double)
    np.testing.assert_allclose(double, y.astype(float), rtol=1e-13, atol=1e-17)
    np.testing.assert_allclose(double_pullback(u)[1], pullback(u)[1].astype(float), rtol=1e-12, atol=1e-16)
