"""Closed forms that an optimizer with a known rule must reproduce: iterates, rates, limits of stability.

All run the optimizer itself, on quadratics ``f = w' A w / 2`` whose curvatures are set by the rate that was
measured, so that they ask of it what the theory says and nothing about which rate is a good one.

Sources: Polyak, *Introduction to Optimization* (1987), sections 1.4 and 3.2; Nesterov, *Introductory Lectures*
(2004), theorem 2.1.14; Kingma and Ba (2015), section 2.1; Loshchilov and Hutter (2019), algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradverify.convergence.facts import (
    ROUNDING,
    Fact,
    decay,
    distance,
    first_step,
    gradients,
    near,
    point,
    scaled,
    walk,
)
from gradverify.convergence.identify import Match, flat, settled
from gradverify.convergence.steppers import Stepper

CLOSED = 1e-10  # a closed form after 40 steps: rounding grows with every one
Book = Callable[[Stepper, Match], "Fact | None"]


def _quadratic(stepper: Stepper, curvatures: np.ndarray, steps: int) -> np.ndarray:
    """Coordinates after every step on ``f = sum_i c_i w_i^2 / 2`` from ones; rows are steps."""
    params = {name: np.ones_like(x) for name, x in point().items()}
    size = len(flat(params))
    c = np.resize(curvatures, size)
    state, seen = stepper.start(params), [flat(params)]
    for _ in range(steps):
        g, place = {}, 0
        for name, x in params.items():
            g[name] = (c[place : place + x.size] * flat(params)[place : place + x.size]).reshape(x.shape)
            place += x.size
        moved, state = stepper.step({n: np.array(x) for n, x in params.items()}, g, state)
        params = settled(moved, params)
        seen.append(flat(params))
    return np.array(seen)[:, : len(curvatures)]


def _decays(stepper: Stepper) -> bool:
    return abs(decay(stepper)[0]) > ROUNDING


def closed_form(stepper: Stepper, match: Match) -> Fact | None:
    """Gradient descent: x_k = (1 - eta c)^k x_0 in every coordinate of a quadratic."""
    if match.rule.name != "sgd" or _decays(stepper):
        return None
    share = np.array([0.1, 0.5, 1.0, 1.7])
    seen = _quadratic(stepper, share / match.learning_rate, 40)
    known = (1 - share) ** np.arange(41)[:, None]
    gap = float(np.max(np.abs(seen - known)))
    return near("closed form", "x_k = (1 - eta c)^k x_0 on a quadratic", gap, 0.0, CLOSED)


def best_rate(stepper: Stepper, match: Match) -> Fact | None:
    """Gradient descent at eta = 2 / (mu + L) contracts by (kappa - 1) / (kappa + 1) a step."""
    if match.rule.name != "sgd" or _decays(stepper):
        return None
    kappa = 9.0
    largest = 2 / (1 + 1 / kappa) / match.learning_rate
    seen = np.linalg.norm(_quadratic(stepper, np.array([largest / kappa, largest]), 30), axis=1)
    return near("best rate", "at 2 / (mu + L) the error shrinks by (k - 1) / (k + 1) a step",
                float(seen[-1] / seen[0]) ** (1 / 30), (kappa - 1) / (kappa + 1), CLOSED)


LIMITS: dict[str, tuple[Callable[[float], float], str]] = {
    "sgd": (lambda mu: 2.0, "2 / L"),
    "momentum": (lambda mu: 2 * (1 + mu), "2 (1 + mu) / L"),
    "nesterov": (lambda mu: 2 * (1 + mu) / (1 + 2 * mu), "2 (1 + mu) / ((1 + 2 mu) L)"),
}


def stability_limit(stepper: Stepper, match: Match) -> Fact | None:
    """Just below its limit of stability the error shrinks, just above it grows."""
    if match.rule.name not in LIMITS or len(match.constants) > 1 or _decays(stepper):
        return None
    limit, words = LIMITS[match.rule.name]
    product = limit(match.constants[0] if match.constants else 0.0)
    below, above = (_late_growth(stepper, share * product / match.learning_rate) for share in (0.99, 1.01))
    held = below < 1 < above
    return Fact("stability limit", f"stable up to {words} and not beyond", held, below if above > 1 else above, 1.0,
                0.0, "stability-limit")


def _late_growth(stepper: Stepper, curvature: float) -> float:
    """How much larger the error's peaks are after 400 steps than after 200."""
    seen = np.abs(_quadratic(stepper, np.array([curvature]), 400)[:, 0])
    return float(np.max(seen[-50:]) / max(float(np.max(seen[150:200])), 1e-300))


SCALE_FREE = ("adam", "amsgrad", "adamax", "nadam", "rmsprop", "adagrad", "centered", "sign")


def scale_free(stepper: Stepper, match: Match) -> Fact | None:
    """The first step does not depend on the gradient's size, as far as eps lets it."""
    if match.rule.name not in SCALE_FREE:
        return None
    g = gradients(1)[0]
    zero = scaled(g, 0.0)
    small, large = (first_step(stepper, zero, scaled(g, size)) for size in (1e2, 1e6))
    return near("scale", "the first step has one length for gradients of any size", distance(small, large), 0.0, 1e-2,
                cause="scale-matters")  # fmt: skip


def proportional(stepper: Stepper, match: Match) -> Fact | None:
    """The first step is proportional to the gradient."""
    if match.rule.name not in LIMITS:
        return None
    g = gradients(1)[0]
    zero = scaled(g, 0.0)
    small, large = first_step(stepper, zero, g), first_step(stepper, zero, scaled(g, 1e6))
    gap = distance(scaled(small, 1e6), large)
    return near("proportional", "the first step is proportional to the gradient", gap, 0.0, 1e-9,
                cause="not-proportional", remedy="gradients are clipped, or a constant is added to them")


def adam_first_step(stepper: Stepper, match: Match) -> Fact | None:
    """Adam's first step is -eta sign(g)."""
    if match.rule.name not in ("adam", "amsgrad", "adamax"):
        return None
    g = scaled(gradients(1)[0], 1e6)
    step = first_step(stepper, scaled(g, 0.0), g)
    known = {n: -match.learning_rate * np.sign(x) for n, x in g.items()}
    return near("first step", "Adam's first step is -eta sign(g)", distance(step, known), 0.0, 1e-6)


def adam_constant_gradient(stepper: Stepper, match: Match) -> Fact | None:
    """Under a constant gradient every step of Adam has the length of the first."""
    if match.rule.name not in ("adam", "amsgrad", "adamax") or _decays(stepper):
        return None
    g = scaled(gradients(1)[0], 1e6)
    seen = walk(stepper, scaled(g, 0.0), [g] * 30)
    gap = distance(seen[-1], scaled(seen[1], 30.0))
    return near("constant gradient", "under one gradient all steps are the same", gap, 0.0, 1e-6)


def betas_in_order(stepper: Stepper, match: Match) -> Fact | None:
    """The second moment remembers longer than the first, or a single large gradient throws Adam far."""
    if match.rule.constants != ("b1", "b2"):
        return None
    b1, b2 = match.constants
    # Kingma and Ba's convergence proof needs b1^2 < sqrt(b2).
    return Fact("betas", "b1^2 < sqrt(b2)", b1**2 < b2**0.5 and (b1 < b2 or b1 < 0.99), b1, b2, 0.0, "betas-swapped",
                "b1 (0.9) is for the gradient, b2 (0.999) for its square")


BOOK: tuple[Book, ...] = (closed_form, best_rate, stability_limit, proportional, scale_free, adam_first_step,
                          adam_constant_gradient, betas_in_order)  # fmt: skip
