"""Mixed precision in JAX: the formula is judged in float64 throughout, the rest by the coarsest dtype on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify as gv

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from gradverify.frameworks.jax.narrowing import coarsest  # noqa: E402
from gradverify.frameworks.jax.program import scoped_x64  # noqa: E402
from gradverify.frameworks.jax.tracing import Traced  # noqa: E402

X = jnp.linspace(-1.3, 1.7, 20, dtype=jnp.float32).reshape(5, 4)
W = jnp.linspace(0.4, -0.9, 16, dtype=jnp.float32).reshape(4, 4)
HALF = jnp.bfloat16


def product(x: Any, w: Any) -> Any:
    return (x.astype(HALF) @ w.astype(HALF)).astype(jnp.float32)


def rms(x: Any) -> Any:
    h = x.astype(jnp.float32)
    return (h * jax.lax.rsqrt((h * h).mean(-1, keepdims=True) + 1e-6)).astype(x.dtype)


def recurrent(x: Any, w: Any) -> Any:
    step = lambda c, r: (jnp.tanh(c @ w.astype(HALF) + r.astype(HALF)), c.astype(jnp.float32))  # noqa: E731
    return jax.lax.scan(step, jnp.zeros(4, HALF), x)[1]


def branching(x: Any) -> Any:
    return jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x.astype(HALF)).astype(x.dtype)


def gathered(x: Any) -> Any:
    return (x.astype(jnp.float16)[jnp.array([0, 2, 2])] ** 2).astype(x.dtype)


def multiplied(factor: float) -> Any:
    """The product by a custom rule, whose backward is off by a factor."""
    custom = jax.custom_vjp(product)

    def back(saved: Any, u: Any) -> Any:
        x, w = (value.astype(HALF) for value in saved)
        u = (factor * u).astype(HALF)
        return (u @ w.T).astype(jnp.float32), (x.T @ u).astype(jnp.float32)

    custom.defvjp(lambda x, w: (product(x, w), (x, w)), back)
    return custom


RIGHT = [
    (product, (X, W), "a product"),
    (lambda x, w: x.astype(HALF) @ w.astype(HALF), (X, W), "a result in bfloat16"),
    (rms, (X.astype(HALF),), "float32 within bfloat16"),
    (jax.jit(lambda x, w: jax.nn.relu(product(x, w)).sum(-1)), (X, W), "jit, and a custom_jvp"),
    (jax.vmap(lambda r, w: product(r[None], w)[0], (0, None)), (X, W), "vmap"),
    (jax.checkpoint(product), (X, W), "checkpoint"),
    (recurrent, (X, W), "scan"),
    (branching, (X,), "cond"),
    (gathered, (X,), "an index, in float16"),
    (multiplied(1.0), (X, W), "a custom rule"),
]


@pytest.mark.parametrize(("target", "inputs", "note"), RIGHT, ids=[row[-1] for row in RIGHT])
def test_right_code_in_mixed_precision_passes(target, inputs, note):
    assert gv.check(target, *inputs, search="none").ok


@pytest.mark.parametrize("factor", [0.5, 1.0001])
def test_a_formula_that_is_wrong_by_less_than_a_rounding_is_found_behind_the_casts(factor):
    report = gv.check(multiplied(factor), X, W, search="none")
    assert {c.causes[0].name for c in report.checks if c.verdict == "fail"} == {"factor"}
    assert {c.wrt for c in report.checks if c.verdict == "fail"} == {"x", "w"}


def test_what_is_computed_in_a_coarser_dtype_is_named():
    notes = gv.check(product, X, W, search="none").notes
    assert any("computes in bfloat16 on the way" in note for note in notes)
    assert not any("on the way" in note for note in gv.check(jnp.sin, X, search="none").notes)


def test_a_second_derivative_is_judged_behind_the_casts_too():
    cube = lambda x: (x.astype(HALF) ** 3).astype(jnp.float32)  # noqa: E731
    assert gv.check(cube, X, order=2, search="none").ok


def test_only_what_depends_on_the_inputs_is_narrowed():
    table = jnp.ones(4, jnp.float32)
    loop = lambda x: jax.lax.fori_loop(0, 2, lambda _, c: c.astype(HALF).astype(jnp.float32), x)  # noqa: E731
    assert coarsest(jax.make_jaxpr(lambda x: x * table.astype(HALF).astype(jnp.float32))(X)) is None
    assert coarsest(jax.make_jaxpr(lambda x: x * 2)(X)) is None
    assert coarsest(jax.make_jaxpr(loop)(X)) == "bfloat16"
    assert coarsest(jax.make_jaxpr(jax.jit(lambda x: x.astype(jnp.float16) * 2))(X)) == "float16"


def test_a_loop_and_what_it_makes_are_in_float64():
    loop = lambda x: jax.lax.fori_loop(0, 2, lambda _, c: jnp.sin(c.astype(HALF)).astype(x.dtype), x)  # noqa: E731
    with scoped_x64():
        found = Traced(loop, widened=True)(jnp.asarray(np.array([0.3, 1.1])))
    np.testing.assert_allclose(found, np.sin(np.sin([0.3, 1.1])), rtol=1e-15)


def test_bits_read_as_numbers_and_a_callback_in_its_own_dtype_are_not_widened():
    def host(x: Any) -> Any:
        return jax.pure_callback(lambda a: np.sin(np.float32(a)), jax.ShapeDtypeStruct(x.shape, jnp.float32), x)

    with scoped_x64():
        x = jnp.asarray(np.array([0.3, 1.1]))
        with pytest.raises(TypeError, match="reads the bits"):
            Traced(lambda x: jax.lax.bitcast_convert_type(x, jnp.int64) * x.astype(HALF), widened=True)(x)
        with pytest.raises(TypeError, match="in a coarser dtype"):
            Traced(lambda x: host(x) * x.astype(jnp.float32), widened=True)(x)


def test_a_constant_in_a_coarser_dtype_is_no_noise():
    (given, *_) = gv.check(lambda x: jnp.sin(x @ W), X, search="none").checks
    assert given.verdict == "pass"
    assert given.resolution < 1e-10
