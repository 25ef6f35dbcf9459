"""Inputs and constructor arguments are inferred from names, parameters and the errors of the forward."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.audit.guesses import roles_of
from gradverify.audit.inputs import log_arguments
from gradverify.audit.load import NotTriable, instances
from gradverify.audit.search import Search


def first(function, held=()):
    return next(Search().accepted(function, held, 0), None)


def shapes(function, held=()):
    arguments = first(function, held)
    return [np.shape(x) for x in arguments.inputs]


def affine(x, w, b):
    return x @ w + b


def columns(x, w, b):
    return w @ x + b


def image(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))


def convolve(x, w, b):
    n, c, _, _ = x.shape
    f, c2, kh, _ = w.shape
    if c != c2:
        raise ValueError("channels")
    return np.einsum("nchw,fc->nfhw", x, w[:, :, 0, 0]) + b[:, None, None] + kh * 0 + n * 0 + f * 0


def sequence(x, h0, wx, wh, b):
    steps = [h0]
    for t in range(x.shape[1]):
        steps.append(np.tanh(x[:, t] @ wx + steps[-1] @ wh + b))
    n, time, _ = x.shape
    return np.stack(steps[1:], axis=1) + 0 * (n + time)


def vector(x):
    (n,) = x.shape
    return x / n


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (affine, [(5, 3), (3, 7), (7,)]),
        (columns, [(3, 5), (7, 3), (7, 1)]),
        (image, [(2, 3, 6, 4)]),
        (convolve, [(2, 3, 6, 4), (4, 3, 3, 3), (4,)]),
        (sequence, [(2, 5, 3), (2, 7), (3, 7), (7, 7), (7,)]),
        (vector, [(3,)]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_shapes_are_found_that_the_forward_accepts(function, expected):
    assert shapes(function) == expected


def test_an_error_about_axes_is_read_and_shortens_the_search():
    unpacked, hidden = Search(), Search()
    next(unpacked.accepted(image, (), 0))
    next(hidden.accepted(lambda x: image(x) * 2, (), 0))
    assert (unpacked.tried, hidden.tried) == (1, 2)  # ``N, C, H, W = x.shape`` is read before the first call


def test_the_parameters_of_an_object_give_the_shape_of_its_input():
    w = np.ones((4, 6))
    assert shapes(lambda x: x @ w, (w,)) == [(5, 4)]
    assert shapes(lambda x: w @ x, (w,)) == [(6, 5)]


def test_labels_are_integers_for_what_indexes_with_them_and_one_hot_for_what_multiplies():
    by_index = first(lambda p, labels: p[np.arange(len(p)), labels])
    by_product = first(lambda p, t: (p * t).sum() if t.ndim == p.ndim else 1 / np.zeros(()))
    assert by_index.inputs[1].shape == (5,)
    assert by_product.inputs[1].sum(axis=1).tolist() == [1] * 5


def test_indices_lie_within_the_table_they_look_up():
    table = np.ones((11, 3))
    indices = first(lambda idx: table[idx], (table,)).inputs[0]
    assert indices.dtype.kind == "i"
    assert indices.max() < 11


def test_settings_travel_as_keywords_and_are_no_leaves():
    arguments = first(lambda x, stride, dropout_param: x[::stride] * dropout_param["p"])
    assert len(arguments.inputs) == 1
    assert arguments.kwargs["stride"] == 1


def binary_cross_entropy(p, y):
    q = np.clip(p, 1e-7, 1 - 1e-7)
    return -np.mean(y * np.log(q) + (1 - y) * np.log(1 - q))


def log_sum_exp(x):
    z = np.exp(x).sum()
    return np.log(z) + np.log(np.exp(x).sum())


def test_what_goes_into_a_logarithm_is_drawn_between_0_and_1():
    assert log_arguments(binary_cross_entropy) == {"p"}
    p = first(binary_cross_entropy).inputs[0]
    assert 0 < p.min() < p.max() < 1


def test_a_logarithm_of_exponentials_leaves_the_domain_alone():
    assert log_arguments(log_sum_exp) == frozenset()


def test_values_outside_the_domain_make_the_search_try_probabilities():
    assert np.all(first(lambda x: np.arcsin(x) + np.sqrt(1 - x)).inputs[0] < 1)


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["y", "y_pred"], ("label", "data")),
        (["x", "t"], ("data", "label")),
        (["y", "t"], ("data", "label")),
        (["x", "y"], ("data", "label")),
        (["y"], ("data",)),
        (["x", "h_prev", "Wx", "Wh", "b"], ("data", "state", "weight", "recurrent", "bias")),
        (["x", "gamma", "beta", "bn_param"], ("data", "scale", "bias", "setting")),
        (["idx"], ("index",)),
    ],
)
def test_the_names_of_arguments_say_what_they_are(names, roles):
    assert roles_of(names) == roles


def test_a_forward_that_accepts_nothing_leaves_its_complaint():
    search = Search()

    def picky(x):
        raise KeyError("no")

    assert list(search.accepted(picky, (), 0)) == []
    assert search.complaint == "KeyError: 'no'"


def test_the_forward_is_tried_on_copies():
    class Counter:
        def __init__(self):
            self.calls = []

        def forward(self, x):
            self.calls.append(1)
            x += 1
            return x

    counter = Counter()
    assert np.all(first(counter.forward).inputs[0] < 5)
    assert counter.calls == []


class Dense:
    def __init__(self, n_in, n_out, *, rng, use_bias: bool):
        self.W = rng.normal(size=(n_in, n_out))
        self.use_bias = use_bias


class Pool:
    def __init__(self, pool_size):
        self.height, self.width = pool_size


class Affine:
    def __init__(self, W, b):
        if W.shape[1] != b.shape[0]:
            raise ValueError("shapes")
        self.W, self.b = W, b


class Hopeless:
    def __init__(self, layers):
        self.layers = [layer.build() for layer in layers]


def test_constructor_arguments_are_guessed_from_their_names():
    assert next(instances(Dense, 0)).obj.W.shape == (3, 7)
    assert next(instances(Pool, 0)).obj.width == 2
    assert next(instances(Affine, 0)).obj.b.shape == (7,)


def test_a_class_that_cannot_be_made_says_what_its_constructor_complained_about():
    with pytest.raises(NotTriable, match=r"no arguments found for Hopeless\(layers\): "):
        next(instances(Hopeless, 0))
