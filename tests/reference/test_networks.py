"""Networks, initialisers, optimizers and training: what they compute and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.reference import (
    INITIALISERS,
    MSE,
    SGD,
    Activation,
    BatchNorm,
    CrossEntropy,
    Dense,
    Dropout,
    Layer,
    LogSoftmax,
    Loss,
    Network,
    Objective,
    Softmax,
    explain,
    explain_network,
    sequential,
    train,
)
from gradverify.reference.initialisers import draw
from tests.naming import stable


def moons(n=120, seed=0):
    """Two classes on two interleaved half circles, which no straight line separates."""
    rng = np.random.default_rng(seed)
    labels, angle = np.arange(n) % 2, rng.uniform(0.0, np.pi, n)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.where(labels[:, None] == 1, [1.0, 0.25] - x, x)
    return x + rng.normal(0.0, 0.05, x.shape), labels


def fitted(batch_size, learning_rate, epochs):
    x, labels = moons()
    network = sequential(Dense(2, 16), Activation("tanh"), Dense(16, 2))
    start = network.init(np.random.default_rng(1))
    params, history = train(network, start, x, labels, loss=CrossEntropy(), optimizer=SGD(learning_rate),
                            epochs=epochs, batch_size=batch_size, rng=np.random.default_rng(2))
    return np.mean(np.argmax(network.forward(params, x)[0], axis=1) == labels), history


@pytest.mark.parametrize(("batch_size", "learning_rate", "epochs"), [
    pytest.param(None, 1.0, 400, id="full batch"), pytest.param(16, 0.5, 80, id="mini-batch"),
    pytest.param(1, 0.1, 30, id="stochastic"),
])
def test_every_kind_of_descent_learns_two_moons(batch_size, learning_rate, epochs):
    accuracy, history = fitted(batch_size, learning_rate, epochs)
    assert accuracy >= 0.98
    assert history.epoch_losses[-1] < 0.1 * history.epoch_losses[0]
    assert len(history.steps) == epochs * -(-120 // (batch_size or 120))


def test_each_epoch_takes_every_example_once_in_an_order_of_its_own():
    x = np.arange(6.0)[:, None]
    _, history = train(Activation("identity"), {}, x, 0 * x, loss=MSE(), optimizer=SGD(0.1), epochs=2,
                       batch_size=1, rng=np.random.default_rng(0))
    first, second = history.losses[:6], history.losses[6:]
    assert sorted(first) == sorted(second) == [0, 1, 4, 9, 16, 25]
    assert first != second
    assert list(first) != sorted(first)


def test_the_full_batch_goes_downhill_at_every_step():
    _, history = fitted(None, 0.1, 100)
    assert np.all(np.diff(history.losses) < 0)


def test_a_smaller_batch_is_a_noisier_estimate():
    rough = [np.std(np.diff(fitted(size, 0.05, 6)[1].losses)) for size in (1, 16, None)]
    assert rough[0] > 2 * rough[1] > 4 * rough[2]


def test_the_gradients_of_the_batches_average_to_that_of_all():
    x, labels = moons()
    network = sequential(Dense(2, 4), Activation("sigmoid"), Dense(4, 2))
    params = network.init(np.random.default_rng(0))

    def slope(rows):
        return Objective(network, CrossEntropy(), labels[rows]).forward(params, x[rows])[1](1.0)[0][0]["W"]

    parts = [slope(slice(k, k + 30)) for k in range(0, 120, 30)]
    np.testing.assert_allclose(np.mean(parts, axis=0), slope(slice(None)), rtol=1e-12)


def test_training_leaves_its_starting_point_alone_and_repeats_itself():
    start = {"W": np.ones((2, 1)), "b": np.zeros(1)}
    x = moons()[0]
    runs = [train(Dense(2, 1), start, x, x[:, :1], loss=MSE(), optimizer=SGD(0.1), epochs=2, batch_size=7,
                  rng=np.random.default_rng(5))[1] for _ in range(2)]
    assert runs[0] == runs[1]
    np.testing.assert_array_equal(start["W"], 1.0)


def test_a_callback_sees_each_step_and_can_end_the_training():
    x, seen = np.ones((4, 1)), []

    def stop_after_three(step, params):
        seen.append((step.step, float(params["W"][0, 0])))
        return len(seen) == 3

    _, history = train(Dense(1, 1, bias=False), {"W": np.zeros((1, 1))}, x, x, epochs=9, loss=MSE(),
                       optimizer=SGD(0.25), callback=stop_after_three)
    assert seen == [(0, 0.5), (1, 0.75), (2, 0.875)]
    assert history.losses == (1.0, 0.25, 0.0625)
    assert history.epoch_losses[-1] == 0.015625


def test_a_schedule_is_asked_with_the_number_of_steps_taken():
    optimizer, params = SGD(lambda step: 1.0 / (step + 1)), {"w": np.array(0.0)}
    state = optimizer.init(params)
    for _ in range(3):
        params, state = optimizer.step(params, {"w": np.array(-6.0)}, state)
    assert params["w"] == 6 + 3 + 2


def test_a_gradient_of_none_leaves_its_parameter_as_it_is():
    params, _ = SGD(1.0).step({"w": 1.0, "frozen": 2.0}, {"w": 0.5, "frozen": None}, 0)
    assert params == {"w": 0.5, "frozen": 2.0}


@pytest.mark.parametrize("name", INITIALISERS)
def test_an_initialiser_has_mean_zero_and_the_variance_of_its_rule(name):
    W = draw(name, np.random.default_rng(0), (300, 100), 300, 100)
    rules = {"zeros": 0.0, "orthogonal": 1 / 300, "lecun": 1 / 300, "glorot": 2 / 400, "he": 2 / 300}
    rule = rules[name.split("_", maxsplit=1)[0]]
    assert W.var() == pytest.approx(rule, rel=0.03)
    assert abs(W.mean()) <= 4 * np.sqrt(rule / W.size)
    assert not name.endswith("uniform") or np.abs(W).max() <= np.sqrt(3 * rule)


@pytest.mark.parametrize(("rule", "activation"), [("he_normal", "relu"), ("lecun_normal", "identity")])
def test_the_rules_keep_a_signal_alive_through_thirty_layers(rule, activation):
    network = sequential(*(Dense(128, 128, initialiser=rule), Activation(activation)) * 30)
    x = np.random.default_rng(0).normal(size=(64, 128))
    y, _ = network.forward(network.init(np.random.default_rng(1)), x)
    assert 0.1 < np.mean(y * y) / np.mean(x * x) < 10


def test_a_network_in_a_network_is_the_same_network():
    layers = Dense(3, 4), Activation("sigmoid"), Dense(4, 2)
    flat, nested = sequential(*layers), sequential(layers[0], sequential(*layers[1:]))
    a, b, c = flat.init(np.random.default_rng(0))
    x = np.ones((5, 3))
    np.testing.assert_array_equal(flat.forward((a, b, c), x)[0], nested.forward((a, (b, c)), x)[0])


def test_every_record_answers_to_its_protocol():
    layers = Dense(1, 1), Activation("relu"), Softmax(), LogSoftmax(), Objective(Dense(1, 1), MSE(), 0.0)
    assert all(isinstance(layer, Layer) for layer in (*layers, sequential(*layers)))
    assert all(isinstance(loss, Loss) for loss in (MSE(), CrossEntropy()))


def test_a_network_prints_as_the_code_that_builds_it():
    network = sequential(Dense(2, 3, initialiser="he_normal"), Activation("leaky_relu", 0.2), Softmax())
    assert eval(repr(network)) == network


def test_the_factors_of_the_chain_multiply_to_the_gradient():
    h = 2.0**-20
    left, story, right = (explain(x=1.5, w=w, y_true=2.0, b=0.25, activation=Activation("sigmoid"))
                          for w in (-0.5 - h, -0.5, -0.5 + h))
    slope = (right.forward[-1].value - left.forward[-1].value) / (2 * h)
    assert story.gradient.value == np.prod([factor.value for factor in story.factors])
    assert story.gradient.value == pytest.approx(slope, rel=1e-8)


def test_the_links_of_a_network_start_at_the_loss_and_end_at_the_input():
    network = sequential(Dense(2, 3), Activation("tanh"), Dense(3, 1))
    params, x, y = network.init(np.random.default_rng(0)), np.ones((2, 2)), np.zeros((2, 1))
    links = explain_network(network, params, x, y)
    dparams, dx = Objective(network, MSE(), y).forward(params, x)[1](1.0)
    assert [link.layer for link in links] == ["Dense", "tanh", "Dense"]
    assert links[-1].passed == pytest.approx(np.linalg.norm(dx))
    assert links[0].params == pytest.approx(np.hypot(*(np.linalg.norm(g) for g in dparams[2].values())))
    assert [link.passed for link in links[:-1]] == [link.received for link in links[1:]]


ROWS = np.ones((2, 3))


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: Dense(0, 1), ValueError, "inputs=0: must be a positive integer"),
    (lambda: Dense(1, 2.5), ValueError, "units=2.5: must be a positive integer"),
    (lambda: Dense(1, 1, initialiser="xavier"), ValueError, "initialiser='xavier': must be one of zeros, "),
    (lambda: Dense(2, 1).forward({}, ROWS), ValueError, "x of shape (2, 3): its last axis must be 2"),
    (lambda: Activation("rely"), ValueError, "name='rely': must be one of identity, "),
    (lambda: Activation("tanh", 2.0), ValueError, "setting=2.0: tanh has no constant to set"),
    (lambda: MSE().forward(ROWS[:, 0], ROWS[:, :1]), ValueError, "(2,): must be that of y_pred, (2, 1)"),
    (lambda: MSE().forward(ROWS[:0], ROWS[:0]), ValueError, "the mean over nothing is undefined"),
    (lambda: CrossEntropy().forward(np.array([0, 3]), ROWS), ValueError, "y_true from 0 to 3: must lie in 0"),
    (lambda: CrossEntropy().forward(np.zeros(2), ROWS), ValueError, "must be integers (2,) or rows (2, 3)"),
    (lambda: Network((Dense,)), TypeError, "layers[0]=<class"),
    (lambda: sequential(Softmax()).forward((), ROWS), ValueError, "params=(): must be a sequence, one for "),
    (lambda: SGD(0.0), ValueError, "learning_rate=0.0: must be a finite number > 0"),
    (lambda: SGD(1.0).step({"w": 1.0}, {"v": 1.0}, 0), ValueError, "only in one of the two: params.v"),
], ids=stable)
def test_an_argument_that_makes_no_sense_is_named_with_its_value(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(("keywords", "message"), [
    ({"epochs": 0}, "epochs=0: must be a positive integer"),
    ({"batch_size": 0}, "batch_size=0: must be a positive integer"),
    ({"batch_size": 1}, "batch_size=1 of 2 examples: the order is random and needs rng"),
    ({"y_true": ROWS[:1]}, "x has 2 examples and y_true 1: must be the same number"),
], ids=stable)
def test_training_refuses_what_it_cannot_do(keywords, message):
    arguments = {"y_true": ROWS, "epochs": 1, "loss": MSE(), "optimizer": SGD(0.1)} | keywords
    y_true = arguments.pop("y_true")
    with pytest.raises(ValueError) as caught:
        train(Activation("tanh"), {}, ROWS, y_true, **arguments)
    assert message in str(caught.value)


def test_the_chain_passes_layers_whose_state_has_no_gradient():
    network = sequential(Dense(3, 3), BatchNorm(3), Dropout(0.5))
    links = explain_network(network, network.init(np.random.default_rng(0)), np.eye(3), np.ones((3, 3)))
    assert [link.layer for link in links] == ["Dropout", "BatchNorm", "Dense"]
    assert links[0].params == 0.0
