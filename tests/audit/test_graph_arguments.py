"""Operators of a hand-written autograd that take more than arrays, or keep less: right passes, wrong fails."""

from __future__ import annotations

import pytest

from gradverify.audit import find
from gradverify.records import Verdict
from tests.projects import attempts

TENSOR = """
class Tensor:
    def __init__(self, data, requires_grad=False, parents=()):
        assert isinstance(data, np.ndarray), "an array is wanted"
        assert not requires_grad or data.dtype.kind == "f", "only floating tensors can require gradients"
        self.data, self.requires_grad, self.parents = data, requires_grad, set(parents)
        self.grad, self.step = None, lambda: None
    @property
    def dtype(self):
        return self.data.dtype
    def backward(self, grad=None):
        if grad is None and self.data.size != 1:
            raise RuntimeError("a gradient is wanted")
        order, seen = [], set()
        def visit(node):
            if node not in seen:
                seen.add(node)
                for parent in node.parents:
                    visit(parent)
                order.append(node)
        visit(self)
        self.grad = np.ones_like(self.data) if grad is None else np.array(grad)
        for node in reversed(order):
            node.step()
    def take(self, g):
        if self.requires_grad:
            self.grad = g if self.grad is None else self.grad + g
    def made(self, data, rule, *others):
        out = Tensor(np.asarray(data), True, (self, *others))
        def step_backward():
            rule(out.grad)
        out.step = step_backward
        return out
    def __add__(self, other):
        def backward(g):
            self.take(g)
            other.take(g)
        return self.made(self.data + other.data, backward, other)
    def __mul__(self, other):
        def backward(g):
            self.take(g * other.data)
            other.take(g * self.data)
        return self.made(self.data * other.data, backward, other)
"""
MASKED = """
    def masked_fill(self, mask, value):
        assert mask.dtype == np.bool_
        def backward(g):
            self.take(g * RULE)
        return self.made(np.where(mask.data, value, self.data), backward)
"""
WHERE = """
def where(condition, x, y):
    def backward(g):
        x.take(g * condition.data)
        y.take(g * RULE)
    return x.made(np.where(condition.data, x.data, y.data), backward, y)
"""
SPREAD = """
    def transpose(self, *axes):
        def backward(g):
            self.take(g.transpose(RULE))
        return self.made(self.data.transpose(axes), backward)
"""
SWAPPED = """
    def swapaxes(self, axis1, axis2):
        def backward(g):
            self.take(g.RULE.reshape(self.data.shape))
        return self.made(self.data.swapaxes(axis1, axis2), backward)
"""
CLIPPED = """
    def clip(self, low=None, high=None):
        def backward(g):
            inside = np.ones_like(self.data)
            if low is not None:
                inside = inside * (self.data >= low)
            if high is not None:
                inside = inside * RULE
            self.take(g * inside)
        return self.made(np.clip(self.data, low, high), backward)
"""
RECORDED = """
class Largest:
    def __init__(self, values, indices):
        self.values, self.indices = values, indices
class More(Tensor):
    def __add__(self, other):
        return super().__add__(other)
    def __mul__(self, other):
        return super().__mul__(other)
    def max(self, axis=-1):
        i = np.expand_dims(np.argmax(self.data, axis), axis)
        def backward(g):
            whole = np.zeros_like(self.data)
            np.put_along_axis(whole, i, RULE * np.expand_dims(g, axis), axis)
            self.take(whole)
        out = self.made(np.max(self.data, axis), backward)
        return Largest(out, Tensor(i))
"""
LABELLED = """
def cross_entropy(x, target):
    n = np.arange(len(x.data))
    p = np.exp(x.data) / np.exp(x.data).sum(-1, keepdims=True)
    def backward(g):
        d = p.copy()
        d[n, target.data] -= 1
        x.take(RULE * g * d / len(p))
    return x.made(-np.log(p[n, target.data]).mean(), backward, target)
"""
BETWEEN = {
    "a condition in an object": (MASKED, "Tensor.masked_fill", "(~mask.data)", "1.0"),
    "a condition that comes first": (WHERE, "where", "~condition.data", "condition.data"),
    "axes one by one": (SPREAD, "Tensor.transpose", "tuple(np.argsort(axes))", "axes"),
    "two axes": (SWAPPED, "Tensor.swapaxes", "swapaxes(axis1, axis2)", "copy()"),
    "bounds that are none by default": (CLIPPED, "Tensor.clip", "(self.data <= high)", "1.0"),
    "an output in a record": (RECORDED, "More.max", "1.0", "1.1"),
    "labels in an object": (LABELLED, "cross_entropy", "1.0", "1.1"),
}


