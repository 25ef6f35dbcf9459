from __future__ import annotations

from dataclasses import replace

import pytest

from gradverify.records import Check, Report, Verdict
from gradverify.report import github

WRONG = """
def test_wrong(gradverify):
    gradverify(wrong, X)

def test_right(gradverify):
    gradverify(right, X)
"""


@pytest.fixture
def actions(monkeypatch, tmp_path, pytester):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path.parent))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return tmp_path / "summary.md"


def test_a_failure_is_an_annotation_at_its_test_and_a_row_of_the_summary(run_tests, pytester, actions) -> None:
    result = run_tests(WRONG)
    result.stdout.fnmatch_lines([
        f"::error file={pytester.path.name}/test_it.py,line=4,title=gradverify%3A sin::sin  x * computed*"])
    assert result.stdout.str().count("::error") == 1
    text = actions.read_text()
    assert text.startswith("### gradverify: 2 targets: 1 pass, 1 fail")
    assert "| FAIL | sin | x 3 of 3 entries" in text
    assert "<pre>FAIL  sin" in text


def test_elsewhere_there_is_nothing_of_it(run_tests, monkeypatch, actions) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert "::error" not in run_tests(WRONG).stdout.str()
    assert not actions.exists()


def test_under_xdist_the_controller_alone_speaks(run_tests, actions) -> None:
    pytest.importorskip("xdist")
    result = run_tests(WRONG, "-p", "xdist", "-n", "2", subprocess=True)
    assert result.stdout.str().count("::error") == 1
    assert actions.read_text().count("###") == 1


HOSTILE = Report("a|b`<script>\n::error::x%", (Check("t", "x", "out", Verdict.INCONCLUSIVE, reason="kink"),))


def test_names_stay_text_in_annotations_and_summary() -> None:
    line = github.annotation(HOSTILE, "a,b:c.py", 3)
    assert line.startswith("::warning file=a%2Cb%3Ac.py,line=3,title=gradverify%3A ")
    assert "\n" not in line
    assert "%25" in line
    text = github.step_summary([HOSTILE])
    assert "<script>" not in text
    assert r"| a\|b\`&lt;script&gt; ::error::x% |" in text


def test_a_pass_needs_no_row() -> None:
    passed = replace(HOSTILE, checks=(Check("t", "x", "out", Verdict.PASS),))
    assert "|" not in github.step_summary([passed])
