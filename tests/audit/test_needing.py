"""What a derivative needs that its names do not say: flags, sizes that fit, a set-up, a place for its gradients."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.audit import find
from gradverify.audit.answers import Answer
from gradverify.audit.attempt import _failures_at
from gradverify.audit.constructing import calls_to_try
from gradverify.audit.inputs import Arguments
from gradverify.audit.load import load
from gradverify.audit.readings import Reading, Trial
from gradverify.records import Cause, Check, Report, Verdict
from tests.projects import attempts

KEPT_IF_ASKED = """
class Scale:
    def __init__(self):
        self.w, self.inp = np.array([0.5, 1.5, 2.5]), None
    def __call__(self, x, save_inp=False):
        if save_inp:
            self.inp = x
        return x * self.w
    def backward(self, grad_inp):
        self.grad_w = np.sum(grad_inp * self.inp, axis=0)
        return FACTOR * grad_inp * self.w
"""
INTO_A_DICTIONARY = """
class Dense:
    def __init__(self, in_dim, out_dim, name="Dense"):
        self.name, self._parameters = name, {f"{name}/W": np.random.randn(in_dim, out_dim)}
    def forward(self, x):
        return x @ self._parameters[f"{self.name}/W"], {}
    def backward(self, x, cache, backwards_gradient, gradients):
        gradients[f"{self.name}/W"] = FACTOR * x.T @ backwards_gradient
        return backwards_gradient @ self._parameters[f"{self.name}/W"].T
"""
SET_UP_BY_ANY_NAME = """
class Dense:
    def __init__(self, units):
        self.units = units
    def hear_about(self, shape):
        self.n_in = shape[-1]
        self.w = np.random.randn(self.n_in, self.units)
        return shape[0], self.units
    def forward(self, x):
        self.x = x.reshape(-1, self.n_in)
        return self.x @ self.w
    def backward(self, dy):
        self.dw = self.x.T @ dy
        return FACTOR * dy @ self.w.T
"""
IN_HEADS = """
class Mixed:
    def __init__(self, input_d, heads_num=8):
        self.n, self.d = heads_num, input_d // heads_num
        self.w = np.random.randn(input_d, input_d)
    def forward(self, x):
        self.x = x
        return (x @ self.w).reshape(*x.shape[:-1], self.n, self.d) * np.arange(1.0, self.n + 1)[:, None]
    def backward(self, dy):
        dz = (dy * np.arange(1.0, self.n + 1)[:, None]).reshape(self.x.shape)
        self.dw = self.x.reshape(-1, self.x.shape[-1]).T @ dz.reshape(-1, self.x.shape[-1])
        return FACTOR * dz @ self.w.T
"""
IN_HALVES = """
class Positions:
    def __init__(self, max_len, output_d):
        at = np.arange(max_len)[:, None] / np.power(1e4, np.arange(0, output_d, 2) / output_d)
        pe = np.zeros((max_len, output_d))
        pe[:, 0::2], pe[:, 1::2] = np.sin(at), np.cos(at)
        self.pe = pe[None]
    def forward(self, x):
        self.n, length, width = x.shape
        return 2 * x + self.pe[:, :length, :]
    def backward(self, dy):
        return FACTOR * 2 * dy
"""
SIZES_CALLED_LIKE_LAYERS = """
class Dropout:
    def __init__(self, rate):
        self.keep = 1.0 - rate
    def forward(self, x):
        return x * self.keep
    def backward(self, dy):
        return dy * self.keep
class Stack:
    def __init__(self, layer_num, d_model, dropout):
        self.w = [np.random.randn(d_model, d_model) for _ in range(layer_num)]
        self.dropout = Dropout(dropout)
    def forward(self, x):
        for w in self.w:
            x = self.dropout.forward(x) @ w
        return x
    def backward(self, dy):
        for w in reversed(self.w):
            dy = self.dropout.backward(dy @ w.T)
        return FACTOR * dy
"""
CHANNELS_LAST = """
class MeanPool:
    def forward(self, x):
        n, h, w, c = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
    def backward(self, dy):
        return FACTOR * dy.repeat(2, axis=1).repeat(2, axis=2) / 4
