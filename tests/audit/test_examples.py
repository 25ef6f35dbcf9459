"""What a project gives for its own code comes first, in a conftest.py or its pyproject.toml."""

from __future__ import annotations

import re

import pytest

import gradverify as gv
from gradverify.audit import find
from gradverify.audit.attempt import attempt

ODD = """
import numpy as np
class Odd:
    def __init__(self, recipe):
        if recipe[::-1] != "sesseug ydobon taht drow eno eht":
            raise KeyError(recipe)
        self.W = np.arange(6.0).reshape(3, 2)
    def forward(self, x):
        self.x = x
        return x @ self.W
    def backward(self, g):
        self.dW = K * self.x.T @ g
        return g @ self.W.T
K = 1.0
def picky(x):
    if x.shape != (4, 9, 2):
        raise ValueError("another shape, please")
    return x**2
def picky_prime(x):
    return K * 2 * x
"""
LINE = "gv.example('odd:Odd', 'float64[5,3]', make=('the one word that nobody guesses',))"
TABLE = """
[[tool.gradverify.example]]
symbol = "Odd"
inputs = ["float64[5,3]"]
make = {recipe = "the one word that nobody guesses"}
[[tool.gradverify.example]]
symbol = "odd:picky"
inputs = ["float64[4,9,2]"]
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "odd.py").write_text(ODD)
    return tmp_path


def entries(project):
    return {entry.symbol: entry for entry in (attempt(c, 0) for c in find(project / "odd.py"))}


def give(project, *lines):
    (project / "conftest.py").write_text("\n".join(["import gradverify as gv", *lines]))


def test_without_an_example_the_reason_names_the_line_to_add(project):
    entry = entries(project)["odd:Odd"]
    assert entry.report is None
    assert entry.remedy.startswith("in conftest.py: gv.example('odd:Odd', \"float64[5,3]\", make={'recipe': ")


def test_that_line_with_its_argument_filled_in_works(project):
    line = entries(project)["odd:Odd"].remedy.removeprefix("in conftest.py: ")
    give(project, re.sub(r"'recipe': [^}]*", "'recipe': 'the one word that nobody guesses'", line))
    assert entries(project)["odd:Odd"].verdict is gv.Verdict.PASS


@pytest.mark.parametrize("wrong", [False, True])
def test_an_example_in_a_conftest_is_tried(project, wrong):
    (project / "odd.py").write_text(ODD.replace("K = 1.0", "K = 2.0") if wrong else ODD)
    give(project, LINE)
    assert entries(project)["odd:Odd"].verdict is (gv.Verdict.FAIL if wrong else gv.Verdict.PASS)


def test_examples_in_a_table(project):
    (project / "pyproject.toml").write_text(TABLE)
    assert {e.verdict for e in entries(project).values()} == {gv.Verdict.PASS}


def test_an_example_may_hold_arrays_and_a_function_that_makes_the_object(project):
    give(project, "import numpy as np, odd",
         "gv.example('Odd', np.ones((2, 3)), make=lambda: odd.Odd('the one word that nobody guesses'))")  # fmt: skip
    assert entries(project)["odd:Odd"].report.checks[0].shape == (2, 3)


@pytest.mark.parametrize(("line", "reason"), [
    ("gv.example('Odd', 'float64[5,7]', make=('the one word that nobody guesses',))", "does not run: ValueError"),
    ("gv.example('Odd', 'float64[5,3]', make=('another',))", "does not make it: KeyError"),
    ("gv.example('Odd'); 1 / 0", "conftest.py gives examples and raises ZeroDivisionError"),
])  # fmt: skip
def test_an_example_that_does_not_work_is_the_reason(project, line, reason):
    give(project, line)
    assert reason in entries(project)["odd:Odd"].reason


def test_a_conftest_without_examples_is_not_run(project):
    give(project, "raise SystemExit")
    assert entries(project)["odd:Odd"].reason.startswith("no arguments found")


@pytest.mark.parametrize(("arguments", "error"), [(("",), ValueError), ((7,), ValueError)])
def test_a_symbol_has_to_name_something(arguments, error):
    with pytest.raises(error, match="symbol="):
        gv.example(*arguments)


def test_what_makes_an_object_has_to_be_arguments_or_a_function():
    with pytest.raises(TypeError, match="make=3"):
        gv.example("layers:Dense", make=3)
