"""Functions beside their gradients: kernels with buffers, one gradient for each input, costs, settings of all kinds."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.audit.kernels import _called
from gradverify.records import Verdict
from tests.projects import attempts

BUFFERS = """
def triple_forward(x, out, n: int):
    for i in range(n):
        out[i] = 3 * x[i]
def triple_backward(dout, dx, n: int):
    for i in range(n):
        dx[i] += FACTOR * 3 * dout[i]
"""
ONE_EACH = """
def times_forward(a_data, b_data):
    return a_data * b_data
def times_backward_b(out_grad, out_buffer, target_shape: tuple, a_data):
    out_buffer += FACTOR * (out_grad * a_data).reshape(target_shape)
"""
OF_WEIGHT = """
def mix_forward(x_data, kernel_data):
    return x_data @ kernel_data
def mix_backward_w(out_grad, out_buffer, x_data):
    out_buffer += FACTOR * x_data.T @ out_grad
"""
PARTIALS = """
def f(x, y):
    return x ** 2 / 20 + y ** 2
def df(x, y):
    return FACTOR * x / 10, 2 * y
"""
SHAPED = """
def mean_forward(x):
    return np.mean(x)
def mean_backward(dout, shape):
    return FACTOR * np.full(shape, dout / np.prod(shape))
"""
OF_OUTPUT = """
def gate_forward(x_flat, out_flat, n):
    for i in range(n):
        out_flat[i] = np.tanh(x_flat[i])
def gate_gradient(out_flat, grad_out_flat, grad_x_flat, n):
    for i in range(n):
        grad_x_flat[i] += FACTOR * (1 - out_flat[i] ** 2) * grad_out_flat[i]
"""
COST = """
def compute_cost(X, y, w, b):
    return np.sum((X @ w + b - y) ** 2) / (2 * len(X))
def compute_gradient(X, y, w, b):
    error = X @ w + b - y
    return FACTOR * X.T @ error / len(X), np.sum(error) / len(X)
"""
WEIGHTS_FIRST = """
def cost(theta, X, y):
    return np.sum((X @ theta - y) ** 2)
def gradient(theta, X, y):
    return FACTOR * 2 * X.T @ (X @ theta - y)
"""
VALUE_LAST = """
def propagate(w, b, X, Y):
    a = np.tanh(w.T @ X + b)
    cost = np.sum((a - Y) ** 2)
    dz = 2 * (a - Y) * (1 - a ** 2)
    grads = {"dw": FACTOR * X @ dz.T, "db": np.sum(dz)}
    return grads, cost
"""
OPTIONS = """
def layer_forward(A, W, activation, options):
    z = W @ A * options["stride"]
    if activation == "tanh":
        return np.tanh(z), (A, W, z)
    return z, (A, W, z)
def layer_backward(dA, cache, activation, options):
    A, W, z = cache
    dz = dA * (1 - np.tanh(z) ** 2) if activation == "tanh" else dA
    dz = FACTOR * dz * options["stride"]
    return W.T @ dz, dz @ A.T
"""
POWER = """
def power_forward(t, power):
    return t ** power
def power_gradient(out_grad, t, power):
    return FACTOR * power * t ** (power - 1) * out_grad
"""
AVERAGED = """
def linear_forward(A, W, b):
    return W @ A + b, (A, W)
def linear_backward(dZ, cache):
    A, W = cache
    m = A.shape[1]
    return W.T @ dZ, dZ @ A.T / m, np.sum(dZ, axis=1, keepdims=True) OVER
"""
ALIASED = """
def root_forward(x_data):
    return np.sqrt(x_data)
def root_backward(out_grad, out_buffer, x_data):
    flat = out_buffer.ravel()
    np.add.at(flat, np.arange(flat.size), FACTOR * out_grad.ravel() / (2 * np.sqrt(x_data.ravel())))
