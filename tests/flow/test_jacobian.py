"""Singular values of the Jacobian and the noise of the gradient, against what is known."""

from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv
from gradverify.flow.jacobian import noise_scale
from gradverify.flow.reference import record
from gradverify.reference import Activation, BatchNorm, Dense, sequential
from tests.flow.test_check_flow import Wrong

rng = np.random.default_rng(3)
SHAPES = [(6, 5), (5, 6), (3, 40), (40, 3), (30, 30), (20, 50), (40, 40)]


def affine(W):
    return sequential(Dense(*W.shape)), ({"W": W, "b": np.zeros(W.shape[1])},), rng.normal(size=(12, W.shape[0]))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_singular_values_of_a_matrix_are_found(shape):
    W = rng.normal(size=shape)
    s, found = np.linalg.svd(W, compute_uv=False), gv.check_flow(*affine(W)).spectrum
    assert found.largest == pytest.approx(s.max(), rel=1e-2)
    assert found.mean == pytest.approx(np.sqrt(np.mean(s**2)), rel=1e-9 if min(shape) <= 32 else 0.2)
    assert found.smallest == pytest.approx(s.min(), rel=1e-6) if min(shape) <= 32 else np.isnan(found.smallest)


@pytest.mark.parametrize(("W", "why"), [
    (rng.normal(size=(40, 40)), "not sought: it would take 40 passes"),
    (np.diag([1.0, 1e-9, 1.0]), "not resolved: below 1.0e-06"),
    (np.eye(4), ""),
])
def test_a_smallest_singular_value_that_is_not_given_has_a_reason(W, why):
    notes = gv.check_flow(*affine(W)).notes
    assert why in " ".join(notes) if why else notes == ()


def test_equal_singular_values_do_not_end_the_search():
    found = gv.check_flow(*affine(3.0 * np.eye(5))).spectrum
    assert (found.largest, found.mean, found.smallest) == pytest.approx((3.0, 3.0, 3.0))


REFUSED = [
    (Activation("tanh"), lambda pullback, dy: ({}, 2 * pullback(dy)[1]), "contradict each other"),
    (BatchNorm(8), lambda pullback, dy: pullback(dy), "examples depend on each other"),
]


@pytest.mark.parametrize(("layer", "spoil", "why"), REFUSED)
def test_no_spectrum_is_given_of_modes_that_are_not_verified(layer, spoil, why):
    network = sequential(Dense(8, 8), Wrong(layer, spoil), Dense(8, 4))
    report = gv.check_flow(network, network.init(np.random.default_rng(0)), rng.normal(size=(10, 8)))
    assert report.spectrum is None
    assert why in " ".join(report.notes)


def test_the_noise_scale_is_the_variance_of_single_gradients_over_the_square_of_their_mean():
    network, params, x = affine(rng.normal(size=(4, 1)))
    x = rng.normal(size=(4000, 4)) + np.array([3.0, 0.0, 0.0, 0.0])
    u = np.ones((4000, 1)) / 4000  # dL/dW of example b is x_b, and 1 for the bias
    known = 4.0 / (9.0 + 1.0)
    assert noise_scale(record(network, (params, x)), u) == pytest.approx(known, rel=0.6)
    alone = [noise_scale(record(network, (params, x[k : k + 800])), u[:800]) for k in range(0, 4000, 800)]
    assert np.mean(alone) == pytest.approx(known, rel=0.35)


def test_the_noise_scale_does_not_depend_on_the_scale_of_the_loss():
    network, params, x = affine(rng.normal(size=(4, 2)))
    scales = [gv.check_flow(network, params, x, loss=lambda y, c=c: (0.0, c * y)).noise_scale for c in (1e-8, 1.0, 1e8)]
    assert scales[0] == pytest.approx(scales[1]) == pytest.approx(scales[2])
