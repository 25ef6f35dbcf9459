"""What must fail fails, and what is right does not: rows with notes."""

from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv
from tests.formulas import layernorm, layernorm_vjp, sigmoid, softmax, softmax_vjp

RNG = np.random.default_rng(20)
X = RNG.normal(size=(4, 5))


def tanh_forward(x):
    y = np.tanh(x)
    return y, y


def sigmoid_forward(x):
    y = sigmoid(x)
    return y, y


TANH = gv.pair(tanh_forward, lambda dy, y: dy * (1 - y**2))
SIGMOID = gv.pair(sigmoid_forward, lambda dy, y: dy * y * (1 - y))

WRONG = {
    "a factor of 1 + 1e-7": (gv.function(np.exp, derivative=lambda x: (1 + 1e-7) * np.exp(x)), X, "factor"),
    "scale 1e-9, sign flipped": (gv.function(lambda x: 1e-9 * x**3, derivative=lambda x: -3e-9 * x**2), X, "sign"),
    "layernorm without its eps": (gv.function(layernorm, vjp=lambda x, dy: layernorm_vjp(x, dy, 0.0)), X, "epsilon"),
    "sigmoid' of the activation": (gv.function(sigmoid, derivative=lambda a: a * (1 - a)), X, "derivative-at-activation"),
    "softmax, diagonal only": (gv.function(softmax, vjp=lambda x, dy: dy * softmax(x) * (1 - softmax(x))), X, "diagonal-only"),
    "upstream ignored": (gv.pair(lambda x: (x**2, x), lambda dy, x: 2 * x), X, "upstream-ignored"),
    "detached": (gv.function(np.sin, derivative=np.zeros_like), X, "zero-gradient"),
    "NaN where all is finite": (gv.function(np.sin, derivative=lambda x: np.where(x > 0, np.nan, np.cos(x))), X, "nonfinite"),
}  # fmt: skip


@pytest.mark.parametrize("note", WRONG)
def test_a_wrong_gradient_fails_and_its_cause_is_named(note):
    target, x, cause = WRONG[note]
    report = gv.check(target, x)
    assert report.verdict is gv.Verdict.FAIL
    assert report.checks[0].wrt in ("x", "a")
    assert report.checks[0].causes[0].name == cause, str(report)


RIGHT = {
    "1e6 * sin": (gv.function(lambda x: 1e6 * np.sin(x), derivative=lambda x: 1e6 * np.cos(x)), X),
    "1e6 + sin": (gv.function(lambda x: 1e6 + np.sin(x), derivative=np.cos), X),
    "sin(1e4 x)": (gv.function(lambda x: np.sin(1e4 * x), derivative=lambda x: 1e4 * np.cos(1e4 * x)), X),
    "layernorm through np.var": (gv.function(layernorm, vjp=layernorm_vjp), X),
    "softmax": (gv.function(softmax, vjp=softmax_vjp), X),
    "abs at 0": (gv.function(np.abs, derivative=np.sign), np.zeros(3)),
    "abs at the scalar 0": (gv.function(np.abs, derivative=np.sign), 0.0),
    "a constant": (gv.function(lambda x: 0 * x + 1, derivative=np.zeros_like), X),
    "scale 1e-12": (gv.function(lambda x: 1e-12 * x**2, derivative=lambda x: 2e-12 * x), X),
    "scale 1e12": (gv.function(lambda x: 1e12 * x**2, derivative=lambda x: 2e12 * x), X),
    "points of 1e-9 beside 1e9": (gv.function(lambda x: np.log1p(x**2), derivative=lambda x: 2 * x / (1 + x**2)), 10.0 ** np.arange(-9, 10)),
}  # fmt: skip


@pytest.mark.parametrize("note", RIGHT)
def test_a_right_gradient_passes(note):
    report = gv.check(*RIGHT[note])
    assert report.verdict is gv.Verdict.PASS, str(report)


@pytest.mark.parametrize("target", [TANH, SIGMOID], ids=["tanh", "sigmoid"])
@pytest.mark.parametrize("x", [5.0, 12.0, 20.0, 40.0, -5.0, -12.0, -20.0, -40.0])
def test_deep_saturation_does_not_fail(target, x):
    assert gv.check(target, np.full(3, x)).verdict is not gv.Verdict.FAIL


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_correct_low_precision_does_not_fail(dtype):
    x = RNG.normal(size=(6, 16)).astype(dtype)
    targets = (TANH, gv.function(layernorm, vjp=layernorm_vjp), gv.function(softmax, vjp=softmax_vjp))
    for target in targets:
        report = gv.check(target, x)
        assert report.verdict is gv.Verdict.PASS, str(report)


def test_relu_at_a_whole_zero_vector_never_fails():
    relu = gv.function(lambda x: np.maximum(x, 0), derivative=lambda x: (x > 0).astype(float))
    verdicts = [gv.check(relu, np.zeros(5), seed=seed, search="none").verdict for seed in range(20)]
    assert set(verdicts) == {gv.Verdict.PASS}


@pytest.mark.parametrize("slope", [-1.0, 2.0, 5.0])
def test_a_wrong_value_exactly_at_a_kink_fails(slope):
    relu = gv.function(
        lambda x: np.maximum(x, 0), derivative=lambda x: np.where(x == 0, slope, (x > 0).astype(float))
    )
    assert gv.check(relu, np.zeros(4)).verdict is gv.Verdict.FAIL


def test_a_gradient_given_to_every_tied_maximum_fails():
    def vjp(x, dy):
        return (x == x.max(axis=-1, keepdims=True)) * dy[..., None]

    assert (
        gv.check(gv.function(lambda x: x.max(axis=-1), vjp=vjp), np.ones((2, 3))).verdict is gv.Verdict.FAIL
    )


def test_a_gradient_given_to_the_first_tied_maximum_does_not_fail():
    def vjp(x, dy):
        first = np.arange(x.shape[-1]) == x.argmax(axis=-1, keepdims=True)
        return first * dy[..., None]

    assert (
        gv.check(gv.function(lambda x: x.max(axis=-1), vjp=vjp), np.ones((2, 3))).verdict is gv.Verdict.PASS
    )


def test_a_relu_network_at_the_origin_does_not_fail():
    w1, w2 = RNG.normal(size=(3, 6)), RNG.normal(size=(6, 2))

    def forward(x):
        h = x @ w1
        return np.maximum(h, 0) @ w2, h

    pair = gv.pair(forward, lambda dy, h: ((dy @ w2.T) * (h > 0)) @ w1.T)
    assert gv.check(pair, np.zeros((2, 3))).verdict is not gv.Verdict.FAIL


def test_one_flipped_entry_among_entries_of_eighteen_decades_fails():
    def derivative(x):
        return 2 * x / (1 + x**2) * np.where(np.arange(x.size) == 0, -1, 1)

    report = gv.check(gv.function(lambda x: np.log1p(x**2), derivative=derivative), 10.0 ** np.arange(-9, 10))
    assert report.verdict is gv.Verdict.FAIL
    assert report.checks[0].worst.index == (0,)


def test_a_straight_through_gradient_is_inconclusive_until_it_is_said_to_be_meant():
    quantise = gv.pair(lambda x: (np.round(x * 256) / 256, None), lambda dy, _: dy)
    assert gv.check(quantise, X, search="none").verdict is gv.Verdict.INCONCLUSIVE
    assert gv.check(quantise, X, search="none", surrogate=lambda x: x).verdict is gv.Verdict.PASS
