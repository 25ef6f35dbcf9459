from __future__ import annotations

import pytest

KNOWN = """
[[tool.gradverify.acknowledged]]
target = "s*n"
leaf = "x"
cause = "sign"
reason = "kept for the old weights"
"""
WRONG = """
def test_wrong(gradverify):
    gradverify(wrong, X)
    print("went on")
"""
RIGHT = """
def test_right(gradverify):
    gradverify(right, X)
"""


def pyproject(pytester, text: str) -> None:
    (pytester.path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n" + text)


def test_a_mismatch_that_is_known_fails_no_test_and_is_named_with_its_reason(run_tests, pytester) -> None:
    pyproject(pytester, KNOWN)
    result = run_tests(WRONG, "-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*went on*", "known s?n, leaf x, cause sign (kept for the old weights)",
                                 "1 target: 1 fail *; 1 acknowledged"])


@pytest.mark.parametrize("changed", [("sign", "factor"), ('"x"', '"y"'), ("s*n", "cos")])
def test_another_mismatch_is_not_covered(run_tests, pytester, changed) -> None:
    pyproject(pytester, KNOWN.replace(*changed))
    run_tests(WRONG).assert_outcomes(failed=1)


def test_an_entry_that_is_right_now_is_stale(run_tests, pytester) -> None:
    pyproject(pytester, KNOWN)
    result = run_tests(RIGHT)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["stale acknowledgement: s?n, leaf x, cause sign *: right now, remove it"])
    assert run_tests(RIGHT, "--gradverify-strict").ret == 1


def test_an_entry_whose_target_was_not_checked_is_not_stale(run_tests, pytester) -> None:
    pyproject(pytester, KNOWN.replace("s*n", "other"))
    result = run_tests(RIGHT, "--gradverify-strict")
    assert result.ret == 0
    assert "stale ack" not in result.stdout.str()


def test_the_controller_of_xdist_knows_too(run_tests, pytester) -> None:
    pytest.importorskip("xdist")
    pyproject(pytester, KNOWN)
    result = run_tests(WRONG, "-p", "xdist", "-n", "2", subprocess=True)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 target: 1 fail *; 1 acknowledged"])
    result = run_tests(RIGHT, "-p", "xdist", "-n", "2", "--gradverify-strict", subprocess=True)
    assert result.ret == 1


@pytest.mark.parametrize(("text", "message"), [
    ('[[tool.gradverify.acknowledged]]\ntarget = "x"', "*acknowledged?0?: needs a reason*"),
    ('[[tool.gradverify.acknowledged]]\nreason = "x"', "*acknowledged?0?: needs a target*"),
    (KNOWN + 'leef = "x"', "*acknowledged?0?: no such key 'leef'; there are target, reason, leaf, cause*"),
    ("[tool.gradverify]\nacknowledged = 3", "*acknowledged: must be a list of tables*"),
])
def test_an_entry_that_makes_no_sense_is_a_usage_error(run_tests, pytester, text, message) -> None:
    pyproject(pytester, text)
    result = run_tests(RIGHT)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_the_table_gives_defaults_and_the_ini_file_wins(run_tests, pytester) -> None:
    pyproject(pytester, '[tool.gradverify]\nseed = 7\nsearch = "none"\ninconclusive = "warn"\n')
    result = run_tests(RIGHT, "-o", "gradverify_seed=3")
    result.stdout.fnmatch_lines(["gradverify: inconclusive=warn, search=none, seed=3"])
