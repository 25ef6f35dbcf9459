"""``gradverify flow``."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gradverify.cli import app

CODE = """
from gradverify.reference import Activation, Dense, sequential
def make(initialiser="he_normal", depth=20):
    return sequential(*[Dense(32, 32, initialiser=initialiser), Activation("relu")] * depth)
def healthy(): return make()
def vanishing(): return make("glorot_normal", 60)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["flow", *words])


def test_a_healthy_network_leaves_with_0(run):
    done = run("nets.py:healthy", "--input", "x=float64[20,32]")
    assert (done.exit_code, done.stdout.split()[0]) == (0, "healthy")


def test_a_vanishing_one_leaves_with_1_and_json_tells_the_same(run):
    done = run("nets.py:vanishing", "--input", "x=float64[20,32]", "--json", "-")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["verdict"] == "vanishing"


NONSENSE = [
    (("nets.py:healthy",), "at least one --input"),
    (("nets.py:healthy", "--input", "x=float64[20,32]", "--optimizer", "magic"), "optimizer='magic'"),
    (("nets.py:make", "--input", "x=float64[20,32]"), ""),
    (("nets.py:healthy", "--input", "x=float64[20,31]"), "last axis must be 32"),
]


@pytest.mark.parametrize(("words", "message"), NONSENSE)
def test_what_makes_no_sense_leaves_with_2(run, words, message):
    done = run(*words)
    assert done.exit_code == 2
    assert message in done.stderr
