"""Convolution, pooling, look-up, dropout and normalisation against the complex step, entry by entry."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gradverify.reference import (
    Activation,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTransposed,
    Dropout,
    Embedding,
    Flatten,
    GlobalPool,
    GroupNorm,
    LayerNorm,
    MaxPool,
    Reshape,
    RMSNorm,
    advanced,
    evaluating,
    sequential,
)
from tests.naming import stable
from tests.reference.agreement import (
    assert_derivatives,
    assert_gradient,
    assert_second_derivatives,
    imaginary,
    stepped,
    tangent_like,
)

RNG = np.random.default_rng(0)
LINE, PLANE = RNG.normal(size=(2, 4, 9)), RNG.normal(size=(2, 4, 7, 6))
ROWS = RNG.normal(size=(5, 4))
TIED = np.round(PLANE)
CONSTANT = np.full((2, 4, 3, 2), 0.25)
CONVOLUTIONS = [
    Conv(4, 3, (3,)), Conv(4, 6, (3,), stride=2, padding=1, dilation=2, groups=2), Conv(4, 4, (1,), groups=4),
    Conv(4, 2, (2,), stride=3), ConvTransposed(4, 3, (3,)),
    ConvTransposed(4, 6, (3,), stride=3, padding=2, dilation=2, groups=2, extra=1),
]
PLANAR = [
    Conv(4, 3, (3, 2)), Conv(4, 6, (3, 3), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
    Conv(4, 2, (2, 2), bias=False, stride=3), ConvTransposed(4, 3, (2, 3), bias=False),
    ConvTransposed(4, 2, (3, 3), stride=(2, 3), padding=(1, 0), dilation=(2, 1), groups=2, extra=(1, 2)),
]
POOLS = [MaxPool((2, 2)), MaxPool((3, 2), stride=(1, 2), padding=1), MaxPool((2, 2), stride=1, dilation=2),
         AveragePool((2, 2)), AveragePool((3, 3), stride=2, padding=1), GlobalPool("mean"), GlobalPool("max")]
NORMS = [BatchNorm(4), BatchNorm(4, affine=False), BatchNorm(4, training=False), GroupNorm(2, 4),
         GroupNorm(4, 4, affine=False), GroupNorm(1, 4), RMSNorm((6,)), LayerNorm((7, 6)),
         LayerNorm((6,), affine=False), RMSNorm((7, 6), affine=False)]
MOVERS = [Flatten(), Reshape((6, 28)), Dropout(0.4), Dropout(0.4, training=False), Dropout(0.0)]


def point(layer, x, seed=4):
    """Parameters away from where `init` puts them: a scale of 1 and a shift of 0 hide mistakes."""
    rng = np.random.default_rng(seed)
    params = layer.init(rng)
    moved = {name: tangent_like({"W": leaf}, rng)["W"] if np.asarray(leaf).dtype.kind == "f" else leaf
             for name, leaf in params.items()}
    return {name: np.abs(leaf) if name == "variance" else leaf for name, leaf in moved.items()}, x


CASES = [*((layer, LINE) for layer in CONVOLUTIONS), *((layer, PLANE) for layer in (*PLANAR, *POOLS, *NORMS, *MOVERS)),
         *((layer, ROWS) for layer in (BatchNorm(4), LayerNorm((4,)))),
         (BatchNorm(4), PLANE[:1]), (BatchNorm(4), ROWS[:1]), (GroupNorm(1, 4), ROWS), (RMSNorm((4,)), 0 * ROWS),
         *((layer, CONSTANT) for layer in (BatchNorm(4), LayerNorm((3, 2)), GroupNorm(2, 4), RMSNorm((2,)))),
         (LayerNorm((4,)), 1e4 + ROWS), (BatchNorm(4), 1e-6 * ROWS)]
SINGLE = [(layer, x[:1]) for layer, x in CASES if not isinstance(layer, BatchNorm)]
INDICES = [np.array([[2, 0, 2], [1, 1, 1]]), np.array(3), np.zeros((0, 2), int)]


def names(case):
    return repr(case) if not isinstance(case, np.ndarray) else str(case.shape)


@pytest.mark.parametrize(("layer", "x"), CASES, ids=names)
def test_every_entry_of_the_gradient_agrees_with_the_complex_step(layer, x):
    # 1e4 + x has lost four digits before the layer sees it.
    assert_gradient(layer, *point(layer, x), rtol=1e-13 if np.abs(x).max() < 100 else 1e-11)


@pytest.mark.parametrize(("layer", "x"), CASES, ids=names)
def test_pushforward_and_pullback_agree_with_the_complex_step(layer, x):
    assert_derivatives(layer, *point(layer, x), rtol=1e-13 if np.abs(x).max() < 100 else 1e-11)


@pytest.mark.parametrize(("layer", "x"), SINGLE, ids=names)
def test_a_batch_of_one_is_a_batch(layer, x):
    y, pullback = layer.forward(point(layer, x)[0], x)
    assert pullback(np.ones_like(y))[1].shape == x.shape


@pytest.mark.parametrize(("layer", "x"), [case for case in SINGLE if case[1].ndim > 2], ids=names)
def test_an_empty_batch_has_an_empty_output_and_zero_gradients(layer, x):
    params, x = point(layer, x[:0])
    y, pullback = layer.forward(params, x)
    dparams, dx = pullback(np.ones_like(y))
    assert y.shape[0] == 0
    assert dx.shape == x.shape
    assert not any(g.any() for g in dparams.values() if g is not None)


@pytest.mark.parametrize(("layer", "x"), CASES, ids=names)
def test_second_derivatives_agree_with_a_complex_step_through_the_pullback(layer, x):
    assert_second_derivatives(layer, *point(layer, x), rtol=1e-12 if np.abs(x).max() < 100 else 1e-9)


@pytest.mark.parametrize("x", INDICES, ids=names)
@pytest.mark.parametrize("layer", [Embedding(4, 3), Embedding(4, 3, padding=1)], ids=stable)
def test_an_embedding_adds_up_what_repeated_indices_get(layer, x):
    params, _ = point(layer, x)
    y, pullback = layer.forward(params, x)
    dy = RNG.normal(size=y.shape)
    expected = np.zeros_like(params["W"])
    np.add.at(expected, x, dy)
    expected[1] *= layer.padding is None
    np.testing.assert_allclose(pullback(dy)[0]["W"], expected, rtol=1e-14, atol=1e-15)
    assert_second_derivatives(layer, params, x)


def test_a_pushforward_of_an_embedding_holds_the_padding_row_fixed():
    layer, tangent = Embedding(3, 2, padding=0), {"W": np.ones((3, 2))}
    _, dy = layer.pushforward({"W": np.zeros((3, 2))}, np.array([0, 1]), tangent, None)
    np.testing.assert_array_equal(dy, [[0, 0], [1, 1]])


def test_of_tied_entries_the_first_gets_the_whole_gradient():
    _, pullback = MaxPool((3,)).forward({}, np.full((1, 1, 3), 2.0))
    np.testing.assert_array_equal(pullback(np.ones((1, 1, 1)))[1], [[[1, 0, 0]]])
    _, pullback = GlobalPool("max").forward({}, np.full((1, 1, 3), 2.0))
    np.testing.assert_array_equal(pullback(np.ones((1, 1)))[1], [[[1, 0, 0]]])


def test_the_padding_of_a_maximum_never_wins():
    y, pullback = MaxPool((2,), padding=1).forward({}, np.array([[[-5.0, -3.0, -4.0]]]))
    np.testing.assert_array_equal(y, [[[-5, -3]]])
    np.testing.assert_array_equal(pullback(np.ones((1, 1, 2)))[1], [[[1, 1, 0]]])


def test_a_transposed_convolution_is_the_adjoint_of_a_convolution():
    down, up = Conv(4, 6, (3,), stride=2, bias=False), ConvTransposed(6, 4, (3,), stride=2, bias=False)
    params, u = down.init(np.random.default_rng(0)), RNG.normal(size=(2, 6, 4))
    left = np.sum(down.forward(params, LINE)[0] * u)
    assert left == pytest.approx(np.sum(LINE * up.forward(params, u)[0]), rel=1e-13)


@pytest.mark.parametrize("layer", POOLS, ids=stable)
def test_tied_entries_that_move_together_agree_with_the_complex_step(layer):
    dx = np.sin(TIED)
    y, dy = layer.pushforward({}, TIED, {}, dx)
    expected = imaginary(layer.forward({}, stepped(TIED, dx))[0])
    u = RNG.normal(size=y.shape)
    np.testing.assert_allclose(dy, expected, rtol=1e-13, atol=1e-14)
    assert np.sum(layer.forward({}, TIED)[1](u)[1] * dx) == pytest.approx(np.sum(u * expected), rel=1e-12)


@pytest.mark.parametrize("layer", [norm for norm in NORMS if norm.affine is False], ids=stable)
def test_the_gradient_of_a_normalisation_is_orthogonal_to_its_input(layer):
    layer = dataclasses.replace(layer, eps=0.0)  # then scaling the input does not change the output
    y, pullback = layer.forward(layer.init(np.random.default_rng(0)), PLANE)
    assert abs(np.sum(pullback(RNG.normal(size=y.shape))[1] * PLANE)) < 1e-12


def test_running_statistics_move_and_evaluation_uses_them():
    layer, x = BatchNorm(4, momentum=0.25), 3 * PLANE + 1
    params = layer.init(np.random.default_rng(0))
    after = layer.advance(params, x)
    np.testing.assert_allclose(after["mean"], 0.25 * x.mean((0, 2, 3)), rtol=1e-14)
    np.testing.assert_allclose(after["variance"], 0.75 + 0.25 * x.var((0, 2, 3), ddof=1), rtol=1e-14)
    y, _ = evaluating(layer).forward(after, x)
    expected = (x - after["mean"][:, None, None]) / np.sqrt(after["variance"] + 1e-5)[:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-14)
    assert params["mean"].any() == 0


def test_one_key_is_one_mask_and_the_next_key_another():
    layer, x = Dropout(0.5), np.ones(64)
    params = layer.init(np.random.default_rng(0))
    first, again = layer.forward(params, x)[0], layer.forward(params, x)[0]
    np.testing.assert_array_equal(first, again)
    assert (layer.forward(layer.advance(params, x), x)[0] != first).any()


def test_dropout_keeps_the_mean_and_the_share_that_its_rate_says():
    y, _ = Dropout(0.3).forward({"key": np.array(1)}, np.ones(100_000))
    assert np.mean(y == 0) == pytest.approx(0.3, abs=0.01)
    assert y.mean() == pytest.approx(1.0, abs=0.01)


def test_a_network_advances_its_layers_with_what_each_of_them_sees():
    network = sequential(Activation("relu"), sequential(BatchNorm(4), Dropout(0.5)), BatchNorm(4))
    params = network.init(np.random.default_rng(0))
    after = advanced(network, params, PLANE)
    np.testing.assert_allclose(after[1][0]["mean"], 0.1 * np.maximum(PLANE, 0).mean((0, 2, 3)), rtol=1e-13)
    assert after[1][1]["key"] != params[1][1]["key"]
    assert advanced(evaluating(network).layers[2], after[2], PLANE) is after[2]


def test_what_has_no_modes_is_itself_in_evaluation():
    network = sequential(Conv(1, 1, (3,)), Activation("tanh"))
    assert evaluating(network) is network
    assert advanced(network, (1, 2), PLANE) == (1, 2)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Conv(4, 3, (3,), groups=3), "groups=3: must divide inputs=4 and units=3"),
    (lambda: Conv(4, 3, (0,)), "size=0: must be a positive integer"),
    (lambda: Conv(4, 3, (3,), padding=-1), "padding=(-1,): must be integers >= 0"),
    (lambda: Conv(4, 3, (3,), stride=(1, 2)), "size=(3,): stride, padding and dilation must be numbers or"),
    (lambda: Conv(4, 3, (3,)).forward(Conv(4, 3, (3,)).init(RNG), PLANE), "x of shape (2, 4, 7, 6): must be (n, 4,"),
    (lambda: Conv(4, 3, (3,)).forward({"W": 0}, LINE[:, :, :2]) and None, "a window of (3,) does not fit"),
    (lambda: ConvTransposed(1, 1, (3,), extra=1), "extra=1: must be at least 0 and less than stride=1"),
    (lambda: MaxPool((2,), padding=2), "padding=2: at most half of size=(2,)"),
    (lambda: GlobalPool("sum"), "kind='sum': must be mean or max"),
    (lambda: GlobalPool().forward({}, ROWS[:, :, None][:, :, :0]), "must have space to pool over"),
    (lambda: Reshape((3, 3)).forward({}, ROWS), "x of shape (5, 4): each example must have the entries of (3, 3)"),
    (lambda: Embedding(3, 1, padding=3), "padding=3: must be a row, 0..2"),
    (lambda: Embedding(3, 1).forward({"W": ROWS}, np.array([3])), "must be integers in 0..2"),
    (lambda: Dropout(1.0), "rate=1.0: must be at least 0 and less than 1"),
    (lambda: BatchNorm(4).forward({}, ROWS[:0]), "x of shape (0, 4): an empty batch has no mean"),
    (lambda: BatchNorm(3).forward({}, ROWS), "x of shape (5, 4): its second axis must be 3"),
    (lambda: BatchNorm(3, momentum=2.0), "momentum=2.0: must lie in 0..1"),
    (lambda: GroupNorm(3, 4), "groups=3: must divide channels=4"),
    (lambda: LayerNorm((3,)).forward({}, ROWS), "x of shape (5, 4): its last axes must be (3,)"),
    (lambda: LayerNorm(()), "shape=(): must have at least one axis"),
    (lambda: RMSNorm((3,), eps=-1.0), "eps=-1.0: must be a finite number >= 0"),
], ids=stable)
def test_an_argument_that_makes_no_sense_is_named_with_its_value(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)
