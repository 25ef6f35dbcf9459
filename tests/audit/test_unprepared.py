"""Code as strangers write it: hidden signatures, private names, sizes heard from a layer before, exercises left undone."""

from __future__ import annotations

import pytest

from gradverify.records import Verdict
from tests.projects import attempts

HIDDEN = """
def traced(f):
    def wrap(*args, **kwargs):
        wrap.calls += 1
        return f(*args, **kwargs)
    wrap.calls = 0
    return wrap
@traced
def squared_error(y_true, y_pred, prime=False):
    return K * (y_pred - y_true) / y_pred.size if prime else np.mean((y_pred - y_true) ** 2)
"""
PRIVATE = """
class Square:
    def __init__(self):
        self.x = None
    def __forward(self, x):
        self.x = x
        return x * x
    def __backward(self, dy):
        return K * self.x * dy
"""
CONV1D = """
class Conv1d:
    def __init__(self, in_channels, out_channels, kernel_size=3):
        self.weight = np.random.default_rng(0).standard_normal((out_channels, in_channels, kernel_size))
    def forward(self, x):
        self.x = np.lib.stride_tricks.sliding_window_view(x, self.weight.shape[2], axis=2)
        return np.einsum("nclk,fck->nfl", self.x, self.weight)
    def backward(self, dy):
        self.grad_weight = K / 2 * np.einsum("nclk,nfl->fck", self.x, dy)
        k = self.weight.shape[2]
        padded = np.pad(dy, ((0, 0), (0, 0), (k - 1, k - 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, k, axis=2)
        return np.einsum("nflk,fck->ncl", windows, self.weight[:, :, ::-1])
"""
DENSE_BY_SIZE = """
class Dense:
    def __init__(self, units):
        self.units = units
    def set_input_shape(self, shape):
        if len(shape) > 1:
            raise ValueError("flat inputs only")
    def init_params(self, input_dim):
        self.W = np.ones((input_dim, self.units))
    def forward(self, x):
        self.x = x
        return x @ self.W
    def backward(self, dy):
        self.dW = K / 2 * self.x.T @ dy
        return dy @ self.W.T
"""
FROM_THE_LAYER_BEFORE = """
class Layer:
    def __init__(self, input_shape=None):
        self.input_shape = input_shape
    def forward(self, x):
        if x.shape[1:] != self.input_shape[1:]:
            raise ValueError("another shape")
        self.x = x
        return x ** 2
    def backward(self, dy):
        return K * self.x * dy
"""
ADDING = """
class Layer:
    def forward(self, x):
        self.x, self.output = x, x ** 2
        self.delta = np.zeros_like(x)
        return self
    def backward(self, delta):
        delta[:] += K * self.x * self.delta
        return self
"""
NAMED_RETURNS = """
class Loss:
    def loss(self, z_mean, z_log_var):
        return 0.5 * np.sum(z_mean ** 2 + np.exp(z_log_var) - z_log_var)
    def gradient(self, z_mean, z_log_var):
        dLogVar = 0.5 * (np.exp(z_log_var) - 1)
        dMean = K / 2 * z_mean
        return dLogVar, dMean
"""
PAIRS = """
def pool_forward(x, stride):
    sh, sw = stride
    return x[:, :, ::sh, ::sw] ** 2, (x, stride)
def pool_backward(dy, cache):
    x, (sh, sw) = cache
    dx = np.zeros_like(x)
    dx[:, :, ::sh, ::sw] = K * x[:, :, ::sh, ::sw] * dy
    return dx
"""
SCRIPT = """
data = open("a file that is not here").read()
size = len(data)
def cube(x):
    return x ** 3
def cube_prime(x):
    return (K + 1) * x ** 2
"""
PYTHON_2 = """
def halves_forward(x):
    n = x.shape[0] / 2
    return x[:n] ** 2, x
def halves_backward(dy, x):
    dx = np.zeros_like(x)
    for i in xrange(x.shape[0] / 2):
        dx[i] = K * x[i] * dy[i]
    return dx
"""
GUARDED = """
class Logit:
    def _clean(self, p):
        return np.clip(p, 1e-16, 1.0 - 1e-16)
    def __call__(self, p):
        q = self._clean(p)
        return q * q / (1 - q)
    def deriv(self, p):
        q = self._clean(p)
        return (K * q - q * q) / (1 - q) ** 2
"""

