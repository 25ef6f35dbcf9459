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
class Scaled:
    def forward(self, x, eps, gamma):
        self.gamma, self.size = gamma, np.sqrt(np.mean(x ** 2, axis=-1, keepdims=True) + eps)
        self.unit = x / self.size
        return gamma * self.unit
    def backward(self, dout):
        d = dout * self.gamma
        dx = (d - self.unit * np.mean(d * self.unit, axis=-1, keepdims=True)) / self.size
        return FACTOR * dx, np.sum(dout * self.unit, axis=tuple(range(dout.ndim - self.gamma.ndim)))
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


AVERAGED = """
class Embedding:
    def __init__(self, vocab_size, embed_dim):
        self.W = np.random.randn(vocab_size, embed_dim)
    def forward(self, tokens):
        assert tokens.shape[0] == 3
        self.tokens = tokens
        return self.W[tokens]
    def backward(self, dout):
        self.dW = np.zeros_like(self.W)
        np.add.at(self.dW, self.tokens, FACTOR * dout / self.tokens.shape[0])
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.INCONCLUSIVE), ("1.1", Verdict.FAIL)])
def test_an_average_over_a_batch_of_integers_is_a_convention(tmp_path, monkeypatch, factor, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, AVERAGED.replace("FACTOR", factor)).values()
    assert (entry.verdict, "averaged" in entry.convention) == (verdict, factor == "1")


AT_THE_OUTPUT = """
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
def softmax_derivative(s, grad):
    return FACTOR * s * (grad - np.sum(grad * s, axis=-1, keepdims=True))
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_a_pullback_may_be_given_the_output(tmp_path, monkeypatch, factor, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, AT_THE_OUTPUT.replace("FACTOR", factor)).values()
    assert entry.verdict is verdict


DENSE = """
class Dense:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out)
    def forward(self, x):
        self.x = x
        return x @ self.W
"""
PENALIZED = DENSE + """
    def backward(self, dout, reg):
        self.dW = self.x.T @ dout + DECAY * self.W
        return dout @ self.W.T
"""


@pytest.mark.parametrize(("decay", "verdict"), [("reg", Verdict.PASS), ("1", Verdict.FAIL), ("(1 + reg)", Verdict.FAIL)])
def test_a_penalty_that_is_told_is_none_where_it_is_told_so(tmp_path, monkeypatch, decay, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, PENALIZED.replace("DECAY", decay)).values()
    assert entry.verdict is verdict


FORGETS = DENSE + """
    def backward(self, dout):
        self.dW = self.x.T @ dout
        dx = dout @ self.W.T
        END
"""


@pytest.mark.parametrize(("end", "verdict"), [("return dx", Verdict.PASS), ("dx = dx * 1.0", Verdict.FAIL), ("", Verdict.FAIL)])
def test_a_gradient_that_is_computed_and_not_returned_is_missed(tmp_path, monkeypatch, end, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, FORGETS.replace("END", end)).values()
    assert entry.verdict is verdict


def test_a_first_layer_need_not_return_a_gradient(tmp_path, monkeypatch):
    code = FORGETS.replace("        dx = dout @ self.W.T\n        END\n", "")
    (entry,) = attempts(tmp_path, monkeypatch, code).values()
    assert (entry.verdict, {check.wrt for check in entry.report.checks}) == (Verdict.PASS, {"W"})
