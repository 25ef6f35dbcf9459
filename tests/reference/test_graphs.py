"""Networks that are no chain: skips, joins, shared weights and penalties."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.reference import (
    L1,
    L2,
    MSE,
    Activation,
    Add,
    BatchNorm,
    Concatenate,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Graph,
    Multiply,
    Node,
    Objective,
    Residual,
    advanced,
    evaluating,
    hessian_product,
    scaled_by_depth,
    sequential,
)
from gradverify.reference.initialisers import draw
from tests.naming import stable
from tests.reference.agreement import assert_derivatives, assert_gradient, assert_second_derivatives, tangent_like

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(5, 4))
TANH = Activation("tanh")
SKIP = Graph({"a": Node(Dense(4, 3), ("x",)), "f": Node(TANH, ("a",), ""),
              "both": Node(Concatenate(), ("f", "x"), ""), "y": Node(Dense(7, 2), ("both",))}, "y")
SHARED = Graph({"a": Node(Dense(4, 4), ("x",), "W"), "f": Node(TANH, ("a",), ""), "b": Node(Dense(4, 4), ("f",), "W"),
                "y": Node(Add(), ("a", "b", "x"), "")}, "y")
SIAMESE = Graph({"a": Node(Dense(4, 3), ("left",), "W"), "b": Node(Dense(4, 3), ("right",), "W"),
                 "y": Node(Multiply(), ("a", "b"), "")}, "y")
UNUSED = Graph({"a": Node(Dense(4, 3), ("x",)), "y": Node(Dense(4, 2), ("x",))}, "y")
SQUARE = Graph({"y": Node(Multiply(), ("x", "x"), "")}, "y")
BLOCK = Residual(sequential(Dense(4, 6), TANH, Dense(6, 4)), depth=9)
PROJECTED = Residual(sequential(Dense(4, 6), TANH, Dense(6, 2)), Dense(4, 2, bias=False))
NESTED = sequential(BLOCK, Residual(PROJECTED.body, PROJECTED.shortcut), SKIP and Dense(2, 2))
PAIR = {"left": ROWS, "right": ROWS[::-1].copy()}
CASES = [(SKIP, ROWS), (SHARED, ROWS), (SIAMESE, PAIR), (SQUARE, ROWS), (BLOCK, ROWS), (PROJECTED, ROWS),
         (NESTED, ROWS), (SKIP, ROWS[:1]), (SHARED, ROWS[:0])]


@pytest.mark.parametrize(("graph", "x"), CASES, ids=stable)
def test_a_graph_agrees_with_the_complex_step(graph, x):
    params = graph.init(np.random.default_rng(1))
    assert_derivatives(graph, params, x)
    assert_gradient(graph, params, x)
    assert_second_derivatives(graph, params, x)


def test_shared_weights_get_the_sum_of_what_each_use_sends_back():
    params = SHARED.init(np.random.default_rng(1))
    apart = Graph({**SHARED.nodes, "a": Node(Dense(4, 4), ("x",), "V")}, "y")
    dW = SHARED.forward(params, ROWS)[1](ROWS)[0]["W"]["W"]
    separate = apart.forward({"V": params["W"], "W": params["W"]}, ROWS)[1](ROWS)[0]
    np.testing.assert_allclose(dW, separate["V"]["W"] + separate["W"]["W"], rtol=1e-14)


def test_a_node_that_leads_nowhere_has_no_gradient():
    params = UNUSED.init(np.random.default_rng(1))
    dparams, _ = UNUSED.forward(params, ROWS)[1](np.ones((5, 2)))
    assert dparams["a"] == {"W": None, "b": None}
    assert dparams["y"]["W"].any()


def test_a_residual_block_lets_the_gradient_through_a_body_that_stops_it():
    block = Residual(Dense(4, 4, initialiser="zeros"))
    _, pullback = block.forward(block.init(np.random.default_rng(0)), ROWS)
    np.testing.assert_array_equal(pullback(ROWS)[1], ROWS)


def test_a_residual_network_starts_with_a_signal_that_does_not_grow_with_depth():
    def size(depth):
        body = sequential(Dense(64, 64, initialiser="he_normal"), Activation("relu"), Dense(64, 64))
        network = sequential(*[Residual(body, depth=depth)] * depth)
        x = np.random.default_rng(0).normal(size=(8, 64))
        return np.mean(network.forward(network.init(np.random.default_rng(1)), x)[0] ** 2)

    assert size(64) < 2 * size(4) < 16


def test_depth_scales_the_last_weight_only():
    params = scaled_by_depth(({"W": np.ones((2, 2)), "b": np.ones(2)}, {"W": np.ones((2, 2)), "b": np.ones(2)}), 16)
    assert [params[0]["W"][0, 0], params[1]["W"][0, 0], params[1]["b"][0]] == [1, 0.25, 1]


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (4, 4), (6, 2, 3, 3)])
def test_orthogonal_weights_keep_the_length_of_every_signal(shape):
    W = draw("orthogonal", np.random.default_rng(0), shape, 1, 1).reshape(shape[0], -1)
    Q = W if W.shape[0] <= W.shape[1] else W.T
    np.testing.assert_allclose(Q @ Q.T, np.eye(len(Q)), atol=1e-14)


def test_modes_reach_into_blocks_and_graphs():
    inner = sequential(BatchNorm(4), Dropout(0.5))
    graph = Graph({"a": Node(Residual(inner), ("x",)), "y": Node(inner, ("a",))}, "y")
    params = graph.init(np.random.default_rng(0))
    after = advanced(graph, params, ROWS)
    assert after["a"]["body"][0]["mean"].any()
    assert after["y"][1]["key"] != params["y"][1]["key"]
    x, used = 0 * ROWS, evaluating(graph)
    np.testing.assert_array_equal(used.forward(params, x)[0], used.forward(after | {}, x)[0] * 0)


PENALISED = [Objective(NESTED, MSE(), np.ones((5, 2)), penalty) for penalty in (L2(0.3), L1(0.3), L2(0.3, ("b",)))]


@pytest.mark.parametrize("objective", PENALISED, ids=lambda o: repr(o.penalty))
def test_a_penalised_objective_agrees_with_the_complex_step(objective):
    params = objective.init(np.random.default_rng(1))
    assert_derivatives(objective, params, ROWS)
    assert_gradient(objective, params, ROWS)
    assert_second_derivatives(objective, params, ROWS)


def test_a_penalty_leaves_other_leaves_alone_and_has_no_slope_at_zero():
    value, pullback = L1(2.0).forward({"W": np.array([-3.0, 0.0]), "b": np.array([7.0])})
    assert value == 6
    np.testing.assert_array_equal(pullback(1.0)["W"], [-2, 0])
    assert pullback(1.0)["b"] is None


def test_the_hessian_of_a_small_network_is_symmetric_and_agrees_with_differences():
    objective = Objective(sequential(Dense(2, 3), TANH, Dense(3, 1)), MSE(), ROWS[:, :1])
    params, x = objective.init(np.random.default_rng(0)), ROWS[:, :2]
    rng = np.random.default_rng(1)
    v, w = tangent_like(params, rng), tangent_like(params, rng)
    Hv, Hw = (hessian_product(objective, params, x, t)[0] for t in (v, w))

    def along(tangent, product):
        return sum(np.sum(a[k] * b[k]) for a, b in zip(tangent, product, strict=True) for k in a)

    assert along(w, Hv) == pytest.approx(along(v, Hw), rel=1e-13)
    h = 1e-5
    right, left = (objective.forward(tuple({k: a[k] + t * b[k] for k in a} for a, b in zip(params, v, strict=True)), x)
                   [1](1.0)[0] for t in (h, -h))
    assert (along(v, right) - along(v, left)) / (2 * h) == pytest.approx(along(v, Hv), rel=1e-7)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Graph({"a": Node(TANH, ("x",))}, "b"), "output='b': must be one of a"),
    (lambda: Graph({"a": Node(TANH, ("z",), "")}, "a").forward({}, ROWS), "node 'a': input 'z' is neither"),
    (lambda: Add().forward({}, (ROWS, ROWS[:1])), "x of shapes [(5, 4), (1, 4)]: must be of one shape"),
    (lambda: Residual(TANH, depth=0), "depth=0: must be a positive integer"),
    (lambda: L2(-1.0), "strength=-1.0: must be a finite number >= 0"),
], ids=stable)
def test_an_argument_that_makes_no_sense_is_named_with_its_value(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


def test_an_embedding_in_a_network_ends_the_way_back():
    network = sequential(Embedding(5, 4), Conv(3, 2, (2,)), TANH)
    params, x = network.init(np.random.default_rng(0)), np.array([[0, 4, 0]])
    dparams, dx = network.forward(params, x)[1](np.ones((1, 2, 3)))
    assert dx is None
    assert dparams[0]["W"][[1, 2, 3]].any() == 0
