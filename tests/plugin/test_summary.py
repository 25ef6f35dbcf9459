from __future__ import annotations

import re
from itertools import dropwhile, takewhile

import pytest

MIXED = """
def test_right(gradverify):
    gradverify(right, X)

def test_wrong(gradverify):
    gradverify(wrong, X)

def test_plain():
    gv.assert_gradients(wrong, X)

def test_wrong_on_purpose(gradverify):
    with pytest.raises(gv.GradientMismatch):
        gradverify(wrong, X)
"""


def section(result: pytest.RunResult) -> list[str]:
    """The lines of the section `gradverify`, its heading left out."""
    after_heading = dropwhile(lambda line: not re.fullmatch("=+ gradverify =+", line), result.stdout.lines)
    return list(takewhile(lambda line: not line.startswith("="), list(after_heading)[1:]))


def test_a_line_a_failing_target_and_a_count(run_tests) -> None:
    lines = section(run_tests(MIXED))
    assert [line[:4] for line in lines[:-1]] == ["FAIL", "FAIL"]
    assert "[test_it.py::test_wrong]" in lines[0]
    assert "[test_it.py::test_plain]" in lines[1]
    assert lines[-1].startswith("4 targets: 1 pass, 3 fail")
    assert lines[-1].endswith("; 1 not passing, in tests that passed")


def test_verbose_shows_every_target(run_tests) -> None:
    lines = section(run_tests(MIXED, "-v"))
    assert [line[:4] for line in lines[:-1]] == ["pass", "FAIL", "FAIL", "FAIL"]


def test_quiet_shows_the_count_and_quieter_nothing(run_tests) -> None:
    assert len(section(run_tests(MIXED, "-q"))) == 1
    assert section(run_tests(MIXED, "-qq")) == []


def test_a_run_that_checks_no_gradient_hears_nothing_of_it(run_tests) -> None:
    result = run_tests("def test_it(): ...", "-v")
    assert section(result) == []
    assert "gradverify:" not in result.stdout.str()


def test_what_is_asserted_in_a_fixture_belongs_to_its_test(run_tests) -> None:
    source = """
@pytest.fixture
def net(gradverify):
    return gradverify(wrong, X)

def test_it(net): ...
"""
    assert "[test_it.py::test_it]" in section(run_tests(source))[0]


def test_what_a_module_asserts_while_it_is_imported_belongs_to_no_test(run_tests) -> None:
    assert section(run_tests("gv.assert_gradients(right, X)\ndef test_it(): ...", "-v")) == []


def test_the_junit_file_has_a_property_a_target(run_tests, pytester) -> None:
    run_tests(MIXED, "--junitxml=junit.xml")
    xml = (pytester.path / "junit.xml").read_text()
    assert xml.count('<property name="gradverify" value="fail ') == 3
    assert xml.count('<property name="gradverify" value="pass ') == 1
