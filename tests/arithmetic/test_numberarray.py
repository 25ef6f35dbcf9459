"""Every arithmetic computes what float64 NumPy computes, to all of its digits, or refuses."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from importlib.util import find_spec

import mpmath
import numpy as np
import pytest

from gradverify.arithmetic import quadarray
from gradverify.arithmetic.balls import Side, balls, precision
from gradverify.arithmetic.functions import Refused
from gradverify.arithmetic.quadarray import from_mpf, quadruple, to_mpf, usable
from gradverify.arithmetic.scalars import exact_difference, multiprecise
from tests.arithmetic.rows import REFUSED, ROWS, SQUARE, V, X

needs_quad = pytest.mark.skipif(not usable(), reason="numpy-quaddtype is not usable here")


def make_balls():
    pytest.importorskip("flint")
    return balls(Side())


@pytest.fixture(autouse=True)
def _wide_balls():
    with precision(128) if find_spec("flint") else nullcontext():
        yield


ARITHMETICS = [pytest.param(lambda: multiprecise(60), id="mpmath"), pytest.param(make_balls, id="balls"),
               pytest.param(quadruple, id="quad", marks=needs_quad)]


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", ROWS)
def test_values_are_numpys(arithmetic, name):
    with np.errstate(all="ignore"):
        plain, carried = ROWS[name](X), ROWS[name](arithmetic().wrap(X))
    assert carried.shape == np.shape(plain)
    np.testing.assert_allclose(carried.values, plain, rtol=1e-13, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", sorted(set(REFUSED) - {"Bessel"}))
def test_what_would_lose_digits_is_refused(arithmetic, name):
    with pytest.raises(TypeError):
        REFUSED[name](arithmetic().wrap(X))


@needs_quad
@pytest.mark.parametrize("name", ROWS)
def test_quad_agrees_with_mpmath_to_31_digits(name):
    with np.errstate(all="ignore"):
        quads, exact = to_mpf(ROWS[name](quadruple().wrap(X)).payload), ROWS[name](multiprecise(60).wrap(X)).payload
    for a, b in zip(quads.flat, exact.flat, strict=True):
        assert a == b or (mpmath.isnan(a) and mpmath.isnan(b)) or abs(exact_difference(a, b)) <= 1e-31 * (1 + abs(b))


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_an_array_allocated_like_the_input_takes_assignments(arithmetic):
    x = arithmetic().wrap(X)
    y = np.zeros_like(x)
    y[0] = x[1] / 3
    y[1, :2] += x[0, :2]
    np.testing.assert_allclose(y.values, [X[1] / 3, [0.7, -1.3, 0.0]], rtol=1e-15)
    assert np.all(np.abs((y[0] * 3 - x[1]).values) < 1e-33)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_assignment_into_a_plain_array_is_refused(arithmetic):
    plain = np.zeros(3)
    for index, value in ((0, arithmetic().wrap(X)[0, 0]), (slice(None), arithmetic().wrap(X)[0])):
        with pytest.raises((TypeError, ValueError)):
            plain[index] = value


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_sum_over_nothing_is_zero_and_a_product_is_one(arithmetic):
    x = arithmetic().wrap(X)
    assert np.sum(x[:0], axis=0).values.tolist() == [0, 0, 0]
    assert np.prod(x[:0]).values == 1


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_plain_entries_among_numbers_become_numbers(arithmetic):
    x = arithmetic().wrap(X[0])
    tenth = np.concatenate([x, [0.1]])[3:] * np.append(x, 0.1)[3:]
    np.testing.assert_allclose(tenth.values, 0.1 * 0.1, rtol=1e-15)
    if x.numbers.name != "ball":
        assert (tenth - 0.1 * 0.1).values != 0  # in float64 the product would have been rounded


CONTRACTIONS = ["i,i->", "ij->", "ij,ij->", "ij,j->i", "ij,kj->ik", "ij->ji", "ij,ij->i", "ij,j", "ij,jk,ik->k",
                "...j,j->...", "i...,i...->...", "ii->i", "ii", "ii,ij->j"]


@pytest.mark.parametrize("subscripts", CONTRACTIONS)
def test_einsum_is_numpys(subscripts):
    operands = [SQUARE[0] if term in ("i", "j") else SQUARE for term in subscripts.split("->")[0].split(",")]
    expected = np.einsum(subscripts, *operands)
    numbers = multiprecise(40)
    carried = np.einsum(subscripts, *(numbers.wrap(a) for a in operands))
    np.testing.assert_allclose(carried.values, expected, rtol=1e-14)


CONTRACT_IN_QUAD = """
import itertools
import numpy as np
from gradverify.arithmetic.quadarray import quadruple
numbers, count = quadruple(), 0
for m, k, n in itertools.product((0, 1, 2, 5), repeat=3):
    a, b = (np.arange(float(r * c)).reshape(r, c) / 3 for r, c in ((m, k), (k, n)))
    for x, y in ((a, b), (np.asfortranarray(a), b), (a, np.asfortranarray(b)), (a[::-1], b[:, ::-1])):
        p, q = numbers.wrap(x), numbers.wrap(y)
        for f in (lambda a, b: a @ b, lambda a, b: np.einsum("ij,jk->ik", a, b), np.dot,
                  lambda a, b: np.tensordot(a, b, 1), lambda a, b: np.einsum("ij,jk->", a, b),
                  lambda a, b: np.einsum("ij,j->i", a, b[:, 0]) if b.shape[1] else a.sum(),
                  lambda a, b: np.inner(a, b.T), lambda a, b: np.vdot(a, a), lambda a, b: np.einsum("ij->", b),
                  lambda a, b: np.sum(a[:, :, None] * b, axis=(0, 2))):
            assert np.allclose(f(p, q).values, f(x, y), rtol=1e-14), (m, k, n)
            count += 1
