"""What plain descent can do with one rate, and what stands in its way though gradients pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gradverify as gv
from gradverify.flow.checking import record
from gradverify.flow.pace import conditioning, shaken, stride
from gradverify.reference import Activation, Dense, sequential
from tests.flow.networks import mlp


def linear(x, outputs=1, *, bias=True):
    layer = Dense(x.shape[1], outputs, bias=bias)
    return record(sequential(layer), ((layer.init(np.random.default_rng(0)),), x))


def opposite(*sizes):
    """Examples in pairs x and -x, each pair in a direction of its own: their eigenvalues are 2 sizes^2."""
    rows = np.diag(np.array(sizes, float))
    return np.concatenate([rows, -rows])


@pytest.mark.parametrize(("sizes", "decades"), [((1.0, 1.0), 0.0), ((1.0, 0.1), 2.0), ((1.0, 1e-3), 6.0)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_conditioning_is_that_of_the_kernel_whatever_its_scale(sizes, decades, scale):
    passage = linear(scale * opposite(*sizes), bias=False)
    assert conditioning(passage, 2, np.random.default_rng(0)) == pytest.approx(decades, abs=0.5)


def test_what_examples_have_in_common_sets_the_rate_and_teaches_nothing():
    passage = linear(opposite(1.0, 1.0) + 1000, bias=False)
    assert conditioning(passage, 2, np.random.default_rng(0)) == pytest.approx(np.log10(4 * 2e6 / 2), abs=0.5)


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_a_bias_of_any_shape_tells_no_examples_apart(shape):
    passage = linear(np.zeros((4, 2)))
    pull = passage.pull

    def shaped(u):
        back = pull(u)
        return replace(back, grads={n: {**own, "b": own["b"].reshape(shape)} for n, own in back.grads.items()})

    assert conditioning(replace(passage, pull=shaped), 1, np.random.default_rng(0)) == np.inf


def test_a_network_whose_parameters_get_no_gradient_has_no_conditioning():
    passage = linear(np.ones((4, 2)))
    silent = replace(passage, pull=lambda u: replace(passage.pull(u), grads={}))
    assert np.isnan(conditioning(silent, 1, np.random.default_rng(0)))


def test_a_step_at_the_smallest_rate_is_measured_in_weights():
    x = np.random.default_rng(0).normal(size=(32, 16))
    small, large = (stride(p, p.pull(np.ones_like(p.output))) for p in (linear(x), linear(1e6 * x)))
    assert small < -3
    assert large == pytest.approx(small + 6, abs=0.3)


def test_a_linear_network_is_shaken_by_as_much_as_its_weights_are_and_a_chaotic_one_altogether():
    assert shaken(record(*called(mlp("relu", 2.0, 2))), np.random.default_rng(0)) < 0.05
    assert shaken(record(*called(mlp("tanh", 30.0, 60, width=32))), np.random.default_rng(0)) > 0.63


def called(given):
    network, *inputs = given
    return network, tuple(inputs)


def test_sigmoids_that_drown_what_tells_examples_apart_fail_although_their_gradient_passes():
    report = gv.check_flow(*mlp("sigmoid", 0.4**2 * 103, 12, width=32))
    assert -report.limits.lost < report.decades
    assert report.verdict in ("vanishing", "saturated")
    assert "differences-drowned" in [cause.name for cause in report.findings]
    assert "forgives" in report.headline


@pytest.mark.parametrize("network", [
    (Dense(2, 1),), (Dense(2, 8), Activation("tanh"), Dense(8, 1)), (Dense(2, 16), Activation("sigmoid"), Dense(16, 2)),
])
@pytest.mark.parametrize("x", [np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), np.array([[1.0, 2.0]]),
                               np.random.default_rng(0).normal(size=(300, 2))])
def test_small_networks_that_learn_are_healthy_whatever_the_batch(network, x):
    network = sequential(*network)
    assert gv.check_flow(network, network.init(np.random.default_rng(1)), x).verdict == "healthy"


def test_a_readout_that_begins_at_zero_is_no_vanishing_gradient():
    network, params, x = mlp("relu", 2.0, 4)
    params = (*params[:-1], {**params[-1], "W": np.zeros_like(params[-1]["W"])})
    assert gv.check_flow(network, params, x).verdict == "healthy"
