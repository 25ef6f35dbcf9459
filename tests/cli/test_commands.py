"""The commands: what they print, what they write, and how they exit."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from gradverify import __version__
from gradverify.cli import app

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
        "the forward raised RuntimeError: cannot (code_under_test.py:",
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
    assert "try: gradverify check code_under_test:Graph" in result.output
    assert len(json.loads((project / "audit.json").read_text())["reports"]) == 6


def test_a_quiet_audit_shows_the_failures_and_the_last_line():
    result = invoke("audit", "code_under_test.py", "--quiet")
    assert result.exit_code == 1
    assert "Graph" not in result.output
    assert "FAIL" in result.output


EXITS = [
    (["right.py"], 0),
    (["code_under_test.py"], 1),
    (["code_under_test.py", "--exit-zero"], 0),
    (["right.py", "--strict"], 0),
    (["empty.py"], 5),
    (["empty.py", "--exit-zero"], 5),
]


@pytest.mark.parametrize(("words", "code"), EXITS)
def test_an_audit_exits_by_what_it_found(words, code):
    assert invoke("audit", *words).exit_code == code


def test_strict_counts_what_was_not_tried_as_failed(project):
    (project / "graph.py").write_text(
        "class G:\n    def forward(self, g): return g.n\n    def backward(self, d): return d\n"
    )
    assert invoke("audit", "graph.py").exit_code == 0
    assert invoke("audit", "graph.py", "--strict").exit_code == 1


@pytest.mark.parametrize("words", [["--help"], ["audit", "--help"], ["check", "--help"], ["again", "--help"]])
def test_every_command_explains_itself(words):
    assert invoke(*words).exit_code == 0


def test_the_help_of_check_shows_an_example_that_works():
    text = " ".join(invoke("check", "--help").output.split())
    assert "gradverify check layers:swish --derivative swish_prime --input x=float64[20]" in text


def test_the_version_is_shown():
    assert invoke("--version").output.split() == ["gradverify", __version__]


def run(*words):
    code = "import sys; from gradverify.cli import main; sys.argv[0] = 'gradverify'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_console_script_exits_with_the_code_of_the_verdict():
    result = run("check", f"{M}cube", "--derivative", "cube_prime", *X)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.startswith("FAIL  cube")


def test_showing_the_version_loads_no_numpy():
    code = "import sys; from gradverify.cli import app; sys.exit('pandas' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
