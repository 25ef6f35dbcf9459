"""One source, any arithmetic: the forwards run on quadruple precision, fifty digits and balls, and slopes agree."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gradverify as gv
from gradverify.arrays import flatten
from tests.reference.agreement import floats, moves, noted, tangent_like
from tests.reference.test_any_arithmetic import CASES

# An infinity stands where a maximum is padded and where a path cannot be: not every arithmetic takes one.
WITH_INFINITIES = {"MaxPool": {"certified"}, "CTC": {"complex", "certified"}}
ROWS = [(case, oracle) for case in CASES for oracle in ("complex", "quad", "mpmath", "certified")]


def infinite(case, oracle):
    return oracle in WITH_INFINITIES.get(type(case[0]).__name__, ())


def name(value):
    return value if isinstance(value, str) else repr(value[0])


def packed(tree):
    """The float leaves as one vector, the same directions as another, and the way back into the tree."""
    leaves, rebuild = flatten(tree, "t")
    names = [name for name, leaf in leaves.items() if moves(name, leaf) and not name.endswith("weights")]
    sizes = np.cumsum([0, *(np.size(leaves[name]) for name in names)])

    def unpacked(vector):
        parts = {name: vector[a:b].reshape(np.shape(leaves[name]))
                 for name, a, b in zip(names, sizes[:-1], sizes[1:], strict=True)}
        return rebuild({**leaves, **parts})

    return np.concatenate([np.ravel(leaves[name]) for name in names]), unpacked


def judged(case, oracle):
    """The slope along random signs as the pullback has it, the size of its terms, and the oracle's estimate."""
    layer, *point = case
    start, unpacked = packed(tuple(point))
    rng = np.random.default_rng(5)
    v = rng.choice([-1.0, 1.0], start.shape)
    y, pullback = layer.forward(*point)
    u = tangent_like(y, rng)
    seeds = floats(u)

    def along(vector):
        out = flatten(layer.forward(*unpacked(vector))[0], "t")[0]
        return sum(np.sum(seed * out[name]) for name, seed in seeds.items())

    gradient, directions = floats(pullback(u)), floats(unpacked(v))
    terms = [g * directions[name] for name, g in gradient.items() if name in directions]
    return sum(map(np.sum, terms)), sum(np.abs(term).sum() for term in terms), gv.derivative(along, start, v, oracle)


@pytest.mark.parametrize(("case", "oracle"), [row for row in ROWS if not infinite(*row)], ids=name)
def test_a_slope_agrees_with_every_precise_oracle(case, oracle):
    computed, size, estimate = judged(case, oracle)
    noted({"complex": "complex step"}.get(oracle, oracle), computed, estimate.value, size)
    assert abs(computed - estimate.value) <= 1e-13 * size + estimate.error
    assert estimate.error <= 1e-13 * size


@pytest.mark.parametrize(("case", "oracle"), [row for row in ROWS if infinite(*row)], ids=name)
def test_where_a_forward_contains_an_infinity_nothing_wrong_is_claimed(case, oracle):
    computed, _, estimate = judged(case, oracle)
    assert math.isinf(estimate.error) or abs(computed - estimate.value) <= estimate.error
