"""The same networks in the reference and in the frameworks agree; a wrong party is found and shrunk."""

from __future__ import annotations

import os

import numpy as np
import pytest
from typer.testing import CliRunner

from gradverify.cli import app
from gradverify.records import Verdict
from gradverify.reference import Dense
from gradverify.selftest import crossing
from gradverify.selftest.crossing import Answer, answer, cross_examine, gaps_between, in_reference
from gradverify.strategies import Architecture, Case

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
CASE = Case(Architecture((2, 3), (Dense(3, 1),)))


@pytest.mark.parametrize(("framework", "module", "examples"), [
    ("torch", "torch", 40), ("jax", "jax", 6), ("keras", "tensorflow", 20)])  # JAX compiles for every new shape
def test_a_framework_agrees_with_the_reference(framework, module, examples):
    pytest.importorskip(module)
    report = cross_examine([framework], examples, seed=1)
    assert report.ok, str(report)
    assert report.compared[f"reference - {framework}"] > examples // 2


def party(change):
    """The reference, with another gradient of one kind of leaf."""
    def differentiate(network, params, x, u):
        y, gradients = in_reference(network, params, x, u)
        return y, {name: change(name, g) for name, g in gradients.items()}
    return differentiate


WRONG = [
    ("scaled", lambda name, g: g * (1 + 1e-9) if name.endswith("W") else g),
    ("transposed", lambda name, g: np.reshape(np.swapaxes(g, 0, -1), np.shape(g)) if name.endswith("W") else g),
    ("zero", lambda name, g: 0 * g if name == "x" else g),
    ("reshaped", lambda name, g: np.ravel(g)[None] if name.endswith("b") else g),
]


@pytest.mark.parametrize("change", [row[1] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_party_is_found_and_shrunk(monkeypatch, change):
    monkeypatch.setattr(crossing, "_load", lambda name: party(change))
    report = cross_examine(["torch"], 100)
    assert report.verdict is Verdict.FAIL
    assert report.failure[0].size <= 2
    assert "reference and torch differ about" in str(report)


def test_a_wrong_output_is_found(monkeypatch):
    def shifted(network, params, x, u):
        y, gradients = in_reference(network, params, x, u)
        return y + 1e-6, gradients
    monkeypatch.setattr(crossing, "_load", lambda name: shifted)
    assert cross_examine(["torch"], 5).failure[1].leaf == "y"


def test_a_missing_gradient_counts_as_zero():
    whole = answer(in_reference, CASE)
    part = Answer({name: g for name, g in whole.values.items() if name != "x"}, whole.noise)
    assert [gap.leaf for gap in gaps_between(("a", "b"), whole, part) if gap.disagrees] == ["x"]


def test_a_party_without_layers_in_common_is_inconclusive(monkeypatch):
    def none(*_):
        raise TypeError("no such layer")
    monkeypatch.setattr(crossing, "_load", lambda name: none)
    report = cross_examine(["torch"], 5)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "not computed by torch (TypeError): 5" in str(report)


def test_another_framework_is_refused_by_name():
    run = CliRunner().invoke(app, ["selftest", "--against", "mxnet", "--quiet"])
    assert run.exit_code == 2
    assert "must be one of torch, jax, keras" in " ".join(run.output.split())


def test_an_absent_framework_names_its_extra(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    monkeypatch.setattr(crossing, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'gradverify\[tensorflow\]'"):
        cross_examine(["keras"], 1)


def test_the_command_compares():
    pytest.importorskip("torch")
    run = CliRunner().invoke(app, ["selftest", "--against", "torch", "--examples", "5", "--quiet"])
    assert run.exit_code == 0, run.output
    assert "no two of them disagree" in run.output
