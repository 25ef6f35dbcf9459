"""The reference on trial: what `selftest` says, and that a bug planted in the reference is found."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from gradverify import selftest as package
from gradverify.cli import app
from gradverify.records import Check, Report, Verdict
from gradverify.reference import (
    LSTM,
    MSE,
    Activation,
    BatchNorm,
    CategoricalCrossEntropy,
    Conv,
    Dense,
    Embedding,
    MultiHeadAttention,
    Reshape,
    Residual,
    Softmax,
    sequential,
)
from gradverify.selftest import (
    Counterexample,
    Judgement,
    SelftestReport,
    Tally,
    all_mutants,
    batches,
    hunt,
    judge,
    make_pool,
    planted,
    selftest,
    shuffled,
    status,
)
from gradverify.strategies import Architecture, Case, Point, Upstream

DENSE = Case(Architecture((2, 2), (Dense(2, 2),)))


def run(*arguments):
    return CliRunner().invoke(app, ["selftest", *arguments])


def mutant_of(function, label, before=""):
    return next(m for m in all_mutants() if m.function == function and m.label == label and before in m.before)


FORGOTTEN_SUM = mutant_of("Dense.forward", "wrong constant or index", "0")
FLIPPED = mutant_of("tanh", "flip a sign")


def test_the_command_passes_and_says_what_it_saw():
    done = run("--examples", "15", "--quiet")
    assert done.exit_code == 0
    for part in (" networks in", "seed 0", "verdicts: pass", "events: ", "worst agreement", "pass  no gradient"):
        assert part in done.output


def test_time_ends_it():
    done = run("--examples", "100000", "--time", "0.5", "--quiet")
    assert done.exit_code == 0
    assert "100000 networks" not in done.output


def test_mutate_plants_a_bug_and_finds_it(monkeypatch):
    monkeypatch.setattr(package, "shuffled", lambda seed: [FLIPPED])
    monkeypatch.setattr(package, "make_pool", lambda size, seed: make_pool(60, seed))
    done = run("--mutate")
    assert done.exit_code == 0, done.output
    assert "planted  flip a sign in activations.tanh" in done.output
    assert "found    by example" in done.output
    assert "print(judge(Case(Architecture((1, 1" in done.output


def test_a_bug_that_is_missed_is_a_failure(monkeypatch):
    monkeypatch.setattr(package, "shuffled", lambda seed: [FLIPPED])
    monkeypatch.setattr(package, "status", lambda mutant, pool: "different")
    monkeypatch.setattr(package, "make_pool", lambda size, seed: ())
    done = run("--mutate", "--examples", "1")
    assert done.exit_code == 1
    assert "missed   in 1 examples" in done.output


@pytest.mark.parametrize("arguments", [("--examples", "0"), ("--time", "0"), ("--seed", "-1"), ("--nothing",)])
def test_usage_errors_exit_with_two(arguments):
    assert run(*arguments).exit_code == 2


def test_a_failing_reference_is_reported_shrunk_and_exits_with_one():
    with planted(FLIPPED):
        done = run("--examples", "300", "--quiet")
    assert done.exit_code == 1
    assert "FAIL  minimal counterexample, 1 layer" in done.output
    assert "Activation('tanh')" in done.output or "RNN(1, 1)" in done.output
    assert "cause" in done.output


def test_the_same_seed_sees_the_same_networks():
    first, second = selftest(20, seed=4), selftest(20, seed=4)
    assert first.tally.verdicts == second.tally.verdicts
    assert first.tally.events == second.tally.events
    assert first.tally.worst_case == second.tally.worst_case


def test_two_processes_see_what_one_sees(monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 8)
    one, two = selftest(16, seed=4), selftest(16, seed=4, jobs=2)
    assert two.tally.verdicts == one.tally.verdicts
    assert two.tally.events == one.tally.events


def test_an_interrupted_run_reports_what_it_judged(monkeypatch):
    def stop(tally):
        if tally.networks == 5:
            raise KeyboardInterrupt

    report = selftest(50, progress=stop)
    assert (report.interrupted, report.tally.networks) == (True, 5)
    assert "interrupted" in str(report)


def test_the_report_is_a_frame_and_a_file(tmp_path):
    report = selftest(10)
    frame = report.frame()
    assert frame["count"][frame["what"] == "verdict"].sum() == report.tally.networks
    report.to_html(tmp_path / "page.html")
    assert "networks in" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_counterexample_is_in_the_file():
    failed = SelftestReport(0, 1.0, Tally(), Counterexample(DENSE, Judgement(Verdict.FAIL)))
    assert "Dense(2, 2)" in failed.sheet().findings[0].evidence
    assert failed.sheet().verdict == "fail"


def test_json_on_standard_output_takes_the_place_of_the_report():
    content = json.loads(run("--examples", "10", "--json", "-").stdout)
    assert (content["kind"], content["verdict"], content["schema_version"]) == ("selftest", "pass", 1)


def test_a_padding_row_with_a_gradient_fails(monkeypatch):
    right = Embedding._summed
    monkeypatch.setattr(Embedding, "_summed", lambda self, x, dy: right(self, x, dy) + 1)
    case = Case(Architecture((2, 3), (Embedding(2, 2, padding=1),), rows=2))
    assert "row of the padding" in str(judge(case))


def test_a_padding_row_below_a_loss_that_is_infinite_is_not_judged():
    layers = Embedding(1, 3, padding=0), Dense(3, 2), Softmax()
    case = Case(Architecture((1, 1), layers, rows=1), Point(entries=(40.0,)), loss=CategoricalCrossEntropy())
    assert (judge(case).verdict, judge(case).reason) == ("inconclusive", "domain")


@pytest.mark.parametrize("options", [{"examples": 0}, {"seconds": 0.0}, {"jobs": 0}])
def test_arguments_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}="):
        selftest(**options)


def test_every_so_many_networks_the_whole_check_is_run(monkeypatch):
    monkeypatch.setattr(batches, "CHECKED", 1)
    assert sum(selftest(2).tally.checked.values()) == 2


def test_what_only_the_whole_check_sees_is_a_failure_too(monkeypatch):
    failed = Report("Network", (Check("Network", "x", "y", Verdict.FAIL),))
    monkeypatch.setattr(batches, "CHECKED", 1)
    monkeypatch.setattr(batches, "check", lambda *args, **options: failed)
    report = selftest(2)
    assert (report.verdict, report.ok) == ("fail", False)
    assert "check found what the probe did not" in str(report)


@pytest.mark.parametrize("case", [
    DENSE,
    Case(DENSE.architecture, Point(3), Upstream(2, 1e-3, "expanded"), MSE("none")),
    Case(Architecture((3, 2), (BatchNorm(2), Softmax())), Point(1)),
    Case(Architecture((2, 3), (Embedding(2, 2, padding=1),), rows=2)),
], ids=repr)
def test_a_right_gradient_passes_to_the_last_digits(case):
    judgement = judge(case)
    assert judgement.verdict == "pass"
    assert judgement.agreement < 1e-13


def test_rounding_within_a_block_is_no_failure():
    """A bias before a normalisation has the gradient zero; what is left of it is rounding within the block."""
    block = Residual(sequential(Conv(1, 3, (3,), padding=1), BatchNorm(3)), shortcut=Conv(1, 3, (1,)))
    layers = LSTM(3, 2, output="last"), Activation("tanh"), Reshape((1, 2)), block
    architecture = Architecture((2, 1, 3), layers, beside=(("mask", (2, 1)),))
    assert judge(Case(architecture, Point(seed=2745, entries=(20.0,)), loss=MSE())).verdict != "fail"
    block = Residual(sequential(MultiHeadAttention(4, 4), MultiHeadAttention(4, 1)))
    architecture = Architecture((1, 4, 1), (Dense(1, 4, bias=False), block, Dense(4, 2)))
    assert judge(Case(architecture, Point(entries=(0.0, -1.0, -20.0)))).verdict != "fail"


def test_a_kink_is_not_judged():
    case = Case(Architecture((3, 3), (Dense(3, 3), Activation("relu"))), Point(entries=(0.0,)))
    judgement = judge(case)
    assert (judgement.verdict, judgement.reason) == ("inconclusive", "kink") or judgement.verdict == "pass"


def test_a_gradient_wrong_by_a_part_in_a_billion_is_found(monkeypatch):
    right = Dense.forward

    def wrong(self, params, x):
        y, pullback = right(self, params, x)
        return y, lambda dy: (pullback(dy)[0], pullback(dy)[1] * (1 + 1e-9))

    monkeypatch.setattr(Dense, "forward", wrong)
    assert judge(DENSE).verdict == "fail"


def test_a_small_leaf_does_not_hide_behind_a_large_one(monkeypatch):
    right = Dense.forward

    def wrong(self, params, x):
        y, pullback = right(self, params, x)
        return y, lambda dy: ({"W": pullback(dy)[0]["W"], "b": pullback(dy)[0]["b"] * (1 + 1e-6)}, pullback(dy)[1])

    monkeypatch.setattr(Dense, "forward", wrong)
    assert judge(dataclasses.replace(DENSE, point=Point(scale=1e3))).verdict == "fail"


@pytest.mark.parametrize(("wrong", "reason"), [
    (lambda dy: 1 / 0, "raises ZeroDivisionError"),
    (lambda dy: ({}, np.zeros(7)), "another shape"),
    (lambda dy: ({}, np.array([[None]])), "or kind"),
    (lambda dy: ({}, dy * np.nan), "nonfinite"),
    (lambda dy: ({}, None), ""),
])
def test_a_pullback_that_breaks_fails(monkeypatch, wrong, reason):
    monkeypatch.setattr(Activation, "forward", lambda self, params, x: (x, wrong))
    judgement = judge(Case(Architecture((1, 1), (Activation("identity"),))))
    assert judgement.verdict == "fail"
    assert reason in str(judgement)


def test_there_are_many_mutants_and_no_two_alike():
    texts = {(m.module, m.function, m.line, m.before, m.after, m.number) for m in all_mutants()}
    assert len(texts) == len(all_mutants()) > 1000


def test_planting_changes_gradients_and_not_values_and_ends():
    case = Case(Architecture((2, 2), (Activation("tanh"),)))
    layer = case.architecture.build()
    y, pullback = layer.forward(case.params(), case.x())
    with planted(FLIPPED) as touched:
        assert Activation in touched
        wrong_y, wrong = layer.forward(case.params(), case.x())
        np.testing.assert_array_equal(wrong_y, y)
        np.testing.assert_array_equal(wrong(y)[1], -pullback(y)[1])
    np.testing.assert_array_equal(layer.forward(case.params(), case.x())[1](y)[1], pullback(y)[1])


def test_a_bug_in_a_helper_reaches_the_layers_that_use_it():
    fold = next(m for m in all_mutants() if m.function == "fold" and m.label == "drop a term")
    with planted(fold) as touched:
        assert {"Conv", "MaxPool", "AveragePool", "ConvTransposed"} <= {kind.__name__ for kind in touched}


@pytest.mark.parametrize(("mutant", "expected"), [
    (FLIPPED, "different"),
    (mutant_of("Dense.forward", "swap axes", ".T"), "different"),
], ids=str)
def test_what_a_mutant_is_is_known_from_the_pool(mutant, expected):
    assert status(mutant, make_pool(60)) == expected


@pytest.mark.parametrize("mutant", [FLIPPED, FORGOTTEN_SUM], ids=str)
def test_a_planted_bug_is_found_and_shrunk_to_two_layers_at_most(mutant):
    found = hunt(mutant)
    assert found.found
    assert found.drawn <= 200
    assert found.failure.case.size <= 2


def test_the_order_of_mutants_depends_on_the_seed_alone():
    assert shuffled(1) == shuffled(1) != shuffled(2)
