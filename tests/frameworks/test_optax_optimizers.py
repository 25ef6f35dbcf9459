"""Gradient transformations of optax: identified through their steps alone."""

from __future__ import annotations

import pytest

import gradverify as gv

optax = pytest.importorskip("optax")

RIGHT = {
    "sgd": (optax.sgd(0.1), "sgd with rate 0.1"),
    "momentum": (optax.sgd(0.1, momentum=0.8), "momentum with rate 0.1, mu 0.8"),
    "nesterov": (optax.sgd(0.1, momentum=0.8, nesterov=True), "nesterov with rate 0.1, mu 0.8"),
    "adam": (optax.adam(0.1), "adam with rate 0.1, b1 0.9, b2 0.999"),
    "adamw": (optax.adamw(0.1, weight_decay=0.1), "adam with rate 0.1, b1 0.9, b2 0.999"),
    "amsgrad": (optax.amsgrad(0.1), "amsgrad with rate 0.1, b1 0.9, b2 0.999"),
    "nadam": (optax.nadam(0.1), "nadam with rate 0.1, b1 0.9, b2 0.999"),
    "clipped": (optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)), ""),
    "scaled by the size of the parameters": (optax.lamb(0.1), ""),
    "lion": (optax.lion(0.1), ""),
    "averages that start above zero": (optax.yogi(0.1), ""),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_transformation_passes(name):
    optimizer, rule = RIGHT[name]
    report = gv.check_optimizer(optimizer)
    assert report.ok, str(report)
    assert report.rule == rule


def test_a_transformation_of_ones_own_is_no_library_class():
    own = optax.GradientTransformation(lambda params: (), lambda g, s, p=None: ({n: -0.1 * abs(x) ** 0.7 * x for n, x in g.items()}, s))
    assert gv.check_optimizer(own).verdict is gv.Verdict.INCONCLUSIVE


def test_a_chain_that_ascends_fails():
    wrong = optax.chain(optax.scale_by_adam(), optax.scale(0.1))
    assert "ascends" in [fact.cause for fact in gv.check_optimizer(wrong).failed]
