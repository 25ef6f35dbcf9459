"""What is drawn is valid, shrinks to the smallest network, and prints as code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradverify import reference, strategies
from gradverify.arrays import flatten
from gradverify.reference import Conv, Dense, Embedding, Graph, MaxPool, Residual, Softmax
from gradverify.strategies import (
    FAMILIES,
    Architecture,
    Case,
    Flow,
    Point,
    architectures,
    cases,
    code,
    embeddings,
    explore,
    layers,
    layers_after,
    losses,
    minimal,
    parts_of,
)

NAMES = {**vars(reference), **vars(strategies)}
quick = settings(max_examples=40, database=None, deadline=None)


def has(kind):
    return lambda architecture: any(isinstance(part, kind) for part in parts_of(architecture.layers))


@quick
@given(cases())
@example(Case(Architecture((1, 1), (Softmax(), Dense(1, 1))), Point(entries=(-0.0,))))
def test_a_case_runs_and_its_gradients_have_the_shapes_of_their_leaves(case):
    params, x = case.params(), case.x()
    y, pullback = case.architecture.build().forward(params, x)
    gradients = flatten(pullback(case.u(y)), "")[0]
    for name, leaf in flatten((params, x), "")[0].items():
        assert gradients.get(name) is None or gradients[name].shape == leaf.shape


@quick
@given(cases())
def test_what_is_printed_can_be_pasted(case):
    assert eval(repr(case), NAMES) == case


@quick
@given(cases())
def test_the_same_case_has_the_same_arrays(case):
    again = eval(repr(case), NAMES)
    np.testing.assert_equal(again.params(), case.params())
    np.testing.assert_equal(again.x(), case.x())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_shrinks_to_one_layer(family):
    assert len(minimal(architectures((family,))).layers) == 1


@pytest.mark.parametrize(("kind", "expected"), [
    (Dense, "Architecture((1, 1), (Dense(1, 1),))"),
    (Softmax, "Architecture((1, 1), (Softmax(),))"),
    (Embedding, "Architecture((1, 1), (Embedding(1, 1),), rows=1)"),
    (Residual, "Architecture((1, 1), (Residual(sequential(Activation('identity'))),))"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_a_network_with_a_layer_shrinks_to_that_layer(kind, expected):
    found = minimal(architectures(), lambda a: any(isinstance(part, kind) for part in a.layers), 2000)
    assert repr(found) == expected


def test_two_layers_in_a_certain_order_shrink_to_those_two():
    def wanted(architecture):
        kinds = [type(layer) for layer in architecture.layers]
        return Conv in kinds and MaxPool in kinds[kinds.index(Conv):]

    assert len(minimal(architectures(("convolutional",)), wanted, 4000).layers) == 2


def test_sizes_shrink_too():
    found = minimal(architectures(("mlp",)), lambda a: any(getattr(part, "units", 0) > 2 for part in a.layers), 2000)
    assert repr(found) == "Architecture((1, 1), (Dense(1, 3),))"


def test_at_least_and_at_most_so_many_layers():
    sizes = []
    explore(architectures(min_layers=2, max_layers=3), lambda a: sizes.append(len(a.layers)), 60)
    assert set(sizes) == {2, 3}


def test_every_layer_of_the_reference_is_drawn():
    seen = set()
    explore(cases(), lambda case: seen.update(type(p).__name__ for p in parts_of(case.architecture.layers)), 600)
    inner = {"Network", "History", "Layer"}
    public = {name for name, value in vars(reference).items() if isinstance(value, type) and hasattr(value, "init")
              and hasattr(value, "pushforward")} - inner - {"Objective"}
    assert public - seen == set()


def test_every_loss_of_the_reference_is_drawn():
    seen = set()
    explore(losses(), lambda loss: seen.add(type(loss).__name__), 300)
    assert seen >= {"MSE", "MAE", "Huber", "Hinge", "Cosine", "Poisson", "CrossEntropy", "NLL", "KL",
                    "CategoricalCrossEntropy", "BinaryCrossEntropy"}


@quick
@given(layers((2, 3, 5)), layers((2, 5, 4), "sequence"), layers((2, 1, 4, 3)))
def test_a_layer_accepts_the_shape_it_was_drawn_for(line, sequence, plane):
    for layer, shape in ((line, (2, 3, 5)), (sequence, (2, 5, 4)), (plane, (2, 1, 4, 3))):
        rng = np.random.default_rng(0)
        layer.forward(layer.init(rng), rng.normal(size=shape))


@quick
@given(st.data())
def test_the_flow_behind_a_layer_is_the_shape_of_its_output(data):
    for flow in (Flow("features", (2, 3)), Flow("sequence", (2, 3, 4)), Flow("image", (2, 3, 4, 2))):
        layer, after = data.draw(layers_after(flow))
        rng = np.random.default_rng(0)
        assert layer.forward(layer.init(rng), rng.normal(size=flow.shape))[0].shape == after.shape


@pytest.mark.parametrize(("call", "message"), [
    (lambda: architectures(("mpl",)), "'mpl' is none of mlp, "),
    (lambda: architectures(()), "must name at least one"),
    (lambda: architectures(min_layers=0), "min_layers=0: must be at least 1"),
    (lambda: architectures(min_layers=3, max_layers=2), "min_layers=3"),
    (lambda: layers((3,)), "must have a batch axis"),
    (lambda: layers((3, 0)), "none of them empty"),
    (lambda: layers((2, 3), "image"), "kind='image'"),
    (lambda: layers((2, 3, 4), "picture"), "kind='picture'"),
    (lambda: losses(0), "classes=0"),
])
def test_arguments_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_defaults_are_not_printed():
    assert code(Conv(1, 2, (3,), stride=2)) == "Conv(1, 2, (3,), stride=2)"


def test_a_padding_row_is_the_last_one():
    assert minimal(embeddings(), lambda table: table.padding is not None) == Embedding(1, 1, padding=0)


def test_blocks_are_counted_by_what_they_contain():
    block = minimal(architectures(), has(Graph), 2000)
    assert block.size >= 1
    assert Architecture((1, 1), (Residual(reference.sequential(Dense(1, 1), Dense(1, 1))),)).size == 2
