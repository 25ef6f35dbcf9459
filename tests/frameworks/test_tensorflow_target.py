"""TensorFlow and Keras targets: exact values, both widths, what is a leaf, what is put back, what is found wrong."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradverify as gv
from gradverify.arrays import dot
from gradverify.records import Options, Verdict

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402

from gradverify.frameworks.tensorflow import make_target  # noqa: E402
from gradverify.frameworks.tensorflow.operations import observable  # noqa: E402
from gradverify.frameworks.tensorflow.tensors import from_host  # noqa: E402

RNG = np.random.default_rng(0)
keras.utils.set_random_seed(0)
X = tf.constant(RNG.standard_normal((2, 3)), tf.float32)
WIDE = tf.cast(X, tf.float64)


def target_of(obj: Any, *inputs: Any, **keywords: Any) -> Any:
    return make_target(obj, inputs, Options(**keywords))


def ones_like(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: np.ones_like(y) for name, y in outputs.items()}


def gradients(target: Any, perturb: Callable[[Any], Any] | None = None) -> Any:
    outputs, pullback = target.linearize(target.point, perturb)
    return pullback(ones_like(outputs))


def ulps(scale: float) -> Callable[[Any], Any]:
    return lambda a: (a * (1 - scale * np.finfo(a.dtype).eps)).astype(a.dtype)


def ruled(forward: Any, backward: Any, save: Any = None) -> Any:
    """A `tf.custom_gradient` function whose rule is given its inputs, or what `save` makes of them."""
    @tf.custom_gradient
    def made(*xs: Any) -> Any:
        saved = (save or (lambda *ys: ys))(*xs)
        return forward(*xs), lambda u: backward(saved, u)
    return made


class Scale(keras.layers.Layer):
    """A layer of one's own, with a rule of one's own, and something it counts."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor, self.calls, self.seen = factor, 0, []

    def build(self, shape: Any) -> None:
        self.a = self.add_weight(shape=(shape[-1],), initializer="ones", name="a")

    def call(self, x: Any) -> Any:
        self.calls += 1
        self.seen.append(self.calls)
        times = ruled(lambda x, a: x * a, lambda s, u: (u * s[1], self.factor * tf.reduce_sum(u * s[0], 0)))
        return times(x, tf.convert_to_tensor(self.a))


def sine(x: Any) -> Any:
    return tf.sin(x)


def affine(x: Any, p: Any) -> Any:
    return x @ p["W"] + p["b"]


def affine_rule(W: Any = None, b: Any = None) -> Any:
    """`affine` by a rule, or with another gradient of a part of its dict."""
    rule = ruled(lambda x, W, b: x @ W + b, lambda s, u: (
        u @ tf.transpose(s[1]), (W or (lambda x, u: tf.transpose(x) @ u))(s[0], u),
        (b or (lambda u: tf.reduce_sum(u, 0)))(u)))
    return lambda x, p: rule(x, p["W"], p["b"])


PARAMS = {"W": tf.constant(RNG.standard_normal((3, 2)), tf.float32), "b": tf.ones(2)}


def dropped(x: Any, y: Any) -> Any:
    return x * tf.cast(tf.constant(y.numpy()), x.dtype)


WRONG = [
    ("scaled", ruled(sine, lambda s, u: 1.0009 * u * tf.cos(s[0])), (X,), ["x"]),
    ("flipped", ruled(sine, lambda s, u: -u * tf.cos(s[0])), (X,), ["x"]),
    ("residual", ruled(sine, lambda s, u: u * tf.cos(s), save=tf.sin), (X,), ["x"]),
    ("upstream", ruled(sine, lambda s, u: tf.cos(s[0])), (X,), ["x"]),
    ("None", ruled(lambda x, w: x * w, lambda s, u: (u * s[1], None)), (X, X + 1), ["xs[1]"]),
    ("part", affine_rule(b=lambda u: u[0]), (X, PARAMS), ["p.b"]),
    ("swapped", affine_rule(W=lambda x, u: tf.transpose(x[::-1]) @ u), (X, PARAMS), ["p.W"]),
    ("function", tf.function(ruled(sine, lambda s, u: 1.01 * u * tf.cos(s[0]))), (X,), ["x"]),
    ("layer", Scale(1.01), (X,), ["a"]),
    ("model", keras.Sequential([keras.layers.Dense(2), Scale(-1.0)]), (X,), ["layers[1].a"]),
]


