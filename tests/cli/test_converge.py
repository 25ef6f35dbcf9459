"""``gradverify converge``: curves in files, optimizers and Taylor remainders, with exit codes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gradverify.cli import app

CODE = """
import numpy as np
def descend(w, g, state): return w - 0.1 * g, state
def ascend(w, g, state): return w + 0.1 * g, state
def sq(x): return x * x
def sq_prime(x): return 2 * x
def wrong(x): return 2.01 * x
def history(): return {"loss": [1.0 * 0.7 ** k for k in range(40)]}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "converge_code.py").write_text(CODE)
    (tmp_path / "up.csv").write_text("loss\n" + "\n".join(str(1.2**k) for k in range(30)) + "\n")
    (tmp_path / "down.json").write_text(json.dumps({"loss": [0.7**k for k in range(40)]}))
    return lambda *words: CliRunner().invoke(app, ["converge", *words])


@pytest.mark.parametrize(("words", "code", "said"), [
    (["up.csv"], 1, "diverging"),
    (["down.json"], 0, "converged"),
    (["converge_code.py:history"], 0, "converged"),
    (["converge_code.py:descend", "--optimizer", "--rate", "0.1"], 0, "sgd with rate 0.1"),
    (["converge_code.py:ascend", "--optimizer"], 1, "ascends"),
    (["converge_code.py:sq", "--derivative", "sq_prime", "--input", "x=float64[5]"], 0, "pass"),
    (["converge_code.py:sq", "--derivative", "wrong", "--input", "x=float64[5]"], 1, "FAIL"),
])
def test_it_says_what_it_found_and_leaves_by_it(run, words, code, said):
    result = run(*words)
    assert (result.exit_code, said in result.output) == (code, True), result.output


@pytest.mark.parametrize("words", [["none.csv"], ["down.json", "--classes", "1"], ["converge_code.py:sq"],
                                   ["converge_code.py:descend", "--optimizer", "--rule", "adams"]])
def test_what_makes_no_sense_is_a_usage_error(run, words):
    assert run(*words).exit_code == 2


def test_json_on_standard_output_and_a_page(run, tmp_path):
    result = run("down.json", "--json", "-", "--html", "page.html")
    assert json.loads(result.output)["verdict"] == "converged"
    assert "converged" in (tmp_path / "page.html").read_text()
