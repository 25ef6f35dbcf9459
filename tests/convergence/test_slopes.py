"""Slopes on logarithmic axes, with an error that holds."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.convergence.slopes import best_slope, finest_slope, fit, resolved

STEPS = [2.0**-k for k in range(30)]


@pytest.mark.parametrize("power", [1, 2, 3])
def test_the_error_covers_the_order_of_a_bent_and_noisy_power(power):
    rng = np.random.default_rng(power)
    noise = 1e-13
    values = [t**power * (1 + 5 * t) + noise * rng.standard_normal() for t in STEPS]
    slope = best_slope(STEPS, values, [2 * noise] * 30)
    assert abs(slope.value - power) <= slope.error < 0.02


def test_the_finest_steps_show_the_lowest_order():
    values = [t**2 + 1e-4 * t for t in STEPS]
    assert finest_slope(STEPS, values, [1e-12] * 30).value == pytest.approx(1, abs=0.05)
    assert fit(STEPS[:6], values[:6], [1e-12] * 6).value == pytest.approx(2, abs=0.05)


def test_a_change_of_sign_is_not_the_floor_and_the_floor_is():
    values = [1.0, 0.5, 0.0, 0.1, 0.0, 0.0, 1.0]
    assert resolved(STEPS[:7], values, [1e-3] * 7) == [0, 1, 3]


def test_nothing_resolved_has_no_slope():
    assert best_slope(STEPS, [1e-20] * 30, [1e-16] * 30) is None
    assert finest_slope(STEPS, [1e-20] * 30, [1e-16] * 30) is None