"""
THREE_ARRAYS = """
def quadratic_loss_and_grad(A, b, x):
    loss = 0.5 * float(x @ A @ x) - float(b @ x)
    grad = FACTOR * 0.5 * (A + A.T) @ x - b
    return loss, grad
"""
AT_AN_INDEX = """
class Sum:
    def __init__(self):
        self.features = np.arange(1.0, 7.0).reshape(2, 3)
    def individual_objective(self, x, i: int):
        return float(np.sin(self.features[i] @ x))
    def individual_gradient(self, x, i: int):
        return FACTOR * np.cos(self.features[i] @ x) * self.features[i]
"""
OF_A_VECTOR = """
class Valley:
    def __init__(self):
        self.low = np.zeros(4)
    def gradient(self, x):
        return 4 * x ** 3
    def hessian(self, x):
        H = np.zeros((len(x), len(x)))
        for i in range(len(x)):
            H[i, i] = FACTOR * 12 * x[i] ** 2
        return H
"""
WRITTEN = {"kept if asked": KEPT_IF_ASKED, "into a dictionary": INTO_A_DICTIONARY, "set up by any name": SET_UP_BY_ANY_NAME,
           "in heads": IN_HEADS, "in halves": IN_HALVES, "sizes called like layers": SIZES_CALLED_LIKE_LAYERS,
           "channels last": CHANNELS_LAST, "three arrays": THREE_ARRAYS, "at an index": AT_AN_INDEX,
           "of a vector": OF_A_VECTOR}  # fmt: skip


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize("code", WRITTEN.values(), ids=WRITTEN)
def test_what_needs_more_than_its_names_say_is_judged(tmp_path, monkeypatch, code, factor, verdict):
    *_, entry = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor)).values()
    assert (entry.verdict, entry.reason) == (verdict, "")


def test_two_heads_are_tried_where_the_default_does_not_fit(tmp_path, monkeypatch):
    wrong = IN_HEADS.replace("FACTOR", "1").replace(
        "dz = (dy * np.arange(1.0, self.n + 1)[:, None])", "dz = (dy * np.arange(1.0, self.n + 1)[::-1, None])")
    (entry,) = attempts(tmp_path, monkeypatch, wrong).values()
    assert entry.verdict is Verdict.FAIL


def test_a_gradient_that_is_right_for_symmetric_matrices_only_may_be_meant_so(tmp_path, monkeypatch):
    code = THREE_ARRAYS.replace("FACTOR * 0.5 * (A + A.T) @ x", "A @ x")
    (entry,) = attempts(tmp_path, monkeypatch, code).values()
    assert (entry.verdict, entry.convention.endswith(" of a symmetric A")) == (Verdict.INCONCLUSIVE, True)


def test_a_forgotten_transpose_is_no_matter_of_symmetry(tmp_path, monkeypatch):
    code = THREE_ARRAYS.replace("0.5 * float(x @ A @ x)", "float(np.sum(np.tanh(A @ x)))")
    code = code.replace("FACTOR * 0.5 * (A + A.T) @ x", "A @ (1 - np.tanh(A @ x) ** 2)")
    (entry,) = attempts(tmp_path, monkeypatch, code).values()
    assert entry.verdict is Verdict.FAIL


def test_what_returns_nothing_is_no_derivative(tmp_path, monkeypatch):
    code = OF_A_VECTOR.replace("        H = np", "        return None\n        H = np")
    bare = "class Valley:\n    def gradient(self, x):\n        return x ** 3\n    def hessian(self, x):\n        return None\n"
    assert attempts(tmp_path, monkeypatch, bare) == {}
    (tmp_path / "other").mkdir()
    assert attempts(tmp_path / "other", monkeypatch, code) != {}


IN_BOTH_DIRECTIONS = """
class Bidirectional:
    def _forward_direction(self, x, h_0):
        return np.cumsum(x, axis=0) + h_0
    def _backward_direction(self, x, h_0):
        return np.cumsum(x[::-1], axis=0) + h_0
