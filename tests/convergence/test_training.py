"""Loss curves are read by their trend, and training programs told what is wrong with them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gradverify as gv
from gradverify import reference as r
from tests.convergence.faulty_programs import FAMILIES, right, twin

K = np.arange(120)
RNG = np.random.default_rng(5)
NOISE = RNG.normal(size=120)

CURVES = {
    "an exponential": (2 * 0.9**K + 0.1, "converged"),
    "an exponential in noise": (2 * 0.9**K + 0.5 + 0.05 * NOISE, "converged"),
    "1 / k": (1 / (1 + K / 20.0), "falling"),
    "a line in noise": (3 - K / 60 + 0.1 * NOISE, "falling"),
    "noise alone": (1 + 0.1 * NOISE, "stalled"),
    "constant": (np.full(120, 2.3), "stalled"),
    "hardly moving": (2.3 - 0.01 * (1 - 0.8**K), "stalled"),
    "growing": (1.1**K, "diverging"),
    "fallen and risen": (np.concatenate([0.9**K[:60], 0.9**60 + 0.02 * K[:60]]), "diverging"),
    "not a number": (np.where(K < 50, 1.0 / (K + 1), np.nan), "diverging"),
    "up and down": (1 + 0.5 * (-1.0) ** K, "oscillating"),
    "a wave": (0.5 + 0.5 * 0.9**K + 0.3 * np.sin(K / 2), "oscillating"),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e8])
def test_a_curve_is_read_the_same_at_every_scale(name, scale):
    losses, verdict = CURVES[name]
    report = gv.check_training(scale * losses)
    assert report.verdict == verdict
    assert report.ok is (verdict in ("converged", "falling"))


def test_noise_is_rarely_taken_for_a_trend_or_a_wave():
    rng = np.random.default_rng(6)
    verdicts = [gv.check_training(1 + 0.1 * rng.normal(size=100)).verdict for _ in range(100)]
    assert verdicts.count("stalled") >= 95


def test_a_validation_loss_that_turns_is_overfitting_and_a_noisy_one_is_not():
    training = 0.95**K
    turning = 1 - 0.5 * np.exp(-(((K - 30) / 30) ** 2))
    report = gv.check_training({"loss": training, "val_loss": turning})
    assert (report.verdict, report.findings[0].name) == ("overfitting", "overfitting")
    assert gv.check_training({"loss": training, "val_loss": 0.9**K + 0.5 + 0.05 * NOISE}).verdict == "converged"


HISTORY = {"loss": [1.0, 0.5, 0.3, 0.2, 0.15, 0.12, 0.1, 0.09], "val_loss": [1.1, 0.7, 0.5, 0.4, 0.38, 0.37, 0.36, 0.36]}


class Keras:
    history = HISTORY


ROWS = [dict(zip(HISTORY, row, strict=True)) for row in zip(*HISTORY.values(), strict=True)]
FORMS = {"dict": HISTORY, "Keras": Keras(), "rows": ROWS, "pair": tuple(HISTORY.values()), "callable": lambda: HISTORY}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_history_may_have_any_form(form):
    assert gv.check_training(form).losses.validation == tuple(HISTORY["val_loss"])


def test_a_data_frame_and_the_history_of_the_reference_are_read():
    import pandas as pd

    assert gv.check_training(pd.DataFrame(HISTORY)).losses.training == tuple(HISTORY["loss"])
    x = np.linspace(-1, 1, 20)[:, None]
    layer = r.Dense(1, 1)
    _, history = r.train(layer, layer.init(np.random.default_rng(0)), x, 3 * x, loss=r.MSE(), optimizer=r.SGD(0.3), epochs=60)
    assert gv.check_training(history).verdict == "converged"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_faulty_program_is_told_its_mistake(name):
    make, cause = FAMILIES[name]
    report = gv.check_training(make(0))
    assert cause in [found.name for found in report.findings], str(report)
    assert not report.ok


@pytest.mark.parametrize("name", ["overfitting", "softmax twice", "sorted and not shuffled", "dead ReLU", "rate too small"])
def test_its_right_twin_is_left_alone(name):
    report = gv.check_training(twin(name, 0))
    assert report.ok, str(report)


def trained(ignore=False):
    def train(x, y):
        layer = r.sequential(r.Dense(x.shape[1], 8), r.Activation("tanh"), r.Dense(8, 3))
        return r.train(layer, layer.init(np.random.default_rng(0)), 0 * x if ignore else x, y, loss=r.CrossEntropy(), optimizer=r.Adam(0.02),
                       epochs=30)[1]

    return train


def test_a_callable_of_the_data_is_run_against_controls():
    p = right(0, regression=False)
    assert gv.check_training(trained(), data=(p.x, p.y)).ok
    shuffled = p.y[np.random.default_rng(1).permutation(len(p.y))]
    assert [f.name for f in gv.check_training(trained(), data=(p.x, shuffled)).findings] == ["shuffled-labels"]
    assert [f.name for f in gv.check_training(trained(ignore=True), data=(p.x, p.y)).findings][-1] == "inputs-ignored"


def test_the_first_loss_of_a_classifier_is_log_c():
    start = [np.log(10) * 0.8**k + 0.01 for k in range(40)]
    assert gv.check_training(start, classes=10).ok
    assert gv.check_training([20 * s for s in start], classes=10).findings[0].name == "initial-loss"


def test_the_report_is_a_table_json_and_a_page(tmp_path):
    report = gv.check_training(HISTORY)
    assert list(report.frame().columns) == ["entry", "loss", "validation_loss"]
    report.to_json(tmp_path / "t.json")
    content = json.loads((tmp_path / "t.json").read_text())
    assert (content["kind"], content["verdict"]) == ("training", str(report.verdict))
    report.to_html(tmp_path / "t.html")
    assert str(report.verdict) in (tmp_path / "t.html").read_text()


@pytest.mark.parametrize(("given", "options", "error", "words"), [
    ([1.0, 2.0], {}, ValueError, "at least 6"),
    ({"accuracy": [1.0] * 9}, {}, ValueError, "has no 'loss'"),
    (["a"] * 9, {}, TypeError, "sequence of numbers"),
    ([1.0] * 9, {"data": (1, 2)}, ValueError, "data="),
    ([1.0] * 9, {"classes": 1}, ValueError, "classes=1"),
    (lambda x, y: None, {}, TypeError, "takes arguments"),
])
def test_what_makes_no_sense_is_refused(given, options, error, words):
    with pytest.raises(error, match=words):
        gv.check_training(given, **options)
