"""The rule of every optimizer, as its paper has it, in fifty digits and number by number."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from gradverify.reference import SGD, Adam, AdamW, Momentum, Nesterov, RMSprop
from tests.naming import stable
from tests.reference.agreement import noted

STEPS = 25
GRADIENTS = {  # of six weights, at every step
    "ordinary": lambda t: np.cos(np.arange(1, 7) * (t + 1)), "all zero": lambda t: np.zeros(6),
    "zero at first": lambda t: np.linspace(-1, 1, 6) * (t > 4), "tied": lambda t: np.full(6, 0.25),
    "from tiny to huge": lambda t: 10.0 ** np.array([-300, -30, -12, -8, 8, 30]) * (-1) ** t,
    "a spike": lambda t: np.ones(6) * (1e8 if t == 7 else 1e-3),
}


def mp(rule):
    return [mpmath.mpf(number) for number in rule]


def sgd(rule, w, gs):
    eta = mpmath.mpf(rule.learning_rate)
    for g in gs:
        w -= eta * g
    return w


def momentum(rule, w, gs):
    (eta, mu), v = mp((rule.learning_rate, rule.momentum)), 0
    for g in gs:
        v = mu * v + g
        w -= eta * (g + mu * v if isinstance(rule, Nesterov) else v)
    return w


def rmsprop(rule, w, gs):
    (eta, rho, eps), s = mp((rule.learning_rate, rule.decay, rule.eps)), 0
    for g in gs:
        s = rho * s + (1 - rho) * g * g
        w -= eta * g / (mpmath.sqrt(s) + eps)
    return w


def adam(rule, w, gs):
    eta, one, two, eps, decay = mp((rule.learning_rate, *rule.betas, rule.eps, getattr(rule, "weight_decay", 0)))
    m = v = 0
    for t, g in enumerate(gs, 1):
        m, v = one * m + (1 - one) * g, two * v + (1 - two) * g * g
        w -= eta * decay * w + eta * (m / (1 - one**t)) / (mpmath.sqrt(v / (1 - two**t)) + eps)
    return w


@pytest.mark.parametrize("gradients", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize(("rule", "exact"), [
    (SGD(0.1), sgd), (Momentum(0.1, 0.8), momentum), (Nesterov(0.1, 0.8), momentum), (RMSprop(0.01), rmsprop),
    (Adam(0.1), adam), (Adam(0.1, (0.5, 0.7), 1e-3), adam), (AdamW(0.1, 0.3), adam),
], ids=stable)
def test_a_rule_agrees_with_its_paper_in_fifty_digits(rule, exact, gradients):
    start = np.array([0.0, 1.0, -2.0, 1e-3, 40.0, 0.5])
    params, state = {"W": start}, rule.init({"W": start})
    for t in range(STEPS):
        params, state = rule.step(params, {"W": gradients(t)}, state)
    with mpmath.workdps(50):
        columns = zip(mp(start), zip(*(mp(gradients(t)) for t in range(STEPS)), strict=True), strict=True)
        expected = np.array([float(exact(rule, w, gs)) for w, gs in columns])
    for computed, right in zip(params["W"], expected, strict=True):
        np.testing.assert_allclose(*noted("fifty digits", computed, right), rtol=1e-13)
