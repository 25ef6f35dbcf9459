"""Hand-written autograd: operators of tensors, single numbers, nodes, functions with a context; right passes, wrong fails."""

from __future__ import annotations

import pytest

from gradverify.audit import find
from gradverify.records import Verdict
from tests.projects import attempts

SWEEP = """
    def backward(self):
        order, seen = [], set()
        def visit(node):
            if node not in seen:
                seen.add(node)
                for parent in node.parents:
                    visit(parent)
                order.append(node)
        visit(self)
        self.grad = SEED
        for node in reversed(order):
            node.step()
"""
NUMBERS = """
import math
class Number:
    def __init__(self, data, parents=()):
        self.data, self.grad, self.parents, self.step = data, 0.0, parents, lambda: None
    def __add__(self, other):
        out = Number(self.data + other.data, (self, other))
        def backward():
            self.grad += out.grad
            other.grad += out.grad
        out.step = backward
        return out
    def __mul__(self, other):
        out = Number(self.data * other.data, (self, other))
        def backward():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad
        out.step = backward
        return out
    def exp(self):
        out = Number(math.exp(self.data), (self,))
        def backward():
            self.grad += FACTOR * out.data * out.grad
        out.step = backward
        return out
""" + SWEEP.replace("SEED", "1.0")
ARRAYS = NUMBERS.replace("math.", "np.").replace("0.0, parents", "0, parents") + """
    @property
    def shape(self):
        return self.data.shape
    def sum(self, axis=None):
        out = Number(np.sum(self.data, axis=axis), (self,))
        def backward():
            g = out.grad if axis is None else ALONG * np.expand_dims(out.grad, axis)
            self.grad += g * np.ones_like(self.data)
        out.step = backward
        return out
"""
GIVEN = """
class Variable:
    def __init__(self, data, requires_grad=False, parents=()):
        self.data, self.requires_grad, self.parents, self.grad = data, requires_grad, parents, None
    def backward(self, grad):
        self.grad = grad if self.grad is None else self.grad + grad
        for parent, rule in self.parents:
            parent.backward(rule(grad))
def cube(x):
    def grad_fn(grad):
        return FACTOR * 3 * x.data ** 2 * grad
    return Variable(x.data ** 3, True, [(x, grad_fn)])
"""
CALLED = """
class Variable:
    def __init__(self, data):
        self.data, self.grad, self.creator = data, None, None
    def backward(self):
        if self.grad is None:
            self.grad = np.ones_like(self.data)
        if self.creator is not None:
            x = self.creator.inputs[0]
            g = self.creator.backward(self.grad)
            x.grad = g if x.grad is None else x.grad + g
            x.backward()
class Function:
    def __call__(self, x):
        y = Variable(self.forward(x.data))
        self.inputs, y.creator = (x,), self
        return y
class Cube(Function):
    def forward(self, x):
        return x ** 3
    def backward(self, dy):
        return FACTOR * 3 * self.inputs[0].data ** 2 * dy
"""
NODES = """
class Expression:
    def __init__(self, value, parents=()):
        self.value, self.parents = value, parents
    @property
    def grad(self):
        if not hasattr(self, "_grad"):
            raise ValueError("nothing came back to it")
        return self._grad
    def take(self, grad):
        self._grad = getattr(self, "_grad", 0) + grad
    def send_back(self, grad):
        pass
    def backward(self, init=1.0):
        self.take(init * np.ones_like(self.value))
        self._backward(self.grad)
    def _backward(self, grad):
        pass
    def __mul__(self, other):
        raise NotImplementedError
    __add__ = __mul__
class Cube(Expression):
    def __init__(self, x):
        super().__init__(x.value ** 3, (x,))
    def _backward(self, grad):
        self.parents[0].take(FACTOR * 3 * self.parents[0].value ** 2 * grad)
"""
CONTEXT = """
class Cube:
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.power = 3
        return x ** 3
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return FACTOR * ctx.power * x ** 2 * dy
"""
SEVERAL = """
class Variable:
    def __init__(self, data, parents=()):
        self.data, self.grad, self.parents = data, None, parents
    def backward(self, grad):
        self.grad = grad if self.grad is None else self.grad + grad
        for parent, rule in self.parents:
            parent.backward(rule(grad))
def join(tensors, axis=0):
    sizes = np.cumsum([t.data.shape[axis] for t in tensors])[:-1]
    def part_backward(i):
        return lambda grad: FACTOR * np.split(grad, sizes, axis=axis)[i]
    return Variable(np.concatenate([t.data for t in tensors], axis=axis), [(t, part_backward(i)) for i, t in enumerate(tensors)])
"""
WRITTEN = {"number": (NUMBERS, "Number.exp"), "array": (ARRAYS, "Number.exp"), "given": (GIVEN, "cube"),
           "called": (CALLED, "Cube"), "node": (NODES, "Cube"), "context": (CONTEXT, "Cube"),
           "several": (SEVERAL, "join")}  # fmt: skip


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize(("code", "symbol"), WRITTEN.values(), ids=WRITTEN)
def test_a_rule_is_judged_however_its_graph_is_written(tmp_path, monkeypatch, code, symbol, factor, verdict):
    entry = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor).replace("ALONG", "1"))[symbol]
    assert (entry.verdict, entry.reason) == (verdict, "")


