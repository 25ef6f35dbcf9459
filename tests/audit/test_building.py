"""Layers that hear their sizes late, are given other objects, keep their caches on demand, or cannot run at all."""

from __future__ import annotations

import pytest

from gradverify.audit import find
from gradverify.audit.imports import folders_of
from gradverify.records import Verdict
from tests.projects import attempts

PRODUCT = """\
    def forward(self, x):
        self.x = x
        return x @ self.weights
    def backward(self, dy):
        self.dweights = FACTOR * self.x.T @ dy
        return dy @ self.weights.T
"""
CONNECTED = """
class Dense:
    def __init__(self, units):
        self.units, self.weights = units, None
    def connect(self, previous):
        self.weights = np.cos(np.arange(previous.out_features * self.units)).reshape(-1, self.units)
""" + PRODUCT
TOLD_BY_ATTRIBUTE = """
class Dense:
    def __init__(self, units):
        self.units, self.input_size, self.weights = units, None, None
    def init_weights(self):
        self.weights = np.cos(np.arange(self.input_size * self.units)).reshape(-1, self.units)
""" + PRODUCT
WITH_ACTIVATION = """
class Gate:
    def run(self, x):
        return 1 / (1 + np.exp(-x))
    def slope(self, x):
        return self.run(x) * (1 - self.run(x))
class Dense:
    def __init__(self, n_in, n_out, activation):
        self.weights, self.activation = np.cos(np.arange(n_in * n_out)).reshape(n_in, n_out), activation
    def forward(self, x):
        self.x, self.z = x, x @ self.weights
        return self.activation.run(self.z)
    def backward(self, dy):
        dz = FACTOR * dy * self.activation.slope(self.z)
        self.dweights = self.x.T @ dz
        return dz @ self.weights.T
"""
ON_DEMAND = """
class Square:
    def __init__(self):
        self.kept = {}
    def forward(self, x, save_cache=False):
        if save_cache:
            self.kept["x"] = x
        return x * x
    def backward(self, dy):
        return FACTOR * 2 * self.kept["x"] * dy
"""
TRUTH_FIRST = """
class SquaredLoss:
    def forward(self, y_true, y_pred):
        return np.mean((y_true - y_pred) ** 2)
    def backward(self, y_true, y_pred):
        return FACTOR * 2 * (y_pred - y_true) / y_pred.size
"""
WITHOUT_SHAPE = """
class Square:
    def __init__(self, shape_in, shape_w=None):
        self.w = np.zeros(shape_w)
    def forward(self, x):
        self.x = x
        return x * x
    def backward(self, dy):
        return FACTOR * 2 * self.x * dy
"""
LOOPS = """
from a_compiler_that_nobody_has import njit, prange
@njit(parallel=True)
def square(x):
    out = np.zeros_like(x)
    for i in prange(len(x)):
        out[i] = x[i] * x[i]
    return out
def square_prime(x):
    return FACTOR * 2 * x
"""
PENALISED = """
class Dense:
    def __init__(self, n_in, n_out, regularizer=None, lambd=0.1):
        self.W = np.cos(np.arange(n_in * n_out)).reshape(n_in, n_out)
        self.regularizer, self.lambd = regularizer, lambd
    def forward(self, x):
        self.x = x
        return x @ self.W
    def backward(self, dy):
        self.dW = FACTOR * self.x.T @ dy
        if self.regularizer == "l1":
            self.dW = self.dW + self.lambd * np.sign(self.W)
        elif self.regularizer == "l2":
            self.dW = self.dW + self.lambd * self.W
        return dy @ self.W.T
"""
BUILT = {"connected": CONNECTED, "told by attribute": TOLD_BY_ATTRIBUTE, "with activation": WITH_ACTIVATION,
         "on demand": ON_DEMAND, "truth first": TRUTH_FIRST, "without shape": WITHOUT_SHAPE, "loops": LOOPS,
         "penalised": PENALISED}  # fmt: skip


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize("code", BUILT.values(), ids=BUILT)
def test_what_is_built_late_is_judged(tmp_path, monkeypatch, code, factor, verdict):
    *_, entry = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor)).values()
    assert (entry.verdict, entry.reason) == (verdict, "")


