"""The reference as a target: gradverify's own verdicts on its layers, by its own oracles."""

from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv
from gradverify.reference import GRU, BatchNorm, Conv, Dense, LayerNorm, MultiHeadAttention, Residual

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("layer", "shape"), [
    (Conv(2, 3, (3, 3), stride=2, padding=1), (2, 2, 5, 5)), (BatchNorm(3), (4, 3)), (LayerNorm((4,)), (3, 4)),
    (GRU(2, 3), (2, 3, 2)), (MultiHeadAttention(4, 2, causal=True), (2, 3, 4)), (Residual(Dense(3, 3)), (2, 3)),
], ids=lambda value: type(value).__name__)
def test_a_layer_passes_the_checker(layer, shape):
    report = gv.check(layer, layer.init(RNG), RNG.normal(size=shape), search="none")
    wanted = [check for check in report.checks if check.wrt not in {"params.mean", "params.variance"}]
    assert wanted
    assert all(check.verdict == "pass" for check in wanted), str(report)