"""
WRITTEN = {"aliased": ALIASED, "buffers": BUFFERS, "one each": ONE_EACH, "of weight": OF_WEIGHT, "shaped": SHAPED, "of output": OF_OUTPUT,
           "cost": COST, "partials": PARTIALS, "weights first": WEIGHTS_FIRST, "value last": VALUE_LAST, "options": OPTIONS, "power": POWER}  # fmt: skip


def only(tmp_path, monkeypatch, code):
    (entry,) = attempts(tmp_path, monkeypatch, code).values()
    return entry


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize("code", WRITTEN.values(), ids=WRITTEN)
def test_a_function_beside_its_gradient_is_judged(tmp_path, monkeypatch, code, factor, verdict):
    entry = only(tmp_path, monkeypatch, code.replace("FACTOR", factor))
    assert (entry.verdict, entry.reason) == (verdict, "")


def test_gradients_of_all_weights_averaged_over_the_batch_are_a_convention(tmp_path, monkeypatch):
    entry = only(tmp_path, monkeypatch, AVERAGED.replace("OVER", "/ m"))
    assert (entry.verdict, entry.convention.endswith(", gradients averaged (factor 1/5)")) == (Verdict.INCONCLUSIVE, True)


def test_a_bias_that_is_summed_beside_a_weight_that_is_averaged_is_a_bug(tmp_path, monkeypatch):
    assert only(tmp_path, monkeypatch, AVERAGED.replace("OVER", "")).verdict is Verdict.FAIL


POOL = """
def pool_forward(x, pool_param):
    n, s = pool_param["pool_height"], pool_param["stride"]
    out = np.zeros((x.shape[0], (x.shape[1] - n) // s + 1))
    for i in range(out.shape[1]):
        out[:, i] = np.max(x[:, i * s : i * s + n], axis=1)
    return out, (x, out, pool_param)
def pool_backward(dout, cache):
    x, out, pool_param = cache
    n, s = pool_param["pool_height"], pool_param["stride"]
    dx = np.zeros_like(x)
    for i in range(out.shape[1]):
        w = x[:, i * s : i * s + n] == out[:, i : i + 1]
        dx[:, i * s : i * s + n] += dout[:, i : i + 1] * w SHARED
    return dx
"""


@pytest.mark.parametrize(
    ("shared", "verdict"), [("/ np.sum(w, axis=1, keepdims=True)", Verdict.PASS), ("", Verdict.FAIL)]
)
def test_a_dictionary_of_settings_has_windows_of_more_than_one(tmp_path, monkeypatch, shared, verdict):
    assert only(tmp_path, monkeypatch, POOL.replace("SHARED", shared)).verdict is verdict


def scaled_forward(x, scale=None):
    return x if scale is None else x * scale


def scaled_backward(dout, scale, shape):
    return dout if scale is None else np.zeros(shape)


def test_a_setting_that_is_none_reaches_the_backward_as_none():
    x, u, scale = np.ones(3), np.arange(3.0), None
    gradient = _called(scaled_forward, scaled_backward, ("dout", "scale", "shape"), {"x": x}, "x", u, {"scale": scale})
    assert np.array_equal(gradient, u)


INTO_A_BUFFER_OF_SLOPES = """
class Activation:
    def f(self, u, out_a):
        out_a[:] = np.tanh(u)
        return out_a
    def df(self, u, a, out_da):
        out_da[:] = 1 - a * a
        return out_da
"""


def test_a_slope_beside_something_else_is_taken_for_no_pullback(tmp_path, monkeypatch):
    assert only(tmp_path, monkeypatch, INTO_A_BUFFER_OF_SLOPES).report is None


OUT_OF_ORDER = """
def divergence_loss(t_mean, t_log_var):
    return 0.5 * np.sum(np.exp(t_log_var) + t_mean ** 2 - t_log_var)
def divergence_grad(t_mean, t_log_var):
    dLogVar = FACTOR * 0.5 * (np.exp(t_log_var) - 1)
    dMean = t_mean
    return dLogVar, dMean
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_gradients_are_told_by_the_words_that_their_names_end_in(tmp_path, monkeypatch, factor, verdict):
    code = OUT_OF_ORDER.replace("divergence_loss", "divergence").replace("FACTOR", factor)
    assert only(tmp_path, monkeypatch, code).verdict is verdict
