"""Layers of Keras and operators of TensorFlow, each checked at a point of its own in float64, beside `compute_gradient`.

    python benchmarks/operators_keras.py [--only NAME]

Writes reports/operators-keras.md.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from operatortables import Outcome, Row, judge, write

warnings.simplefilter("ignore")
keras.config.set_dtype_policy("float64")
keras.config.set_floatx("float64")
keras.utils.set_random_seed(2026)
RNG = np.random.default_rng(2026)
TRAINING = {"kwargs": {"training": True}}
CLOSE, APART = 1e-3, 1e-6  # relative: TensorFlow's checker takes its tolerance from the caller; its own tests use about 1e-3


NORMALISED = ("Keras: in training `call` assigns the normalised kernel to the variable and then multiplies by the variable, so that the tape "
              "never sees the division; the gradient is that of the normalised kernel. By hand: it does not change when the kernel is doubled, "
              "and it has to be halved")


def drawn(*shape: int) -> Any:
    """Normal numbers."""
    return tf.constant(RNG.standard_normal(shape))


def within(low: float, high: float, *shape: int) -> Any:
    """Uniform numbers."""
    return tf.constant(RNG.uniform(low, high, shape))


def of(names: str, make: Callable[[], tuple[Any, ...]], home: Any, prefix: str) -> Iterator[Row]:
    """Functions of one home at one kind of point."""
    for name in names.split():
        yield Row(f"{prefix}{name}", lambda *xs, f=getattr(home, name): f(*xs), make())


def dense_layers() -> Iterator[Row]:
    """Dense, embedding, activations with and without parameters, merging, reshaping."""
    x = drawn(3, 4)
    for name in ("relu", "tanh", "sigmoid", "gelu", "silu", "softmax", "selu", "softplus", None):
        yield Row(f"Dense, {name}", layers.Dense(3, activation=name), (drawn(3, 4),))
    yield Row("EinsumDense", layers.EinsumDense("abc,cd->abd", output_shape=(None, 3), bias_axes="d"), (drawn(2, 3, 2),))
    yield Row("Embedding", layers.Embedding(5, 3), (tf.constant([[1, 2, 2], [0, 4, 1]]),))
    for kind in ("ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax"):
        yield Row(kind, getattr(layers, kind)(), (drawn(3, 4),))
    for name in "relu6 mish hard_sigmoid hard_silu celu glu log_sigmoid log_softmax softsign exponential squareplus tanh_shrink".split():
        yield Row(f"Activation, {name}", layers.Activation(getattr(keras.activations, name)), (x,))
    for kind in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
        yield Row(kind, getattr(layers, kind)(), ([drawn(2, 3), drawn(2, 3)],))
    yield Row("Dot", layers.Dot(axes=1, normalize=True), ([drawn(2, 3), drawn(2, 3)],))
    shaped = {"Flatten": (), "Reshape": ((2, 6),), "Permute": ((2, 1),), "ZeroPadding1D": (1,), "Cropping1D": (1,), "UpSampling1D": (2,)}
    for kind, arguments in shaped.items():
        yield Row(kind, getattr(layers, kind)(*arguments), (drawn(2, 4, 3),))
    yield Row("RepeatVector", layers.RepeatVector(3), (drawn(2, 3),))
    yield Row("Rescaling", layers.Rescaling(0.5, 1.0), (drawn(2, 3),))
    yield Row("UnitNormalization", layers.UnitNormalization(), (drawn(2, 3),))
    yield Row("Masking", layers.Masking(), (drawn(2, 3, 2),))


def image_layers() -> Iterator[Row]:
    """Convolutions, pooling, resizing."""
    for kind, shape in (("Conv1D", (2, 6, 2)), ("Conv2D", (2, 5, 5, 2)), ("Conv3D", (1, 4, 4, 4, 2)), ("Conv1DTranspose", (2, 4, 2)),
                        ("Conv2DTranspose", (1, 3, 3, 2)), ("Conv3DTranspose", (1, 2, 2, 2, 2)), ("SeparableConv1D", (2, 6, 2)), ("SeparableConv2D", (1, 5, 5, 2))):
        yield Row(kind, getattr(layers, kind)(2, 2), (drawn(*shape),))
    yield Row("Conv2D, same, stride 2", layers.Conv2D(2, 3, strides=2, padding="same"), (drawn(1, 5, 5, 2),))
    yield Row("Conv2D, dilated", layers.Conv2D(2, 2, dilation_rate=2), (drawn(1, 5, 5, 2),))
    yield Row("DepthwiseConv1D", layers.DepthwiseConv1D(2), (drawn(2, 5, 2),))
    yield Row("DepthwiseConv2D", layers.DepthwiseConv2D(2), (drawn(1, 4, 4, 2),))
    for kind in ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling"):
        for n, shape in ((1, (2, 6, 2)), (2, (1, 4, 4, 2)), (3, (1, 2, 2, 4, 2))):
            dtype = "float32" if n == 3 else "float64"  # on a CPU TensorFlow has no other pooling over volumes
            made = getattr(layers, f"{kind}{n}D")(*(() if "Global" in kind else (2,)), dtype=dtype)
            yield Row(f"{kind}{n}D{', float32' if n == 3 else ''}", made, (tf.cast(drawn(*shape), dtype),))
    yield Row("UpSampling2D", layers.UpSampling2D(2), (drawn(1, 2, 2, 1),))
    single = tf.cast(drawn(1, 2, 2, 1), tf.float32)  # tf.image.resize answers in float32 whatever comes in
    yield Row("UpSampling2D, bilinear, float32", layers.UpSampling2D(2, interpolation="bilinear", dtype="float32"), (single,))
    yield Row("Resizing, float32", layers.Resizing(3, 3, dtype="float32"), (single,))


def other_layers() -> Iterator[Row]:
    """Normalisation, recurrence, attention, noise; in training where that differs."""
    for kind in ("LayerNormalization", "RMSNormalization", "BatchNormalization"):
        yield Row(kind, getattr(layers, kind)(), (drawn(4, 3),))
    yield Row("BatchNormalization, training", layers.BatchNormalization(), (drawn(4, 3),), TRAINING)
    yield Row("GroupNormalization", layers.GroupNormalization(2), (drawn(2, 3, 4),))
    yield Row("SpectralNormalization", layers.SpectralNormalization(layers.Dense(2)), (drawn(2, 3),), TRAINING, NORMALISED)
    for kind in ("SimpleRNN", "LSTM", "GRU"):
        yield Row(kind, getattr(layers, kind)(2), (drawn(2, 3, 2),), {"mode": "reverse"})
        yield Row(f"{kind}, sequences", getattr(layers, kind)(2, return_sequences=True), (drawn(2, 3, 2),), {"mode": "reverse"})
    yield Row("Bidirectional", layers.Bidirectional(layers.SimpleRNN(2)), (drawn(2, 3, 2),), {"mode": "reverse"})
    yield Row("ConvLSTM1D", layers.ConvLSTM1D(1, 2), (drawn(1, 2, 3, 1),), {"mode": "reverse"})
    yield Row("TimeDistributed", layers.TimeDistributed(layers.Dense(2)), (drawn(2, 3, 2),))
    for kind in ("Attention", "AdditiveAttention"):
        yield Row(kind, getattr(layers, kind)(), ([drawn(2, 3, 2), drawn(2, 4, 2)],))
    yield Row("MultiHeadAttention", layers.MultiHeadAttention(2, 2), (drawn(2, 3, 4), drawn(2, 3, 4)))
    yield Row("MultiHeadAttention, causal", layers.MultiHeadAttention(2, 2), (drawn(2, 3, 4), drawn(2, 3, 4)), {"kwargs": {"use_causal_mask": True}})
    yield Row("GroupQueryAttention", layers.GroupQueryAttention(2, 4, 2), (drawn(1, 3, 4), drawn(1, 3, 4)))
    for kind in ("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D"):
        yield Row(f"{kind}, training", getattr(layers, kind)(0.4), (drawn(2, 3, 4),), TRAINING)
    x = keras.Input((4,))
    y = layers.Dense(4, "tanh")(x)
    yield Row("Functional, with a skip", keras.Model(x, layers.Dense(2)(layers.Add()([x, y]))), (drawn(3, 4),))
    yield Row("Sequential", keras.Sequential([layers.Conv2D(2, 2, activation="relu"), layers.Flatten(), layers.Dense(2)]), (drawn(2, 3, 3, 1),))


def losses() -> Iterator[Row]:
    """As functions of the prediction."""
    p = within(0.2, 0.8, 3, 4)
    sides = tf.constant(np.sign(RNG.standard_normal((3, 4))))
    hot = tf.constant(np.eye(4)[[0, 2, 1]])
    for kind in ("MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError", "Huber", "LogCosh",
                 "Poisson", "KLDivergence", "CosineSimilarity", "BinaryCrossentropy", "CategoricalCrossentropy", "BinaryFocalCrossentropy", "Dice", "Tversky"):
        truth = hot if kind == "CategoricalCrossentropy" else within(0.2, 0.8, 3, 4)
        yield Row(f"loss {kind}", lambda x, f=getattr(keras.losses, kind)(), t=truth: f(t, x), (p,))
    for kind in ("Hinge", "SquaredHinge", "CategoricalHinge"):
        yield Row(f"loss {kind}", lambda x, f=getattr(keras.losses, kind)(), t=hot if "Cat" in kind else sides: f(t, x), (drawn(3, 4),))
    yield Row("loss SparseCategoricalCrossentropy, logits", lambda x: keras.losses.SparseCategoricalCrossentropy(from_logits=True)(tf.constant([0, 3, 1]), x), (drawn(3, 4),))
    single = tf.cast(drawn(1, 5, 3), tf.float32)  # in Keras and in TensorFlow it computes in float32
    yield Row("loss CTC, float32", lambda x: keras.losses.CTC(dtype="float32")(tf.constant([[1, 2]]), x), (single,))


def elementwise() -> Iterator[Row]:
    """`tf.math`."""
    yield from of("abs asinh atan cos cosh erf exp expm1 negative sigmoid sign sin sinh softplus square tan tanh floor round",
                  lambda: (drawn(3, 2),), tf.math, "tf.math.")
    yield from of("log log1p sqrt rsqrt reciprocal digamma lgamma erfc acosh bessel_i0e bessel_i1e", lambda: (within(1.2, 3, 3, 2),), tf.math, "tf.math.")
    yield from of("acos asin atanh erfinv", lambda: (within(-0.8, 0.8, 3, 2),), tf.math, "tf.math.")
    yield from of("add subtract multiply maximum minimum squared_difference atan2", lambda: (drawn(3, 2), drawn(3, 2)), tf.math, "tf.math.")
    yield from of("divide pow floormod xlogy xlog1py", lambda: (within(1.5, 3, 3), within(0.6, 2, 3)), tf.math, "tf.math.")
    yield from of("relu relu6 elu selu silu gelu leaky_relu softmax log_softmax crelu l2_loss", lambda: (drawn(3, 4),), tf.nn, "tf.nn.")
    yield Row("tf.clip_by_value", lambda x: tf.clip_by_value(x, -0.5, 0.5), (drawn(3, 2),))
    yield Row("tf.clip_by_norm", lambda x: tf.clip_by_norm(x, 0.5), (drawn(3, 2),))
    yield Row("tf.where", lambda x, y: tf.where(x > 0, x * y, y), (drawn(3, 2), drawn(3, 2)))


def reductions() -> Iterator[Row]:
    """Sums, extrema, scans, segments."""
    yield from of("reduce_sum reduce_mean reduce_prod reduce_max reduce_min reduce_std reduce_variance reduce_logsumexp reduce_euclidean_norm cumsum cumprod "
                  "cumulative_logsumexp", lambda: (drawn(3, 2),), tf.math, "tf.math.")
    yield Row("tf.reduce_max, an axis", lambda x: tf.reduce_max(x, axis=1), (drawn(3, 4),))
    yield Row("tf.sort", tf.sort, (drawn(5),))
    yield Row("tf.math.top_k", lambda x: tf.math.top_k(x, 2).values, (drawn(5),))
    for name in ("sum", "mean", "prod", "max", "min"):
        yield Row(f"tf.math.segment_{name}", lambda x, f=getattr(tf.math, f"segment_{name}"): f(x, [0, 0, 1, 2]), (drawn(4),))
        yield Row(f"tf.math.unsorted_segment_{name}", lambda x, f=getattr(tf.math, f"unsorted_segment_{name}"): f(x, [1, 0, 1, 0], 2), (drawn(4),))


def shapes() -> Iterator[Row]:
    """Moving numbers about, loops and branches."""
    rows = {
        "reshape": lambda x: tf.reshape(x, (2, 6)), "transpose": tf.transpose, "tile": lambda x: tf.tile(x, (1, 2)), "repeat": lambda x: tf.repeat(x, 2, 0),
        "roll": lambda x: tf.roll(x, 1, 0), "reverse": lambda x: tf.reverse(x, [1]), "slicing": lambda x: x[::2, 1:], "gather": lambda x: tf.gather(x, [0, 2, 2]),
        "gather_nd": lambda x: tf.gather_nd(x, [[0, 1], [0, 1]]), "scatter_nd": lambda x: tf.scatter_nd([[1], [1], [0]], x, (2, 4)),
        "tensor_scatter_nd_update": lambda x: tf.tensor_scatter_nd_update(x, [[1]], x[:1] ** 2), "tensor_scatter_nd_add": lambda x: tf.tensor_scatter_nd_add(x, [[1], [1]], x[:2]),
        "concat": lambda x: tf.concat([x, x**2], 0), "stack": lambda x: tf.stack([x, x**2]), "unstack": tf.unstack, "split": lambda x: tf.split(x, 2, 1),
        "pad": lambda x: tf.pad(x, [[1, 1], [0, 1]]), "pad, reflect": lambda x: tf.pad(x, [[1, 1], [1, 1]], "REFLECT"), "broadcast_to": lambda x: tf.broadcast_to(x, (2, 3, 4)),
        "expand_dims": lambda x: tf.expand_dims(x, 0), "boolean_mask": lambda x: tf.boolean_mask(x, [True, False, True]), "dynamic_partition": lambda x: tf.dynamic_partition(x, [0, 1, 0], 2),
        "linalg.band_part": lambda x: tf.linalg.band_part(x, 0, -1), "linalg.diag": lambda x: tf.linalg.diag(x[0]), "linalg.diag_part": tf.linalg.diag_part,
        "while_loop": lambda x: tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.sin(y) * x), (0, x))[1], "cond": lambda x: tf.cond(x[0, 0] > 0, lambda: tf.sin(x), lambda: tf.cos(x)),
        "scan": lambda x: tf.scan(lambda c, r: tf.tanh(c * r), x), "map_fn": lambda x: tf.map_fn(tf.cumsum, x), "function": tf.function(lambda x: tf.sin(x) * x),
        "recompute_grad": tf.recompute_grad(lambda x: tf.sin(tf.sin(x))), "stop_gradient of a constant": lambda x: tf.sin(x) + tf.stop_gradient(tf.zeros_like(x)),
        "complex": lambda x: tf.abs(tf.complex(x, x**2)), "py_function": lambda x: tf.py_function(lambda y: tf.sin(y) * y, [x], tf.float64),
        "vectorized_map": lambda x: tf.vectorized_map(lambda r: tf.reduce_sum(r * r), x), "custom_gradient": tf.grad_pass_through(tf.identity),
    }  # fmt: skip
    for name, function in rows.items():
        yield Row(f"tf.{name}", function, (drawn(3, 4),))


def linear_algebra() -> Iterator[Row]:
    """Products, factorisations, transforms, convolutions."""
    well = tf.constant(RNG.standard_normal((3, 3)) + 3 * np.eye(3))
    yield from of("matmul", lambda: (drawn(2, 3), drawn(3, 2)), tf.linalg, "tf.linalg.")
    yield from of("inv det expm trace", lambda: (well @ tf.transpose(well) / 9,), tf.linalg, "tf.linalg.")
    yield Row("tf.linalg.svd, values", lambda x: tf.linalg.svd(x, compute_uv=False), (drawn(3, 2),))
    yield Row("tf.linalg.qr", tf.linalg.qr, (drawn(4, 3),))
    yield Row("tf.linalg.cholesky", lambda x: tf.linalg.cholesky(x @ tf.transpose(x) + 3 * tf.eye(3, dtype=x.dtype)), (drawn(3, 3),))
    yield Row("tf.linalg.logdet", lambda x: tf.linalg.logdet(x @ tf.transpose(x) + 3 * tf.eye(3, dtype=x.dtype)), (drawn(3, 3),))
    yield Row("tf.linalg.eigvalsh", lambda x: tf.linalg.eigvalsh(x + tf.transpose(x)), (drawn(3, 3),))
    yield Row("tf.linalg.solve", tf.linalg.solve, (well, drawn(3, 2)))
    yield Row("tf.linalg.lstsq", tf.linalg.lstsq, (drawn(4, 2), drawn(4, 1)))
    yield Row("tf.linalg.triangular_solve", tf.linalg.triangular_solve, (well, drawn(3, 2)))
    yield Row("tf.linalg.cross", tf.linalg.cross, (drawn(2, 3), drawn(2, 3)))
    yield Row("tf.linalg.norm", tf.linalg.norm, (drawn(3, 2),))
    yield Row("tf.einsum", lambda x, y: tf.einsum("ij,jk->ki", x, y), (drawn(2, 3), drawn(3, 2)))
    yield Row("tf.tensordot", lambda x, y: tf.tensordot(x, y, 1), (drawn(2, 3), drawn(3, 2)))
    yield Row("tf.signal.rfft", tf.signal.rfft, (drawn(2, 4),))
    yield Row("tf.signal.fft", tf.signal.fft, (tf.complex(drawn(4), drawn(4)),))
    yield Row("tf.signal.dct", tf.signal.dct, (drawn(2, 4),))
    yield Row("tf.nn.conv2d", lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), (drawn(1, 4, 4, 2), drawn(2, 2, 2, 2)))
    yield Row("tf.nn.max_pool2d", lambda x: tf.nn.max_pool2d(x, 2, 1, "VALID"), (drawn(1, 3, 3, 1),))
    yield Row("tf.nn.batch_normalization", lambda x, m, v: tf.nn.batch_normalization(x, m, v, None, None, 1e-3), (drawn(3, 2), drawn(2), within(0.5, 2, 2)))
    yield Row("tf.nn.softmax_cross_entropy", lambda x: tf.nn.softmax_cross_entropy_with_logits(tf.constant([[0.2, 0.3, 0.5]], x.dtype), x), (drawn(1, 3),))
    yield Row("tf.nn.sigmoid_cross_entropy", lambda x, p: tf.nn.sigmoid_cross_entropy_with_logits(p, x), (drawn(2, 3), within(0.2, 0.8, 2, 3)))
    yield Row("tf.nn.ctc_loss, float32", lambda x: tf.nn.ctc_loss([[1, 2]], x, [2], [5], logits_time_major=False, blank_index=0),
              (tf.cast(drawn(1, 5, 3), tf.float32),))


def complex_ones() -> Iterator[Row]:
    """By TensorFlow's convention."""
    z = tf.complex(drawn(3), drawn(3))
    for name in ("abs", "angle", "conj", "exp", "log", "sin", "tanh", "sqrt", "real", "imag", "square", "reciprocal"):
        yield Row(f"complex tf.math.{name}", lambda x, f=getattr(tf.math, name): f(x), (z,))
    yield Row("complex tf.multiply", lambda x, y: x * y, (z, z[::-1] + 1))
    yield Row("complex tf.matmul", tf.matmul, (tf.complex(drawn(2, 2), drawn(2, 2)), tf.complex(drawn(2, 2), drawn(2, 2))))


