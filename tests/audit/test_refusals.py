"""Code that says by refusing what it wants: assertions and conditions around what is raised, tuples that it takes apart."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.audit.mined import told_length
from gradverify.audit.refusals import changes
from gradverify.records import Verdict
from tests.projects import attempts

LINKED = """
class Windows:
    def __init__(self, shape_in, shape_out, kernel_size):
        assert (shape_in[0] - kernel_size) % kernel_size == 0, "windows have to fit"
        self.shape_in, self.shape_out, self.k = shape_in, shape_out, kernel_size
        if self.shape_out[0] != self.shape_in[0] // self.k:
            raise ValueError("rows")
        if self.shape_out[1] != self.shape_in[1]:
            raise ValueError("columns")
    def forward(self, x):
        assert x.shape == self.shape_in
        return x.reshape(self.shape_out[0], self.k, -1).mean(axis=1)
    def backward(self, dy):
        return FACTOR * np.repeat(dy, self.k, axis=0) / self.k
"""
CHANNELS = """
def mix_forward(x, kernel):
    n, channels = x.shape
    rows, inner = kernel.shape
    assert channels == inner, "channels must match"
    if rows % 4:
        raise ValueError("rows come in fours")
    return x @ kernel.T, (x, kernel)
def mix_backward(dy, cache):
    x, kernel = cache
    return dy @ kernel, FACTOR * dy.T @ x
"""
SINGLE = """
class Box:
    def __init__(self, a):
        if len(a) != 1:
            raise ValueError("one sample at a time")
        self.a = a
class Square:
    def forward(self, x):
        self.x = Box(x).a
        return self.x * self.x
    def backward(self, dy):
        return FACTOR * 2 * self.x * dy
"""
ABSTRACT = """
class Activation:
    @staticmethod
    def run(x):
        raise NotImplementedError
    @staticmethod
    def slope(y):
        raise NotImplementedError
class Tanh(Activation):
    @staticmethod
    def run(x):
        return np.tanh(x)
    @staticmethod
    def slope(y):
        return 1 - y * y
class Gate:
    def __init__(self, activation=Activation):
        self.activation = activation
    def forward(self, x):
        self.y = self.activation.run(x)
        return self.y
    def backward(self, dy):
        return FACTOR * dy * self.activation.slope(self.y)
"""
TOLD = """
class Scale:
    "input_shape: tuple of 4 integers"
    def __init__(self, input_shape=None):
        self.input_shape = input_shape
    def forward(self, x):
        if x.shape[1:] != self.input_shape[1:]:
            raise ValueError("shape")
        batch, rows, columns, channels = self.input_shape
        self.y = np.exp(x[:, :, :, :channels])
        return self.y
    def backward(self, dy):
        return FACTOR * dy * self.y
"""
IN_DELTA = """
class Dense:
    def __init__(self, n_in, n_out):
        self.weights = np.cos(np.arange(n_in * n_out)).reshape(n_in, n_out)
    def forward(self, inpt):
        self.output = inpt @ self.weights
        self.delta = np.zeros(self.output.shape)
        return self
    def backward(self, inpt, delta=None):
        self.delta *= 1
        if delta is not None:
            delta[:] += FACTOR * self.delta @ self.weights.T
        return self
"""
DELTA_ALONE = """
class Square:
    def forward(self, inpt):
        self.x, self.output, self.delta = inpt, inpt * inpt, np.zeros(inpt.shape)
        return self
    def backward(self, delta=None):
        self.delta *= 2 * self.x
        if delta is not None:
            delta[:] += FACTOR * self.delta
        return self
"""
CLASSIFIER = """
class Classifier:
    def __init__(self, input_dim=(2, 6, 4), classes=5):
        self.params = {"W": 0.1 * np.cos(np.arange(48 * classes)).reshape(48, classes)}
    def scores(self, x):
        return x.reshape(len(x), -1) @ self.params["W"]
    def loss(self, x, t):
        z = self.scores(x)
        return np.mean(np.log(np.sum(np.exp(z), axis=1)) - z[np.arange(len(t)), t])
    def gradient(self, x, t):
        z = self.scores(x)
        p = np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)
        p[np.arange(len(t)), t] -= 1
        return {"W": FACTOR * x.reshape(len(x), -1).T @ p / len(x)}
"""
REFUSING = {"linked": LINKED, "channels": CHANNELS, "single": SINGLE, "abstract": ABSTRACT, "told": TOLD,
            "in delta": IN_DELTA, "delta alone": DELTA_ALONE, "classifier": CLASSIFIER}  # fmt: skip


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize("code", REFUSING.values(), ids=REFUSING)
def test_what_is_refused_is_given_as_it_is_asked_for(tmp_path, monkeypatch, code, factor, verdict):
    *_, entry = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor)).values()
    assert (entry.verdict, entry.reason) == (verdict, "")


def raised(f, *given):
    with pytest.raises(Exception) as caught:
        f(*given)
    return caught.value


def wants_even(x, size):
    rows = x.shape[0]
    assert rows % 2 == 0
    if size != x.shape[1]:
        raise ValueError(size)
    unknown = {}
    return unknown[size]


@pytest.mark.parametrize(("shape", "size", "asked"), [
    ((3, 4), 4, [("x", (4, 4))]),
    ((2, 4), 3, [("size", 4), ("x", (2, 3))]),
    ((2, 4), 4, []),  # what raises without a condition asks for nothing
])  # fmt: skip
def test_a_condition_is_solved_for_each_of_its_sizes(shape, size, asked):
    x = np.ones(shape)
    assert changes(raised(wants_even, x, size), {"x": x, "size": size}) == asked


class Sized:
    """Takes apart a shape.

    kernel: a tuple of 2 integers
    """

    def __init__(self, image, kernel, other):
        self.rows, self.columns, self.channels = image
        self.kernel, self.depth, self.name = kernel, other[2], other[0]


@pytest.mark.parametrize(("name", "length"), [("image", 3), ("kernel", 2), ("other", 3), ("rows", 0)])
def test_how_many_entries_a_tuple_has_is_read_from_the_code(name, length):
    assert told_length(Sized, name) == length


HANDED_ON = """
class Penalty:
    def forward(self, x):
        self.x = x
        self.loss = 0.5 * np.sum(x * x)
        return x
    def backward(self, dy):
        return GRADIENT
"""


@pytest.mark.parametrize(("gradient", "verdict"), [
    ("dy + self.x", Verdict.INCONCLUSIVE), ("dy", Verdict.PASS), ("1.1 * dy", Verdict.FAIL),
    ("2 * dy * dy + self.x", Verdict.FAIL),
])  # fmt: skip
def test_a_loss_that_a_layer_keeps_to_itself_is_no_wrong_gradient(tmp_path, monkeypatch, gradient, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, HANDED_ON.replace("GRADIENT", gradient)).values()
    assert (entry.verdict, entry.reason) == (verdict, "")
