"""Smooth, kink and jump along a line are told apart, at the point and not merely near it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from gradverify.oracles.kinks import classify

Phi = Callable[[float], float]


@pytest.mark.parametrize(
    ("phi", "kind"),
    [
        (math.exp, "smooth"),
        (lambda t: t * t, "smooth"),
        (lambda t: 5 + math.cos(t), "smooth"),
        (abs, "kink"),
        (lambda t: max(t, 0.0), "kink"),
        (lambda t: max(t, 0.01 * t) + 7, "kink"),
        (lambda t: math.exp(t) + (t > 0), "jump"),
        (lambda t: float(np.sign(t)), "jump"),
        (lambda t: 2.0, "flat"),
        (lambda t: math.floor((1.303 + t) * 100) / 100, "staircase"),
        (math.sqrt, "domain"),
        (lambda t: math.nan, "domain"),
    ],
)
def test_what_happens_at_the_point_is_recognised(phi: Phi, kind: str) -> None:
    assert classify(phi).kind == kind


def _draw(rng: np.random.Generator, kind: str) -> Phi:
    a, b, x = rng.normal(), rng.normal(), rng.uniform(0.5, 2)
    gap = abs(a * math.cos(a * x) + b * math.exp(b * x)) * x * 10 ** rng.uniform(-3, 1)
    away = {"near": 10 ** rng.uniform(-6, -0.5) * rng.choice([-1, 1])}.get(kind, 0.0)
    bend = {"smooth": lambda t: 0.0, "jump": lambda t: float(t > 0)}.get(kind, lambda t: abs(t - away))
    size = 10 ** rng.uniform(-6, 6)
    return lambda t: size * (math.sin(a * (x + x * t)) + math.exp(b * (x + x * t)) + gap * bend(t))


@pytest.mark.parametrize("kind", ["smooth", "kink", "jump", "near"])
def test_no_draw_is_called_what_it_is_not(kind: str) -> None:
    rng = np.random.default_rng(7)
    found = [classify(_draw(rng, kind)).kind for _ in range(25)]
    expected = "smooth" if kind == "near" else kind
    assert set(found) <= {expected, "undecided"}
    assert found.count("undecided") <= 1


def test_the_slopes_of_a_kink_lie_within_their_errors() -> None:
    side = classify(lambda t: max(2 * t, -t) + math.exp(t))
    assert abs(side.left - 0.0) <= side.left_error < 1e-3
    assert abs(side.right - 3.0) <= side.right_error < 1e-3
    assert side.gap > 2.9


def test_a_kink_that_noise_may_hide_is_undecided() -> None:
    assert classify(lambda t: 1e15 + t).kind == "undecided"