def test_objects_for_a_parameter_are_found_in_other_files(tmp_path, monkeypatch):
    gate, dense = WITH_ACTIVATION.replace("FACTOR", "1").split("class Dense")
    (tmp_path / "README.md").write_text("a project\n")
    (tmp_path / "gates.py").write_text("import numpy as np\n" + gate)
    entry = attempts(tmp_path, monkeypatch, "class Dense" + dense)["Dense"]
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


def test_modules_are_found_where_scripts_add_their_folders_to_the_path(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("a project\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/scales_of_mine.py").write_text("SCALE = 1\n")
    code = "from scales_of_mine import SCALE\n" + ON_DEMAND.replace("FACTOR", "SCALE")
    entry = attempts(tmp_path, monkeypatch, code, "part/layers.py")["Square"]
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


def test_parts_of_a_project_with_a_readme_of_their_own_belong_to_it(tmp_path):
    for folder in (tmp_path, tmp_path / "part"):
        folder.mkdir(exist_ok=True)
        (folder / "README.md").write_text("about it\n")
    assert folders_of(str(tmp_path / "part/layers.py"))[-1] == tmp_path.resolve()


def test_a_backward_that_nothing_makes_run_is_tried_and_says_so(tmp_path, monkeypatch):
    code = ON_DEMAND.replace("FACTOR *", "self.never_set *")
    entry = attempts(tmp_path, monkeypatch, code)["Square"]
    assert (entry.verdict, {c.reason for c in entry.report.checks}) == (Verdict.INCONCLUSIVE, {"error"})


def test_an_attribute_that_only_another_method_sets_is_no_such_finding(tmp_path, monkeypatch):
    code = ON_DEMAND.replace("FACTOR *", "self.scale *") + "    def prepare_it(self, scale):\n        self.scale = scale\n"
    entry = attempts(tmp_path, monkeypatch, code)["Square"]
    assert entry.report is None


SET_NEXT_DOOR = [
    ("class Square:\n    pass\ndef scale(x):\n    return x", True),
    ("class Square:\n    def scale(x):\n        return x", False),
    ("for layer in layers: layer.scale = 1.0", False),
    ("for layer in layers: setattr(layer, 'scale', 1.0)", False),
    ("class Other:\n    def __init__(self):\n        self.scale = 1.0", True),
    ("from layers import Square\nclass Scaled(Square):\n    def __init__(self):\n        self.scale = 1.0", False),
]


@pytest.mark.parametrize(("text", "unfinished"), SET_NEXT_DOOR)
def test_an_attribute_that_another_file_sets_leaves_a_backward_untried(tmp_path, monkeypatch, text, unfinished):
    (tmp_path / "network.py").write_text(text + "\n")
    entry = attempts(tmp_path, monkeypatch, ON_DEMAND.replace("FACTOR *", "self.scale *"))["Square"]
    assert (entry.report is not None, not entry.remedy) == (unfinished, unfinished)


def test_fixtures_of_tests_carry_nothing(tmp_path):
    fixture = "import pytest\nclass TestIt:\n    @pytest.fixture\n    def big(self, x):\n        return 1\n"
    (tmp_path / "test_it.py").write_text(fixture + fixture.split("\n", 2)[2].replace("big", "big_grad"))
    assert find(tmp_path / "test_it.py") == ()


EARLIER = """
class Head:
    def __init__(self, n_in, n_out):
        self.W, self.b = np.cos(np.arange(n_in * n_out)).reshape(n_in, n_out), np.zeros(n_out)
    def forward(self, x):
        self.x = x
        e = np.exp(x @ self.W + self.b)
        return e / np.sum(e, axis=1, keepdims=True)
    def backward(self, dz):
        self.dW, self.db = self.x.T @ dz, FACTOR * np.sum(dz, axis=0)
        return dz @ self.W.T
"""


def test_a_head_that_leaves_its_softmax_to_the_loss_is_a_convention(tmp_path, monkeypatch):
    entry = attempts(tmp_path, monkeypatch, EARLIER.replace("FACTOR", "1"))["Head"]
    assert {(c.verdict, c.reason) for c in entry.report.checks} == {(Verdict.INCONCLUSIVE, "convention")}
    assert entry.convention.endswith(" of a softmax that leaves its derivative to the loss")


def test_and_what_is_wrong_beside_that_fails(tmp_path, monkeypatch):
    entry = attempts(tmp_path, monkeypatch, EARLIER.replace("FACTOR", "1.1"))["Head"]
    assert {c.wrt for c in entry.report.checks if c.verdict is Verdict.FAIL} == {"b"}


GREEK = """
class Square:
    def forward(self, x):
        self.x = x
        return x * x
    def backward(self, eta):
        return FACTOR * 2 * self.x * eta
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_the_only_argument_of_a_backward_is_no_learning_rate(tmp_path, monkeypatch, factor, verdict):
    assert attempts(tmp_path, monkeypatch, GREEK.replace("FACTOR", factor))["Square"].verdict is verdict


OWN_DELTA = """
class Cost:
    def __init__(self, scale=1.0):
        self.scale = scale
    def forward(self, x, truth):
        self.output, self.delta = x, x - truth
        return self
    def backward(self, delta):
        delta += self.scale * self.delta
        return self
"""


def test_a_gradient_that_a_forward_leaves_is_no_upstream_gradient(tmp_path, monkeypatch):
    entry = attempts(tmp_path, monkeypatch, OWN_DELTA)["Cost"]
    assert entry.report is None or entry.verdict is not Verdict.FAIL


WAITING = """
class Dense:
    def __init__(self, units):
        self.units, self.optimizer, self.params = units, None, {}
    def build(self, input_shape):
        self.params["W"] = np.cos(np.arange(input_shape[-1] * self.units)).reshape(-1, self.units)
    def forward(self, x):
        self.x = x
        return x @ self.params["W"]
    def backward(self, dy, learning_rate):
        dx = dy @ self.params["W"].T
        self.optimizer.update(self, {"dW": FACTOR * self.x.T @ dy}, learning_rate)
        return dx
"""
IN_PLACE = """
class Dense:
    def __init__(self, n_in, n_out):
        self.opt, self.W = None, np.cos(np.arange(n_in * n_out)).reshape(n_in, n_out)
    def forward(self, x):
        self.x = x
        return x @ self.W
    def backward(self, dy):
        dx = dy @ self.W.T
        self.opt.step(self.W, FACTOR * self.x.T @ dy)
        return dx
"""
KEPT = """
class Network:
    def __init__(self, x, y):
        self.input, self.y = x, y
        self.weights = np.cos(np.arange(x.shape[1])).reshape(-1, 1)
        self.output = np.zeros(y.shape)
    def feedforward(self):
        self.output = 1 / (1 + np.exp(-self.input @ self.weights))
    def backprop(self):
        slope = 2 * (self.y - self.output) * self.output * (1 - self.output)
        self.weights += self.input.T @ slope
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize("code", [WAITING, IN_PLACE])
def test_a_layer_that_waits_for_an_optimizer_is_given_one(tmp_path, monkeypatch, code, factor, verdict):
    entry = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor))["Dense"]
    assert (entry.verdict, entry.reason) == (verdict, "")