"""


def test_a_sequence_read_from_its_end_is_no_derivative(tmp_path, monkeypatch):
    assert attempts(tmp_path, monkeypatch, IN_BOTH_DIRECTIONS) == {}
    code = IN_BOTH_DIRECTIONS.replace("_backward_direction(self, x", "_backward_direction(self, dx")
    (tmp_path / "other").mkdir()
    assert len(attempts(tmp_path / "other", monkeypatch, code)) == 1


WITH_PADDING = """
class Pooled:
    def __init__(self, K, P, S):
        self.K, self.P, self.S = K, P, S
    def forward(self, x):
        self.n = x.shape[-1]
        padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(self.P, self.P)])
        return sum(padded[..., k : k + self.n + 2 * self.P - self.K + 1 : self.S] for k in range(self.K))
    def backward(self, dy):
        dx = np.zeros((*dy.shape[:-1], self.n + 2 * self.P))
        for k in range(self.K):
            dx[..., k : k + self.n + 2 * self.P - self.K + 1 : self.S] += FACTOR * dy
        return dx[..., self.P : self.P + self.n]
"""
AS_WIDE_AS_TOLD = """
class Block:
    def __init__(self, d_model, num_heads):
        self.d_model, self.num_heads = d_model, num_heads
    def build(self, input_shape):
        self.input_shape = input_shape
        self.w = np.random.randn(self.d_model, self.d_model)
    def forward(self, x):
        if x.shape[-1] != self.input_shape[-1]:
            raise ValueError(f"Expected {self.input_shape[-1]}, but got {x.shape[-1]}")
        self.x = x
        return (x @ self.w).reshape(*x.shape[:-1], self.num_heads, -1)
    def backward(self, dy):
        dz = dy.reshape(self.x.shape)
        self.dw = FACTOR * self.x.reshape(-1, self.d_model).T @ dz.reshape(-1, self.d_model)
        return dz @ self.w.T
"""
REPEATED = """
class Repeat:
    def __init__(self, scale):
        self.scale = scale
    def forward(self, x):
        return x.repeat(self.scale, axis=-1)
    def backward(self, dy):
        return FACTOR * dy.reshape(*dy.shape[:-1], -1, self.scale).sum(axis=-1)
"""
FED_BY_ATTRIBUTES = """
class Sigmoid:
    def __init__(self):
        self.input = self.output = self.output_side_deltas = self.input_side_deltas = None
    def forward_pass(self):
        self.output = 1 / (1 + np.exp(-self.input))
        return self.output
    def backward_pass(self, backprop_params):
        self.input_side_deltas = FACTOR * self.output_side_deltas * self.output * (1 - self.output)
        return self.input_side_deltas
"""
CLIPPED = """
class SiLU:
    def forward(self, x):
        self.x, self.s = x, 1 / (1 + np.exp(-np.clip(x, -30, 30)))
        return x * self.s
    def backward(self, dy):
        return FACTOR * dy * self.s * (1 + self.x * (1 - self.s))
"""
DROPPED = """
from scipy.special import sigmoid_that_nobody_has
def cube(x):
    return x ** 3
def cube_prime(x):
    return FACTOR * 3 * x ** 2