def peer(row: Row) -> tuple[str, float]:
    """What `tf.test.compute_gradient` finds with its default step, under a relative tolerance of 1e-3; inputs only."""
    started = time.process_time()
    inputs = tf.nest.flatten(row.inputs)
    floating = [x for x in inputs if x.dtype.is_floating]
    if not floating or len(floating) < len(inputs):
        return "cannot ask", 0.0

    def plain(*xs: Any) -> Any:
        result = row.target(*tf.nest.pack_sequence_as(row.inputs, xs), **row.options.get("kwargs", {}))
        return tf.concat([tf.reshape(y, [-1]) for y in tf.nest.flatten(result)], 0)

    try:
        theory, numeric = tf.test.compute_gradient(plain, floating)
    except Exception as error:  # it refuses some functions in its own way
        return type(error).__name__, time.process_time() - started
    near = all(np.allclose(a, b, CLOSE, APART) for a, b in zip(theory, numeric, strict=True))
    return "passes" if near else "fails", time.process_time() - started


def main() -> None:
    """Run every row and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name contains this; nothing is written")
    only = parser.parse_args().only
    groups = (dense_layers, image_layers, other_layers, losses, elementwise, reductions, shapes, linear_algebra, complex_ones)
    rows = [row for group in groups for row in group() if only in row.name]
    outcomes = []
    for row in rows:
        own, (said, seconds) = judge(row), peer(row)
        outcomes.append(Outcome(own.name, own.verdict, own.told, own.seconds, (said, f"{seconds:.2f}")))
        print(outcomes[-1], flush=True)
    if not only:
        alarms = sum(o.beside[0] == "fails" and o.verdict == "pass" for o in outcomes)
        write(Path("reports/operators-keras.md"), "Layers of Keras and operators of TensorFlow", "python benchmarks/operators_keras.py",
              [(f'TensorFlow {tf.__version__}, Keras {keras.__version__}, float64, `search="none"`, the weights of a layer included. Right '
                f"gradients that compute_gradient (of the inputs, default step, tolerance {CLOSE:g}) does not pass: {alarms}.")],
              outcomes, {row.name: row for row in rows}, ("compute_gradient", "s"))


if __name__ == "__main__":
    main()
