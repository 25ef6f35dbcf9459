"""Static methods, settings before arrays, and dictionaries whose keys only a called function reads."""

from __future__ import annotations

import pytest

from gradverify.records import Verdict
from tests.projects import attempts

STATIC = """
rng = np.random.default_rng()
class Dropout:
    @staticmethod
    def _forward(x, p, is_training):
        mask = rng.uniform(0, 1, x.shape) > p if is_training else np.ones(x.shape)
        return x * mask / (1 - p), mask
    @staticmethod
    def _backward(gradient, mask, p):
        return FACTOR * gradient * mask / (1 - p)
"""
IN_THE_MIDDLE = """
def scaled_forward(x, axis, gamma):
    size = np.abs(x).sum(axis=axis, keepdims=True)
    return gamma * x / size, (x, size, axis, gamma)
def scaled_backward(dout, cache):
    x, size, axis, gamma = cache
    d = dout * gamma
    dx = d / size - np.sign(x) * np.sum(d * x, axis=axis, keepdims=True) / size ** 2
    return FACTOR * dx, np.sum(dout * x / size, axis=tuple(range(x.ndim - gamma.ndim)))
"""
PASSED_ON = """
def pool(x, settings):
    n = settings["pool_stride"]
    return x[:len(x) // n * n].reshape(-1, n, *x.shape[1:]).sum(axis=1)
def pool_relu_forward(x, pool_param):
    y = pool(x, pool_param)
    return np.maximum(y, 0), (x.shape, y, pool_param)
def pool_relu_backward(dout, cache):
    shape, y, pool_param = cache
    dx = np.zeros(shape)
    d = np.repeat(dout * (y > 0), pool_param["pool_stride"], axis=0)
    dx[:len(d)] = FACTOR * d
    return dx
"""
WRITTEN = {"static": STATIC, "in the middle": IN_THE_MIDDLE, "passed on": PASSED_ON}


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize("code", WRITTEN.values(), ids=WRITTEN)
def test_it_is_called_as_it_is_written(tmp_path, monkeypatch, code, factor, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor)).values()
    assert entry.verdict is verdict
