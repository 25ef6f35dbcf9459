"""Keras models watched by `check_flow`."""

from __future__ import annotations

import os

import numpy as np
import pytest

import gradverify as gv
from gradverify.reference import Activation, Dense, sequential

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402
from keras import layers as kl  # noqa: E402


def x(*shape):
    return tf.constant(np.random.default_rng(1).normal(size=shape), tf.float32)


def deep(depth, variance, activation="relu", width=32):
    keras.utils.set_random_seed(depth)
    start = keras.initializers.VarianceScaling(variance, "fan_in", "untruncated_normal")
    hidden = [kl.Dense(width, activation=activation, kernel_initializer=start, name=f"h{k}") for k in range(depth)]
    return keras.Sequential([*hidden, kl.Dense(4, name="last")])


@pytest.mark.parametrize(("variance", "verdict"), [(0.2, "vanishing"), (2.0, "healthy"), (12.0, "exploding")])
def test_the_verdict_of_a_known_model(variance, verdict):
    report = gv.check_flow(deep(16, variance), x(20, 32))
    assert report.verdict == verdict
    assert report.unexplained == ()
    assert abs(report.z) < 4


def test_a_model_has_the_flow_of_the_same_network_of_the_reference():
    model, data = deep(4, 2.0, "tanh"), x(20, 32)
    report = gv.check_flow(model, data)
    ours = sequential(*[part for _ in range(4) for part in (Dense(32, 32), Activation("tanh"))], Dense(32, 4))
    pairs = [dict(zip("Wb", map(np.array, layer.get_weights()), strict=True)) for layer in model.layers]
    params = tuple(own for pair in pairs for own in (pair, {}))[:-1]
    same = gv.check_flow(ours, params, data.numpy())
    assert [layer.layer for layer in report.layers][:3] == ["h0", "h0 > tanh", "h1"]
    assert report.decades == pytest.approx(same.decades, abs=1e-4)
    assert [r.log_ratio for r in report.layers] == pytest.approx([r.log_ratio for r in same.layers], abs=1e-3)
    assert report.layers[0].gradient == pytest.approx(same.layers[0].gradient, rel=1e-3)
    assert report.spectrum.largest == pytest.approx(same.spectrum.largest, rel=1e-3)


def test_convolutions_pools_norms_and_joins_are_expected_to_do_what_they_do():
    keras.utils.set_random_seed(1)
    data = keras.Input((12, 12, 3))
    h = kl.LeakyReLU()(kl.Conv2D(16, 3, padding="same")(data))
    h = kl.MaxPooling2D()(kl.Conv2D(16, 3, strides=2, activation="gelu")(h))
    h = kl.LayerNormalization()(kl.Flatten()(h))
    model = keras.Model(data, kl.Dense(5)(kl.Add()([h, kl.Dense(64)(h)])))
    report = gv.check_flow(model, x(32, 12, 12, 3), loss=lambda y: tf.reduce_mean(y**2))
    frame = report.frame()
    assert frame.query("kind != 'Add'").predicted.notna().all()
    assert frame.z.abs().max() < 4
    assert 0 < report.noise_scale < np.inf


class Bad(keras.Layer):
    """A tanh whose author forgot the slope."""

    def call(self, x):
        return tf.custom_gradient(lambda z: (tf.tanh(z), lambda dy: dy))(x)


def test_a_missing_slope_is_not_explained_and_proved_wrong():
    model = keras.Sequential([kl.Dense(32), Bad(name="bad"), kl.Dense(4)])
    report = gv.check_flow(model, x(40, 32))
    assert report.unexplained == report.wrong == ("bad",)


def test_remedies_are_tried_and_nothing_is_left_behind():
    model, data = deep(16, 0.2, "tanh"), x(20, 32)
    model(data)
    before, state = model.get_weights(), [set(vars(layer)) for layer in model.layers]
    report = gv.check_flow(model, data)
    healthy = {trial.remedy for trial in report.trials if trial.verdict == "healthy"}
    assert healthy >= {"weights rescaled layer by layer", "layer normalisation behind every layer"}
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert state == [set(vars(layer)) for layer in model.layers]


def test_a_recurrent_layer_is_one_row():
    keras.utils.set_random_seed(0)
    report = gv.check_flow(keras.Sequential([kl.LSTM(16, name="lstm"), kl.Dense(3, name="last")]), x(12, 7, 5))
    assert [layer.layer for layer in report.layers] == ["lstm", "last"]
    assert report.verdict == "healthy"


NONSENSE = [
    (lambda: gv.check_flow(tf.nn.relu, x(3)), "must be a Keras model"),
    (lambda: gv.check_flow(deep(1, 1.0), x(3, 32), loss=lambda y: 1.0), "loss: must return a tensor"),
    (lambda: gv.check_flow(kl.ReLU(), x(3, 32)), "nothing to check"),
]


@pytest.mark.parametrize(("call", "message"), NONSENSE)
def test_what_makes_no_sense_is_refused_by_name(call, message):
    with pytest.raises(TypeError, match=message):
        call()
