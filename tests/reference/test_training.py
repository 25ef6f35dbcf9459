"""Optimizers, schedules, clipping, and training with validation data: overfitting shown and remedied."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.reference import (
    L2,
    MSE,
    SGD,
    Activation,
    Adam,
    AdamW,
    BatchNorm,
    Clipped,
    CosineDecay,
    CrossEntropy,
    Dense,
    Dropout,
    EarlyStopping,
    Exponential,
    InverseTime,
    Momentum,
    Nesterov,
    RMSprop,
    Warmup,
    Weighted,
    clip_global_norm,
    clip_norm,
    clip_value,
    sequential,
    train,
)
from tests.naming import stable

OPTIMIZERS = [SGD(0.1), Momentum(0.02), Nesterov(0.02), RMSprop(0.02), Adam(0.05), AdamW(0.05, 0.001),
              Clipped(Momentum(0.02), 1.0), Adam(CosineDecay(0.1, 300)), SGD(Warmup(10, Exponential(0.3, 0.99)))]


def noisy(n, seed, columns=1):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, columns))
    return x, x[:, :1] + rng.normal(0, 0.5, (n, 1))


WIDE = sequential(Dense(8, 48), Activation("tanh"), Dense(48, 1))


def gap(network=WIDE, **options):
    """How much larger the loss on new data is than on the data trained on."""
    _, history = fitted(network, epochs=200, **options)
    return history.validation_losses[-1] - history.epoch_losses[-1]


def fitted(network, epochs, **options):
    return train(network, network.init(np.random.default_rng(1)), *noisy(24, 0, 8), loss=MSE(), optimizer=Adam(0.02),
                 epochs=epochs, validation=noisy(300, 5, 8), **options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=stable)
def test_every_optimizer_reaches_the_minimum_of_a_bowl(optimizer):
    params = {"w": np.array([3.0, -2.0])}
    state = optimizer.init(params)
    for _ in range(400):
        params, state = optimizer.step(params, {"w": np.array([1.0, 4.0]) * params["w"]}, state)
    assert np.abs(params["w"]).max() < 0.02


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=stable)
def test_a_step_changes_nothing_in_place_and_leaves_what_has_no_gradient(optimizer):
    params, grads = {"w": np.ones(2), "key": np.array(3)}, {"w": np.ones(2), "key": None}
    state = optimizer.init(params)
    before = repr((params, grads, state))
    new, after = optimizer.step(params, grads, state)
    again, _ = optimizer.step(params, grads, state)
    assert repr((params, grads, state)) == before
    assert new["key"] is params["key"]
    np.testing.assert_array_equal(new["w"], again["w"])
    assert repr(after) != before


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=stable)
def test_single_precision_stays_single(optimizer):
    params = {"w": np.ones(2, np.float32)}
    new, _ = optimizer.step(params, params, optimizer.init(params))
    assert new["w"].dtype == np.float32


def test_nesterov_at_no_momentum_is_plain_descent():
    params, grads = {"w": np.ones(2)}, {"w": np.array([0.5, -2.0])}
    for optimizer in (Nesterov(0.1, 0.0), Momentum(0.1, 0.0)):
        new, _ = optimizer.step(params, grads, optimizer.init(params))
        np.testing.assert_array_equal(new["w"], SGD(0.1).step(params, grads, 0)[0]["w"])


def test_the_decay_of_adamw_is_not_scaled_by_the_gradient():
    params, grads = {"w": np.array([1.0, 1.0])}, {"w": np.array([1e-3, 1e3])}
    plain, decayed = (optimizer.step(params, grads, optimizer.init(params))[0]["w"]
                      for optimizer in (Adam(0.1), AdamW(0.1, 0.5)))
    np.testing.assert_allclose(plain - decayed, 0.05, rtol=1e-12)


@pytest.mark.parametrize(("schedule", "rates"), [
    (Exponential(1.0, 0.5), [1, 0.5, 0.25]), (Exponential(1.0, 0.1, 2), [1, 1, 0.1]),
    (InverseTime(1.0, 1.0), [1, 1 / 2, 1 / 3]), (CosineDecay(1.0, 2, 0.5), [1, 0.75, 0.5, 0.5]),
    (Warmup(2, 4.0), [2, 4, 4, 4]), (Warmup(2, Exponential(1.0, 0.5)), [0.5, 1, 1, 0.5]),
], ids=stable)
def test_a_schedule_gives_its_rates(schedule, rates):
    np.testing.assert_allclose([schedule(step) for step in range(len(rates))], rates, rtol=1e-15)


GRADS = {"a": np.array([3.0, 4.0]), "b": np.array([0.0, 12.0]), "none": None}


def test_clipping_by_value_by_norm_and_by_global_norm():
    np.testing.assert_array_equal(clip_value(GRADS, 3.5)["a"], [3, 3.5])
    np.testing.assert_allclose(clip_norm(GRADS, 6.0)["a"], [3, 4])
    np.testing.assert_allclose(clip_norm(GRADS, 6.0)["b"], [0, 6])
    np.testing.assert_allclose(clip_global_norm(GRADS, 6.5)["b"], [0, 6])
    assert clip_global_norm(GRADS, 14.0)["b"] is not None
    np.testing.assert_array_equal(clip_global_norm(GRADS, 14.0)["b"], GRADS["b"])


def test_an_infinite_gradient_is_not_clipped_silently():
    with pytest.raises(FloatingPointError, match=r"a gradient of length inf cannot be clipped to 1\.0"):
        clip_global_norm({"a": np.array([np.inf])}, 1.0)


def test_a_wide_network_overfits_and_its_remedies_help():
    overfitted, penalised = gap(), gap(penalty=L2(0.05))
    dropped = gap(sequential(*WIDE.layers[:2], Dropout(0.5), WIDE.layers[2]))
    assert overfitted > 0.3
    assert penalised < 0.6 * overfitted
    assert dropped < 0.9 * overfitted


def test_early_stopping_returns_the_parameters_of_the_best_epoch():
    params, history = fitted(WIDE, epochs=300, stopping=EarlyStopping(patience=20))
    x, y = noisy(300, 5, 8)
    best = MSE().forward(y, WIDE.forward(params, x)[0])[0]
    assert history.stopped_early
    assert len(history.epoch_losses) == history.best_epoch + 21
    assert best == min(history.validation_losses) == history.validation_losses[history.best_epoch]


@pytest.mark.parametrize(("losses", "min_change", "best"), [
    ([3, 2, 1], 0, 2), ([3, 1, 2], 0, 1), ([3, 2.95, 2.9, 2.8], 0.15, 3), ([3, 2.95, 2.9], 0.15, 0), ([1, 1], 0, 0),
])
def test_the_best_epoch_is_the_last_that_improved_enough(losses, min_change, best):
    assert EarlyStopping(1, min_change).best(losses) == best


def test_training_moves_running_statistics_and_draws_new_masks():
    x, y = noisy(32, 0)
    network = sequential(BatchNorm(1), Dense(1, 4), Dropout(0.5), Dense(4, 1))
    start = network.init(np.random.default_rng(0))
    params, history = train(network, start, x, y, loss=MSE(), optimizer=Adam(0.01), epochs=3, batch_size=8,
                            rng=np.random.default_rng(1))
    assert params[0]["mean"] != start[0]["mean"]
    assert params[2]["key"] != start[2]["key"]
    assert history.epoch_losses == pytest.approx(history.epoch_losses)
    np.testing.assert_array_equal(start[0]["mean"], 0)


def test_the_rows_of_a_history_are_a_table_of_steps():
    x, y = noisy(8, 0)
    _, history = train(Dense(1, 1), Dense(1, 1).init(np.random.default_rng(0)), x, y, loss=MSE(), optimizer=SGD(0.1),
                       epochs=2, batch_size=4, rng=np.random.default_rng(0), validation=(x, y))
    rows = history.rows()
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[1]["epoch_loss"] == rows[1]["validation_loss"] == history.epoch_losses[1]
    assert "epoch_loss" not in rows[0]


def test_weights_of_the_examples_travel_with_the_mini_batches():
    x, labels = np.array([[-1.0], [1.0], [1.0], [-1.0]]), np.array([0, 1, 0, 1])
    weighted = Weighted(labels, np.array([1.0, 1.0, 1e-9, 1e-9]))  # the last two contradict the first
    network = Dense(1, 2)
    params, _ = train(network, network.init(np.random.default_rng(0)), x, weighted, loss=CrossEntropy(),
                      optimizer=SGD(1.0), epochs=50, batch_size=2, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(np.argmax(network.forward(params, x[:2])[0], axis=1), labels[:2])


def test_inputs_in_a_dict_are_batched_together():
    from gradverify.reference import Add, Graph, Node

    graph = Graph({"s": Node(Add(), ("a", "b"), ""), "y": Node(Dense(1, 1), ("s",))}, "y")
    x, y = noisy(8, 0)
    _, history = train(graph, graph.init(np.random.default_rng(0)), {"a": x, "b": x}, y, loss=MSE(), epochs=20,
                       optimizer=SGD(0.1), batch_size=4, rng=np.random.default_rng(1))
    assert history.epoch_losses[-1] < history.epoch_losses[0]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Momentum(0.1, 1.0), "momentum=1.0: must be at least 0 and less than 1"),
    (lambda: Adam(-1.0), "learning_rate=-1.0: must be a finite number > 0, or a function of the step"),
    (lambda: Adam(betas=(0.9, 1.0)), "betas=1.0: must be at least 0 and less than 1"),
    (lambda: RMSprop(0.1, eps=0.0), "eps=0.0: must be a finite number > 0"),
    (lambda: Clipped(SGD(1.0), 0.0), "limit=0.0: must be a finite number > 0"),
    (lambda: Clipped(SGD(1.0), 1.0, "length"), "by='length': must be one of value, norm, global_norm"),
    (lambda: CosineDecay(0.1, 0), "steps=0: must be a positive integer"),
    (lambda: EarlyStopping(0), "patience=0: must be a positive integer"),
    (lambda: EarlyStopping(min_change=-1.0), "min_change=-1.0: must be >= 0"),
    (lambda: train(WIDE, None, {"a": np.ones(3), "b": np.ones(2)}, np.ones(3), loss=MSE(), optimizer=SGD(1.0),
                   epochs=1), "examples of one number are needed"),
], ids=stable)
def test_an_argument_that_makes_no_sense_is_named_with_its_value(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)