def test_every_operator_that_records_a_rule_is_found_and_those_made_of_others_are_not(tmp_path):
    composed = "\n    def __sub__(self, other):\n        return self + other * Number(-1.0)\n"
    (tmp_path / "graph.py").write_text(NUMBERS + composed)
    found = [candidate.symbol for candidate in find(tmp_path / "graph.py")]
    assert found == ["graph:Number.__add__", "graph:Number.__mul__", "graph:Number.exp"]


def test_a_gradient_that_is_set_and_not_added_is_caught_where_an_input_is_used_twice(tmp_path, monkeypatch):
    code = NUMBERS.replace("self.grad += FACTOR * out.data", "self.grad = out.data")
    entry = attempts(tmp_path, monkeypatch, code)["Number.exp"]
    assert (entry.verdict, {c.regime for c in entry.report.checks if c.verdict is Verdict.FAIL}) == (
        Verdict.FAIL, {"used_twice=True"})  # fmt: skip


@pytest.mark.parametrize(("along", "regimes"), [("1", set()), ("2", {"axis=0"})])
def test_the_keywords_of_an_operator_are_varied(tmp_path, monkeypatch, along, regimes):
    code = ARRAYS.replace("FACTOR", "1").replace("ALONG", along)
    entry = attempts(tmp_path, monkeypatch, code)["Number.sum"]
    assert {c.regime for c in entry.report.checks if c.verdict is Verdict.FAIL} == regimes


def test_an_upstream_gradient_that_a_rule_ignores_is_missed_by_it(tmp_path, monkeypatch):
    entry = attempts(tmp_path, monkeypatch, ARRAYS.replace("FACTOR * out.data * out.grad", "out.data"))["Number.exp"]
    assert entry.verdict is Verdict.FAIL


LAST = """
class Variable:
    def __init__(self, data, parents=()):
        self.data, self.grad, self.parents = data, None, parents
    def backward(self, grad=1.0):
        self.grad = grad if self.grad is None else self.grad + grad
        for parent, rule in self.parents:
            parent.backward(rule(grad))
def squared_error(x, targets):
    def rule_backward(grad):
        return FACTOR * 2 * (x.data - targets)
    return Variable(np.sum((x.data - targets) ** 2), [(x, rule_backward)])
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_of_a_loss_nothing_comes_after_the_upstream_gradient_is_one(tmp_path, monkeypatch, factor, verdict):
    entry = attempts(tmp_path, monkeypatch, LAST.replace("FACTOR", factor))["squared_error"]
    assert entry.verdict is verdict


def test_an_operator_that_raises_over_all_axes_is_judged_along_one(tmp_path, monkeypatch):
    code = ARRAYS.replace("FACTOR", "1").replace("ALONG", "1").replace("if axis is None else", "if axis is 7 else")
    entry = attempts(tmp_path, monkeypatch, code.replace("is 7", "== 7"))["Number.sum"]
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


CONSTANT = ARRAYS + """
    def mse(self, y):
        out = Number(np.mean((self.data - y.data) ** 2), CHILDREN)
        def backward():
            self.grad += 2 * FACTOR * (self.data - y.data) / self.data.size * out.grad
            REST
        out.step = backward
        return out
