from __future__ import annotations

import json

import pytest
from scipy.optimize import check_grad  # noqa: F401 - before a run of pytest inside a test could be the first

SUITE = """
import numpy as np
from scipy.optimize import check_grad as chk
import scipy.optimize

f = lambda x: np.sum(x**3)

def test_right():
    assert chk(f, lambda x: 3 * x**2, X) < 1e-5

def test_missed():
    assert scipy.optimize.check_grad(f, lambda x: 3.0000003 * x**2, X) < 1e-5

def test_caught():
    assert chk(f, lambda x: 2 * x**2, X) < 1e-5

def test_raises():
    chk(f, None, X)
"""


def findings(path) -> dict[str, str]:
    content = json.loads(path.read_text())
    assert content["schema_version"] == 1
    return {each["nodeid"].split("::")[1]: each["kind"] for each in content["findings"]}


FOUND = {"test_right": "agreed", "test_missed": "missed", "test_caught": "agreed"}


def test_findings_are_shown_and_no_outcome_changes(run_tests) -> None:
    run_tests(SUITE).assert_outcomes(passed=2, failed=2)
    result = run_tests(SUITE, "--gradverify-shadow")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines([
        "gradverify: shadow",
        "missed: scipy check_grad at test_it.py:14: it let a wrong derivative pass",
        "*FAIL * x *; cause factor",
        "*test_it.py::test_missed*",
        "3 calls of other checkers: 2 agreed, 1 missed (*); no test changed its outcome",
    ])


def test_the_file_has_every_finding_and_implies_the_mode(run_tests, pytester) -> None:
    run_tests(SUITE, "--gradverify-shadow-json=shadow.json")
    assert findings(pytester.path / "shadow.json") == FOUND


def test_workers_ship_their_findings_and_load_the_checker_themselves(run_tests, pytester) -> None:
    pytest.importorskip("xdist")
    result = run_tests(SUITE, "-p", "xdist", "-n", "2", "--gradverify-shadow-json=shadow.json", subprocess=True)
    result.assert_outcomes(passed=2, failed=2)
    assert findings(pytester.path / "shadow.json") == FOUND


def test_nothing_is_imported_that_the_suite_does_not_import(run_tests) -> None:
    run_tests("""
def test_it():
    import sys
    assert not {"torch", "jax", "autograd", "scipy"} & set(sys.modules)
""", "--gradverify-shadow", subprocess=True).assert_outcomes(passed=1)


def test_the_traceback_of_a_failure_shows_the_suite_alone(run_tests) -> None:
    shown = run_tests(SUITE, "--gradverify-shadow", "-k", "raises").stdout.str()
    assert "chk(f, None, X)" in shown
    assert "shadowing.py" not in shown


def test_a_suite_without_checkers_is_told_so(run_tests) -> None:
    result = run_tests("def test_it(): ...", "--gradverify-shadow")
    result.stdout.fnmatch_lines(["no call of another gradient checker was heard"])


def test_when_the_run_has_spent_its_evaluations_nothing_more_is_rechecked(run_tests) -> None:
    result = run_tests(SUITE, "--gradverify-shadow", "-o", "gradverify_run_budget=1", "-v")
    result.stdout.fnmatch_lines(["*what the run may spend is spent*"])
    result.assert_outcomes(passed=2, failed=2)