OF_LAYERS = """
class Tanh:
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y
    def backward(self, dy):
        return dy * (1 - self.y ** 2)
class Dense:
    def __init__(self, n_in, n_out):
        self.W = np.arange(n_in * n_out).reshape(n_in, n_out) / 7.0
    def forward(self, x):
        self.x = x
        return x @ self.W
    def backward(self, dy):
        self.dW = self.x.T @ dy
        return dy @ self.W.T
class Network:
    def __init__(self, layers):
        self.layers = layers
    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x
    def backward(self, dy):
        for layer in ORDER:
            dy = layer.backward(dy)
        return dy
class Residual:
    def __init__(self, layer):
        self.layer = layer
    def forward(self, x):
        return x + self.layer.forward(x)
    def backward(self, dy):
        return ORDER and dy + self.layer.backward(dy)
"""

ONE_AXIS = """
def size(x):
    return np.abs(x) ** 3
def size_derivative(x):
    d = K * np.abs(x) ** 2
    d[np.flatnonzero(x < 0)] *= -1
    return d
"""
COMPILED = """
from a_compiler_that_nobody_has import njit, float64
@njit([float64[:](float64[:])], cache=True)
def cube(x):
    return x ** 3
@njit(cache=True)
def cube_prime(x):
    return (K + 1) * x ** 2
"""
EPSILON = """
class CrossEntropyLoss:
    def __call__(self, preds, targs):
        e = np.exp(6 * preds - np.max(6 * preds, axis=1, keepdims=True))
        self.y, self.t = e / np.sum(e, axis=1, keepdims=True), np.eye(preds.shape[1])[targs]
        return -np.sum(self.t * np.log(self.y + 1e-7)) / len(targs)
    def backward(self):
        return K * 3 * (self.y - self.t) / len(self.t)
"""
ONE_SAMPLE = """
class Softmax:
    def __init__(self, shape_in):
        self.y, self.grad_x = np.zeros(shape_in), np.zeros(shape_in)
    def forward(self, x):
        e = np.exp(x - np.max(x))
        self.y = e / np.sum(e)
        return self.y
    def backward(self, dy):
        return K / 2 * (np.diag(self.y) - np.outer(self.y, self.y)) @ dy
"""
HANDED_ON = """
class SquaredLoss:
    def __init__(self, shape_in):
        self.loss = np.zeros(shape_in)
    def forward(self, x, t):
        self.x, self.t = x, t
        self.loss = self.loss + 0.5 * (x - t) ** 2
        return x
    def backward(self):
        return K / 2 * (self.x - self.t)
"""
ALL = [EPSILON, ONE_SAMPLE, HANDED_ON, COMPILED, GUARDED, SCRIPT, PYTHON_2, HIDDEN, PRIVATE, CONV1D, DENSE_BY_SIZE, FROM_THE_LAYER_BEFORE, ADDING, NAMED_RETURNS, PAIRS]
CLIPPED = """
def hard(x):
    x = np.clip(x, 0.0, 1.0)
    return x * x
def hard_derivative(x):
    return 2 * x MASK
"""

UNDONE = """
def norm_forward(x, param):
    eps = param.get("eps", 1e-5)
    out, cache = None, None
    # to be written
    return out, cache
def norm_backward(dout, cache):
    dx = None
    return dx
"""


def entries(tmp_path, monkeypatch, code, file="unprepared.py"):
    return list(attempts(tmp_path, monkeypatch, code, file).values())


@pytest.mark.parametrize("code", ALL)
def test_what_is_right_passes(tmp_path, monkeypatch, code):
    (entry,) = entries(tmp_path, monkeypatch, code.replace("K", "2"))
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


@pytest.mark.parametrize("code", ALL)
def test_what_is_wrong_fails(tmp_path, monkeypatch, code):
    (entry,) = entries(tmp_path, monkeypatch, code.replace("K", "3.3"))
    assert entry.verdict is Verdict.FAIL


