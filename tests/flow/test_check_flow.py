"""`check_flow` on networks whose flow is known, and on wrong ones."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

import gradverify as gv
from gradverify.reference import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Activation,
    Adam,
    BatchNorm,
    Conv,
    CrossEntropy,
    Dense,
    Flatten,
    GlobalPool,
    LayerNorm,
    MaxPool,
    Residual,
    sequential,
)
from tests.flow.networks import mlp

KNOWN = [  # activation, sw2, depth, verdict
    ("relu", 2.0, 20, "healthy"),
    ("relu", 1 / 3, 20, "vanishing"),
    ("relu", 8.0, 20, "exploding"),
    ("tanh", 1.0, 20, "healthy"),
    ("tanh", 0.2, 20, "vanishing"),
    ("sigmoid", 1.0, 20, "vanishing"),
    ("selu", 1.0, 20, "healthy"),
    ("identity", 10.0, 20, "exploding"),
]


@pytest.mark.parametrize(("activation", "variance", "depth", "verdict"), KNOWN)
def test_the_verdict_of_a_known_network(activation, variance, depth, verdict):
    report = gv.check_flow(*mlp(activation, variance, depth))
    assert report.verdict == verdict
    assert report.ok is (verdict == "healthy")
    assert report.unexplained == ()


def test_a_vanishing_gradient_is_explained_by_the_initialisation():
    report = gv.check_flow(*mlp("relu", 1 / 3, 20))
    assert abs(report.z) < 4
    assert report.decades == pytest.approx(20 * np.log10(1 / 6) / 2, abs=1.0)
    assert [cause.name for cause in report.findings] == ["explained-by-initialisation", "remedy"]


@pytest.mark.parametrize("variance", [0.1, 0.5, 2.0])
def test_the_verdict_does_not_depend_on_the_scale_of_the_loss(variance):
    network, params, x = mlp("tanh", variance, 12)

    def at(scale):
        return gv.check_flow(network, params, x, loss=scaled(scale), optimizer="adam")

    reports = [at(scale) for scale in (1e-8, 1e-4, 1.0, 1e8)]
    assert len({report.verdict for report in reports}) == 1
    assert np.ptp([report.decades for report in reports]) < 1e-9
    assert [report.loss / reports[2].loss for report in reports] == pytest.approx([1e-8, 1e-4, 1.0, 1e8])
    assert "below-eps" in {cause.name for cause in reports[0].findings}
    assert "below-eps" not in {cause.name for cause in reports[3].findings}


def scaled(scale):
    def loss(y):
        value, pullback = CrossEntropy().forward(np.arange(len(y)), y)
        return scale * value, scale * pullback(1.0)[1]

    return loss


@dataclass(frozen=True)
class Wrong:
    """A layer with the right forward pass and a backward pass that is not its own."""

    layer: object
    spoil: object

    def init(self, rng):
        return self.layer.init(rng)

    def forward(self, params, x):
        y, pullback = self.layer.forward(params, x)
        return y, lambda dy: self.spoil(pullback, dy)

    def pushforward(self, params, x, dparams, dx):
        return self.layer.pushforward(params, x, dparams, dx)


TREATED = [("relu", 1 / 3), ("relu", 8.0), ("tanh", 0.2), ("sigmoid", 1.0)]


@pytest.mark.parametrize(("activation", "variance"), TREATED)
def test_the_first_remedy_was_tried_and_helps(activation, variance):
    network, params, x = mlp(activation, variance, 20)
    before = [np.array(own["W"]) for own in params[::2]]
    report = gv.check_flow(network, params, x)
    assert report.trials[0].verdict == "healthy"
    assert abs(report.trials[0].decades) < 2.0
    assert all(np.array_equal(W, own["W"]) for W, own in zip(before, params[::2], strict=True))


@pytest.mark.parametrize(("activation", "variance"), [("relu", 8.0), ("tanh", 0.2), ("relu", 1 / 3)])
def test_normalisation_was_tried_and_helps(activation, variance):
    trials = {t.remedy: t for t in gv.check_flow(*mlp(activation, variance, 20)).trials}
    assert trials["layer normalisation behind every layer"].verdict == "healthy"


def test_the_branches_of_an_exploding_residual_network_are_scaled():
    rng = np.random.default_rng(0)
    block = Residual(sequential(Activation("relu"), Dense(32, 32, initialiser="he_normal")))
    network = sequential(Dense(32, 32), *[block] * 50, Dense(32, 8))
    report = gv.check_flow(network, network.init(rng), rng.normal(size=(32, 32)))
    assert report.verdict == "exploding"
    assert (report.trials[0].remedy, report.trials[0].verdict) == ("branches divided by sqrt(50)", "healthy")


def test_a_finite_network_with_an_infinite_weight_is_nonfinite():
    network, params, x = mlp("relu", 2.0, 3)
    params[2]["W"][0, 0] = np.inf
    with np.errstate(all="ignore"):
        assert gv.check_flow(network, params, x).verdict == "nonfinite"


def test_units_that_never_answer_are_dead():
    network, params, x = mlp("relu", 2.0, 3)
    params[2]["b"][:] = -1e3
    report = gv.check_flow(network, params, x)
    assert report.verdict == "dead"
    assert report.frame().dead.max() == 1.0


def test_a_saturated_network_says_so():
    network, params, x = mlp("sigmoid", 1.0, 12)
    for own in params[::2]:
        own["b"][:] = 20.0
    assert gv.check_flow(network, params, x).verdict == "saturated"


def test_optimizers_forgive_differently():
    given = mlp("tanh", 0.2, 18)
    assert gv.check_flow(*given, optimizer="sgd").verdict == "vanishing"
    assert gv.check_flow(*given, optimizer="adam").verdict == "healthy"
    assert gv.check_flow(*given, optimizer=Adam(1e-3)).optimizer.rate == 1e-3
    assert gv.check_flow(*given, optimizer=SGD(0.1)).verdict == "vanishing"


def test_every_kind_of_layer_has_a_row():
    rng = np.random.default_rng(0)
    network = sequential(Conv(2, 16, (3, 3), padding=1), BatchNorm(16), Activation("relu"), MaxPool((2, 2)),
                         Conv(16, 16, (3, 3)), Activation("gelu"), GlobalPool(), Flatten(), Dense(16, 3))
    frame = gv.check_flow(network, network.init(rng), rng.normal(size=(16, 2, 8, 8))).frame()
    assert list(frame.kind) == ["Conv", "BatchNorm", "relu", "MaxPool", "Conv", "gelu", "GlobalPool", "Flatten", "Dense"]
    assert frame.predicted.notna().all()
    assert frame.z.abs().max() < 4


def test_residual_blocks_are_one_plus_their_branch():
    rng = np.random.default_rng(0)
    block = Residual(sequential(Activation("relu"), Dense(64, 64, initialiser="he_normal")))
    network = sequential(Dense(64, 64), *[block] * 10, LayerNorm((64,)), Dense(64, 8))
    report = gv.check_flow(network, network.init(rng), rng.normal(size=(32, 64)))
    blocks = report.frame().query("kind == 'Residual'")
    assert blocks.predicted.mean() == pytest.approx(np.log(2), abs=0.1)
    assert blocks.z.abs().max() < 4
    assert abs(report.z) < 4


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_a_recurrent_layer_has_a_row_for_every_step(cell):
    rng = np.random.default_rng(0)
    network = sequential(cell(3, 16, output="last"), Dense(16, 2))
    frame = gv.check_flow(network, network.init(rng), rng.normal(size=(8, 9, 3))).frame()
    assert list(frame.layer) == [*(f"[0]@{t}" for t in range(9)), "[1]"]
    assert frame.delta.is_monotonic_increasing or cell is not RNN


def test_watching_changes_no_gradient():
    network, params, x = mlp("tanh", 1.0, 4)
    from gradverify.flow.reference import record

    passage = record(network, (params, x))
    u = np.random.default_rng(0).normal(size=passage.output.shape)
    dparams, dx = network.forward(params, x)[1](u)
    backward = passage.pull(u)
    assert np.array_equal(backward.dx, dx)
    assert np.array_equal(backward.grads["[2]"]["W"], dparams[2]["W"])


WRONG = [
    ("half", Activation("tanh"), lambda pullback, dy: ({}, 0.5 * pullback(dy)[1])),
    ("no slope", Activation("relu"), lambda pullback, dy: ({}, dy)),
    ("doubled", Dense(64, 64), lambda pullback, dy: (pullback(dy)[0], 2 * pullback(dy)[1])),
]


@pytest.mark.parametrize(("name", "layer", "spoil"), WRONG)
def test_a_wrong_backward_pass_is_not_explained_and_then_proved(name, layer, spoil):
    rng = np.random.default_rng(1)
    he = Dense(64, 64, initialiser="he_normal")
    network = sequential(he, Activation("relu"), he, Wrong(layer, spoil), he)
    report = gv.check_flow(network, network.init(rng), rng.normal(size=(32, 64)))
    assert report.unexplained == ("[3]",)
    assert report.wrong == ("[3]",)
    assert not report.ok
    assert report.findings[0].name == "wrong-backward"


def test_the_report_is_text_a_page_and_json(tmp_path):
    report = gv.check_flow(*mlp("relu", 1 / 3, 16))
    report.to_json(tmp_path / "flow.json")
    report.to_html(tmp_path / "flow.html")
    assert json.loads((tmp_path / "flow.json").read_text())["verdict"] == "vanishing"
    assert "vanishing" in (tmp_path / "flow.html").read_text()
    assert str(report).startswith("vanishing")
    assert len(report.frame()) == len(report.layers) == 33


NONSENSE = [
    (lambda: gv.check_flow(*mlp("relu", 2.0, 2), optimizer="nonsense"), ValueError, "optimizer='nonsense'"),
    (lambda: gv.check_flow(*mlp("relu", 2.0, 2), optimizer=0.1), TypeError, "optimizer=0.1"),
    (lambda: gv.check_flow(lambda x: x, np.ones(3)), TypeError, "network="),
    (lambda: gv.check_flow(sequential(Activation("relu")), ({},), np.ones((2, 3))), TypeError, "nothing to check"),
    (lambda: gv.check_flow(mlp("relu", 2.0, 2)[0], np.ones(3)), TypeError, r"forward\(params, x\)"),
    (lambda: gv.check_flow(*mlp("relu", 2.0, 2), loss=lambda y: 1.0), TypeError, "loss: must return"),
]


@pytest.mark.parametrize(("call", "error", "message"), NONSENSE)
def test_what_makes_no_sense_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
