"""Operators of JAX, each checked at a point of its own under x64, beside `jax.test_util.check_grads`.

    python benchmarks/operators_jax.py [--only NAME]

Writes reports/operators-jax.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import lax, nn  # noqa: E402
from jax.scipy import linalg, special, stats  # noqa: E402
from jax.test_util import check_grads  # noqa: E402
from operatortables import BRANCH, Outcome, Row, judge, write  # noqa: E402

warnings.simplefilter("ignore")
RNG = np.random.default_rng(2026)


def drawn(*shape: int) -> Any:
    """Normal numbers."""
    return jnp.asarray(RNG.standard_normal(shape))


def within(low: float, high: float, *shape: int) -> Any:
    """Uniform numbers."""
    return jnp.asarray(RNG.uniform(low, high, shape))


def definite(n: int) -> Any:
    """A symmetric positive definite matrix."""
    a = drawn(n, n)
    return a @ a.T + n * jnp.eye(n)


def of(names: str, make: Callable[[], tuple[Any, ...]], home: Any, prefix: str) -> Iterator[Row]:
    """Functions of one home at one kind of point."""
    for name in names.split():
        function = getattr(home, name)
        yield Row(f"{prefix}{name}", lambda *xs, f=function: f(*xs), make())


def elementwise() -> Iterator[Row]:
    """Of one and of two numbers."""
    yield from of("abs arctan arcsinh cos cosh exp exp2 expm1 negative sin sinc sinh square tan tanh positive sign floor "
                  "ceil trunc round cbrt deg2rad rad2deg nan_to_num", lambda: (drawn(3, 2),), jnp, "jnp.")
    yield from of("log log10 log1p log2 sqrt reciprocal", lambda: (within(0.4, 3, 3, 2),), jnp, "jnp.")
    yield from of("arccos arcsin arctanh", lambda: (within(-0.9, 0.9, 3, 2),), jnp, "jnp.")
    yield from of("add subtract multiply maximum minimum fmax fmin logaddexp logaddexp2 hypot arctan2 copysign",
                  lambda: (drawn(3, 2), drawn(3, 2)), jnp, "jnp.")
    yield from of("divide power float_power fmod remainder true_divide", lambda: (within(0.5, 3, 3, 2), within(0.6, 2, 3, 2)), jnp, "jnp.")
    yield from of("rsqrt logistic erf erfc cbrt", lambda: (within(0.4, 2, 3),), lax, "lax.")
    yield from of("digamma gammaln i0 i0e i1 i1e erf erfc expit ndtr log_ndtr entr logsumexp", lambda: (within(0.4, 2, 3),), special, "special.")
    yield from of("erfinv", lambda: (within(-0.8, 0.8, 3),), special, "special.")
    yield from of("logit ndtri", lambda: (within(0.1, 0.9, 3),), special, "special.")
    yield from of("xlogy xlog1py betaln", lambda: (within(0.5, 2, 3), within(0.5, 2, 3)), special, "special.")
    yield Row("jnp.clip", lambda x: jnp.clip(x, -0.5, 0.5), (drawn(3, 2),))
    yield Row("jnp.where", lambda x, y: jnp.where(x > 0, x * y, y), (drawn(3, 2), drawn(3, 2)))
    yield Row("lax.integer_pow", lambda x: lax.integer_pow(x, 3), (drawn(3, 2),))


def activations() -> Iterator[Row]:
    """`jax.nn`."""
    yield from of("relu relu6 sigmoid softplus soft_sign silu log_sigmoid leaky_relu hard_sigmoid hard_silu hard_tanh elu celu "
                  "selu gelu glu softmax log_softmax logsumexp standardize mish squareplus sparse_plus", lambda: (drawn(3, 4),), nn, "nn.")
    yield Row("nn.gelu, exact", lambda x: nn.gelu(x, approximate=False), (drawn(3, 4),))
    yield Row("nn.dot_product_attention", nn.dot_product_attention, (drawn(1, 3, 2, 2), drawn(1, 3, 2, 2), drawn(1, 3, 2, 2)),
              known="JAX: the softmax inside runs in float32 whatever comes in, so that differences resolve 1e-4 only")


def reductions() -> Iterator[Row]:
    """Over everything, and over an axis."""
    yield from of("sum mean prod var std max min median nansum nanmean cumsum cumprod ptp", lambda: (drawn(3, 2),), jnp, "jnp.")
    for name in ("sum", "mean", "prod", "var", "std", "max", "min", "cumsum", "cumprod", "sort", "median", "diff"):
        yield Row(f"jnp.{name}, an axis", lambda x, f=getattr(jnp, name): f(x, axis=-1), (drawn(3, 4),))
    yield from of("cummax cummin cumlogsumexp", lambda: (drawn(4),), lax, "lax.")
    yield Row("jnp.average", lambda x, w: jnp.average(x, weights=w), (drawn(4), within(0.5, 2, 4)))
    yield Row("jnp.percentile", lambda x: jnp.percentile(x, 30), (drawn(5),))
    yield Row("jnp.trapezoid", jnp.trapezoid, (drawn(5),))
    yield Row("lax.top_k", lambda x: lax.top_k(x, 2)[0], (drawn(5),))
    yield Row("jax.ops.segment_sum", lambda x: jax.ops.segment_sum(x, jnp.array([0, 1, 1, 0]), 2), (drawn(4),))
    yield Row("jax.ops.segment_prod", lambda x: jax.ops.segment_prod(x, jnp.array([0, 1, 1, 0]), 2), (drawn(4),), known=(
        "JAX: NotImplementedError, there is no gradient of a product with repeated indices; check_grads meets it too"))


def shapes() -> Iterator[Row]:
    """Moving numbers about."""
    yield from of("ravel transpose fliplr flipud rot90 tril triu diagonal squeeze atleast_3d", lambda: (drawn(3, 4),), jnp, "jnp.")
    yield from of("kron outer", lambda: (drawn(2, 2), drawn(2, 2)), jnp, "jnp.")
    for name in ("concatenate", "stack", "hstack", "vstack", "dstack", "column_stack"):
        yield Row(f"jnp.{name}", lambda x, y, f=getattr(jnp, name): f((x, y)), (drawn(3, 2), drawn(3, 2)))
    rows = {
        "reshape": lambda x: x.reshape(2, 6), "tile": lambda x: jnp.tile(x, 2), "repeat": lambda x: jnp.repeat(x, 2), "roll": lambda x: jnp.roll(x, 1),
        "slicing": lambda x: x[::2, 1:], "take": lambda x: jnp.take(x, jnp.array([0, 5, 5])), "indexing": lambda x: x[jnp.array([0, 2, 2])],
        "take_along_axis": lambda x: jnp.take_along_axis(x, jnp.array([[0], [1], [1]]), 1), "at.set": lambda x: jnp.zeros(5).at[jnp.array([1, 3])].set(x[0, :2]),
        "at.add": lambda x: jnp.ones(3).at[jnp.array([1, 1])].add(x[0, :2]), "at.multiply": lambda x: x.at[0].multiply(x[1]), "at.max": lambda x: x.at[0].max(x[1]),
        "pad": lambda x: jnp.pad(x, 1), "pad, reflect": lambda x: jnp.pad(x, 1, mode="reflect"), "broadcast_to": lambda x: jnp.broadcast_to(x, (2, 3, 4)),
        "split": lambda x: jnp.split(x, 2, 1), "moveaxis": lambda x: jnp.moveaxis(x, 0, 1), "expand_dims": lambda x: jnp.expand_dims(x, 0),
        "dynamic_slice": lambda x: lax.dynamic_slice(x, (1, 1), (2, 2)), "dynamic_update_slice": lambda x: lax.dynamic_update_slice(x, x[:1, :2] ** 2, (1, 1)),
        "diag": lambda x: jnp.diag(x[0]), "interp": lambda x: jnp.interp(x[0], jnp.array([-9.0, 0.1, 9.0]), x[1, :3]),
        "scan": lambda x: lax.scan(lambda c, r: (jnp.tanh(c + r), c * r), x[0], x)[1], "fori_loop": lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.sin(c) * x[i], x[0]),
        "cond": lambda x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), "vmap": jax.vmap(lambda r: r @ r), "jit": jax.jit(lambda x: jnp.sin(x) * x),
        "checkpoint": jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))), "associative_scan": lambda x: lax.associative_scan(jnp.multiply, x), "map": lambda x: lax.map(jnp.cumsum, x),
        "stop_gradient": lambda x: x * lax.stop_gradient(x) * 0 + jnp.sin(x), "custom_root": lambda x: jnp.sqrt(x**2 + 1),
    }  # fmt: skip
    for name, function in rows.items():
        yield Row(name, function, (drawn(3, 4),), known=BRANCH if name == "at.max" else "")


def linear_algebra() -> Iterator[Row]:
    """Products, solves, factorisations, transforms."""
    yield from of("matmul dot inner vdot", lambda: (drawn(3, 3), drawn(3, 3)), jnp, "jnp.")
    yield Row("jnp.einsum", lambda x, y: jnp.einsum("ij,jk->ki", x, y), (drawn(2, 3), drawn(3, 2)))
    yield Row("jnp.tensordot", jnp.tensordot, (drawn(2, 3, 2), drawn(3, 2, 2)))
    yield from of("cross", lambda: (drawn(2, 3), drawn(2, 3)), jnp, "jnp.")
    yield from of("trace cov corrcoef", lambda: (drawn(3, 3),), jnp, "jnp.")
    yield from of("inv det slogdet pinv svdvals norm eigvals", lambda: (drawn(3, 3),), jnp.linalg, "jnp.linalg.")
    yield from of("solve", lambda: (drawn(3, 3), drawn(3, 2)), jnp.linalg, "jnp.linalg.")
    yield Row("jnp.linalg.qr", jnp.linalg.qr, (drawn(4, 3),))
    yield Row("jnp.linalg.eigvalsh", lambda x: jnp.linalg.eigvalsh(x + x.T), (drawn(3, 3),))
    yield Row("jnp.linalg.cholesky", lambda x: jnp.linalg.cholesky(x @ x.T + 3 * jnp.eye(3)), (drawn(3, 3),))
    yield Row("jnp.linalg.matrix_power", lambda x: jnp.linalg.matrix_power(x, 3), (drawn(3, 3),))
    yield Row("jnp.linalg.multi_dot", lambda x, y, z: jnp.linalg.multi_dot([x, y, z]), (drawn(2, 3), drawn(3, 2), drawn(2, 2)))
    yield Row("linalg.expm", linalg.expm, (drawn(3, 3),))
    yield Row("linalg.solve_triangular", lambda a, b: linalg.solve_triangular(a, b), (drawn(3, 3) + 3 * jnp.eye(3), drawn(3)))  # noqa: PLW0108
    yield Row("linalg.cho_solve", lambda x, b: linalg.cho_solve(linalg.cho_factor(x @ x.T + jnp.eye(3)), b), (drawn(3, 3), drawn(3)))
    yield Row("linalg.lu", lambda x: linalg.lu(x)[1:], (drawn(3, 3),))
    yield from of("fft ifft rfft hfft fft2 irfft", lambda: (drawn(3, 4),), jnp.fft, "jnp.fft.")
    yield from of("convolve correlate", lambda: (drawn(5), drawn(3)), jnp, "jnp.")
    yield Row("lax.conv", lambda x, w: lax.conv(x, w, (1, 1), "SAME"), (drawn(1, 2, 4, 4), drawn(2, 2, 3, 3)))
    yield Row("lax.conv_transpose", lambda x, w: lax.conv_transpose(x, w, (2,), "VALID"), (drawn(1, 4, 2), drawn(3, 2, 2)))
    yield Row("lax.reduce_window max", lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (2, 2), "VALID"), (drawn(4, 4),))
    yield Row("lax.reduce_window sum", lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2), (1, 1), "SAME"), (drawn(4, 4),))
    for kind in ("norm", "laplace", "logistic", "cauchy", "expon"):
        yield Row(f"stats.{kind}.logpdf", getattr(stats, kind).logpdf, (within(0.2, 2, 3),))
    yield Row("stats.gamma.logpdf", stats.gamma.logpdf, (within(0.5, 2, 3), within(1, 2, 3)))


def complex_ones() -> Iterator[Row]:
    """By JAX's convention."""
    z = drawn(3) + 1j * drawn(3)
    for name in ("abs", "angle", "conj", "exp", "log", "sin", "tanh", "sqrt", "real", "imag", "square"):
        yield Row(f"complex jnp.{name}", lambda x, f=getattr(jnp, name): f(x), (z,))
    yield Row("complex jnp.multiply", lambda x, y: x * y, (z, z[::-1] + 1))
    yield Row("complex jnp.matmul", jnp.matmul, (drawn(2, 2) + 1j * drawn(2, 2), drawn(2, 2) * 1j + drawn(2, 2)))


