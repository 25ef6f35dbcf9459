"""Recurrent layers, attention and positional encodings against the complex step, with every kind of mask."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.reference import (
    GRU,
    LSTM,
    MSE,
    RNN,
    Activation,
    Adam,
    Attention,
    Dense,
    LearnedPositions,
    MultiHeadAttention,
    Residual,
    RotaryPositions,
    SinusoidalPositions,
    sequential,
    train,
)
from tests.naming import stable
from tests.reference.agreement import assert_derivatives, assert_gradient, assert_second_derivatives, tangent_like

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 2))
H, C = RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5))
MASK = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], bool)  # a short one, a whole one, one with no step
HOLES = np.array([[0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 1, 0]], bool)
RECURRENT = [RNN(2, 5), RNN(2, 5, "relu"), LSTM(2, 5), GRU(2, 5)]
FORMS = [X, {"x": X, "h": H}, {"x": X, "h": H, "mask": MASK}, {"x": X, "mask": HOLES}, X[:1], X[:, :1], X[:0]]
OUTPUTS = [kind(2, 5, output=output) for kind in (RNN, LSTM, GRU) for output in ("last", "states")]

Q, K, V = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 5, 4)), RNG.normal(size=(2, 5, 6))
SOME = RNG.random((2, 3, 5)) < 0.6
NOWHERE = SOME & (np.arange(3) != 1)[:, None]  # the second query may look nowhere
TRIPLE = {"query": Q, "key": K, "value": V}
STEPS = RNG.normal(size=(2, 3, 4))
PADDED = np.array([[1, 1, 0], [0, 0, 0]], bool)
ATTENTION = [
    (Attention(), TRIPLE), (Attention(), {**TRIPLE, "mask": SOME}), (Attention(), {**TRIPLE, "mask": NOWHERE}),
    (Attention(causal=True), TRIPLE), (Attention(causal=True), {**TRIPLE, "mask": NOWHERE}),
    (Attention(scale=30.0), TRIPLE), (Attention(), {name: part[:, :1] for name, part in TRIPLE.items()}),
    (Attention(), {name: 0 * part for name, part in TRIPLE.items()}),
    (Attention(), {name: part[:0] for name, part in TRIPLE.items()}),
    (MultiHeadAttention(4, 2), STEPS), (MultiHeadAttention(4, 2, causal=True), STEPS),
    (MultiHeadAttention(4, 4, bias=False), {"query": STEPS, "mask": PADDED}),
    (MultiHeadAttention(4, 1), {"query": Q, "key": K, "mask": SOME}), (MultiHeadAttention(4, 2), STEPS[:1]),
    (MultiHeadAttention(4, 2), {"query": Q, "key": K, "value": V[..., :4], "mask": NOWHERE}),
]
POSITIONS = [SinusoidalPositions(), LearnedPositions(5, 4), LearnedPositions(3, 4), RotaryPositions()]
TRANSFORMER = sequential(SinusoidalPositions(), Residual(MultiHeadAttention(4, 2, causal=True)),
                         Residual(sequential(Dense(4, 8), Activation("gelu"), Dense(8, 4))))


def name(value):
    if isinstance(value, dict):
        return ",".join(value)
    return str(value.shape) if hasattr(value, "shape") else repr(value)


def assert_all(layer, x):
    params = layer.init(np.random.default_rng(1))
    params = params if not hasattr(params, "keys") else {
        key: leaf + 0.3 * np.cos(np.arange(leaf.size)).reshape(leaf.shape) if hasattr(leaf, "shape") else leaf
        for key, leaf in params.items()}
    assert_derivatives(layer, params, x)
    assert_gradient(layer, params, x, entries=12)
    assert_second_derivatives(layer, params, x)


@pytest.mark.parametrize("x", FORMS, ids=name)
@pytest.mark.parametrize("layer", RECURRENT, ids=stable)
def test_a_recurrent_layer_agrees_with_the_complex_step(layer, x):
    assert_all(layer, x)


@pytest.mark.parametrize("x", [{"x": X, "h": H, "c": C, "mask": HOLES}, X], ids=name)
@pytest.mark.parametrize("layer", OUTPUTS, ids=stable)
def test_every_form_of_the_output_agrees_with_the_complex_step(layer, x):
    if isinstance(x, dict) and not isinstance(layer, LSTM):
        x = {key: part for key, part in x.items() if key != "c"}
    assert_all(layer, x)


@pytest.mark.parametrize("layer", RECURRENT, ids=stable)
def test_what_stands_at_a_masked_step_has_no_effect(layer):
    params = layer.init(np.random.default_rng(0))
    y, pullback = layer.forward(params, {"x": X, "h": H, "mask": MASK})
    other, _ = layer.forward(params, {"x": np.where(MASK[:, :, None], X, 99.0), "h": H, "mask": MASK})
    np.testing.assert_array_equal(y, other)
    np.testing.assert_array_equal(y[2], np.broadcast_to(H[2], (4, 5)))
    dx = pullback(np.ones_like(y))[1]
    assert not dx["x"][~MASK].any()
    assert dx["mask"] is None
    np.testing.assert_array_equal(dx["h"][2], 4)


@pytest.mark.parametrize("layer", [kind(2, 5, output="states") for kind in (RNN, LSTM, GRU)], ids=stable)
def test_a_sequence_in_two_halves_is_the_whole_sequence(layer):
    params = layer.init(np.random.default_rng(0))
    whole, _ = layer.forward(params, X)
    first, _ = layer.forward(params, X[:, :2])
    second, _ = layer.forward(params, {"x": X[:, 2:], **{key: first[key] for key in first if key != "y"}})
    np.testing.assert_allclose(np.concatenate([first["y"], second["y"]], axis=1), whole["y"], rtol=1e-14)
    assert (whole["h"] == whole["y"][:, -1]).all()


def test_the_gradient_of_a_saturated_gate_is_tiny_and_not_zero():
    layer = GRU(1, 1)
    params = {**layer.init(np.random.default_rng(0)), "b": np.array([0.0, 40.0, 0.5])}  # u = 1 - 4e-18
    _, pullback = layer.forward(params, np.ones((1, 1, 1)))
    assert 1e-18 < abs(pullback(np.ones((1, 1, 1)))[0]["b"][2]) < 1e-17


@pytest.mark.parametrize(("layer", "x"), ATTENTION, ids=name)
def test_attention_agrees_with_the_complex_step(layer, x):
    assert_all(layer, x)


def test_a_query_that_may_look_nowhere_gets_zero_and_sends_nothing_back():
    y, pullback = Attention().forward({}, {**TRIPLE, "mask": NOWHERE})
    dx = pullback(RNG.normal(size=y.shape))[1]
    assert not y[:, 1].any()
    assert not dx["query"][:, 1].any()
    alone = {**TRIPLE, "mask": np.zeros((2, 3, 5), bool)}
    y, pullback = Attention().forward({}, alone)
    assert not any(part.any() for part in pullback(np.ones_like(y))[1].values() if part is not None)


def test_causal_attention_does_not_see_what_comes_later():
    layer = MultiHeadAttention(4, 2, causal=True)
    params = layer.init(np.random.default_rng(0))
    later = STEPS.copy()
    later[:, 2] = 7.0
    np.testing.assert_array_equal(layer.forward(params, STEPS)[0][:, :2], layer.forward(params, later)[0][:, :2])
    y, pullback = layer.forward(params, STEPS)
    assert not pullback(np.eye(3)[0][None, :, None] * np.ones_like(y))[1][:, 1:].any()


def test_attention_without_order_is_blind_to_a_permutation():
    layer = MultiHeadAttention(4, 2)
    params = layer.init(np.random.default_rng(0))
    forwards, backwards = (layer.forward(params, x)[0] for x in (STEPS, STEPS[:, ::-1]))
    np.testing.assert_allclose(backwards, forwards[:, ::-1], atol=1e-14)


@pytest.mark.parametrize("layer", [*POSITIONS, TRANSFORMER], ids=stable)
def test_positions_agree_with_the_complex_step(layer):
    assert_all(layer, STEPS)


def test_the_waves_of_a_sinusoidal_encoding_have_the_lengths_of_their_formula():
    y, _ = SinusoidalPositions(100.0).forward({}, np.zeros((1, 5, 4)))
    t = np.arange(5)
    expected = np.stack([np.sin(t), np.cos(t), np.sin(t / 10), np.cos(t / 10)], axis=1)
    np.testing.assert_allclose(y[0], expected, rtol=1e-14, atol=1e-16)
    turned, _ = RotaryPositions(100.0).forward({}, np.broadcast_to([1.0, 0.0, 1.0, 0.0], (1, 5, 4)))
    np.testing.assert_allclose(turned[0], expected[:, [1, 0, 3, 2]], rtol=1e-14, atol=1e-16)


def test_a_product_of_turned_vectors_depends_on_the_distance_of_their_places_alone():
    rows = np.broadcast_to(RNG.normal(size=(2, 1, 8)), (2, 9, 8))
    query, key = RotaryPositions().forward({}, rows)[0]
    products = query @ key.T
    np.testing.assert_allclose(np.diagonal(products, 2), products[0, 2], rtol=1e-12)
    assert not np.allclose(products[0, 1], products[0, 2])


def test_a_recurrent_network_learns_to_remember_the_first_step():
    x = np.random.default_rng(0).choice([-1.0, 1.0], (64, 6, 1))
    network = sequential(GRU(1, 8, output="last"), Dense(8, 1))
    params = network.init(np.random.default_rng(1))
    _, history = train(network, params, x, x[:, 0], loss=MSE(), optimizer=Adam(0.03), epochs=120)
    assert history.epoch_losses[-1] < 0.02
    assert history.epoch_losses[0] > 0.5


@pytest.mark.parametrize(("call", "message"), [
    (lambda: RNN(2, 0), "units=0: must be a positive integer"),
    (lambda: RNN(2, 1, "rely"), "activation='rely': must be one of identity, "),
    (lambda: LSTM(2, 1, "first"), "output='first': must be one of sequence, last, states"),
    (lambda: GRU(3, 1).forward({}, X), "x of shape (3, 4, 2): must be (n, steps, 3)"),
    (lambda: GRU(2, 5).forward({}, {"x": X, "c": C}), "c of shape (3, 5): x may have ['h', 'mask', 'x']"),
    (lambda: GRU(2, 5).forward({}, {"x": X, "mask": MASK[:2]}), "mask of shape (2, 4): x may have"),
    (lambda: GRU(2, 5).forward({}, X[:, :0]), "with a step at least"),
    (lambda: MultiHeadAttention(4, 3), "heads=3: must divide units=4"),
    (lambda: Attention().forward({}, {**TRIPLE, "value": V[:, :2]}), "must be (..., q, d), (..., k, d), (..., k, e)"),
    (lambda: LearnedPositions(2, 4).forward({}, STEPS), "x of shape (2, 3, 4): must be (..., at most 2, 4)"),
    (lambda: RotaryPositions().forward({}, STEPS[..., :3]), "its last axis must be even"),
], ids=stable)
def test_an_argument_that_makes_no_sense_is_named_with_its_value(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


def test_directions_of_a_dict_leave_its_mask_alone():
    assert tangent_like({"x": X, "mask": MASK}, RNG)["mask"] is None