@pytest.mark.parametrize(("code", "symbol", "right", "wrong"), BETWEEN.values(), ids=BETWEEN)
def test_what_is_no_array_is_given_as_the_code_wants_it(tmp_path, monkeypatch, code, symbol, right, wrong):
    entry = attempts(tmp_path, monkeypatch, TENSOR + code.replace("RULE", right))[symbol]
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


@pytest.mark.parametrize(("code", "symbol", "right", "wrong"), BETWEEN.values(), ids=BETWEEN)
def test_a_wrong_rule_fails_with_what_is_no_array(tmp_path, monkeypatch, code, symbol, right, wrong):
    entry = attempts(tmp_path, monkeypatch, TENSOR + code.replace("RULE", wrong))[symbol]
    assert (entry.verdict, entry.reason) == (Verdict.FAIL, "")


def test_a_method_that_is_handed_a_rule_is_no_operator_and_what_calls_it_is(tmp_path):
    (tmp_path / "graph.py").write_text(TENSOR + WHERE.replace("RULE", "1"))
    assert [c.named for c in find(tmp_path / "graph.py")] == ["Tensor.__add__", "Tensor.__mul__", "where"]


ROUNDED = """
class Tensor:
    def __init__(self, data, parents=()):
        self.data, self.parents, self.step = np.asarray(data), parents, lambda: None
        self.grad = np.zeros_like(self.data, dtype=np.float32)
    def backward(self):
        self.grad = np.ones_like(self.data)
        self.send()
    def send(self):
        self.step()
        for parent in self.parents:
            parent.send()
    def __add__(self, other):
        out = Tensor(self.data + other.data, (self, other))
        def backward():
            self.grad += out.grad
            other.grad += out.grad
        out.step = backward
        return out
    def __mul__(self, other):
        out = Tensor(self.data * other.data, (self, other))
        def backward():
            self.grad += out.grad * other.data
            other.grad += out.grad * self.data
        out.step = backward
        return out
    def sum(self):
        out = Tensor(self.data.sum(), (self,))
        def backward():
            self.grad += out.grad
        out.step = backward
        return out
    def tanh(self):
        t = np.tanh(self.data)
        out = Tensor(t, (self,))
        def backward():
            self.grad += RULE
        out.step = backward
        return out
"""
ROUNDINGS = [("(1 - t ** 2) * out.grad", Verdict.PASS), ("(1 - t) * out.grad", Verdict.FAIL),
             ("(1 - t ** 2) * np.clip(out.grad, -100, 100)", Verdict.FAIL)]  # fmt: skip


@pytest.mark.parametrize(("rule", "verdict"), ROUNDINGS, ids=[rule for rule, _ in ROUNDINGS])
def test_gradients_kept_in_float32_are_judged_to_its_roundings(tmp_path, monkeypatch, rule, verdict):
    entry = attempts(tmp_path, monkeypatch, ROUNDED.replace("RULE", rule))["Tensor.tanh"]
    assert (entry.verdict, entry.reason) == (verdict, "")


NODES = """
class Tensor:
    def __init__(self, data, requires_grad=False, grad_fn=None):
        self.data, self.requires_grad, self.grad_fn, self.grad = np.asarray(data), requires_grad, grad_fn, None
    def __add__(self, other):
        return add(self, other)
    def __mul__(self, other):
        return NotImplemented
    def backward(self, grad=None):
        if grad is None:
            raise RuntimeError("a gradient is wanted")
        self.grad_fn.apply(grad)
class Leaf:
    def __init__(self, tensor):
        self.tensor = tensor
    def apply(self, grad):
        kept = self.tensor.grad
        self.tensor.grad = grad if kept is None else Tensor(kept.data + grad.data)
def edges_of(*tensors):
    return [t.grad_fn or Leaf(t) for t in tensors]
class AddBackward:
    def apply(self, grad):
        for edge in self.edges:
            edge.apply(grad)
class ExpBackward:
    def apply(self, grad):
        self.edges[0].apply(Tensor(RULE * grad.data * self.out))
def add(a, b):
    node = AddBackward()
    node.edges = edges_of(a, b)
    return Tensor(a.data + b.data, True, grad_fn=node)
def exp(x):
    node = ExpBackward()
    node.edges, node.out = edges_of(x), np.exp(x.data)
    return Tensor(node.out, True, grad_fn=node)
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_a_rule_that_is_an_object_is_found_where_leaves_alone_keep_gradients(tmp_path, monkeypatch, factor, verdict):
    entries = attempts(tmp_path, monkeypatch, NODES.replace("RULE", factor))
    assert (entries["exp"].verdict, entries["exp"].reason) == (verdict, "")
    assert entries["add"].verdict is Verdict.PASS


def test_an_operator_that_changes_its_own_tensor_is_none_of_those_that_make_one(tmp_path):
    changes = "    def exp_(self):\n        self.data, self.grad_fn = np.exp(self.data), ExpBackward()\n"
    changes += "    def exp_too_(self):\n        self.grad_fn = ExpBackward()\nclass Leaf:"
    (tmp_path / "graph.py").write_text(NODES.replace("class Leaf:", changes, 1))
    assert [c.named for c in find(tmp_path / "graph.py")] == ["add", "exp"]


def test_what_a_rule_raises_is_told_and_not_that_it_wants_a_gradient(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("a project\n")
    rule = "\n    def exp(self):\n        def backward(g):\n            self.take(g * y)\n        return self.made(np.exp(self.data), backward)\n"
    entry = attempts(tmp_path, monkeypatch, TENSOR + rule)["Tensor.exp"]
    assert entry.verdict is Verdict.INCONCLUSIVE
    assert "name 'y' is not defined" in entry.report.checks[0].detail


SPLIT = """
    def halves(self):
        n = self.data.shape[0] // 2
        def part(i):
            out = Tensor(self.data[i * n:i * n + n], True, (self,))
            def backward():
                whole = np.zeros_like(self.data)
                whole[i * n:i * n + n] = out.grad
                KEEP
            out.step = backward
            return out
        return [part(0), part(1)]