"""
OTHER = "y.grad += -2 * FACTOR * (self.data - y.data) / self.data.size * out.grad"


@pytest.mark.parametrize(
    ("children", "rest", "factor", "verdicts"),
    [
        ("(self,)", "pass", "1", {"x": Verdict.PASS}),
        ("(self,)", "pass", "1.1", {"x": Verdict.FAIL}),
        ("(self, y)", "pass", "1", {"x": Verdict.PASS, "other": Verdict.FAIL}),
        ("(self, y)", OTHER, "1", {"x": Verdict.PASS, "other": Verdict.PASS}),
        ("(self,)", OTHER.replace("-2", "-3"), "1", {"x": Verdict.PASS, "other": Verdict.FAIL}),
        ("(self,)", "y.grad += 0 * out.grad", "1", {"x": Verdict.PASS, "other": Verdict.FAIL}),
        ("(self, Number(y.data))", "pass", "1", {"x": Verdict.PASS, "other": Verdict.FAIL}),  # cut off by mistake
    ],
)
def test_an_argument_that_an_operator_sends_no_gradient_to_is_a_constant(
    tmp_path, monkeypatch, children, rest, factor, verdicts
):
    code = CONSTANT.replace("CHILDREN", children).replace("REST", rest).replace("FACTOR", factor).replace("ALONG", "1")
    report = attempts(tmp_path, monkeypatch, code)["Number.mse"].report
    assert {check.wrt: check.verdict for check in report.checks} == verdicts
    assert [note.split(":")[0] for note in report.notes] == ([] if "other" in verdicts else ["other"])


def test_both_sides_of_an_operator_get_a_gradient_whatever_it_records(tmp_path, monkeypatch):
    rule = "            other.grad += self.data * out.grad\n"
    code = ARRAYS.replace(rule, "").replace("self.data * other.data, (self, other)", "self.data * other.data, (self,)")
    entry = attempts(tmp_path, monkeypatch, code.replace("FACTOR", "1").replace("ALONG", "1"))["Number.__mul__"]
    assert entry.verdict is Verdict.FAIL


ALWAYS_ONE = """
class Tensor:
    def __init__(self, value, rules=()):
        self.value, self.grad, self.rules = value, None, rules
    def backward(self):
        self.send(1.0)
    def send(self, u):
        for parent, rule in self.rules:
            g = rule(u)
            parent.grad = g if parent.grad is None else parent.grad + g
            parent.send(g)
    def __add__(self, other):
        rule = lambda dy: dy + 0 * self.value
        return Tensor(self.value + other.value, ((self, rule), (other, rule)))
    def __sub__(self, other):
        rules = (self, lambda dy: dy + 0 * self.value), (other, lambda dy: 0 * self.value - dy)
        return Tensor(self.value - other.value, rules)
    def total(self):
        return Tensor(np.sum(self.value ** 2), ((self, lambda dy: FACTOR * 2 * dy * self.value),))
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_a_sweep_that_always_begins_with_one_is_asked_for_that(tmp_path, monkeypatch, factor, verdict):
    entries = attempts(tmp_path, monkeypatch, ALWAYS_ONE.replace("FACTOR", factor))
    assert (entries["Tensor.total"].verdict, entries["Tensor.total"].reason) == (verdict, "")
    assert entries["Tensor.__sub__"].verdict is Verdict.PASS