def peer(row: Row) -> tuple[str, float]:
    """What check_grads says with its defaults, order 1, in both modes."""
    started = time.process_time()
    try:
        check_grads(row.target, row.inputs, order=1)
        said = "passes"
    except AssertionError:
        said = "fails"
    except Exception as error:  # it refuses some functions in its own way
        said = type(error).__name__
    return said, time.process_time() - started


def main() -> None:
    """Run every row and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name contains this; nothing is written")
    only = parser.parse_args().only
    groups = (elementwise, activations, reductions, shapes, linear_algebra, complex_ones)
    rows = [row for group in groups for row in group() if only in row.name]
    outcomes = []
    for row in rows:
        own, (said, seconds) = judge(row), peer(row)
        outcomes.append(Outcome(own.name, own.verdict, own.told, own.seconds, (said, f"{seconds:.2f}")))
        print(outcomes[-1], flush=True)
    if not only:
        alarms = sum(o.beside[0] != "passes" and o.verdict == "pass" for o in outcomes)
        write(Path("reports/operators-jax.md"), "Operators of JAX", "python benchmarks/operators_jax.py",
              [f'JAX {jax.__version__}, x64, `search="none"`. Right gradients that check_grads does not pass: {alarms}.'],
              outcomes, {row.name: row for row in rows}, ("check_grads", "s"))


if __name__ == "__main__":
    main()
