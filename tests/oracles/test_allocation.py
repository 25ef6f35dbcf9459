"""A forward that makes its own arrays is run in every arithmetic; what cannot be carried falls to differences and says why."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from numpy import zeros

import gradverify as gv
from gradverify.arithmetic.allocation import allocating

X, V = np.array([0.3, -0.7, 1.1, 0.4]), np.array([1.0, 0.5, -0.25, 0.75])
FOREIGN = ("complex", "quad", "mpmath", "certified")


def recurrent(x):
    h = np.zeros(3)
    for t in range(4):
        out = zeros(3)
        for i in range(3):
            out[i] = np.tanh(x[t] * (i + 1) + 0.3 * h[i])
        h = out
    return h.sum()


def filled(x):
    rows, shift = np.empty((4, 4)), np.full(4, 2.0)
    for i in range(4):
        rows[i] = x * x[i] + np.ones(4) * shift
    return np.log(rows.sum())


def convolved(x):
    out = np.zeros((3, 2))
    for i in range(3):
        out[i] += x[i : i + 2] * 2.0
    return np.sum(out**3)


def determinant(x):
    a = np.eye(4)
    a[0] = x
    return np.linalg.det(a + np.diag(x))


CARRIED = {
    "a recurrent loop": recurrent, "rows filled": filled, "a convolution in loops": convolved, "a row of np.eye": determinant,
    "a list made an array": lambda x: np.sum(np.array([x[0] * x[1], x[2] ** 2, 1.0]) * np.asarray([[x[3], 1.0, 2.0], [0, 1, x[1]]])),
    "np.asarray": lambda x: np.sum(np.asarray(x, dtype=float) ** 3),
    "np.array copies": lambda x: np.sum(np.array(x, copy=True, ndmin=2) * x),
    "np.ascontiguousarray": lambda x: np.sum(np.ascontiguousarray(x.T) ** 2),
    "np.interp": lambda x: np.interp(x, [-1.0, 0.0, 0.5, 2.0], [0.0, 1.0, 3.0, -2.0]).sum(),
    "tolist": lambda x: x.tolist()[0] * x[1],
}  # fmt: skip


@pytest.mark.parametrize("oracle", FOREIGN)
@pytest.mark.parametrize("name", CARRIED)
def test_arrays_that_a_forward_makes_itself_carry_the_derivative(name, oracle):
    found, native = gv.derivative(CARRIED[name], X, V, oracle=oracle), gv.derivative(CARRIED[name], X, V, oracle="finite")
    assert found.reason == ""
    assert found.error <= 1e-12
    assert abs(found.value - native.value) <= found.error + native.error


REFUSED = {
    "fft": (lambda x: float(np.abs(np.fft.rfft(x)).sum()), "rfft"),
    "eigenvalues": (lambda x: np.linalg.eigvalsh(np.outer(x, x) + np.diag(x))[0], "eigvalsh"),
    "singular values": (lambda x: np.linalg.svd(np.outer(x, x) + np.eye(4), compute_uv=False)[0], "svd"),
    "the math module": (lambda x: math.exp(x[0]) * x[1], "float"),
    "a cast to float32": (lambda x: np.sum(np.array(x, dtype=np.float32) ** 3), "float32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_arithmetic_carries_falls_to_differences_and_says_what_it_was(name):
    f, word = REFUSED[name]
    for oracle in FOREIGN:
        refused = gv.derivative(f, X, V, oracle=oracle)
        assert refused.reason == "unsupported"
        assert refused.error == math.inf
        assert word in refused.note
        assert word in str(refused)
    found = gv.derivative(f, X, V)
    assert found.oracle == "finite"
    assert found.error <= 1e-2 * abs(found.value)


def test_a_forward_that_is_refused_is_not_run_often():
    calls = []
    gv.derivative(lambda x: calls.append(1) or np.abs(np.fft.fft(x)).sum(), X, V, oracle="complex")
    assert len(calls) <= 6


def test_at_a_node_of_an_interpolation_both_slopes_are_found():
    found = gv.derivative(lambda x: np.interp(x, [0.0, 1.0, 2.0], [0.0, 1.0, 5.0]), 1.0, oracle="complex")
    assert found.reason == "kink"
    assert found.slopes == (1.0, 4.0)


def test_numpys_own_functions_are_back_whatever_the_forward_raised():
    before = np.zeros, np.array, zeros
    gv.derivative(lambda x: np.fft.fft(np.zeros(4) + x).real.sum(), X, V, oracle="complex")
    assert (np.zeros, np.array, zeros) == before


def test_other_threads_and_numpys_own_code_allocate_plain_arrays():
    seen = []
    with allocating(lambda a: None):
        thread = threading.Thread(target=lambda: seen.append(np.zeros(2)))
        thread.start()
        thread.join()
        assert np.zeros(2) is None
        assert isinstance(np.polynomial.polynomial.polyfromroots([1.0, 2.0]), np.ndarray)
    assert isinstance(seen[0], np.ndarray)


@pytest.mark.parametrize("draw", [
    lambda: np.random.rand(3), lambda: np.random.normal(size=3), lambda: np.random.RandomState(0).uniform(size=3),
    lambda: np.random.default_rng(0).random(3), lambda: np.random.default_rng(0).permuted(np.arange(3.0)),
])  # fmt: skip
def test_random_numbers_are_drawn_into_arrays_of_numpys_own(draw):
    with allocating(lambda a: None):
        assert isinstance(draw(), np.ndarray)


class MaskedInOrder:
    """Dropout whose output is filled row by row, in an array that it allocates."""

    def forward(self, x):
        self.mask = (np.random.rand(*x.shape) > 0.3).astype(float)
        out = np.zeros(x.shape)
        for i in range(len(x)):
            out[i] = np.tanh(x[i]) * self.mask[i] / 0.7
        self.x = x
        return out

    def backward(self, dout):
        return dout * self.mask / 0.7 * (1 - np.tanh(self.x) ** 2)


def test_a_forward_that_draws_and_allocates_passes_by_an_exact_oracle():
    report = gv.check(gv.layer(MaskedInOrder()), X.reshape(2, 2))
    assert report.verdict == "pass"