def test_a_network_that_keeps_its_inputs_and_truth_differentiates_a_loss_of_its_own(tmp_path, monkeypatch):
    entry = attempts(tmp_path, monkeypatch, KEPT)["Network"]
    assert (entry.verdict, entry.convention) == (Verdict.PASS, "feedforward/backprop of the squared error")
    (tmp_path / "other").mkdir()
    entry = attempts(tmp_path / "other", monkeypatch, KEPT.replace("+= self", "+= 0.7 * self"))["Network"]
    assert {(c.verdict, c.reason) for c in entry.report.checks} == {(Verdict.INCONCLUSIVE, "convention")}


HANDED = """
class Held:
    def __init__(self, value, lr):
        self.value, self.lr, self.D = value, lr, 0
class Square:
    def forward(self, X, if_train):
        self.X = X
        return Held(X.value ** 2, lr=0)
    def backward(self, following):
        self.X.D = FACTOR * 2 * self.X.value * following.D
class Double:
    def forward(self, X, if_train):
        self.X, self.on = X, if_train
        return Held(2 * self.X.value, lr=0)
    def backward(self, following):
        self.X.D = FACTOR * 2 * following.D
class Tanh:
    def forward(self, X, if_train):
        return Held(np.tanh(X.value), lr=0)
    def backward(self, output):
        return FACTOR * (1 - output ** 2)
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_layers_that_hand_each_other_objects_are_judged_on_arrays(tmp_path, monkeypatch, factor, verdict):
    found = attempts(tmp_path, monkeypatch, HANDED.replace("FACTOR", factor))
    assert {name: (entry.verdict, entry.reason) for name, entry in found.items()} == {
        "Square": (verdict, ""), "Double": (verdict, ""), "Tanh": (verdict, "")}  # fmt: skip


def test_a_module_is_tried_where_its_package_fails_to_import(tmp_path, monkeypatch):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/__init__.py").write_text("from net.other import what_nobody_wrote\n")
    (tmp_path / "net/other.py").write_text("SCALE = 1\n")
    code = "from net.other import SCALE\n" + ON_DEMAND.replace("FACTOR", "SCALE")
    entry = attempts(tmp_path, monkeypatch, code, "net/layers.py")["Square"]
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_functions_under_the_guard_of_a_script_are_tried(tmp_path, monkeypatch, factor, verdict):
    code = f"""
