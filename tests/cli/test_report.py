"""`gradverify report`: files merged, compared, rendered."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from gradverify.cli import app
from gradverify.records import Cause, Check, Report, Verdict
from gradverify.report import jsonfile

PASSED = Check("f", "x", "out", Verdict.PASS, resolution=1e-14, computed=1.0, expected=1.0)
CAUSE = Cause("factor", "a factor 2 is wrong", "computed / expected = 2", "divide by 2", 1.0)
FAILED = replace(PASSED, verdict=Verdict.FAIL, discrepancy=1.0, causes=(CAUSE,))
UNDECIDED = replace(PASSED, verdict=Verdict.INCONCLUSIVE, reason="kink")


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, *checks, target="f"):
        jsonfile.write([Report(target, (check,), again="ab12") for check in checks], tmp_path / name)
        return name

    return write


def invoke(*words):
    return CliRunner().invoke(app, ["report", *words], catch_exceptions=False)


def test_several_files_become_one(write, tmp_path):
    files = write("a.json", PASSED), write("b.json", FAILED, target="g"), write("c.json", PASSED)
    result = invoke(*files, "--json", "all.json")
    assert result.exit_code == 1
    assert "2 targets: 1 pass, 1 fail" in result.output
    assert [report.target for report in jsonfile.read(tmp_path / "all.json")] == ["f", "g"]


@pytest.mark.parametrize(("checks", "options", "code"), [
    ([PASSED], [], 0), ([FAILED], [], 1), ([UNDECIDED], [], 0), ([UNDECIDED], ["--strict"], 1), ([], [], 5)])
def test_it_exits_by_what_the_files_hold(write, checks, options, code):
    assert invoke(write("a.json", *checks), *options).exit_code == code


@pytest.mark.parametrize(("then", "now", "kind", "code"), [
    (PASSED, FAILED, "newly wrong", 1), (UNDECIDED, FAILED, "newly wrong", 1), (FAILED, FAILED, "still wrong", 0),
    (FAILED, PASSED, "mended", 0), (FAILED, UNDECIDED, "", 0), (PASSED, UNDECIDED, "no longer decided", 0),
    (UNDECIDED, PASSED, "decided now", 0), (PASSED, replace(PASSED, resolution=1e-9), "coarser", 0),
    (PASSED, replace(PASSED, wrt="y"), "new", 0), (PASSED, replace(FAILED, wrt="y"), "newly wrong", 1),
    (replace(PASSED, wrt="y"), PASSED, "gone", 0), (PASSED, replace(PASSED, resolution=5e-13), "", 0)])
def test_two_runs_are_compared_check_by_check(write, then, now, kind, code):
    result = invoke(write("now.json", now), "--against", write("then.json", then))
    assert result.exit_code == code
    assert (f"1 {kind}" if kind else "nothing changed") in result.output.splitlines()[-1]


def test_what_is_newly_wrong_is_shown_then_and_now(write):
    lines = invoke(write("now.json", FAILED), "--against", write("then.json", PASSED)).output.splitlines()
    assert lines[0] == "newly wrong  f  x"
    assert lines[1].startswith("      then pass: to 1e-14")
    assert lines[2].startswith("      now  fail: ")


def test_markdown_is_printed_alone(write):
    output = invoke(write("a.json", FAILED), "--markdown", "-").output
    assert output.startswith("## Gradients\n")
    assert "| `f` | `x` |" in output
    assert "a factor 2 is wrong; divide by 2" in output
    assert "`gradverify again ab12`" in output


def test_a_comparison_has_its_own_markdown(write):
    output = invoke(write("now.json", FAILED), "--against", write("then.json", PASSED), "--markdown", "-").output
    assert "### Newly wrong" in output


def test_every_format_is_written(write, tmp_path):
    result = invoke(write("a.json", PASSED), "--html", "a.html", "--table", "a.csv", "--markdown", "a.md", "--quiet")
    assert (result.exit_code, result.output.count("\n")) == (0, 1)
    assert (tmp_path / "a.html").read_text().startswith("<!")
    assert (tmp_path / "a.csv").read_text().startswith("target,wrt,output")
    assert (tmp_path / "a.md").read_text().startswith("## ")


def test_json_on_standard_output_is_all_there_is(write):
    assert json.loads(invoke(write("a.json", PASSED), "--json", "-").output)["verdict"] == "pass"


@pytest.mark.parametrize(("options", "message"), [
    (["--table", "a.txt"], "a table is written as .csv or .parquet"),
    (["--html", "no/such/a.html"], "the report cannot be written")])
def test_what_cannot_be_written_is_a_usage_error(write, options, message):
    result = invoke(write("a.json", PASSED), *options)
    assert (result.exit_code, message in result.output) == (2, True)


def test_a_file_that_is_no_report_is_a_usage_error(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("{}")
    result = invoke(str(tmp_path / "a.json"))
    assert (result.exit_code, "not a gradverify report" in result.output) == (2, True)