"""
ALONE = {"padding": WITH_PADDING, "as wide as told": AS_WIDE_AS_TOLD, "repeated": REPEATED,
         "fed by attributes": FED_BY_ATTRIBUTES, "clipped": CLIPPED, "dropped": DROPPED}  # fmt: skip


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize("code", ALONE.values(), ids=ALONE)
def test_the_one_derivative_of_a_file_is_judged_as_its_authors_had_it(tmp_path, monkeypatch, code, factor, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor)).values()
    assert (entry.verdict, entry.reason) == (verdict, "")


def test_a_package_goes_before_the_file_of_its_name_in_it(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("a project\n")
    (tmp_path / "net" / "tools").mkdir(parents=True)
    (tmp_path / "net" / "tools" / "powers.py").write_text("def third(x):\n    return x ** 3\n")
    (tmp_path / "net" / "net.py").write_text("from net.tools.powers import third\n")
    code = "from net.tools.powers import third\ndef cube(x):\n    return third(x)\ndef cube_prime(x):\n    return 3 * x ** 2\n"
    (entry,) = attempts(tmp_path, monkeypatch, code, file="net/losses.py").values()
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


OTHERWISE_CALLED = """
class Scale:
    def __init__(self):
        self.w, self.w_grads = np.array([0.5, 1.5, 2.5]), None
    def forward(self, inpt):
        self.inpt = inpt
        return inpt * self.w
    def zero_grad(self):
        self.w_grads = np.zeros(3)
    def compute_gradients(self, grads):
        self.w_grads = np.sum(grads * self.inpt, axis=0)
        return FACTOR * grads * self.w
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_a_backward_is_told_by_what_it_takes(tmp_path, monkeypatch, factor, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, OTHERWISE_CALLED.replace("FACTOR", factor)).values()
    assert (entry.verdict, entry.convention) == (verdict, "forward/compute_gradients")


AFTER_ANOTHER = """
class FC:
    def __init__(self, input_layer, num_outputs, name):
        self.input_shape = input_layer.shape
        self.shape = (self.input_shape[0], num_outputs)
        self.weights = np.random.randn(num_outputs, int(np.prod(self.input_shape[1:])))
    def forward(self, inputs, is_training=True):
        self.inputs = inputs.reshape(inputs.shape[0], -1)
        return self.inputs @ self.weights.T
    def backward_inputs(self, grads):
        return FACTOR * (grads @ self.weights).reshape(grads.shape[0], *self.input_shape[1:])
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_a_layer_is_made_after_one_that_says_its_shape(tmp_path, monkeypatch, factor, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, AFTER_ANOTHER.replace("FACTOR", factor)).values()
    assert (entry.verdict, entry.convention) == (verdict, "forward/backward_inputs")


CHOSEN = """
def chosen_forward(x, condition, y):
    return np.where(condition, x ** 2, y), (x, condition)
def chosen_backward(dout, cache):
    x, condition = cache
    return FACTOR * 2 * x * dout * condition, None, dout * (1.0 - condition)
"""
DISTILLED = """
def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
class Distillation:
    def loss(self, pred, label, teacher_prob):
        return -np.sum((label + teacher_prob) * np.log(softmax(pred)))
    def grad(self, pred, label, teacher_prob):
        return FACTOR * (2 * softmax(pred) - label - teacher_prob)
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize("code", [CHOSEN, DISTILLED])
def test_conditions_are_true_or_false_and_soft_labels_labels(tmp_path, monkeypatch, code, factor, verdict):
    entries = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor))
    entry = next(e for name, e in entries.items() if name != "softmax")
    assert (entry.verdict, entry.reason) == (verdict, "")


def scale(x):
    return 2 * x


@pytest.mark.parametrize(("cause", "left"), [("dtype", 0), ("factor", 1)])
def test_rounding_to_float32_is_no_failure_at_another_setting(monkeypatch, cause, left):
    failed = Check("scale", "x", "out", Verdict.FAIL, causes=(Cause(cause, "", "", "", 0.9),))
    answer = Answer(Report("scale", (failed,)), "", 0, Arguments((np.ones(3),), {}))
    monkeypatch.setattr("gradverify.audit.attempt.ask", lambda *_, **__: answer)
    trial = Trial(scale, (), (Reading(lambda _: scale),), lambda arguments: scale(*arguments.inputs))
    assert len(_failures_at(trial, answer, 0, "no_bias=True")) == left


def test_a_size_is_a_number_whatever_it_is_called_like(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    halves = "class Half:\n    def forward(self, x):\n        return x / 2\n    def backward(self, dy):\n        return dy / 2\n"
    (tmp_path / "stack.py").write_text("import numpy as np\n" + halves + SIZES_CALLED_LIKE_LAYERS)
    source = find(tmp_path / "stack.py")[0].source
    first, _ = next(calls_to_try(load(source).Stack, 0, source.path))
    assert [type(value) for value in first] == [int, int, float]
