from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradverify.report import jsonfile

TWO = """
def test_right(gradverify):
    gradverify(right, X)

@pytest.mark.parametrize("n", [1, 2, 3])
def test_wrong(gradverify, n):
    gradverify(wrong, X)
"""
ONE_RIGHT_THREE_WRONG = ["fail", "fail", "fail", "pass"]


def verdicts(path: Path) -> list[str]:
    return sorted(str(report.verdict) for report in jsonfile.read(path))


def test_the_json_file_holds_every_report_with_its_test(run_tests, pytester) -> None:
    run_tests(TWO, "--gradverify-json=out/report.json")
    path = pytester.path / "out/report.json"
    assert verdicts(path) == ONE_RIGHT_THREE_WRONG
    assert jsonfile.read(path)[0].meta["nodeid"] == "test_it.py::test_right"
    assert json.loads(path.read_text())["verdict"] == "fail"


def test_the_html_file_is_one_page_with_every_target(run_tests, pytester) -> None:
    result = run_tests(TWO, "--gradverify-html=report.html")
    page = (pytester.path / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "sin" in page
    result.stdout.fnmatch_lines(["html written to *report.html"])


def test_a_run_without_gradients_writes_an_empty_file(run_tests, pytester) -> None:
    run_tests("def test_it(): ...", "--gradverify-json=report.json")
    assert jsonfile.read(pytester.path / "report.json") == ()


def test_collecting_only_writes_nothing(run_tests, pytester) -> None:
    run_tests(TWO, "--gradverify-json=report.json", "--collect-only")
    assert not (pytester.path / "report.json").exists()


def test_a_directory_is_no_file(run_tests, pytester) -> None:
    result = run_tests(TWO, "--gradverify-json=.")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--gradverify-json=*: is a directory"])


def test_workers_ship_their_reports_and_the_controller_writes_once(run_tests, pytester) -> None:
    pytest.importorskip("xdist")
    result = run_tests(TWO, "-p", "xdist", "-n", "2", "--gradverify-json=report.json", subprocess=True)
    result.assert_outcomes(passed=1, failed=3)
    assert verdicts(pytester.path / "report.json") == ONE_RIGHT_THREE_WRONG
    result.stdout.fnmatch_lines(["4 targets: 1 pass, 3 fail*", "json written to *report.json"])


def test_the_first_failure_can_end_the_run(run_tests, pytester) -> None:
    run_tests(TWO, "-x", "--gradverify-json=report.json")
    assert verdicts(pytester.path / "report.json") == ["fail", "pass"]


def test_a_shipped_report_is_the_report(run_tests, pytester) -> None:
    pytest.importorskip("xdist")
    run_tests(TWO, "--gradverify-json=here.json")
    run_tests(TWO, "-p", "xdist", "-n", "2", "--gradverify-json=there.json", subprocess=True)
    here, there = (jsonfile.read(pytester.path / name) for name in ("here.json", "there.json"))
    key = lambda report: report.meta["nodeid"]  # noqa: E731
    for mine, shipped in zip(sorted(here, key=key), sorted(there, key=key), strict=True):
        assert (mine.target, mine.verdict, mine.meta) == (shipped.target, shipped.verdict, shipped.meta)
        assert [check.computed for check in mine.checks] == [check.computed for check in shipped.checks]
