"""Layers of static graphs, which are given their inputs when they are made, and what a forward keeps for its backward."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradverify.cli.single import rerun
from tests.projects import attempts

VARIABLES = """
SCOPE = {}
class Variable:
    def __init__(self, shape=list, name=str, scope=''):
        self.name = scope + '/' + name if scope else name
        if self.name in SCOPE:
            raise Exception('exists')
        SCOPE[self.name] = self
        self.shape, self.data, self.diff = shape, np.random.standard_normal(shape), np.zeros(shape)
class Dense:
    def __init__(self, output_num, input_variable=Variable, name=str):
        if not isinstance(input_variable, Variable):
            raise Exception('no variable')
        self.x = input_variable
        self.w = Variable([input_variable.shape[-1], output_num], 'w', name)
        self.out = Variable([input_variable.shape[0], output_num], 'out', name)
        SCOPE[name] = self
    def forward(self):
        self.out.data = self.x.data @ self.w.data
    def backward(self):
        self.w.diff += self.x.data.T @ self.out.diff
        self.x.diff = FACTOR * self.out.diff @ self.w.data.T
"""
TOPS = """
class Blob:
    def __init__(self, data):
        self.value, self.grad, self.shape = data, np.zeros_like(data), data.shape
class Input:
    def __init__(self, batch_size, input_size):
        self.top = Blob(np.zeros((batch_size, input_size)))
class Sin:
    def __init__(self, prev_layer):
        self.bottom = prev_layer.top
        self.top = Blob(np.zeros_like(self.bottom.value))
    def forward(self):
        self.top.value = np.sin(self.bottom.value)
    def backward(self):
        self.bottom.grad += FACTOR * np.cos(self.bottom.value) * self.top.grad
"""
BY_NODE = """
class Node:
    def __init__(self, inbound_nodes=[]):
        self.inbound_nodes, self.outbound_nodes, self.value, self.gradients = inbound_nodes, [], None, {}
        for node in inbound_nodes:
            node.outbound_nodes.append(self)
class Input(Node):
    def __init__(self):
        Node.__init__(self)
class Linear(Node):
    def __init__(self, X, W, b):
        Node.__init__(self, [X, W, b])
    def forward(self):
        x, w, b = (n.value for n in self.inbound_nodes)
        self.value = x @ w + b
    def backward(self):
        x, w, b = self.inbound_nodes
        self.gradients = {n: np.zeros_like(n.value) for n in self.inbound_nodes}
        for n in self.outbound_nodes:
            dy = n.gradients[self]
            self.gradients[x] += FACTOR * dy @ w.value.T
            self.gradients[w] += x.value.T @ dy
            self.gradients[b] += dy.sum(axis=0)
"""
A_LOSS = """
class Node:
    def __init__(self, *inputs):
        self.inputs, self.value, self.gradients = inputs, None, {}
class Input(Node):
    pass
class MSE(Node):
    def __init__(self, y, a):
        Node.__init__(self, y, a)
    def forward(self):
        y, a = (n.value.reshape(-1, 1) for n in self.inputs)
        self.diff = y - a
        self.value = np.mean(self.diff ** 2)
    def backward(self):
        y, a = self.inputs
        self.gradients[y] = 2 / len(self.diff) * self.diff
        self.gradients[a] = FACTOR * -2 / len(self.diff) * self.diff
"""
SEVERAL = """
class Node:
    def __init__(self, *inputs):
        self.inputs, self.value, self.grad = inputs, None, 0
class Times(Node):
    def forward(self):
        self.value = self.inputs[0].value * self.inputs[1].value
    def backward(self):
        self.inputs[0].grad = self.inputs[0].grad + FACTOR * self.grad * self.inputs[1].value
        self.inputs[1].grad = self.inputs[1].grad + self.grad * self.inputs[0].value
"""
STATE_BESIDE_THE_OUTPUT = """
class Cell:
    def __init__(self, n_in, n_hidden):
        self.Wz, self.Wo = np.random.randn(n_hidden, n_in), np.random.randn(n_hidden, n_in)
    def forward(self, x):
        z, o = np.tanh(x @ self.Wz.T), np.tanh(x @ self.Wo.T)
        kept = (x, z, o)
        return z * o, kept
    def backward(self, deltas, fwd_state):
        x, z, o = fwd_state
        dz, do = deltas * o * (1 - z ** 2), deltas * z * (1 - o ** 2)
        return FACTOR * (dz @ self.Wz + do @ self.Wo), (dz.T @ x, do.T @ x)
