"""`derivative` never gives a number without a bound: what happened is in the reason."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import gradverify as gv

noise = np.random.default_rng(0)
count = itertools.count()


def only_at_one(x):
    return 2.0 * x if x == 1.0 else np.nan


def raises_elsewhere(x):
    if x != 1.0:
        raise ValueError("outside")
    return 2.0 * x


# forward, x, the reason, whether there is a bound; that of random values is a measure of them
ODD = {
    "a domain of one point": (only_at_one, 1.0, "domain", False),
    "an exception on both sides": (raises_elsewhere, 1.0, "domain", False),
    "the edge of the domain": (lambda x: np.exp(x) if x <= 1.0 else np.nan, 1.0, "domain", True),
    "random values": (lambda x: x * noise.normal(), 1.0, "nondeterministic", True),
    "a counter": (lambda x: x**2 + 0.1 * next(count), 1.0, "nondeterministic", True),
    "a kink": (np.abs, 0.0, "kink", False),
    "a jump": (lambda x: x + (x > 1.0), 1.0, "jump", False),
    "a staircase": (lambda x: np.round(256 * x) / 256, 1.1, "staircase", False),
    "a root": (np.sqrt, 0.0, "domain", False),
}


@pytest.mark.parametrize("name", ODD)
def test_what_has_no_derivative_says_why(name):
    f, x, reason, bounded = ODD[name]
    found = gv.derivative(f, x)
    assert found.reason == reason or (reason in ("jump", "domain") and found.reason == "kink")
    assert math.isfinite(found.error) == bounded


@pytest.mark.parametrize("oracle", ["auto", "finite", "complex", "mpmath"])
@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1.0, 1e6])
def test_the_derivative_is_linear_in_the_direction(oracle, scale):
    found = gv.derivative(np.exp, 0.5, scale, oracle=oracle)
    assert found.covers(scale * math.exp(0.5))
    assert found.error < 1e-10 * scale


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_narrow_x_is_differentiated_in_its_own_dtype(dtype):
    found = gv.derivative(np.tanh, dtype(0.5), oracle="finite")
    assert found.covers(1 / math.cosh(0.5) ** 2)
    assert found.error < {np.float32: 1e-4, np.float16: 0.2}[dtype]


@pytest.mark.parametrize("f", [
    lambda x: np.sum(np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), 0.0)),
    lambda x: np.cumprod(x)[-1] + np.cumsum(x)[1], lambda x: np.sort(x)[1] ** 2, lambda x: np.median(x) ** 3,
    lambda x: np.interp(0.3, [0.0, 1.0], [0.0, 1.0]) * x[0], lambda x: np.linalg.norm(x) + np.std(x),
    lambda x: np.einsum("i,j,ij->", x, x, np.outer(x, x)), lambda x: np.linalg.eigvalsh(np.outer(x, x) + np.eye(3))[-1],
    lambda x: np.abs(np.fft.fft(x))[1] ** 2, lambda x: float(sum(math.exp(a) for a in x)), lambda x: x[np.argmax(x)] ** 2,
    lambda x: np.sum(np.power(x, 3) + x**-2), lambda x: np.vdot(x, np.conj(x) * np.abs(x)),
])  # fmt: skip
def test_all_oracles_that_bound_it_agree(f):
    x, v = np.array([0.3, -1.1, 0.7]), np.array([1.0, 0.5, -0.75])
    found = [gv.derivative(f, x, v, oracle=name) for name in ("auto", "finite", "complex", "mpmath")]
    for one, other in itertools.combinations([e for e in found if math.isfinite(e.error)], 2):
        assert abs(one.value - other.value) <= one.error + other.error
    assert found[0].error < 1e-8 * abs(found[0].value)


ORACLES = ("auto", "finite", "complex", "quad", "mpmath", "certified")


@pytest.mark.parametrize("oracle", ORACLES)
def test_a_step_that_leaves_the_domain_on_both_sides_leaves_no_bound(oracle):
    found = gv.derivative(raises_elsewhere, 1.0, oracle=oracle)
    assert found.error == math.inf
    assert found.reason == ("domain" if oracle in ("auto", "finite") else "unsupported")


@pytest.mark.parametrize("oracle", ORACLES)
def test_a_forward_that_differs_from_call_to_call_says_so_by_every_oracle(oracle):
    found = gv.derivative(lambda x: np.sum(x) * (1.0 + 1e-3 * noise.normal()), np.ones(2), np.ones(2), oracle=oracle)
    assert found.reason == "nondeterministic"
    assert not found.certified


@pytest.mark.parametrize("order", [2, 3])
def test_higher_derivatives_of_what_has_none_carry_no_bound(order):
    assert gv.derivative(raises_elsewhere, 1.0, order=order).error == math.inf
    assert gv.derivative(np.abs, 0.0, order=order).error == math.inf
