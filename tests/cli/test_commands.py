"""The commands: what they print, what they write, and how they exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gradverify
from gradverify import __version__
from gradverify.audit import AuditEntry, AuditReport
from gradverify.cli import app
from gradverify.records import Check, Report, Verdict

CODE = """
import numpy as np
def sq(x): return x * x
def sq_prime(x): return 2 * x
def cube(x): return x ** 3
def cube_prime(x): return 2 * x ** 2
def affine_forward(x, w): return x @ w, (x, w)
def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout
def total(x): return (x ** 2).sum()
def total_grad(x): return 2 * x
class Scale:
    def __init__(self, k): self.k = k
    def forward(self, x): return x * self.k
    def backward(self, dout): return dout * self.k
def make_scale(): return Scale(3.0)
class Graph:
    def forward(self, graph): return graph.nodes
    def backward(self, d): return d
def broken(x): raise RuntimeError("cannot")
"""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "code_under_test", raising=False)
    (tmp_path / "code_under_test.py").write_text(CODE)
    (tmp_path / "right.py").write_text("def f(x): return x * x\ndef f_prime(x): return 2 * x\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    return tmp_path


def invoke(*words):
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


M = "code_under_test:"
X = ("--input", "x=float64[3,4]")

CHECKS = [
    ([f"{M}sq", "--derivative", "sq_prime", *X], 0, "pass"),
    ([f"{M}cube", "--derivative", "cube_prime", *X], 1, "FAIL"),
    ([f"{M}cube", "--derivative", f"{M}cube_prime", *X], 1, "FAIL"),
    (["code_under_test.py:sq", "--derivative", "sq_prime", *X], 0, "pass"),
    ([f"{M}total", "--gradient", "total_grad", *X], 0, "pass"),
    ([f"{M}affine_forward", "--backward", "affine_backward", *X, "--input", "w=float64[4,2]"], 0, "x, w"),
    (
        [f"{M}affine_forward", "--backward", "affine_backward", *X, "-i", "w=float64[4,2]", "--wrt", "w"],
        0,
        "w",
    ),
    ([f"{M}Scale(2.0)", *X], 0, "Scale"),
    ([f"{M}make_scale", *X], 0, "Scale"),
]


@pytest.mark.parametrize(("words", "code", "text"), CHECKS)
def test_check_judges_one_object(words, code, text):
    result = invoke("check", *words)
    assert (result.exit_code, text in result.output) == (code, True), result.output


USAGE = [
    (["check", f"{M}nothing", *X], "has no 'nothing'"),
    (["check", f"{M}sq", "--derivative", "sq_prime", "--input", "x=float63[3]"], "no dtype 'float63'"),
    (["check", f"{M}Scale", *X], "give the arguments, for example 'code_under_test:Scale(3, 7)'"),
    (
        ["check", f"{M}sq", "--derivative", "sq_prime", "--backward", "sq_prime", *X],
        "--backward belongs to a pair",
    ),
    (["check", f"{M}sq", "--derivative", "sq_prime", *X, "--mode", "sideways"], "mode='sideways'"),
    (["check", f"{M}sq", "--derivative", "sq_prime", *X, "--wrt", "z"], "wrt='z'"),
    (["check", f"{M}sq", *X], "claims no derivative"),
    (
        ["check", f"{M}broken", "--derivative", "sq_prime", *X],
        "the forward raised RuntimeError: cannot (",
    ),
    (["again", "nosuch"], "no saved failure 'nosuch'"),
    (["audit", "no/such/path"], "no/such/path"),
    (["audit", "empty.py", "--jobs", "0"], "--jobs"),
    (["audit"], "PATH"),
    (["frobnicate"], "frobnicate"),
]


@pytest.mark.parametrize(("words", "message"), USAGE)
def test_what_makes_no_sense_exits_with_2_and_says_why(words, message):
    result = invoke(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_a_usage_error_is_one_line_without_a_traceback():
    result = invoke("check", f"{M}nothing", *X)
    assert result.output.count("\n") == 1
    assert result.output.startswith("gradverify: ")


def test_the_same_seed_gives_the_same_report(project):
    for name in ("a", "b"):
        invoke("check", f"{M}cube", "--derivative", "cube_prime", *X, "--seed", "3", "--json", f"{name}.json")
    checks = [
        json.loads((project / f"{name}.json").read_text())["reports"][0]["checks"] for name in ("a", "b")
    ]
    assert [c["computed"] for c in checks[0]] == [c["computed"] for c in checks[1]]


def test_a_failure_can_be_run_again():
    first = invoke("check", f"{M}cube", "--derivative", "cube_prime", *X)
    identity = first.output.partition("gradverify again ")[2].split()[0]
    again = invoke("again", identity)
    assert again.exit_code == 1
    assert again.output.splitlines()[0] == first.output.splitlines()[0]


def test_the_reports_are_written(project):
    result = invoke("check", f"{M}sq", "--derivative", "sq_prime", *X, "--json", "r.json", "--html", "r.html")
    assert result.exit_code == 0
    assert json.loads((project / "r.json").read_text())["verdict"] == "pass"
    assert (project / "r.html").read_text().startswith("<!")


def test_a_report_that_cannot_be_written_is_a_usage_error():
    assert (
        invoke("check", f"{M}sq", "--derivative", "sq_prime", *X, "--json", "no/such/r.json").exit_code == 2
    )


def test_an_audit_shows_a_table_the_failures_and_what_was_not_tried(project):
    result = invoke("audit", "code_under_test.py", "--json", "audit.json", "--html", "audit.html")
    assert result.exit_code == 1
    assert "5 of 6 tried: 4 passed, 1 failed, 0 inconclusive" in result.output
    assert "FAIL  code_under_test:cube  x" in result.output
    assert f"{project}/code_under_test.py:5" in result.output
    assert "try    in conftest.py: gv.example('code_under_test:Graph'" in result.output
    assert len(json.loads((project / "audit.json").read_text())["reports"]) == 6


def test_a_quiet_audit_shows_the_failures_and_the_last_line(monkeypatch):
    report = AuditReport((entry(FAIL), entry(UNTRIED)))
    monkeypatch.setattr("gradverify.audit.audit", lambda *_, **__: report)
    lines = invoke("audit", "anything", "--quiet").output.splitlines()
    assert lines[0].startswith("FAIL  m:f")
    assert lines[-1].startswith("1 of 2 tried")
    assert not any("not tried" in line for line in lines)


def entry(verdict):
    if verdict is None:
        return AuditEntry("m:f", "f/df", reason="why")
    return AuditEntry("m:f", "f/df", Report("f", (Check("f", "x", "out", verdict),)))


PASS, FAIL, UNDECIDED, UNTRIED = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, None
EXITS = [
    ([PASS], [], 0),
    ([PASS], ["--strict"], 0),
    ([PASS, FAIL], [], 1),
    ([PASS, FAIL], ["--exit-zero"], 0),
    ([PASS, UNDECIDED], [], 0),
    ([PASS, UNDECIDED], ["--strict"], 1),
    ([PASS, UNTRIED], [], 0),
    ([PASS, UNTRIED], ["--strict"], 1),
    ([PASS, UNTRIED], ["--strict", "--exit-zero"], 0),
    ([], [], 5),
    ([], ["--exit-zero"], 5),
]


@pytest.mark.parametrize(("verdicts", "options", "code"), EXITS)
def test_an_audit_exits_by_what_it_found(monkeypatch, verdicts, options, code):
    report = AuditReport(tuple(map(entry, verdicts)))
    monkeypatch.setattr("gradverify.audit.audit", lambda *_, **__: report)
    assert invoke("audit", "anything", *options).exit_code == code


def test_an_interrupted_audit_shows_what_it_has_and_exits_with_1(monkeypatch):
    report = AuditReport((entry(PASS),), interrupted=True)
    monkeypatch.setattr("gradverify.audit.audit", lambda *_, **__: report)
    result = invoke("audit", "anything")
    assert (result.exit_code, "interrupted" in result.output) == (1, True)


def test_an_audit_without_anything_to_check_says_where_it_looked():
    result = invoke("audit", "empty.py")
    assert (result.exit_code, result.output) == (5, "gradverify: nothing found to check in empty.py\n")


@pytest.mark.parametrize("words", [["--help"], ["audit", "--help"], ["check", "--help"], ["again", "--help"]])
def test_every_command_explains_itself(words):
    assert invoke(*words).exit_code == 0


def test_the_help_of_check_shows_an_example_that_works():
    text = " ".join(invoke("check", "--help").output.split())
    assert "gradverify check layers:swish --derivative swish_prime --input x=float64[20]" in text


def test_the_version_is_shown():
    assert invoke("--version").output.split() == ["gradverify", __version__]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(gradverify.__file__).parents[1])}


def python(code, *words):
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)


def test_the_console_script_exits_with_the_code_of_the_verdict():
    words = ("check", f"{M}cube", "--derivative", "cube_prime", *X)
    result = python("from gradverify.cli import main; main()", *words)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.startswith("FAIL  cube")


def test_the_module_runs_as_the_command():
    command = [sys.executable, "-m", "gradverify", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)
    assert result.stdout.split() == ["gradverify", __version__]


def test_help_and_version_load_no_numpy():
    code = "import sys; from gradverify.cli import app; sys.exit('numpy' in sys.modules)"
    assert python(code).returncode == 0


def test_json_on_standard_output_is_all_there_is():
    result = invoke("check", f"{M}cube", "--derivative", "cube_prime", *X, "--json", "-")
    assert (result.exit_code, json.loads(result.output)["verdict"]) == (1, "fail")


def test_an_audit_prints_its_json_too(monkeypatch):
    monkeypatch.setattr("gradverify.audit.audit", lambda *_, **__: AuditReport((entry(PASS),)))
    assert json.loads(invoke("audit", "anything", "--json", "-").output)["verdict"] == "pass"


@pytest.mark.parametrize(("name", "shown"), [("sq", ""), ("cube", "FAIL")])
def test_a_quiet_check_shows_only_what_did_not_pass(name, shown):
    output = invoke("check", f"{M}{name}", "--derivative", f"{name}_prime", *X, "--quiet").output
    assert output[:4] == shown


def test_the_shell_completes_commands_and_options():
    code = "from gradverify.cli import main; main()"
    for words, known in (("gradverify ", "selftest"), ("gradverify check --de", "--derivative")):
        shell = {"_GRADVERIFY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run([sys.executable, "-c", f"import sys; sys.argv = ['gradverify']; {code}"],
                              capture_output=True, text=True, check=True, env={**ENVIRONMENT, **shell})
        assert known in done.stdout.split()