if __name__ == "__main__":
    def cube(x):
        return x ** 3
    def cube_prime(x):
        return {factor} * 3 * x ** 2
"""
    assert attempts(tmp_path, monkeypatch, code)["cube"].verdict is verdict


CLASSES = """
class Classifier:
    def __init__(self, n_in, n_out):
        self.W = np.cos(np.arange(n_in * n_out)).reshape(n_in, n_out)
    def forward(self, x):
        self.x = x
        e = np.exp(x @ self.W)
        return e / np.sum(e, axis=1, keepdims=True)
    def backward(self, y_hat, y):
        d = y_hat.copy()
        d[np.arange(len(y)), y] -= 1
        self.dW = self.x.T @ d / len(y)
"""


def test_a_network_that_is_told_the_number_of_a_class_has_its_loss_found(tmp_path, monkeypatch):
    entry = attempts(tmp_path, monkeypatch, CLASSES)["Classifier"]
    assert (entry.verdict, "cross entropy" in entry.convention) == (Verdict.PASS, True)


def test_a_function_of_nothing_carries_no_derivative(tmp_path):
    (tmp_path / "study.py").write_text("def study():\n    loss, grad = 1.0, 2.0\n    return loss, grad\n")
    assert find(tmp_path / "study.py") == ()


FROZEN = """
class Dense:
    def __init__(self, n_in, n_out, requires_grad=True):
        self.W, self.requires_grad = np.cos(np.arange(n_in * n_out)).reshape(n_in, n_out), requires_grad
        self.dW = np.zeros_like(self.W)
    def forward(self, x):
        self.x = x
        return x @ self.W
    def backward(self, dy):
        if self.requires_grad:
            self.dW = self.x.T @ dy
        return dy @ self.W.T
"""


def test_a_parameter_that_is_frozen_is_no_finding(tmp_path, monkeypatch):
    assert attempts(tmp_path, monkeypatch, FROZEN)["Dense"].verdict is Verdict.PASS


TOLD_TWICE = """
class Loss:
    def __init__(self, shape_in):
        self.t, self.x, self.loss = np.zeros(shape_in), np.zeros(shape_in), np.zeros(shape_in)
    def forward(self, x, t):
        self.x, self.t = x, t
        self.loss = self.loss + (x - t) ** 2
        return x
    def backward(self):
        return FACTOR * 2 * (self.x - self.t)
"""


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
def test_a_loss_that_is_told_the_truth_and_keeps_it_is_no_network(tmp_path, monkeypatch, factor, verdict):
    entry = attempts(tmp_path, monkeypatch, TOLD_TWICE.replace("FACTOR", factor))["Loss"]
    assert (entry.verdict, entry.reason) == (verdict, "")


def test_a_base_that_returns_zeros_leaves_its_gradient_to_its_heirs(tmp_path):
    base = "class Base:\n    def forward(self, x):\n        return x\n    def backward(self, dy):\n        return np.zeros(3)\n"
    heir = "class Heir(Base):\n    def backward(self, dy):\n        return dy\n"
    (tmp_path / "bases.py").write_text(base)
    assert [c.owner for c in find(tmp_path / "bases.py")] == ["Base"]
    (tmp_path / "bases.py").write_text(base + heir)
    assert [c.owner for c in find(tmp_path / "bases.py")] == ["Heir"]
