"""`gradverify fuzz`: rounds of a deep search, and how they end."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest
from typer.testing import CliRunner

from gradverify.cli import app
from gradverify.cli.fuzz import _judged, search
from gradverify.cli.outcome import UsageError
from gradverify.records import Check, Report, Verdict

CODE = """
import numpy as np
def relu(x): return np.maximum(x, 0)
def relu_prime(x): return (x > 0) * 1.0
def rare(x): return x ** 3
def rare_prime(x): return 3 * x ** 2 if x.shape[0] < 5 else 2.9 * x ** 2
"""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fuzzed", raising=False)
    (tmp_path / "fuzzed.py").write_text(CODE)
    return tmp_path


def invoke(*words):
    return CliRunner().invoke(app, ["fuzz", *words], catch_exceptions=False)


def test_a_gradient_wrong_only_in_another_shape_is_found(monkeypatch):
    monkeypatch.setattr("gradverify.elsewhere._VARIED", 20)
    monkeypatch.setattr("gradverify.elsewhere._SHRINKING", 5)
    result = invoke("fuzzed:rare", "--derivative", "rare_prime", "-i", "x=float64[3]", "--rounds", "3")
    assert result.exit_code == 1
    assert "not at your point" in result.output
    assert "of shape (" in result.output


def test_a_right_gradient_passes_and_says_how_far_it_was_searched(project):
    result = invoke("fuzzed:relu", "--derivative", "relu_prime", "-i", "x=float64[3]", "-n", "1", "--json", "f.json")
    assert (result.exit_code, "a deep search of 1 of 1 rounds" in result.output) == (0, True)
    assert json.loads(project.joinpath("f.json").read_text())["verdict"] == "pass"


def test_usage_errors_exit_with_two():
    assert invoke("fuzzed:nothing", "-i", "x=float64[3]").exit_code == 2
    assert invoke("fuzzed:relu", "--rounds", "0").exit_code == 2


def report(verdict, resolution=1e-15):
    return Report("f", (Check("f", "x", "y", verdict, resolution=resolution),), forwards=10)


def rounds(*outcomes):
    def judge(number):
        if isinstance(outcomes[number], BaseException):
            raise outcomes[number]
        return outcomes[number]

    return search(judge, len(outcomes), None, lambda done: None)


PASS, FAIL, UNDECIDED = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def test_the_search_ends_at_the_first_failure():
    found = rounds(report(PASS), report(FAIL), AssertionError("a third round"))
    assert found.verdict is FAIL


def test_rounds_that_pass_are_one_report_as_coarse_as_the_coarsest():
    found = rounds(report(PASS), report(PASS, 1e-9), report(PASS))
    assert (found.checks[0].resolution, found.forwards) == (1e-9, 30)


def test_a_round_nobody_asked_for_is_skipped_where_it_decides_nothing_or_is_refused():
    found = rounds(report(PASS), report(UNDECIDED), UsageError("the forward raised"))
    assert (found.verdict, found.skipped) == (PASS, ("round 1", "round 2"))


def test_an_interrupted_search_keeps_what_it_has():
    found = rounds(report(PASS), report(PASS), KeyboardInterrupt())
    assert (found.verdict, found.notes) == (PASS, ("interrupted after 2 of 3 rounds",))


def test_time_ends_it():
    assert "1 of 5 rounds" in search(lambda number: report(PASS), 5, 0.0, lambda done: None).notes[0]


@pytest.mark.parametrize("name", ["relu", "rare"])
def test_two_processes_report_what_one_reports(name):
    chosen = {"wrt": None, "order": 1, "mode": "auto", "require": None, "search": "none"}
    one = partial(_judged, f"fuzzed:{name}", ("x=float64[6]",), {"derivative": f"{name}_prime"}, chosen, 0)
    alone, shared = (search(one, 4, None, lambda done: None, jobs) for jobs in (1, 2))
    assert shared.notes == alone.notes
    assert [(c.wrt, c.verdict, c.resolution) for c in shared.checks] == \
        [(c.wrt, c.verdict, c.resolution) for c in alone.checks]