@pytest.mark.parametrize(("obj", "inputs", "leaves"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_rule_is_found(obj: Any, inputs: Any, leaves: Any) -> None:
    report = gv.check(obj, *inputs, search="none", mode="reverse")
    failed = {c.wrt for c in report.checks if c.verdict is Verdict.FAIL}
    assert {name.replace("xs[0]", "x") for name in failed} == set(leaves), str(report)


def test_a_wrong_rule_is_found_in_float64() -> None:
    wrong = ruled(sine, lambda s, u: u * tf.cos(s[0]) * (1 + 1e-9))
    assert gv.check(wrong, WIDE, search="none").verdict is Verdict.FAIL


def looped(x: Any) -> Any:
    return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.tanh(y) * x), (0, x))[1]


VARIABLE = tf.Variable(RNG.standard_normal((3, 2)), dtype=tf.float32)
class Affine(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(VARIABLE)
        self.rest = [tf.Variable(tf.ones(2)), tf.Variable(1.0, trainable=False)]

    def __call__(self, x: Any) -> Any:
        return (x @ self.w + self.rest[0]) * self.rest[1]

    def loss(self, x: Any) -> Any:
        return tf.reduce_sum(self(x))

    @tf.function
    def traced(self, x: Any) -> Any:
        return self(x)


AFFINE = Affine()
SHARED = keras.layers.Dense(3)
TREE = keras.Input((3,))
BRANCHES = keras.Model(TREE, {"a": SHARED(TREE), "b": keras.layers.Dense(2, "gelu")(SHARED(TREE))})

RIGHT = [
    ("function", tf.tanh, (X,), {}),
    ("float64", lambda x: tf.reduce_sum(x**3, 0), (WIDE,), {}),
    ("bfloat16", tf.tanh, (tf.cast(X, tf.bfloat16),), {}),
    ("tf.function", tf.function(lambda x: 2 * tf.exp(x)), (X,), {}),
    ("compiled", tf.function(lambda x: 2 * tf.exp(x), jit_compile=True), (X,), {}),
    ("rule", ruled(sine, lambda s, u: u * tf.cos(s[0])), (X,), {}),
    ("dict", affine_rule(), (X, PARAMS), {}),
    ("loop", looped, (X,), {}),
    ("indexed slices", lambda x, i: tf.gather(x, i) ** 2, (X, tf.constant([1, 0, 1])), {}),
    ("closure", lambda x: x @ VARIABLE, (X,), {}),
    ("draws", lambda x: tf.nn.dropout(x, 0.5), (WIDE,), {}),
    ("complex", lambda z: tf.abs(z * z) + tf.math.imag(z), (tf.complex(WIDE, WIDE + 1),), {}),
    ("dense", keras.layers.Dense(2, activation="relu"), (X,), {}),
    ("arrays", keras.layers.Dense(2), (RNG.standard_normal((2, 3)),), {}),
    ("embedding", keras.layers.Embedding(4, 2), (tf.constant([[1, 1, 3]]),), {}),
    ("dropout", keras.layers.Dropout(0.5), (X,), {"training": True}),
    ("batch", keras.layers.BatchNormalization(), (tf.concat([X, 1 - X], 0),), {"training": True}),
    ("recurrent", keras.layers.SimpleRNN(2), (tf.reshape(WIDE, (1, 2, 3)),), {}),
    ("functional", BRANCHES, (X,), {}),
    ("layer", Scale(), (X,), {}),
]


@pytest.mark.parametrize(("obj", "inputs", "kwargs"), [row[1:] for row in RIGHT], ids=[row[0] for row in RIGHT])
def test_a_right_derivative_passes(obj: Any, inputs: Any, kwargs: Any) -> None:
    report = gv.check(obj, *inputs, kwargs=kwargs, search="none")
    assert report.ok, str(report)


@pytest.mark.parametrize("obj", [affine_rule(), affine])
def test_regimes_and_contracts_add_nothing_to_a_right_one(obj: Any) -> None:
    report = gv.check(obj, X, PARAMS, mode="reverse")
    assert report.ok, str(report)


class Composed(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.several = keras.layers.Dense(3), [keras.layers.Dense(2, use_bias=False)]

    def call(self, x: Any) -> Any:
        return self.several[0](self.inner(x))


@pytest.mark.parametrize(("obj", "inputs", "name", "leaves"), [
    (affine, (X, PARAMS), "affine", ["x", "p.W", "p.b"]),
    (tf.function(affine), (X, PARAMS), "affine", ["x", "p.W", "p.b"]),
    (functools.partial(affine, p=PARAMS), (X,), "affine", ["x"]),
    (keras.layers.Dense(2), (X,), "Dense", ["inputs", "kernel", "bias"]),
    (Composed(), (X,), "Composed", ["x", "inner.kernel", "inner.bias", "several[0].kernel"]),
    (Affine(), (X,), "Affine", ["x", "w", "rest[0]"]),
    (AFFINE.loss, (X,), "Affine.loss", ["x", "w", "rest[0]"]),
    (AFFINE.traced, (X,), "Affine.traced", ["x", "w", "rest[0]"]),
    (tf.function(lambda x: x @ VARIABLE), (X,), "<lambda>", ["x", "VARIABLE"]),
    (lambda x, w: x @ w, (X, VARIABLE), "<lambda>", ["x", "w"]),
    (lambda layer, x: layer(x), (SHARED, X), "<lambda>", ["x", "layer.kernel", "layer.bias"]),
    (keras.Sequential([keras.layers.Dense(2), keras.layers.BatchNormalization()]), (X,), "Sequential",
     ["inputs", "layers[0].kernel", "layers[0].bias", "layers[1].gamma", "layers[1].beta"]),
    (keras.layers.MultiHeadAttention(1, 2, use_bias=False), (X[None], X[None]), "MultiHeadAttention",
     ["query", "value", "query_dense.kernel", "key_dense.kernel", "value_dense.kernel", "output_dense.kernel"]),
])
def test_names_and_leaves_of_every_kind_of_target(obj: Any, inputs: Any, name: str, leaves: list[str]) -> None:
    target = target_of(obj, *inputs, mode="reverse")
    assert (target.name, sorted(target.point)) == (name, sorted(leaves))


def test_what_is_frozen_is_no_leaf() -> None:
    layer = keras.layers.Dense(2)
    layer(X)
    layer.trainable = False
    assert list(target_of(layer, X, mode="reverse").point) == ["inputs"]


def test_a_variable_named_like_an_input_keeps_apart() -> None:
    class Square(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = tf.Variable(X)

        def __call__(self, x: Any) -> Any:
            return self.x * x * x

    computed = gradients(target_of(Square(), X + 1))
    np.testing.assert_allclose(computed["self.x"], (X + 1) ** 2, rtol=1e-6)
    np.testing.assert_allclose(computed["x"], 2 * X * (X + 1), rtol=1e-6)


def state_of(layer: Any) -> list[Any]:
    return [np.asarray(v) for v in layer.variables]


def test_variables_seeds_and_attributes_are_put_back() -> None:
    model = keras.Sequential([keras.layers.Dense(3), Scale(), keras.layers.BatchNormalization(),
                              keras.layers.Dropout(0.5)])
    model(X, training=True)
    random.seed(1)
    before, layer = (state_of(model), random.getstate()), model.layers[1]
    calls = layer.calls
    target = target_of(model, X, kwargs={"training": True})
    first, again = [(target.forward(target.point), gradients(target)) for _ in range(2)]
    np.testing.assert_equal(first, again)
    np.testing.assert_equal((state_of(model), random.getstate()), before)
    assert (layer.calls, len(layer.seen), model.layers[0].dtype_policy.name) == (calls, calls, "float32")


def test_unseeded_draws_are_the_same_in_every_call() -> None:
    for function in (lambda x: x * tf.random.normal(x.shape, dtype=x.dtype),
                     tf.function(lambda x: tf.nn.dropout(x, 0.5)),
                     lambda x: x * keras.random.normal(x.shape)):
        target = target_of(function, X)
        np.testing.assert_equal(target.forward(target.point), target.forward(target.point))
        np.testing.assert_equal(gradients(target), gradients(target))


def test_a_call_sees_the_point_it_is_asked_for_in_functions_traced_before() -> None:
    layer = keras.layers.Dense(2)
    traced = tf.function(lambda x: layer(x) * 1)
    traced(X)
    target = target_of(traced, X)
    moved = {name: value + 1 for name, value in target.point.items()}
    expected = moved["x"] @ moved["layer.kernel"] + moved["layer.bias"]
    np.testing.assert_allclose(target.forward(moved)["out"], expected, rtol=1e-5)
    np.testing.assert_allclose(target.linearize(moved, None)[0]["out"], expected, rtol=1e-5)


@pytest.mark.parametrize(("obj", "leaf"), [
    (keras.Sequential([keras.layers.Dense(3, "tanh"), keras.layers.LayerNormalization()]), "inputs"),
    (Affine(), "x"),
    (tf.function(lambda x: x @ VARIABLE), "x"),
    (Composed(), "x"),
])
def test_the_twin_runs_in_float64_at_the_same_values(obj: Any, leaf: str) -> None:
    target = target_of(obj, X)
    twin = target.cast("float64")
    assert (target.dtype, twin.dtype) == ("float32", "float64")
    for name, value in target.point.items():
        np.testing.assert_array_equal(twin.point[name], value)
    ours, theirs = target.forward(target.point)["out"], twin.forward(twin.point)["out"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert not np.array_equal(ours, theirs)
    np.testing.assert_allclose(gradients(target)[leaf], gradients(twin)[leaf], atol=1e-4)
    assert {t.dtype for t in obj(X).numpy()[None]} == {np.dtype("float32")}


@pytest.mark.parametrize("function", [
    lambda x: tf.cast(tf.exp(tf.cast(x, tf.float32)), x.dtype),
    tf.function(lambda x: tf.cast(tf.exp(tf.cast(x, tf.float32)), x.dtype)),
    lambda x: tf.nn.dropout(x, 0.5),
    lambda x: x * tf.constant(2.0),
    lambda x: tf.cast(x, tf.float32),
], ids=["inside", "in a function", "draws", "refuses", "outside"])
def test_code_that_computes_something_else_in_float64_has_no_twin(function: Any) -> None:
    target = target_of(function, X)
    assert target.cast("float64") is None
    assert "its own dtype alone" in " ".join(target.findings())


def test_formula_and_implementation_are_judged() -> None:
    report = gv.check(tf.tanh, X, search="none", mode="reverse")
    assert [c.regime for c in report.checks] == ["given", "implementation"]


def recomputed(x: Any) -> Any:
    return tf.recompute_grad(tf.tanh)(x)


@pytest.mark.skipif(not observable, reason="this TensorFlow does not show its operations")
@pytest.mark.parametrize("function", [
    ruled(tf.tanh, lambda s, u: u * (1 - s**2), save=tf.tanh),
    ruled(tf.tanh, lambda s, u: u * s, save=lambda x: 1 - tf.tanh(x) ** 2),
    tf.tanh, tf.function(tf.tanh), recomputed, keras.layers.Activation("tanh"),
], ids=["rule", "saved", "function", "tf.function", "recomputed", "layer"])
def test_rounding_in_the_residuals_changes_the_gradient_in_saturation(function: Any) -> None:
    target = target_of(function, tf.constant([5.0]))
    (exact,), (moved,) = gradients(target).values(), gradients(target, ulps(1.0)).values()
    assert abs(moved - exact) > 1e-4 * abs(exact)
    np.testing.assert_equal(*[list(gradients(target).values()) for _ in range(2)])


def test_indices_and_exact_results_are_not_perturbed() -> None:
    target = target_of(lambda x: tf.gather(x, tf.cast(tf.floor(3 * x[0, 0]), tf.int32)) * tf.sign(x[0]),
                       tf.fill((4, 2), 1.1))
    np.testing.assert_allclose(gradients(target, ulps(1.0))["x"], gradients(target)["x"], rtol=1e-6)


def test_a_loop_that_counts_in_floating_numbers_runs_as_often_when_rounded() -> None:
    def doubled(x: Any) -> Any:
        i = tf.constant(0.0)
        while i < 3.0:
            x, i = 2 * x, i + 1.0
        return tf.sin(x)

    target = target_of(doubled, X)
    np.testing.assert_allclose(gradients(target, ulps(1.0))["x"], gradients(target)["x"], rtol=1e-4)


def test_what_tensorflow_has_no_tangent_for_claims_no_forward_mode() -> None:
    image = tf.reshape(X[:, :2], (1, 2, 2, 1))
    target = target_of(lambda x: tf.image.resize(x, (3, 3)), image)
    assert target.pushforward is None
    assert gradients(target)["x"].any()


def test_a_trace_that_fails_leaves_nothing_behind() -> None:
    target_of(lambda x: tf.scan(lambda c, r: tf.tanh(c * r), x), X)
    assert tf.recompute_grad(tf.sin)(X).shape == X.shape


def test_forward_mode_is_adjoint_and_a_leaf_without_tangent_stands_still() -> None:
    target = target_of(keras.layers.LSTM(2), tf.reshape(X, (1, 2, 3)))
    v = {name: RNG.standard_normal(x.shape).astype(np.float32) for name, x in target.point.items()}
    jv = target.pushforward(target.point, v)
    assert dot(ones_like(jv), jv) == pytest.approx(dot(gradients(target), v), rel=1e-4)
    alone = target.pushforward(target.point, {"sequences": v["sequences"]})
    assert not np.allclose(alone["out"], jv["out"])


def test_a_hessian_product_is_that_of_the_gradient() -> None:
    target = target_of(lambda x, y: tf.reduce_sum(x**3) + tf.reduce_sum(y), X, X, order=2)
    product = target.higher(target.point, {"out": np.ones(())}, [{"x": np.ones((2, 3))}])
    np.testing.assert_allclose(product["x"], 6 * X, rtol=1e-6)


def test_second_order_of_a_variable_is_judged() -> None:
    weights = tf.Variable([[0.5], [1.0], [2.0]], dtype=tf.float64)
    report = gv.check(lambda x: tf.reduce_sum(tf.tanh(x @ weights)), WIDE, order=2, search="none")
    assert report.ok, str(report)
    assert {c.order for c in report.checks} == {1, 2}


def test_a_missing_gradient_is_explained() -> None:
    report = gv.check(lambda x, y, z: dropped(x, y) * tf.stop_gradient(z), WIDE, WIDE + 1, WIDE + 2,
                      search="none", mode="reverse")
    assert {c.wrt for c in report.checks if c.verdict is Verdict.FAIL} == {"y", "z"}
    notes = " ".join(report.notes)
    assert "y: its gradient is None: no TensorFlow operation reads it" in notes
    assert "it is read by StopGradient" in notes


def test_none_is_right_for_an_unused_leaf() -> None:
    assert gv.check(lambda x, y: tf.sin(x), WIDE, WIDE, search="none").ok


def test_repeated_rows_of_indexed_slices_are_added() -> None:
    layer = keras.layers.Embedding(4, 2)
    computed = gradients(target_of(layer, tf.constant([[1, 1, 3]])))
    np.testing.assert_array_equal(computed["embeddings"][:, 0], [0, 2, 0, 1])


def test_complex_leaves_come_in_parts_and_rules_see_tensorflows_convention() -> None:
    z = tf.complex(WIDE, WIDE + 1)
    times = ruled(lambda a, b: a * b, lambda s, u: (u * tf.math.conj(s[1]), u * tf.math.conj(s[0])))
    assert gv.check(times, z, z + 1, search="none", mode="reverse").ok
    wrong = ruled(lambda a, b: a * b, lambda s, u: (u * s[1], u * tf.math.conj(s[0])))
    report = gv.check(wrong, z, z + 1, search="none", mode="reverse")
    assert {c.wrt for c in report.checks if c.verdict is Verdict.FAIL} <= {"xs[0].real", "xs[0].imag"}
    assert report.verdict is Verdict.FAIL


def test_a_host_point_is_rounded_to_bfloat16_once() -> None:
    # Both are ties; float32 would lose the bit that decides them.
    low, high, bit = 1 + 2**-8, 1 + 3 * 2**-8, 2**-40
    found = from_host(np.array([low, low + bit, high, high - bit, 1e300, -np.inf, np.nan, 0]), tf.bfloat16)
    expected = [1, 1 + 2**-7, 1 + 2**-6, 1 + 2**-7, np.inf, -np.inf, np.nan, 0]
    np.testing.assert_array_equal(found.numpy().astype(np.float64), expected)


def test_a_reference_judges_a_kernel_of_low_precision() -> None:
    def kernel(x: Any, scale: float = 1.0) -> Any:
        return tf.cast(scale * tf.tanh(tf.cast(x, tf.float32)), x.dtype)

    x = tf.cast(X, tf.bfloat16)
    assert gv.check(kernel, x, reference=tf.tanh, search="none").ok
    wrong = functools.partial(kernel, scale=1.5)
    assert gv.check(wrong, x, reference=tf.tanh, search="none").verdict is Verdict.FAIL


def test_the_variables_of_a_reference_are_matched_by_name_and_shape() -> None:
    layer, other = keras.layers.Dense(2), keras.layers.Dense(2)
    target = target_of(layer, X)
    forward = target.substitute(other, "float64")
    expected = target.point["inputs"].astype(float) @ target.point["kernel"] + target.point["bias"]
    np.testing.assert_allclose(forward(target.point)["out"], expected, rtol=1e-14)
    with pytest.raises(ValueError, match=r"kernel of shape \(3, 5\) is not among those of Dense"):
        target.substitute(keras.layers.Dense(5), None)


def test_a_straight_through_gradient_is_right_for_what_it_stands_for() -> None:
    assert gv.check(ruled(tf.round, lambda s, u: u), X, surrogate=lambda x: x, search="none", mode="reverse").ok


@pytest.mark.parametrize(("obj", "inputs", "message"), [
    (tf.negative, (tf.constant([1, 2]),), "no floating input"),
    (tf.argmax, (X,), r"no floating output \(out is int64\)"),
    (lambda x: None, (X,), "it returns NoneType, not a tensor"),
    (lambda s: s, (tf.sparse.from_dense(X),), "s is a SparseTensor: only dense"),
    (3, (X,), "target=3: must be callable"),
])
def test_what_cannot_be_checked_is_refused_by_name(obj: Any, inputs: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        target_of(obj, *inputs)


def test_keras_on_another_backend_is_refused_with_the_way_out(monkeypatch: Any) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(TypeError, match=r"runs on jax here; .* KERAS_BACKEND=tensorflow"):
        target_of(keras.layers.Dense(2), X)


def test_a_mask_that_recomputed_code_draws_again_is_another_one() -> None:
    dropped = tf.recompute_grad(lambda x: tf.nn.dropout(x, 0.5) ** 2)
    (failed,) = gv.check(dropped, WIDE, search="none", mode="reverse").checks
    assert failed.causes[0].name == "redrawn"
