"""Hypothesis strategies for gradients: architectures, layers, points, upstream gradients, regimes, optimizers.

Everything drawn is valid by construction, shrinks to the smallest network, and prints as code to paste into
an ``@example``. A test of your own backpropagation is four lines:

>>> from hypothesis import given, settings
>>> @settings(max_examples=5, database=None)
... @given(cases(families=("mlp",)))
... def test_my_gradients(case):
...     y, pullback = case.architecture.build().forward(case.params(), case.x())
...     assert pullback(case.u(y))[1].shape == case.x().shape
>>> test_my_gradients()
"""

from __future__ import annotations

from gradverify.strategies.architectures import FAMILIES, architectures, cases
from gradverify.strategies.description import Architecture, Case, Point, Upstream, code, laid_out, parts_of
from gradverify.strategies.layers import embeddings, initialisers, layers, layers_after
from gradverify.strategies.losses import losses
from gradverify.strategies.makers import Flow
from gradverify.strategies.optimizers import learning_rates, optimizers
from gradverify.strategies.points import (
    POOL,
    Regime,
    any_points,
    entries,
    points,
    regimes,
    special_points,
    upstreams,
)
from gradverify.strategies.running import FRESH, Found, climb, explore, minimal

__all__ = [
    "FAMILIES", "FRESH", "POOL", "Architecture", "Case", "Flow", "Found", "Point", "Regime", "Upstream",
    "any_points", "architectures", "cases", "climb", "code", "embeddings", "entries", "explore",
    "initialisers", "laid_out", "layers", "layers_after", "learning_rates", "losses", "minimal",
    "optimizers", "parts_of", "points", "regimes", "special_points", "upstreams",
]
