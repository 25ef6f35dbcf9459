from __future__ import annotations

import pytest

UNDECIDED = """
def test_it(gradverify):
    gradverify(undecided, X)
"""
TWO = """
import time

def slow(x):
    time.sleep(0.02)
    return np.sin(x)

def test_one(gradverify):
    gradverify(right, X)

def test_slow(gradverify):
    gradverify(gv.function(slow, derivative=np.cos), X)
"""


@pytest.mark.parametrize("how", [("--gradverify-strict",), ("-o", "gradverify_strict=true")])
def test_strict_wins_over_a_lenient_policy(run_tests, how) -> None:
    run_tests(UNDECIDED, "-o", "gradverify_inconclusive=warn", *how).assert_outcomes(failed=1)


def test_a_check_that_takes_too_long_is_inconclusive(run_tests) -> None:
    result = run_tests(TWO, "-o", "gradverify_seconds=0.1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*test_slow*", "*slow * inconclusive: it did not finish in the time it was given*"])


def test_the_seconds_of_a_run(run_tests) -> None:
    result = run_tests(TWO, "-o", "gradverify_run_seconds=0.000001", "-k", "one")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*inconclusive: it did not finish in the time it was given*"])


def test_the_evaluations_of_a_run_are_shared_by_its_checks(run_tests) -> None:
    both = UNDECIDED.replace("undecided", "right") + UNDECIDED.replace("undecided", "right").replace("it(", "again(")
    run_tests(both, "-o", "gradverify_run_budget=100000").assert_outcomes(passed=2)
    result = run_tests(both, "-o", "gradverify_run_budget=120")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*inconclusive: the forward evaluations it was given were spent first*"])


@pytest.mark.parametrize(("setting", "message"), [
    ("gradverify_seconds=0", "*gradverify_seconds=0.0: must be > 0*"),
    ("gradverify_run_budget=many", "*gradverify_run_budget='many': invalid literal*"),
])
def test_a_limit_that_makes_no_sense_is_a_usage_error(run_tests, setting, message) -> None:
    result = run_tests(TWO, "-o", setting)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
