"""The audit of examples/custom_layers.py names the three wrong layers, the parameter and the cause."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import gradverify as gv
from gradverify.audit import find
from gradverify.audit.record import AuditEntry, AuditReport
from gradverify.records import Report, Verdict

LAYERS = Path(__file__).parents[2] / "examples" / "custom_layers.py"


def processor_seconds():
    times = os.times()
    return times.children_user + times.children_system


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    before = processor_seconds()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("audit"))
        report = gv.audit(LAYERS)
    return report, processor_seconds() - before


@pytest.fixture
def report(run):
    return run[0]


def test_exactly_the_wrong_layers_fail(report):
    assert [entry.symbol for entry in report.failed] == [
        "custom_layers:Dense",
        "custom_layers:Softmax",
        "custom_layers:LayerNorm",
    ]


def test_everything_else_is_tried_and_passes(report):
    assert len(report.entries) == 16
    assert (report.undecided, report.untried) == ((), ())


WRONG = [
    ("Dense", {"b"}, "factor"),
    ("Softmax", {"logits"}, "diagonal-only"),
    ("LayerNorm", {"x"}, "missing-variance-term"),
]


@pytest.mark.parametrize(("name", "leaves", "cause"), WRONG)
def test_a_failure_names_the_parameter_and_the_cause(report, name, leaves, cause):
    entry = next(entry for entry in report.failed if entry.symbol.endswith(name))
    failed = [check for check in entry.report.checks if check.verdict is Verdict.FAIL]
    assert {check.wrt for check in failed} == leaves
    assert failed[0].causes[0].name == cause


def test_it_takes_less_than_ten_seconds_of_two_cores(run):
    # Processor time: what the clock says depends on whatever else the machine does.
    assert run[1] < 20


def test_the_report_is_a_table_a_text_a_page_and_json(report, tmp_path):
    assert set(report.frame()["target"]) == {entry.symbol for entry in report.entries}
    assert "16 of 16 tried: 13 passed, 3 failed" in str(report)
    report.to_json(tmp_path / "audit.json")
    report.to_html(tmp_path / "audit.html")
    content = json.loads((tmp_path / "audit.json").read_text())
    assert len(content["reports"]) == 16
    assert "custom_layers:Dense" in (tmp_path / "audit.html").read_text()


def write(folder, code):
    (folder / "code.py").write_text("import numpy as np\n" + code)
    return folder / "code.py"


ELEMENTWISE = """
def tanh(x): return np.tanh(x)
def tanh_prime(a): return 1 - a ** 2
"""
SCALAR = """
def sq(x): return (x ** 2).sum()
def sq_grad(x): return 2 * x
"""
CACHED = """
def relu(z): return np.maximum(z, 0), z
def relu_backward(da, cache): return da * (cache > 0)
"""
UNCACHED = """
def relu(z): return np.maximum(z, 0)
def relu_backward(da, z): return da * (z > 0)
"""
CALLED = """
class Tanh:
    def __call__(self, x): return np.tanh(x)
    def gradient(self, x): return 1 - np.tanh(x) ** 2
"""
LOSS = """
class Square:
    def loss(self, y, y_pred): return 0.5 * (y - y_pred) ** 2
    def gradient(self, y, y_pred): return -(y - y_pred)
"""
LOGARITHM = """
class Log:
    def forward(self, x):
        self.x = x
        return np.log(x)
    def backward(self, d): return d / self.x
"""
STATIC = """
class A:
    @staticmethod
    def sin(x): return np.sin(x)
    @staticmethod
    def sin_prime(x): return np.sin(x)
"""

SWAPPED = """
def relu(z): return np.maximum(z, 0)
def relu_backward(z, dout): return dout * (z > 0)
"""
VJP = """
def relu(z): return np.maximum(z, 0)
def relu_grad(dout, z): return dout * (z > 0)
"""
REAL_LABELS = """
def loss(y_true, y_pred):
    if y_true.dtype.kind != "f": raise TypeError("floats only")
    return (y_true - y_pred) ** 2
def loss_gradient(y_true, y_pred): return -2 * (y_true - y_pred)
"""

OF_THE_SUM = """
def mse(pred, target): return ((pred - target) ** 2).mean()
def mse_grad(pred, target): return 2 * (pred - target)
"""

CONVENTIONS = [
    (OF_THE_SUM, Verdict.INCONCLUSIVE, "mse/mse_grad of the sum (factor 15)"),
    (OF_THE_SUM.replace("return 2 *", "return"), Verdict.FAIL, "mse/mse_grad"),
    (SWAPPED, Verdict.PASS, "relu/relu_backward"),
    (VJP, Verdict.PASS, "relu/relu_grad"),
    (REAL_LABELS, Verdict.PASS, "loss/loss_gradient"),
    (REAL_LABELS.replace("-2", "2"), Verdict.FAIL, "loss/loss_gradient"),
    (ELEMENTWISE, Verdict.PASS, "tanh/tanh_prime of the output"),
    (SCALAR, Verdict.PASS, "sq/sq_grad"),
    (SCALAR.replace("2 * x", "x"), Verdict.FAIL, "sq/sq_grad"),
    (CACHED, Verdict.PASS, "relu/relu_backward"),
    (UNCACHED, Verdict.PASS, "relu/relu_backward"),
    (CALLED, Verdict.PASS, "__call__/gradient"),
    (LOSS, Verdict.PASS, "loss/gradient"),
    (LOGARITHM, Verdict.PASS, "forward/backward"),
    (STATIC, Verdict.FAIL, "sin/sin_prime"),
]


@pytest.mark.parametrize(("code", "verdict", "convention"), CONVENTIONS)
def test_conventions_of_the_wild_are_understood(tmp_path, monkeypatch, code, verdict, convention):
    from gradverify.audit.attempt import attempt

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (candidate,) = find(write(tmp_path, code))
    entry = attempt(candidate, 0)
    assert (entry.verdict, entry.convention, entry.reason) == (verdict, convention, "")


UNFED = """
class L:
    def forward(self, graph): return graph.nodes * 2
    def backward(self, d): return d
"""


def test_what_could_not_be_tried_has_a_reason_and_the_line_that_would_try_it(tmp_path, monkeypatch):
    from gradverify.audit.attempt import attempt

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (candidate,) = find(write(tmp_path, UNFED))
    entry = attempt(candidate, 0)
    assert entry.reason.startswith("no inputs found that forward accepts (AttributeError: ")
    assert entry.remedy.startswith("in conftest.py: gv.example('code:L', \"float64[5,3]\"")


def test_the_verdict_of_an_audit_is_the_worst_of_its_entries():
    untried = AuditEntry("m:f", "f/df", reason="why")
    assert AuditReport((untried,)).verdict is Verdict.INCONCLUSIVE
    assert untried.as_report() == Report("m:f", (), notes=("not tried: why",), meta=untried.as_report().meta)


def test_the_name_audit_is_the_function_also_after_its_package_was_imported():
    import gradverify.audit  # noqa: F401 - the import is what could shadow the function

    assert callable(gv.audit)