"""


@pytest.mark.parametrize(("keep", "verdict"), [("self.take(whole)", Verdict.PASS), ("self.grad = whole", Verdict.FAIL)])
def test_an_operator_with_several_outputs_is_used_twice_too(tmp_path, monkeypatch, keep, verdict):
    entry = attempts(tmp_path, monkeypatch, TENSOR + SPLIT.replace("KEEP", keep))["Tensor.halves"]
    assert entry.verdict is verdict
    assert {c.regime for c in entry.report.checks if c.verdict is Verdict.FAIL} <= {"used_twice=True"}


SUMMED = """
    def sum(self, axis=None):
        def backward(g):
            self.take(np.ones_like(self.data) * RULE)
        return self.made(np.sum(self.data, axis=axis), backward)
"""


@pytest.mark.parametrize(
    ("rule", "verdict"), [("g", Verdict.FAIL), ("(g if axis is None else np.expand_dims(g, axis))", Verdict.PASS)]
)
def test_a_rule_that_raises_but_for_square_matrices_is_judged_there(tmp_path, monkeypatch, rule, verdict):
    entry = attempts(tmp_path, monkeypatch, TENSOR + SUMMED.replace("RULE", rule))["Tensor.sum"]
    assert (entry.verdict, entry.reason) == (verdict, "")
    assert {c.regime for c in entry.report.checks if c.verdict is Verdict.FAIL} <= {"axis=1"}


BROADCAST = """
def unbroadcast(g, shape):
    MORE
    for i, n in enumerate(shape):
        if n == 1:
            g = g.sum(i, keepdims=True)
    return g
class Broad(Tensor):
    def __add__(self, other):
        return super().__add__(other)
    def __sub__(self, other):
        def backward(g):
            self.take(unbroadcast(g, self.data.shape))
            other.take(unbroadcast(-g, other.data.shape))
        return self.made(self.data - other.data, backward, other)
"""
LEADING = "while g.ndim > len(shape):\n        g = g.sum(AXIS)"


@pytest.mark.parametrize(("axis", "verdict"), [("0", Verdict.PASS), ("0) / len(g", Verdict.FAIL)])
def test_an_operand_with_fewer_axes_is_broadcast_too(tmp_path, monkeypatch, axis, verdict):
    code = BROADCAST.replace("MORE", LEADING.replace("AXIS", axis))
    entry = attempts(tmp_path, monkeypatch, TENSOR + code)["Broad.__sub__"]
    assert entry.verdict is verdict
    assert {c.regime for c in entry.report.checks if c.verdict is Verdict.FAIL} <= {"fewer_axes=True"}


OUTER = """
def outer(x, other):
    factor = 1 if np.shape(other.data)[:-1] == np.shape(x.data)[:-1] else 2
    def backward(g):
        x.take(np.tensordot(g, other.data, other.data.ndim))
        other.take(factor * np.tensordot(x.data, g, x.data.ndim))
    return x.made(np.multiply.outer(x.data, other.data), backward, other)
"""


def test_an_operand_that_changes_the_size_of_the_output_is_not_broadcast(tmp_path, monkeypatch):
    entry = attempts(tmp_path, monkeypatch, TENSOR + OUTER)["outer"]
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")