"""
STATES_OF_TWO_LAYERS = """
class Two:
    def __init__(self, n_in, n_hidden):
        self.W1, self.W2 = np.random.randn(n_in, n_hidden), np.random.randn(n_hidden, 4)
    def forward(self, x):
        h = np.tanh(x @ self.W1)
        out, fwd_x, fwd_h = h @ self.W2, [x], [h]
        return out, fwd_x, fwd_h
    def backward(self, deltas, state_x, state_h):
        dh = (deltas @ self.W2.T) * (1 - state_h[0] ** 2)
        return FACTOR * dh @ self.W1.T
"""


TOLD_ITS_LABELS = """
class SoftmaxLoss:
    def set_batch_labels(self, batch_labels):
        self.batch_labels = batch_labels
    def forward(self, scores):
        n = scores.shape[0]
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        at = np.arange(n), self.batch_labels
        self.gradient = p.copy()
        self.gradient[at] -= 1
        self.gradient /= n
        return -np.sum(np.log(p[at])) / n
    def backward(self, gradient=1):
        return FACTOR * self.gradient
"""


@pytest.mark.parametrize(
    ("code", "name", "leaves"),
    [
        (TOLD_ITS_LABELS, "SoftmaxLoss", {"scores"}),
        (VARIABLES, "Dense", {"input_variable", "w"}),
        (TOPS, "Sin", {"prev_layer"}),
        (BY_NODE, "Linear", {"X", "W", "b"}),
        (A_LOSS, "MSE", {"a"}),
        (SEVERAL, "Times", {"x", "x_2"}),
        (STATE_BESIDE_THE_OUTPUT, "Cell", {"x", "Wz", "Wo"}),
        (STATES_OF_TWO_LAYERS, "Two", {"x"}),
    ],
)
@pytest.mark.parametrize(("factor", "verdict"), [("1", "pass"), ("2", "fail")])
def test_what_a_layer_is_given_before_its_forward_or_keeps_for_its_backward_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, name: str, leaves: set[str], factor: str, verdict: str
) -> None:
    entry = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor))[name]
    assert entry.verdict == verdict, str(entry)
    assert entry.report is not None
    assert {check.wrt for check in entry.report.checks} >= leaves
    if verdict == "fail":
        assert [c.causes[0].name for c in entry.report.checks if c.verdict == "fail"][:1] == ["factor"]


STEPS_BACKWARD = """
class Dense:
    def __init__(self, shape, output_num=2):
        self.input_shape, self.n = shape, shape[0]
        self.weights = np.random.standard_normal((shape[1] * shape[2] * shape[-1], output_num))
        self.w_gradient, self.eta = np.zeros(self.weights.shape), np.zeros((self.n, output_num))
    def forward(self, x):
        self.x = x.reshape(self.n, -1)
        return self.x @ self.weights
    def gradient(self, eta):
        self.eta = eta
        self.w_gradient += self.x.T @ eta
        return FACTOR * (eta @ self.weights.T).reshape(self.input_shape)
    def backward(self, alpha=1e-5, weight_decay=4e-4):
        self.weights *= 1 - weight_decay
        self.weights -= alpha * self.w_gradient
"""
PULLS_BY_ITS_GRADIENT = """
class Leaky:
    def __init__(self, shape):
        self.eta, self.x = np.zeros(shape), np.zeros(shape)
    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, 0.1 * x)
    def gradient(self, eta):
        self.eta = FACTOR * np.where(self.x > 0, eta, 0.1 * eta)
        return self.eta
"""


@pytest.mark.parametrize(
    ("code", "name", "leaves"),
    [(STEPS_BACKWARD, "Dense", {"x", "weights"}), (PULLS_BY_ITS_GRADIENT, "Leaky", {"x"})],
)
@pytest.mark.parametrize(("factor", "verdict"), [("1", "pass"), ("2", "fail")])
def test_a_gradient_of_an_upstream_one_goes_before_a_backward_that_only_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, name: str, leaves: set[str], factor: str, verdict: str
) -> None:
    entry = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor))[name]
    assert entry.convention == "forward/gradient"
    assert entry.verdict == verdict, str(entry)
    assert entry.report is not None
    assert {check.wrt for check in entry.report.checks} == leaves


@pytest.mark.parametrize(("code", "name"), [(TOPS, "Sin"), (SEVERAL, "Times")])
def test_a_failure_of_a_wired_layer_can_be_shown_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, name: str
) -> None:
    entry = attempts(tmp_path, monkeypatch, code.replace("FACTOR", "2"))[name]
    assert entry.report is not None
    assert rerun(entry.report.again).verdict == "fail"
