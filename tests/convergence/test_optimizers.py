"""Right optimizers pass with their constants read off; wrong ones fail, each for its own reason."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gradverify as gv
from gradverify import reference
from tests.convergence.faulty_optimizers import FAULTY, LR, RIGHT


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_step_fails_for_its_own_reason(name):
    step, told, cause = FAULTY[name]
    report = gv.check_optimizer(step, **told)
    assert report.verdict is gv.Verdict.FAIL
    assert cause in [fact.cause for fact in report.failed], str(report)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_step_passes(name):
    step, told = RIGHT[name]
    report = gv.check_optimizer(step, **told)
    assert report.ok, str(report)


REFERENCE = [
    (reference.SGD(0.1), "sgd with rate 0.1"),
    (reference.Momentum(0.1, 0.8), "momentum with rate 0.1, mu 0.8"),
    (reference.Nesterov(0.1, 0.8), "nesterov with rate 0.1, mu 0.8"),
    (reference.RMSprop(0.01), "rmsprop with rate 0.01, rho 0.99"),
    (reference.Adam(0.1, (0.8, 0.99)), "adam with rate 0.1, b1 0.8, b2 0.99"),
    (reference.AdamW(0.1), "adam with rate 0.1, b1 0.9, b2 0.999"),
]


@pytest.mark.parametrize(("optimizer", "rule"), REFERENCE)
def test_the_optimizers_of_the_reference_pass_with_their_constants(optimizer, rule):
    report = gv.check_optimizer(optimizer)
    assert (report.verdict, report.rule) == (gv.Verdict.PASS, rule)


def test_an_object_that_steps_in_place_is_an_optimizer():
    class Descent:
        lr = 0.1

        def step(self, params, grads):
            for name, g in grads.items():
                params[name] -= self.lr * g

    assert gv.check_optimizer(Descent()).rule == "sgd with rate 0.1"


def test_an_unknown_rule_is_inconclusive_and_a_promised_one_fails():
    def strange(w, g, state):
        size = 0.9 * (0.0 if state is None else state) + np.abs(g) ** 1.3 + 1e-30
        return w - 0.1 * g / size, size

    assert gv.check_optimizer(strange).verdict is gv.Verdict.INCONCLUSIVE
    assert gv.check_optimizer(strange, rule="adam").verdict is gv.Verdict.FAIL


def test_the_limit_of_stability_is_where_theory_has_it():
    facts = {fact.name: fact for fact in gv.check_optimizer(reference.Momentum(0.1, 0.5)).facts}
    assert facts["stability limit"].held
    assert "2 (1 + mu) / L" in facts["stability limit"].claim


def test_a_missing_share_of_an_average_is_told_from_the_rate():
    step, told, _ = FAULTY["moment not averaged"]
    assert "factor 1 - b1" in gv.check_optimizer(step, **told).failed[0].remedy


def test_a_state_that_needs_a_beginning_gets_it():
    def step(params, grads, velocity):
        v = 0.9 * velocity + grads
        return params - LR * v, v

    assert gv.check_optimizer(step, init=np.zeros_like).rule == "momentum with rate 0.1, mu 0.9"


def test_the_report_is_a_table_json_and_a_page(tmp_path):
    report = gv.check_optimizer(FAULTY["gradient ascent"][0])
    frame = report.frame()
    assert list(frame.columns) == ["fact", "claim", "verdict", "measured", "expected", "allowed"]
    assert "fail" in set(frame["verdict"])
    report.to_json(tmp_path / "o.json")
    assert json.loads((tmp_path / "o.json").read_text())["kind"] == "optimizer"
    report.to_html(tmp_path / "o.html")
    assert "subtract the step" in (tmp_path / "o.html").read_text()


@pytest.mark.parametrize(("given", "options", "error", "words"), [
    (3, {}, TypeError, "neither a step function"),
    (reference.SGD, {}, TypeError, "give an instance"),
    (lambda w, g, s: w, {}, TypeError, "could not be called"),
    (reference.SGD(0.1), {"rule": "adams"}, ValueError, "rule='adams'"),
    (reference.SGD(0.1), {"learning_rate": -1.0}, ValueError, "learning_rate=-1.0"),
])
def test_what_makes_no_sense_is_refused(given, options, error, words):
    with pytest.raises(error, match=words):
        gv.check_optimizer(given, **options)
