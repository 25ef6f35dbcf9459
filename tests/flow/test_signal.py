"""What reaches the output: chaos, forgotten inputs, and neither."""

from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv
from gradverify.flow.checking import record
from gradverify.flow.prediction import directions as effective_directions
from gradverify.flow.signal import directions, reach
from gradverify.reference import Activation, Dense, sequential
from tests.flow.networks import mlp

UNHEALTHY = [  # activation, sw2, depth, width, verdict, finding; sizes of gradients alone would pass all of them
    ("sigmoid", 900.0, 30, 32, "exploding", "chaotic"),
    ("tanh", 0.75, 60, 16, "vanishing", "inputs-forgotten"),
    ("tanh", 12.0, 40, 32, "exploding", "chaotic"),
    ("relu", 10.0, 30, 16, "exploding", "few-directions"),
]
FORGIVEN = [  # activation, sw2, depth, width, and what is unusual of it
    ("tanh", 9.0, 30, 32, lambda seen: seen.sensitivity > 3),  # chaos whose last features have little in common
    ("relu", 8.0, 30, 64, lambda seen: seen.reach > 16),  # outputs of 10^9 that a step moves in many directions
]


@pytest.mark.parametrize(("activation", "variance", "depth", "width", "verdict", "finding"), UNHEALTHY)
def test_a_signal_that_is_lost_is_named_where_adam_would_forgive_the_ratio(
    activation, variance, depth, width, verdict, finding
):
    report = gv.check_flow(*single(mlp(activation, variance, depth, width=width)), optimizer="adam")
    assert -report.limits.lost < report.decades < report.limits.gained
    assert report.verdict == verdict
    assert finding in [cause.name for cause in report.findings]


@pytest.mark.parametrize(("activation", "variance", "depth", "width", "unusual"), FORGIVEN)
def test_adam_forgives_chaos_that_the_readout_can_learn_by_heart_and_explosions_that_it_can_steer(
    activation, variance, depth, width, unusual
):
    report = gv.check_flow(*single(mlp(activation, variance, depth, width=width)), optimizer="adam")
    assert unusual(report.signal)
    assert report.verdict == "healthy"


@pytest.mark.parametrize(("x", "least", "most"), [
    (np.ones((20, 20)), 0.999, 1.001),  # every example is the same: all outputs move together
    (np.eye(20), 11, 15),  # each moves on its own: E|g|^2 / E g^2 = 2 / pi of 20
    (np.eye(20) + 100, 0.99, 1.1),  # much in common
])
def test_reach_counts_the_directions_in_which_a_step_can_move_outputs(x, least, most):
    layer, params = Dense(20, 1, bias=False), {"W": np.ones((20, 1))}
    passage = record(sequential(layer), ((params,), x))
    assert least < reach(passage, np.random.default_rng(0)) < most


@pytest.mark.parametrize("scale", [1.0, 1e20])
def test_directions_count_by_their_share_whatever_the_size(scale):
    assert effective_directions(scale * np.eye(7)) == pytest.approx(7.0)
    assert effective_directions(scale * np.outer(np.arange(1, 8), np.ones(5))) == pytest.approx(1.0)


def single(given):
    network, params, x = given
    return network, tuple({k: v.astype(np.float32) for k, v in own.items()} for own in params), x.astype(np.float32)


@pytest.mark.parametrize("variance", [0.5, 2.0, 8.0])
def test_a_relu_network_is_as_sensitive_as_a_linear_one_whatever_its_scale(variance):
    report = gv.check_flow(*mlp("relu", variance, 10))
    assert abs(report.signal.sensitivity) < 0.6


def test_a_narrow_layer_makes_fewer_directions_possible_and_loses_none():
    layers = (Dense(16, 16), Activation("tanh"), Dense(16, 2), Activation("tanh"), Dense(2, 16))
    network, x = sequential(*layers), np.random.default_rng(0).normal(size=(20, 16))
    seen = gv.check_flow(network, network.init(np.random.default_rng(1)), x).signal
    assert (seen.directions, seen.possible) == (2, 2)


def test_directions_below_the_rounding_of_their_dtype_are_none():
    x = np.random.default_rng(0).normal(size=(9, 3)) * [1, 1e-3, 1e-9]
    assert directions(x) == 3
    assert directions(x.astype(np.float32)) == 2