@pytest.mark.parametrize(("order", "verdict"), [("self.layers[::-1]", Verdict.PASS), ("self.layers", Verdict.FAIL)])
def test_a_network_is_made_of_layers_of_its_project(tmp_path, monkeypatch, order, verdict):
    code = OF_LAYERS.replace("ORDER and", "").replace("ORDER", order)
    found = {entry.symbol.split(":")[1]: entry for entry in entries(tmp_path, monkeypatch, code)}
    assert (found["Network"].verdict, found["Residual"].verdict) == (verdict, Verdict.PASS)


@pytest.mark.parametrize(("factor", "verdict"), [("3", Verdict.PASS), ("2", Verdict.FAIL)])
def test_a_derivative_that_raises_is_judged_where_it_does_not(tmp_path, monkeypatch, factor, verdict):
    (entry,) = entries(tmp_path, monkeypatch, ONE_AXIS.replace("K", factor))
    assert (entry.verdict, entry.convention) == (verdict, "size/size_derivative")


@pytest.mark.parametrize(("mask", "verdict"), [("* ((x > 0) & (x < 1))", Verdict.PASS), ("", Verdict.FAIL)])
def test_a_clip_that_is_an_operation_is_no_guard(tmp_path, monkeypatch, mask, verdict):
    (entry,) = entries(tmp_path, monkeypatch, CLIPPED.replace("MASK", mask))
    assert entry.verdict is verdict


def test_of_a_backward_that_returns_nothing_nothing_is_said(tmp_path, monkeypatch):
    code = PRIVATE.replace("return K *", "self.dx = K *")
    (entry,) = entries(tmp_path, monkeypatch, code.replace("K", "2"))
    assert entry.report is None
    assert "its derivative raises" in entry.reason


def test_an_exercise_that_nobody_has_done_carries_nothing(tmp_path, monkeypatch):
    assert entries(tmp_path, monkeypatch, UNDONE) == []
    assert len(entries(tmp_path, monkeypatch, UNDONE.replace("out, cache = None, None", "out, cache = x, None"))) == 0
    done = UNDONE.replace("dx = None", "dx = dout").replace("out, cache = None, None", "out, cache = x, None")
    assert len(entries(tmp_path, monkeypatch, done)) == 1


def test_relative_imports_work_where_a_folder_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "project/scale.py").write_text("FACTOR = 2\n")
    code = PRIVATE.replace("K", "FACTOR")
    (entry,) = entries(tmp_path, monkeypatch, f"from ..scale import FACTOR\n{code}", "project/parts/square.py")
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


def test_a_docstring_that_speaks_of_printing_makes_no_code_of_python_2(tmp_path, monkeypatch):
    code = '''
class Half:
    """Half the square.

    print losses every epoch; nothing here calls xrange(
    """
    def forward(self, x):
        self.x = x
        return 1 / 2 * x ** 2
    def backward(self, dy):
        return self.x * dy
'''
    (entry,) = entries(tmp_path, monkeypatch, code)
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


@pytest.mark.parametrize("shim", ["import _pickle as cPickle\nload = cPickle.load", "xrange = range\nn = xrange(2)"])
def test_names_of_python_2_that_a_file_gives_a_meaning_make_it_none_of_python_2(tmp_path, monkeypatch, shim):
    (tmp_path / "README.md").write_text("a project\n")
    (tmp_path / "loading.py").write_text(f"{shim}\n")
    code = CUBE_OF_ROOT
    (entry,) = entries(tmp_path, monkeypatch, code)
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


CUBE_OF_ROOT = """
def power(x):
    return np.abs(x) ** (3 / 2)
def power_prime(x):
    return 1.5 * np.sign(x) * np.abs(x) ** 0.5
"""
PRINTING = """
class Square:
    def __init__(self):
        print "a layer"
    def forward(self, x):
        self.x = x
        return x * x
    def backward(self, dy):
        try:
            return K * self.x * dy
        except ValueError, error:
            print error
"""


@pytest.mark.parametrize(("factor", "verdict"), [("2", Verdict.PASS), ("3", Verdict.FAIL)])
def test_statements_of_python_2_are_read(tmp_path, monkeypatch, factor, verdict):
    (tmp_path / "README.md").write_text("a project\n")
    (entry,) = entries(tmp_path, monkeypatch, PRINTING.replace("K", factor))
    assert (entry.verdict, entry.reason) == (verdict, "")