print(count)
"""


@needs_quad
def test_no_contraction_of_any_shape_or_layout_ends_the_process():
    run = subprocess.run([sys.executable, "-c", CONTRACT_IN_QUAD], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, "2560"), run.stderr[-2000:]


@needs_quad
def test_quads_and_mpmath_numbers_are_converted_exactly():
    rng = np.random.default_rng(0)
    numbers = quadruple()
    x = numbers.wrap(rng.normal(size=200)) / 3
    for scale in (1.0, 1e300, 1e-300, 0.0, np.inf):
        with np.errstate(all="ignore"):
            quads = (x * scale * scale).payload
        assert np.array_equal(from_mpf(to_mpf(quads), numbers.dtype), quads)
    tiny = numbers.ufuncs[np.exp](numbers.wrap(np.linspace(-11360.0, -11420.0, 50)).payload)
    assert np.array_equal(from_mpf(to_mpf(tiny), numbers.dtype), tiny)


@needs_quad
def test_conversion_rounds_to_nearest_even():
    context = multiprecise(40).constant("pi").context
    one, half = context.one, context.ldexp(1, -113)
    ties = np.array([one + half, one + 3 * half, one + half + half / 4, -one - half, 2 - half / 2], dtype=object)
    ulps = (to_mpf(from_mpf(ties, quadruple().dtype)) - np.array([one, one, one, -one, 2 * one])) / (2 * half)
    assert [float(u) for u in ulps] == [0, 2, 1, 0, 0]


def test_without_the_package_quads_are_refused(monkeypatch):
    monkeypatch.setattr(quadarray, "find_spec", lambda name: None)
    assert not quadarray.usable.__wrapped__()
    monkeypatch.setattr(quadarray, "usable", lambda: False)
    with pytest.raises(Refused, match="numpy-quaddtype"):
        quadarray.quadruple.__wrapped__()


def test_a_package_that_crashes_is_found_out_in_another_process(monkeypatch):
    monkeypatch.setattr(quadarray, "find_spec", lambda name: object())
    monkeypatch.setattr(quadarray, "PROBE", "import os; os.abort()")
    assert not quadarray.usable.__wrapped__()


def test_products_of_matrices_are_exact_but_for_one_rounding():
    numbers = multiprecise(30)
    row, column = np.array([[1e200, 1.0, -1e200]]), np.array([[1e200], [0.1], [1e200]])
    assert (numbers.wrap(row) @ numbers.wrap(column)).values.item() == 0.1


@pytest.mark.parametrize("arithmetic", [ARITHMETICS[0], ARITHMETICS[2]])
def test_a_shaken_run_moves_last_places_and_nothing_else(arithmetic):
    numbers = arithmetic().jittered(np.random.default_rng(0))
    x = numbers.wrap(np.linspace(1.0, 2.0, 100))
    shaken, third = (x / 3).payload, numbers.ufuncs[np.divide](x.payload, numbers.wrap(3.0).payload)
    moved = np.abs(numbers.lower(numbers.wrap(0.0).payload + (shaken - third)))
    assert 0 < moved.max() < 1e-31
    assert np.sum(moved == 0) < 10
    assert np.all((-x).values == -x.values)


@pytest.mark.parametrize("arithmetic", [ARITHMETICS[0], ARITHMETICS[2]])
def test_zeros_and_infinities_are_not_shaken(arithmetic):
    with np.errstate(invalid="ignore"):
        x = arithmetic().jittered(np.random.default_rng(0)).wrap([0.0, np.inf, -np.inf, np.nan])
        np.testing.assert_array_equal((x * 1.0).values, [0.0, np.inf, -np.inf, np.nan])


def test_slopes_of_balls_are_those_of_differences():
    flint = pytest.importorskip("flint")
    numbers = make_balls()
    for f in ROWS.values():
        x = numbers.wrap(X)
        for dual, v in zip(x.payload.flat, V.flat, strict=True):
            dual.dx = flint.arb(v)
        t = 2.0**-13
        with np.errstate(all="ignore"):
            near, far = (f(X + t * V) - f(X - t * V)) / 2, (f(X + 2 * t * V) - f(X - 2 * t * V)) / 4
            expected = np.ravel((4 * near - far) / (3 * t))
        slopes = np.array([0.0 if d.dx is None else float(d.dx) for d in f(x).payload.flat])
        known = np.isfinite(expected)
        np.testing.assert_allclose(slopes[known], expected[known], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("f", [lambda x: x * 3 > 1, lambda x: np.floor(x * 3), lambda x: np.maximum(x, x * 3 / 3),
                               np.sign, lambda x: np.cbrt(x - x)])
def test_what_balls_cannot_decide_is_refused(f):
    numbers = make_balls()
    with pytest.raises(Refused):
        f(numbers.wrap(1.0) / 3 if f is not np.sign else numbers.wrap(1.0) / 3 - numbers.wrap(1.0) / 3)


def test_a_branch_at_a_second_order_tie_is_refused_and_a_maximum_there_is_not():
    flint = pytest.importorskip("flint")
    x = make_balls().wrap([0.0])
    x.payload[0].dx = flint.arb(1)
    assert np.maximum(x * x, 0).values == 0
    with pytest.raises(Refused, match="first order"):
        np.where(x * x > 0, 1.0, x)
