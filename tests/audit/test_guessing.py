"""What an audit has to guess and must not blame on the code: labels, shapes, orders of arguments, packed weights."""

from __future__ import annotations

import pytest

from gradverify.audit import find
from gradverify.audit.attempt import attempt
from gradverify.records import Verdict

PASS, FAIL = Verdict.PASS, Verdict.FAIL

ONE_HOT_ONLY = """
class Net:
    def __init__(self, n_in, n_out):
        self.params = {"W": np.arange(n_in * n_out).reshape(n_in, n_out) / 7.0}
    def predict(self, x):
        e = np.exp(x @ self.params["W"])
        return e / e.sum(1, keepdims=True)
    def loss(self, x, t):
        y = self.predict(x)
        t = t.argmax(1) if t.ndim == 2 else t
        return -np.mean(np.log(y[np.arange(len(x)), t]))
    def gradient(self, x, t):
        return {"W": K * x.T @ (self.predict(x) - t) / len(x)}
"""
BINARY = """
class SigmoidLoss:
    def forward(self, x, t):
        self.y, self.t = 1 / (1 + np.exp(-x)), t
        return -np.mean(np.log(np.c_[1 - self.y, self.y][np.arange(len(x)), t]))
    def backward(self, dout=1):
        return K * (self.y - self.t) * dout / len(self.t)
"""
PACKED = """
def affine_forward(x, weights):
    w, b = weights
    return x @ w + b
def affine_backward(x, weights, dout):
    w, b = weights
    return {"x": dout @ w.T, "w": K * x.T @ dout, "b": dout.sum(0)}
"""
SETTING_BETWEEN = """
def scale_forward(x, w, norm_param, gamma, beta):
    h = x @ w
    return gamma * h + beta, (x, w, h, gamma)
def scale_backward(dout, cache):
    x, w, h, gamma = cache
    dh = K * dout * gamma
    return dh @ w.T, x.T @ dh, (dout * h).sum(0), dout.sum(0)
"""
FACTORY = """
def leaky(alpha):
    return lambda x: np.where(x > 0, x, alpha * x)
def leaky_gradient(alpha):
    return lambda x: K * np.where(x > 0, 1.0, alpha)
"""
DRAWS = """
class Net:
    def __init__(self, n_in, use_dropout=False):
        self.params, self.drops = {"W": np.ones((n_in, 2))}, use_dropout
    def run(self, x, train_flg):
        self.mask = np.random.rand(*x.shape) > 0.4 if self.drops and train_flg else np.ones(x.shape)
        return (x * self.mask) @ self.params["W"]
    def loss(self, x, t, train_flg=False):
        return 0.5 * np.sum((self.run(x, train_flg) - t) ** 2)
    def gradient(self, x, t):
        y = self.run(x, True)
        return {"W": K * (x * self.mask).T @ (y - t)}
"""
CASES = {"one-hot labels": ONE_HOT_ONLY, "binary labels": BINARY, "packed weights": PACKED,
         "a setting between arrays": SETTING_BETWEEN, "a factory": FACTORY, "random masks": DRAWS}  # fmt: skip
DENSE = """
class Dense:
    def __init__(self, n_in, n_out):
        self.W = np.ones((n_in, n_out))
    def forward(self, x):
        self.x = x
        return x @ self.W
    def backward(self, g):
        self.dW = (FACTOR) * self.x.T @ g
        return g @ self.W.T
"""
ABSTRACT = """
class Pool:
    def forward(self, x):
        return self._pool(x)
    def backward(self, g):
        return g * self._mask()
class Half(Pool):
    def _pool(self, x):
        return x / 2
    def _mask(self):
        return 0.5
"""
COMPILED = """
from .conv import convolve
class Conv:
    def forward(self, x):
        out = np.empty(x.shape)
        convolve(x, out)
        return out
    def backward(self, g):
        return g
"""
NO_GRADIENT = """
def log_loss(p, t):
    return np.mean(-t * np.log(p) - (1 - t) * np.log(1 - p)), {}
"""
OBJECTS = """
class Box:
    pass
class Layer:
    def forward(self, x):
        return 2 * x
    def backward(self, g):
        return Box()
"""


def audited(tmp_path, code, name="specimen"):
    (tmp_path / f"{name}.py").write_text(f"import numpy as np\nK = 1.0\n{code}")
    return [attempt(candidate, 0) for candidate in find(tmp_path)]


@pytest.mark.parametrize("code", CASES.values(), ids=CASES)
def test_what_is_right_passes(tmp_path, code):
    (entry,) = audited(tmp_path, code)
    assert entry.verdict is PASS, str(entry)


@pytest.mark.parametrize("code", CASES.values(), ids=CASES)
def test_what_is_wrong_fails(tmp_path, code):
    (entry,) = audited(tmp_path, code.replace("K *", "1.5 *") if code is not BINARY else code.replace("K *", "x * "))
    assert entry.verdict is not PASS, str(entry)


@pytest.mark.parametrize(("factor", "verdict"), [("1 / len(g)", Verdict.INCONCLUSIVE), ("2", FAIL), ("0.5", FAIL)])
def test_only_a_mean_over_the_batch_is_a_convention(tmp_path, factor, verdict):
    (entry,) = audited(tmp_path, DENSE.replace("FACTOR", factor))
    assert entry.verdict is verdict


def test_a_class_that_leaves_the_work_to_others_is_no_candidate(tmp_path):
    (tmp_path / "pools.py").write_text(ABSTRACT)
    assert "pools:Pool" not in {candidate.symbol for candidate in find(tmp_path)}


def test_an_empty_dictionary_beside_a_value_is_no_gradient(tmp_path):
    (tmp_path / "metrics.py").write_text(NO_GRADIENT)
    assert find(tmp_path) == ()


def test_what_computes_with_something_that_is_not_compiled_is_not_tried(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/__init__.py").write_text("")
    (entry,) = audited(tmp_path / "net", COMPILED, "layers")
    assert "not compiled: net.conv" in entry.reason


def test_a_backward_that_cannot_be_read_is_not_tried(tmp_path):
    (entry,) = audited(tmp_path, OBJECTS)
    assert entry.report is None
    assert "whose gradients it returns" in entry.reason


SATURATED = """
def bent(x):
    return np.tanh(364 * x)
def bent_prime(x):
    return K * 364 * (1 - np.tanh(364 * x) ** 2)
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", {Verdict.PASS, Verdict.INCONCLUSIVE}), ("1.3", {FAIL})])
def test_what_the_likelier_reading_can_hardly_decide_another_does_not_fail(tmp_path, factor, verdict):
    (entry,) = audited(tmp_path, SATURATED.replace("K", factor))
    assert entry.verdict in verdict
