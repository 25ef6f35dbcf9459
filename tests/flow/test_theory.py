"""Mean-field moments against closed forms and the literature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gradverify.flow.theory import critical_variance, gradient_factor, lengths, moments, settled_length
from gradverify.reference import Activation

E2 = math.e**2 * stats.norm.cdf(-2)  # E[e^(2z); z < 0]
E1 = math.sqrt(math.e) * stats.norm.cdf(-1)  # E[e^z; z < 0]
SELU, ALPHA = 1.0507009873554805, 1.6732632423543772
AT_ONE = [  # E[f(z)^2], E[f'(z)^2] for z ~ N(0, 1)
    ("tanh", 0.394294, 0.464403),
    ("sigmoid", 0.293379, 0.044836),
    ("gelu", 0.425221, 0.455851),
    ("silu", 0.355776, 0.379482),
    ("softplus", 0.921246, 0.293379),
    ("relu", 0.5, 0.5),
    ("elu", 0.5 + E2 - 2 * E1 + 0.5, 0.5 + E2),
    ("selu", 1.0, SELU**2 * (0.5 + ALPHA**2 * E2)),
]


@pytest.mark.parametrize(("name", "value", "slope"), AT_ONE)
def test_moments_at_unit_variance(name, value, slope):
    found = moments(Activation(name), 1.0)
    assert found.value == pytest.approx(value, abs=2e-6)
    assert found.slope == pytest.approx(slope, abs=2e-6)


@pytest.mark.parametrize("q", [1e-6, 0.3, 40.0, 1e4])
def test_quadrature_agrees_with_a_million_samples_at_any_variance(q):
    x = math.sqrt(q) * np.random.default_rng(0).normal(size=10**6)
    y, times_slope = Activation("sigmoid").value(x)
    found = moments(Activation("sigmoid"), q)
    assert found.value == pytest.approx(np.mean(y**2), rel=0.01)
    assert found.slope == pytest.approx(np.mean(times_slope(np.ones_like(x)) ** 2), rel=0.03)


def test_no_node_lies_on_a_kink():
    hard = moments(Activation("hard_tanh"), 1.0)
    assert hard.slope == pytest.approx(stats.norm.cdf(1) - stats.norm.cdf(-1), rel=1e-12)


@pytest.mark.parametrize(("name", "expected"), [("relu", 2.0), ("tanh", 1.0), ("elu", 1.0), ("sigmoid", 102.6)])
def test_critical_variances_of_the_literature(name, expected):
    assert critical_variance(Activation(name)) == pytest.approx(expected, rel=0.01)


def test_lengths_settle_where_they_stay():
    f = Activation("tanh")
    q = settled_length(f, 2.0, 0.1)
    assert lengths(f, q, 2.0, 0.1, 5) == pytest.approx([q] * 5, rel=1e-6)
    assert gradient_factor(f, q, 2.0) < 2.0
