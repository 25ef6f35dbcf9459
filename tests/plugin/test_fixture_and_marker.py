from __future__ import annotations

import pytest


def test_the_fixture_passes_what_is_right_and_fails_what_is_wrong(run_tests) -> None:
    result = run_tests("""
def test_right(gradverify):
    assert gradverify(right, X).ok

def test_wrong(gradverify):
    gradverify(wrong, X)
""")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*GradientMismatch: FAIL*"])


def test_the_traceback_ends_at_the_users_line(run_tests) -> None:
    shown = run_tests("def test_wrong(gradverify):\n    gradverify(wrong, X)").stdout.str()
    assert "gradverify(wrong, X)" in shown
    assert "pytest_plugin" not in shown
    assert "checking.py" not in shown


def test_an_exception_in_the_check_is_never_a_pass(run_tests) -> None:
    run_tests("def test_crash(gradverify):\n    gradverify(lambda x: 1 / 0, X)").assert_outcomes(failed=1)


SEEDS = """
seen = lambda report: {check.seed for check in report.checks}

def test_plain():
    assert seen(gv.assert_gradients(right, X)) == {0}

@pytest.mark.gradverify(seed=3)
class TestMarked:
    def test_the_fixture(self, gradverify):
        assert seen(gradverify(right, X)) == {3}

    def test_a_plain_call(self):
        assert seen(gv.assert_gradients(right, X)) == {3}

    @pytest.mark.gradverify(seed=4)
    def test_nearer(self, gradverify):
        assert seen(gradverify(right, X)) == {4}

    def test_named(self, gradverify):
        assert seen(gradverify(right, X, seed=5)) == {5}
"""


def test_a_marker_gives_defaults_and_the_nearest_wins(run_tests) -> None:
    run_tests(SEEDS, "--strict-markers").assert_outcomes(passed=5)


@pytest.mark.parametrize(("marker", "message"), [
    ("sede=3", "*marker gradverify: *unexpected keyword argument 'sede'*"),
    ("search='deeep'", "*marker gradverify: search='deeep': must be one of*"),
    ("3", "*marker gradverify: takes options by name*"),
])
def test_a_marker_that_makes_no_sense_is_an_error_of_its_test(run_tests, marker, message) -> None:
    result = run_tests(f"@pytest.mark.gradverify({marker})\ndef test_it(): ...")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])


def test_without_the_plugin_asserting_works_as_before(pytester, run_tests) -> None:
    pytester.makepyfile(test_plain="""
        import numpy as np
        import gradverify as gv
        def test_it():
            gv.assert_gradients(gv.function(np.sin, derivative=np.cos), np.ones(2))
    """)
    result = pytester.runpytest_inprocess("-p", "no:gradverify")
    result.assert_outcomes(passed=1)
    assert "= gradverify =" not in result.stdout.str()
