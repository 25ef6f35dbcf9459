"""With the plugins and options that suites really use, each in a run of pytest of its own."""

from __future__ import annotations

import textwrap

import pytest

from gradverify.report import text

MIXED = """
def test_right(gradverify):
    gradverify(right, X)

@pytest.mark.parametrize("n", [1, 2])
def test_wrong(gradverify, n):
    gradverify(wrong, n * X)
"""
# What pytest-rerunfailures does, without it: the item runs again, and what failed before is logged as a rerun.
RERUNS = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    from _pytest.runner import runtestprotocol
    for last in (False, True):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        again = not last and any(report.failed for report in reports)
        for report in reports:
            if again and report.failed:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
        if not again:
            return True
"""
SHUFFLED = "def pytest_collection_modifyitems(items): items.reverse()"


def test_the_last_failed_alone(run_tests) -> None:
    run_tests(MIXED, "-p", "cacheprovider").assert_outcomes(passed=1, failed=2)
    result = run_tests(MIXED, "-p", "cacheprovider", "--lf")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["2 targets: 2 fail*"])


def test_the_first_failure_ends_the_run_of_workers_too(run_tests) -> None:
    pytest.importorskip("xdist")
    result = run_tests(MIXED, "-x", "-p", "xdist", "-n", "2", subprocess=True)
    assert result.ret != 0
    result.stdout.fnmatch_lines(["* target*: * fail *"])


def test_a_test_that_runs_again_is_counted_once(run_tests, pytester) -> None:
    pytester.makeconftest(RERUNS)
    result = run_tests(MIXED)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["3 targets: 1 pass, 2 fail*"])


def test_the_order_of_the_tests_changes_no_verdict(run_tests, pytester) -> None:
    pytester.makeconftest(SHUFFLED)
    result = run_tests(MIXED)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["3 targets: 1 pass, 2 fail*"])


def test_a_failure_is_short_and_says_all_there_is_to_say(run_tests) -> None:
    result = run_tests("""
names = "abcdefghijkl"
arrays = {name: np.linspace(0.1, 1.0, 30).reshape(5, 6) + i for i, name in enumerate(names)}

def forward(*arrays):
    return sum(np.tanh(a * b) for a, b in zip(arrays, arrays[1:])), arrays

def backward(dout, arrays):
    return tuple(dout.T[:5, :5].sum() * a for a in arrays)

def test_it(gradverify):
    gradverify(gv.pair(forward, backward), *arrays.values())
""")
    lines = [line[1:] for line in result.stdout.lines if line.startswith("E  ")]
    shown = textwrap.dedent("\n".join(lines)).replace("gradverify.records.GradientMismatch: ", "").splitlines()
    assert 5 < len(shown) <= text.LINES == 25
    assert max(map(len, shown)) <= text.WIDTH == 110
    whole = " ".join(shown)
    assert all(word in whole for word in ("worst arrays[0][", "computed", "off by", "resolves", "cause", "again"))
