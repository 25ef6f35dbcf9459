"""The wrapper array computes what float64 NumPy computes, and carries the derivative or refuses."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy import special

from gradverify.arithmetic.complexarray import ComplexArray
from gradverify.arithmetic.complextable import Watch
from gradverify.arithmetic.functions import Refused
from tests.arithmetic.rows import REFUSED, ROWS, SQUARE, V, X

H = 2.0**-200


def wrap(x=X, v=V, side=1):
    return ComplexArray(np.asarray(x) + 1j * H * np.asarray(v), Watch(side=side))


def slope(result):
    return result.payload.imag / H


def central(f, x, v, t=2.0**-13):
    """Fourth-order differences: 1e-10 at the sizes used here, whatever the function."""
    near, far = (f(x + t * v) - f(x - t * v)) / (2 * t), (f(x + 2 * t * v) - f(x - 2 * t * v)) / (4 * t)
    return (4 * near - far) / 3


@pytest.mark.parametrize("name", ROWS)
def test_values_are_numpys_and_slopes_are_those_of_differences(name):
    f = ROWS[name]
    with np.errstate(invalid="ignore"):
        plain, carried, expected = f(X), f(wrap()), central(f, X, V)
    assert carried.shape == np.shape(plain)
    np.testing.assert_allclose(carried.values, plain, rtol=1e-13, atol=1e-14, equal_nan=True)
    np.testing.assert_allclose(slope(carried), expected, rtol=1e-7, atol=1e-7, equal_nan=True)


def test_a_raw_complex_array_gets_abs_var_and_norm_wrong_where_the_wrapper_does_not():
    z = X + 1j * H * V
    for f in (lambda x: np.abs(x) * x, np.var, np.linalg.norm):
        raw = np.imag(f(z) * (1 + 0j)) / H
        assert not np.allclose(raw, central(f, X, V), rtol=1e-2)
        np.testing.assert_allclose(slope(f(wrap())), central(f, X, V), rtol=1e-7)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_lose_the_derivative_is_refused(name):
    with pytest.raises(TypeError):
        REFUSED[name](wrap())


def test_assignment_into_a_plain_array_is_refused():
    plain = np.zeros(3)
    for index, value in ((0, wrap()[0, 0]), (slice(None), wrap()[0])):
        with pytest.raises((TypeError, ValueError)):
            plain[index] = value


def test_an_array_allocated_like_the_input_takes_assignments():
    x = wrap()
    y = np.zeros_like(x)
    y[0] = x[1] * 2
    y[1, :2] += x[0, :2]
    np.testing.assert_array_equal(slope(y), [[0.6, -2.2, 1.6], [1.0, 0.5, 0.0]])


def test_in_place_operators_keep_the_array():
    x = wrap()
    same = x
    same *= 3
    same += X
    np.testing.assert_allclose(slope(x), 3 * V, rtol=1e-15)


def test_it_reports_itself_as_float64():
    x = wrap()
    assert (x.dtype, x.shape, x.ndim, x.size, len(x)) == (np.float64, (2, 3), 2, 6, 2)
    assert not np.iscomplexobj(x)
    assert np.zeros_like(x, dtype=bool).dtype == bool


def test_integers_taken_from_it_are_plain():
    assert wrap().astype(int).tolist() == X.astype(int).tolist()
    assert isinstance(np.argmax(wrap()), np.integer)


def test_a_copy_belongs_to_the_same_run():
    x = wrap([0.0], [1.0])
    np.maximum(copy.deepcopy(x), 0)
    assert x.watch.ties == 1


TIES = {
    "relu": (lambda x: np.maximum(x, 0), [0.0], [1.0], 0.0, 1.0),
    "relu by mask": (lambda x: x * (x > 0), [0.0], [1.0], 0.0, 1.0),
    "relu by where": (lambda x: np.where(x >= 0, x, 0), [0.0], [1.0], 0.0, 1.0),
    "absolute": (np.abs, [0.0], [-2.0], -2.0, 2.0),
    "sign": (lambda x: np.sign(x) * x, [0.0], [1.0], -1.0, 1.0),
    "clip": (lambda x: np.clip(x, -1, 1), [1.0], [1.0], 1.0, 0.0),
    "max": (lambda x: x.max(), [3.0, 3.0], [1.0, 2.0], 1.0, 2.0),
    "min": (lambda x: x.min(), [3.0, 3.0], [1.0, 2.0], 2.0, 1.0),
    "argmax": (lambda x: x[np.argmax(x)], [3.0, 3.0], [1.0, 2.0], 1.0, 2.0),
    "sort": (lambda x: np.sort(x)[0], [3.0, 3.0], [1.0, 2.0], 2.0, 1.0),
}


@pytest.mark.parametrize("name", TIES)
def test_a_tie_that_moves_is_flagged_and_has_one_slope_a_side(name):
    f, x, v, left, right = TIES[name]
    for side, expected in ((-1, left), (1, right)):
        z = wrap(x, v, side)
        assert slope(f(z)) == expected
        assert z.watch.ties


def test_a_tie_that_stays_is_no_kink():
    z = wrap([0.0, 2.0, 2.0], [0.0, 1.0, 1.0])
    assert slope(np.maximum(z, 0)).tolist() == [0.0, 1.0, 1.0]
    assert slope(z.max()) == 1.0
    assert z.watch.ties == 0


def test_the_square_of_zero_is_exactly_zero_to_a_branch():
    z = wrap([0.0], [1.0])
    for squared in (z * z, z**2, np.square(z), z[None] @ z, np.einsum("i,i->i", z, z), z[None] @ z[:, None]):
        assert np.all(squared.values == 0.0)


EXTREME = {
    "tanh": (np.tanh, [1000.0, -1000.0]),
    "naive sigmoid": (lambda x: 1 / (1 + np.exp(-x)), [-800.0, 800.0]),
    "expit": (special.expit, [-800.0, 800.0]),
    "logaddexp": (lambda x: np.logaddexp(x, -np.inf), [-800.0, 800.0]),
    "masked softmax": (lambda x: np.exp(np.where([True, False], x, -np.inf)), [1.0, 2.0]),
    "selected overflow": (lambda x: np.where(x > 20, x, np.log1p(np.exp(x))), [1000.0, -1000.0]),
}


@pytest.mark.parametrize("name", EXTREME)
def test_saturation_gives_no_nan(name):
    f, x = EXTREME[name]
    with np.errstate(all="ignore"):
        assert np.all(np.isfinite(slope(f(wrap(x, [1.0, 1.0])))))


@pytest.mark.parametrize("f", [np.sqrt, np.log, np.cbrt, np.linalg.norm, lambda x: np.arccos(1 - x),
                               lambda x: x**0.5])
def test_at_the_edge_of_a_domain_the_slope_is_not_finite(f):
    with np.errstate(all="ignore"):
        assert not np.all(np.isfinite(slope(f(wrap([0.0], [1.0])))))


def test_outside_the_domain_the_value_is_nan_as_in_numpy():
    with np.errstate(all="ignore"):
        for f in (np.sqrt, np.log, np.log1p, np.arcsin, np.arccosh, lambda x: x**0.5):
            assert np.isnan(f(wrap([-2.0], [1.0])).values[0])


def test_a_refusal_names_the_function():
    with pytest.raises(Refused, match="eigvalsh"):
        np.linalg.eigvalsh(wrap(SQUARE, SQUARE))


def test_a_jittered_run_moves_last_bits_and_nothing_else():
    watch = Watch(rng=np.random.default_rng(0))
    x = ComplexArray(X + 1j * H * V, watch)
    moved = (x * 3).values / (X * 3) - 1
    assert 0 < np.max(np.abs(moved)) <= 2.0**-51
    np.testing.assert_array_equal((-x).values, -X)


VIEWS = {
    "reshape": lambda x: x.reshape(-1), "np.reshape": lambda x: np.reshape(x, 6), "transpose": lambda x: x.T,
    "ravel": np.ravel, "rows": lambda x: x[1:], "moved axes": lambda x: np.moveaxis(x, 0, 1), "half": lambda x: np.split(x, 2)[1],
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_what_is_written_into_a_view_stands_in_the_array_as_in_numpy(name):
    plain, x = X.copy(), wrap()
    VIEWS[name](plain)[...] = 7.0
    VIEWS[name](x)[...] *= 0.0
    VIEWS[name](x)[...] += 7.0
    np.testing.assert_array_equal(x.values, plain)
    assert np.all((slope(x) == 0.0) == (plain == 7.0))


def test_a_result_shares_no_memory_with_its_operand():
    x = wrap()
    for y in (x + 0.0, 0.0 - x, x * 1.0, np.where(True, x, 0.0), +x):
        y[...] = 0.0
    np.testing.assert_allclose(slope(x), V, rtol=1e-15)


def test_entries_added_to_one_place_all_count():
    x = wrap()
    total = np.zeros_like(x[0])
    np.add.at(total, [0, 0, 2], x[:, 0].sum() * np.ones(3))
    np.subtract.at(total, [1], x[0, 0])
    np.testing.assert_allclose(slope(total), [2 * V[:, 0].sum(), -V[0, 0], V[:, 0].sum()], rtol=1e-15)
