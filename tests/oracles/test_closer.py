"""A budget is kept, and where it leaves no bound the value is that of quotients closer by."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradverify.oracles.finite import finite

BUDGETS = (14, 17, 21, 31, 60)

# forward, its slope, the relative error that 14 evaluations must reach
ROUGH = {
    "a steep sine": (lambda t: math.sin(300.0 * t + 1.0), 300.0 * math.cos(1.0), 1e-9),
    "a pole nearby": (lambda t: 1.0 / (0.01 - t), 1e4, 1e-8),
    "a narrow peak": (lambda t: 1e-4 / ((t - 0.01) ** 2 + 1e-4), 50.0, 1e-8),
    "a ripple": (lambda t: math.exp(t) + 1e-4 * math.sin(3e3 * t), 1.3, 1e-6),
    "a kink farther off": (lambda t: math.exp(t) + abs(t - 1e-3), 0.0, 1e-9),
    "a kink close by on the left": (lambda t: math.exp(t) + abs(t + 1e-7), 2.0, 1e-7),
    "a kink close by on the right": (lambda t: 3.0 * math.exp(t) + abs(t - 1e-7), 2.0, 1e-7),
    "rounding to float32 inside": (lambda t: float(np.float32(math.exp(t))), 1.0, 1e-4),
    "cancellation": (lambda t: (math.exp(t) + 1e6) - 1e6, 1.0, 1e-7),
    "a smooth forward": (lambda t: math.tanh(t + 0.5), 1.0 - math.tanh(0.5) ** 2, 1e-12),
}


@pytest.mark.parametrize("name", ROUGH)
def test_fourteen_evaluations_are_worth_what_quotients_are(name):
    phi, slope, enough = ROUGH[name]
    found = finite(phi, budget=14)
    assert abs(found.value - slope) <= enough * max(abs(slope), 1.0)
    assert found.covers(slope)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", ROUGH)
def test_no_more_is_spent_than_the_budget_but_to_find_a_step(name, budget):
    found = finite(ROUGH[name][0], budget=budget)
    steps = 4 if math.isfinite(found.error) else 0  # whether phi stands still beside 0 must be known before it is believed
    assert found.evaluations <= budget + steps


def test_at_a_kink_itself_the_value_lies_between_the_slopes():
    for gap in (1e-2, 1.0, 10.0):
        found = finite(lambda t, gap=gap: math.exp(t) + gap * max(t, 0.0), budget=14)
        assert 1.0 <= found.value <= 1.0 + gap


@pytest.mark.parametrize("order", [2, 3])
def test_higher_derivatives_keep_a_budget_too(order):
    found = finite(lambda t: math.sin(30.0 * t + 1.0), order=order, budget=31)
    truth = 30.0**order * (-math.sin(1.0) if order == 2 else -math.cos(1.0))
    assert found.evaluations <= 31
    assert found.covers(truth)
    assert found.value == pytest.approx(truth, rel=1e-2)


def test_a_domain_that_ends_nearby_leaves_a_value():
    found = finite(lambda t: math.log(1e-4 + t) if t > -1e-4 else math.nan, budget=14)
    assert found.value == pytest.approx(1e4, rel=1e-4)
    assert found.error == math.inf
