"""Keras optimizers, rebuilt in float64 from their own configuration."""

from __future__ import annotations

import pytest

import gradverify as gv

keras = pytest.importorskip("keras")

RIGHT = {
    "momentum": (keras.optimizers.SGD(0.125, momentum=0.8), "momentum with rate 0.125, mu 0.8"),
    "parameters computed from sums": (keras.optimizers.Ftrl(0.125), "dual averaging with rate 0.125"),
    "AdamW": (keras.optimizers.AdamW(0.125), "adam with rate 0.125, b1 0.9, b2 0.999"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_optimizer_passes(name):
    optimizer, rule = RIGHT[name]
    report = gv.check_optimizer(optimizer)
    assert (report.verdict, report.rule) == (gv.Verdict.PASS, rule), str(report)


def test_the_default_precision_of_keras_is_put_back():
    before = keras.config.floatx()
    gv.check_optimizer(keras.optimizers.SGD(0.125))
    assert keras.config.floatx() == before
