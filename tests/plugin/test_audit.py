from __future__ import annotations

import pytest

CODE = """
import numpy as np

def cube(x):
    return x**3

def cube_prime(x):
    return 3 * x**2

class Sin:
    def forward(self, x):
        self.x = x
        return np.sin(x)

    def backward(self, dy):
        return -dy * np.cos(self.x)

class Closed:
    def __init__(self):
        raise OSError("no weights here")

    def forward(self, x):
        return x

    def backward(self, dy):
        return dy
"""
TEST = "def test_plain(): ..."


@pytest.fixture
def audited(run_tests, pytester):
    """Run the audit of a file with a right, a wrong and an untriable derivative, beside one test."""
    pytester.makepyfile(code_to_audit=CODE)
    return lambda *args, **how: run_tests(TEST, "--gradverify-audit=code_to_audit.py", *args, **how)


def test_every_derivative_found_is_a_test(audited) -> None:
    result = audited("-rs")
    result.assert_outcomes(passed=2, failed=1, skipped=1)
    result.stdout.fnmatch_lines([
        "*code_to_audit:Sin*",
        "FAIL  code_to_audit:Sin  *",
        "*cause*sign*",
        "SKIPPED * not tried: *no weights here*",
    ])


def test_strict_makes_what_could_not_be_tried_fail(audited) -> None:
    audited("--gradverify-strict").assert_outcomes(passed=2, failed=2)


def test_collecting_shows_them_and_imports_nothing(audited, pytester) -> None:
    with (pytester.path / "code_to_audit.py").open("a") as stream:
        stream.write("\nraise RuntimeError('imported')\n")
    result = audited("--collect-only", "-q")
    result.stdout.fnmatch_lines(["code_to_audit.py::code_to_audit:cube", "code_to_audit.py::code_to_audit:Sin",
                                 "code_to_audit.py::code_to_audit:Closed"], consecutive=False)
    assert "imported" not in result.stdout.str()


def test_a_marker_and_a_keyword_choose_among_them(audited) -> None:
    audited("-m", "gradverify_audit", "--strict-markers").assert_outcomes(passed=1, failed=1, skipped=1, deselected=1)
    audited("-k", "cube").assert_outcomes(passed=1, deselected=3)


def test_the_last_failed_one_alone(audited) -> None:
    audited()
    audited("--lf", "-p", "cacheprovider").assert_outcomes(failed=1, deselected=3)


def test_workers_of_xdist_share_them(audited) -> None:
    pytest.importorskip("xdist")
    audited("-p", "xdist", "-n", "2", subprocess=True).assert_outcomes(passed=2, failed=1, skipped=1)


def test_the_json_file_has_them_too(audited, pytester) -> None:
    from gradverify.report import jsonfile

    audited("--gradverify-json=out.json")
    assert {report.target: str(report.verdict) for report in jsonfile.read(pytester.path / "out.json")} == {
        "code_to_audit:cube": "pass", "code_to_audit:Sin": "fail"}


def test_what_does_not_exist_is_a_collection_error(run_tests) -> None:
    result = run_tests(TEST, "--gradverify-audit=no_such_package")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*--gradverify-audit=no_such_package: *"])
