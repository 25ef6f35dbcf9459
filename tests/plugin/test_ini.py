from __future__ import annotations

import pytest

UNDECIDED = """
def test_it(gradverify):
    gradverify(undecided, X)
    print("went on")

def test_plain():
    gv.assert_gradients(undecided, X)
    print("went on")
"""


def test_inconclusive_fails_by_default(run_tests) -> None:
    result = run_tests(UNDECIDED)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*GradientInconclusive*", "2 targets: 2 inconclusive*"])


def test_inconclusive_may_be_an_expected_failure(run_tests) -> None:
    result = run_tests(UNDECIDED, "-o", "gradverify_inconclusive=xfail")
    result.assert_outcomes(xfailed=2)
    result.stdout.fnmatch_lines(["gradverify: inconclusive=xfail", "2 targets: 2 inconclusive*"])


def test_inconclusive_may_be_a_warning_and_the_test_goes_on(run_tests) -> None:
    result = run_tests(UNDECIDED, "-s", "-W", "default", "-o", "gradverify_inconclusive=warn")
    result.assert_outcomes(passed=2)
    assert result.stdout.str().count("went on") == 2
    for line in (4, 8):  # where the two tests begin
        result.stdout.fnmatch_lines([f"*test_it.py:{line}: GradientInconclusiveWarning: *"])


@pytest.mark.parametrize("policy", ["xfail", "warn"])
def test_no_policy_lets_a_failure_through(run_tests, policy) -> None:
    result = run_tests("def test_it(gradverify):\n    gradverify(wrong, X)",
                       "-o", f"gradverify_inconclusive={policy}")
    result.assert_outcomes(failed=1)


@pytest.mark.parametrize(("name", "value"), [
    ("seed", 7), ("order", 1), ("mode", "reverse"), ("oracle", "finite"), ("search", "none"),
    ("require", 1e-3), ("tolerate", 1e-12), ("budget", 100_000)])
def test_an_ini_value_is_a_default_and_the_call_overrides_it(run_tests, name, value) -> None:
    result = run_tests(f"""
from gradverify import events

def test_it():
    assert events.with_defaults({{}}) == {{{name!r}: {value!r}}}
    assert events.with_defaults({{{name!r}: None}}) == {{{name!r}: None}}

def test_it_is_valid(gradverify):
    gradverify(right, X)
""", "-o", f"gradverify_{name}={value}")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"gradverify: {name}={value}"])


@pytest.mark.parametrize(("setting", "message"), [
    ("gradverify_inconclusive=skip", "*gradverify_inconclusive='skip': must be one of*"),
    ("gradverify_seed=many", "*gradverify_seed='many': invalid literal*"),
    ("gradverify_search=deeep", "*gradverify_search='deeep': must be one of*"),
    ("gradverify_require=0", "*gradverify_require=0.0: must be a finite number > 0.0*"),
])
def test_an_ini_value_that_makes_no_sense_is_a_usage_error(run_tests, setting, message) -> None:
    result = run_tests("def test_it(): ...", "-o", setting)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
