"""Four samples confirm a slope, curvature or not, and do not overlook a kink wherever it lies within their reach."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.oracles.glance import glance

EPS, RADIUS = 2.0**-52, 2.0**-9


@pytest.mark.parametrize("curvature", [0.0, 1.0, 1e3])
def test_curvature_that_drowns_the_slope_is_no_kink(curvature):
    seen = glance(lambda t: 1.0 + 1e-3 * t + curvature * t * t, EPS, RADIUS, 1e-6)
    assert seen is not None
    assert seen.covers(1e-3)


@pytest.mark.parametrize("place", np.linspace(-1.5, 1.5, 61))
@pytest.mark.parametrize("curvature", [0.0, 1.0])
def test_a_kink_within_reach_is_covered_by_the_error_or_refused(place, curvature):
    kink = place * RADIUS
    seen = glance(lambda t: t + curvature * t * t + np.maximum(t - kink, 0.0), EPS, RADIUS, 1e-2)
    assert seen is None or seen.covers(1.0 + (kink < 0)) or seen.covers(1.0 + (kink <= 0))


def test_cubes_join_the_error():
    seen = glance(lambda t: t + 50.0 * t**3, EPS, RADIUS, 1e-2)
    assert seen is not None
    assert seen.covers(1.0)
