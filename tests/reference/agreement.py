"""What every layer of the reference is held to: the complex step, fifty digits, and second derivatives.

The complex step ``f'(x) = Im f(x + i h) / h`` is exact at h = 1e-30 but for rounding. Forwards run on
`ComplexArray`, whose maxima, comparisons and products follow the real part; nothing of the reference is in it.
Pullbacks are NumPy functions too, so a complex step through forward *and* pullback gives second derivatives.
"""

from __future__ import annotations

import numpy as np

from gradverify.arithmetic.complexarray import ComplexArray
from gradverify.arrays import flatten

H = 1e-30
RTOL = 1e-13
CONSTANT = ("mean", "variance", "mask")  # leaves that no layer claims a gradient for
GAPS = []  # (oracle, relative disagreement) of what was compared; benchmarks/reference.py reads it test by test


def noted(oracle, computed, expected, floor=0.0):
    """Both as they are; kept is by how much they differ, on the scale of the largest entry or of the floor."""
    right = np.asarray(expected, float)
    distance = np.abs(np.asarray(computed, float) - right).max(initial=0)
    GAPS.append((oracle, distance / (max(np.abs(right).max(initial=0), floor) or 1.0)))
    return computed, expected


def is_float(leaf):
    return leaf is not None and np.asarray(leaf).dtype.kind == "f"


def mapped(function, tree, *others):
    """The tree of ``function(leaf, other leaves)``; leaves that are no floats as they are."""
    leaves, rebuild = flatten(tree, "t")
    rows = [flatten(other, "t")[0] for other in others]
    return rebuild({name: function(leaf, *(row[name] for row in rows)) if is_float(leaf) else leaf
                    for name, leaf in leaves.items()})


def floats(tree):
    """The leaves by name, without None, integers and booleans."""
    return {name: leaf for name, leaf in flatten(tree, "t")[0].items() if is_float(leaf)}


def tangent_like(tree, rng):
    """Random directions for the float leaves, None for the others."""
    leaves, rebuild = flatten(tree, "t")
    return rebuild({name: rng.uniform(0.5, 1.5, np.shape(leaf)) * rng.choice([-1.0, 1.0], np.shape(leaf))
                    if moves(name, leaf) else None for name, leaf in leaves.items()})


def moves(name, leaf):
    return is_float(leaf) and not name.endswith(CONSTANT)


def stepped(tree, tangent):
    return mapped(lambda leaf, d: leaf if d is None else ComplexArray(leaf + 1j * H * d), tree, tangent)


def imaginary(tree):
    """The derivatives that a result carries; a leaf that carries none does not depend on the point."""
    leaves, rebuild = flatten(tree, "t")
    return rebuild({name: leaf.planes.imag / H if isinstance(leaf, ComplexArray) else
                    None if leaf is None else np.zeros(np.shape(leaf)) for name, leaf in leaves.items()})


def inner(a, b):
    left, right = floats(a), floats(b)
    return float(sum(np.sum(left[name] * right[name]) for name in left.keys() & right.keys()))


def size(a, b):
    left, right = floats(a), floats(b)
    return float(sum(np.sum(np.abs(left[name] * right[name])) for name in left.keys() & right.keys()))


def rounding(leaves):
    """What is left of a gradient that is zero in truth, as of a shift before a softmax: rounding of the others."""
    return 2.0**-50 * max((np.abs(leaf).max(initial=0) for leaf in leaves.values()), default=0) + 1e-300


def assert_same(computed, expected, rtol=RTOL, oracle="complex step"):
    """Leaf by leaf, each on the scale of its own largest entry."""
    computed, expected = flatten(computed, "t")[0], flatten(expected, "t")[0]
    least = rounding(floats(expected))
    for name, right in expected.items():
        if right is None or not is_float(right):
            assert computed.get(name) is None or not is_float(computed[name]) or not computed[name].any(), name
            continue
        noted(oracle, computed[name], right, least / RTOL)
        np.testing.assert_allclose(np.asarray(computed[name], float), right, rtol=rtol, err_msg=name,
                                   atol=rtol * np.abs(right).max(initial=0) + least)


def assert_derivatives(layer, params, x, rtol=RTOL, seed=1):
    """Pushforward and pullback agree with the complex step, the pullback entry by entry through <u, J v>."""
    rng = np.random.default_rng(seed)
    dparams, dx = tangent_like(params, rng), tangent_like(x, rng)
    y, dy = layer.pushforward(params, x, dparams, dx)
    expected = imaginary(layer.forward(stepped(params, dparams), stepped(x, dx))[0])
    assert_same(y, layer.forward(params, x)[0], 1e-15, "itself")
    assert_same(dy, expected, rtol)
    u = tangent_like(y, rng)
    du = layer.forward(params, x)[1](u)
    scale = max(size(du, (dparams, dx)), size(u, expected))
    GAPS.append(("complex step", abs(inner(du, (dparams, dx)) - inner(u, expected)) / (scale or 1.0)))
    assert abs(inner(du, (dparams, dx)) - inner(u, expected)) <= rtol * scale
    assert {name: np.shape(g) for name, g in floats(du).items()} == \
        {name: np.shape(leaf) for name, leaf in floats((params, x)).items() if name in floats(du)}


def assert_gradient(layer, params, x, rtol=RTOL, seed=2, entries=40):
    """Every entry of the gradient (or some, of many), one complex step each."""
    rng = np.random.default_rng(seed)
    y, pullback = layer.forward(params, x)
    u = tangent_like(y, rng)
    computed = floats(pullback(u))
    least = rounding(computed)
    for name, leaf in floats((params, x)).items():
        if not moves(name, leaf):
            assert name not in computed
            continue
        chosen = rng.permutation(leaf.size)[:entries]
        expected = np.array([_slope(layer, params, x, u, name, k) for k in chosen], float)
        g = computed.get(name, np.zeros(np.shape(leaf)))
        noted("complex step", np.ravel(g)[chosen], expected, least / RTOL)
        largest = max(np.abs(expected).max(initial=0), np.abs(g).max(initial=0))
        np.testing.assert_allclose(np.ravel(g)[chosen], expected, rtol=rtol, err_msg=name,
                                   atol=rtol * largest + least)


def _slope(layer, params, x, u, name, k):
    leaves, rebuild = flatten((params, x), "t")
    unit = np.zeros(leaves[name].size, complex)
    unit[k] = 1j * H
    moved = ComplexArray(leaves[name] + unit.reshape(np.shape(leaves[name])))
    return inner(imaginary(layer.forward(*rebuild({**leaves, name: moved}))[0]), u)


def assert_second_derivatives(layer, params, x, rtol=1e-12, seed=3):
    """The pushforward of the pullback agrees with a complex step through forward and pullback."""
    from gradverify.reference import push_pullback

    rng = np.random.default_rng(seed)
    dparams, dx = tangent_like(params, rng), tangent_like(x, rng)
    u = tangent_like(layer.forward(params, x)[0], rng)
    du = tangent_like(u, rng)
    first, second = push_pullback(layer, params, x, u, dparams, dx, du)
    assert_same(first, layer.forward(params, x)[1](u), oracle="itself")
    pullback = layer.forward(stepped(params, dparams), stepped(x, dx))[1]
    assert_same(second, imaginary(pullback(stepped(u, du))), rtol, "second")
