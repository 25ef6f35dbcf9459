"""Submissions are graded row by row; what is missing, broken or a notebook is a row and no gap."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from gradverify.audit.grading import Spec, Task, as_report, grade, read_spec, write_grades
from gradverify.audit.pool import Plan
from gradverify.cli import app

RIGHT = "import numpy as np\ndef tanh(x): return np.tanh(x)\ndef tanh_prime(x): return 1 - np.tanh(x) ** 2\n"
SUBMISSIONS = {
    "ann": RIGHT,
    "bob": RIGHT.replace("1 -", "2 -"),
    "cid": "x = 1\n",
    "dan": "def broken(:\n",
    "eve": RIGHT.replace("return np.tanh(x)\n", "import os; os._exit(1)\n", 1),
}
SPEC = Spec((Task("hw:tanh", 5.0),))


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hw")
    for name, code in SUBMISSIONS.items():
        (folder / name).mkdir()
        (folder / name / "hw.py").write_text(code)
    (folder / "fay").mkdir()
    cells = [{"cell_type": "code", "source": ["%matplotlib inline\n", RIGHT]}, {"cell_type": "code", "source": ["1 / 0"]}]
    (folder / "fay" / "hw.ipynb").write_text(json.dumps({"cells": cells}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return grade("*", SPEC, Plan(jobs=1), "cause")


def test_everybody_has_a_row_with_the_points(grades):
    rows = [(g.submission, g.outcome, g.points) for g in grades]
    assert rows == [
        ("ann", "pass", 5.0),
        ("bob", "fail", 0.0),
        ("cid", "missing", 0.0),
        ("dan", "not tried", 0.0),
        ("eve", "not tried", 0.0),
        ("fay", "pass", 5.0),
    ]


def test_a_hint_says_as_much_as_was_asked_for(grades, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob" / "hw.py").write_text(SUBMISSIONS["bob"])
    hints = [grade("*", SPEC, Plan(jobs=1), kind)[0].hint for kind in ("none", "place")]
    assert hints[0] == ""
    assert hints[1].startswith("x[")
    assert grades[1].hint.startswith(hints[1] + ": ")


def test_the_table_has_a_line_for_each(grades, tmp_path):
    write_grades(grades, tmp_path / "grades.csv")
    with (tmp_path / "grades.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["points"] for row in rows] == ["5.0", "0.0", "0.0", "0.0", "0.0", "5.0"]


def test_a_spec_is_read_and_one_without_functions_refused(tmp_path):
    (tmp_path / "hw.toml").write_text('seed = 3\n[[function]]\nsymbol = "hw:tanh"\npoints = 5\n')
    assert read_spec(tmp_path / "hw.toml") == Spec((Task("hw:tanh", 5.0),), 3)
    (tmp_path / "no.toml").write_text("seed = 3\n")
    with pytest.raises(ValueError, match=r"\[\[function\]\]"):
        read_spec(tmp_path / "no.toml")


def test_a_report_has_an_entry_for_each_row(grades):
    report = as_report(grades)
    assert [e.symbol for e in report.entries] == [f"{name}/hw:tanh" for name in ("ann", "bob", "cid")] + [
        report.entries[3].symbol, "eve/hw:tanh", "fay/hw:tanh"]  # fmt: skip
    assert "no such function" in report.entries[2].reason


def test_the_command_writes_json_and_html_of_submissions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob" / "hw.py").write_text(SUBMISSIONS["bob"])
    (tmp_path / "spec.toml").write_text('[[function]]\nsymbol = "hw:tanh"\npoints = 2\n')
    words = ["audit", "--each", "bob", "--spec", "spec.toml", "--jobs", "1", "--json", "a.json", "--html", "a.html"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "a.json").read_text())["reports"][0]["meta"]["symbol"] == "bob/hw:tanh"
    assert "hw:tanh" in (tmp_path / "a.html").read_text()
