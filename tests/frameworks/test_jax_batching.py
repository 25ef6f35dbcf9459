"""Batching rules that a user wrote: under vmap each sample must be what it is alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify as gv

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from gradverify.frameworks.jax.batching import has_rules  # noqa: E402

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))


def batching(function: Any, rule: Any) -> Any:
    """The function under vmap by ``rule(*batched arguments)``."""
    made = jax.custom_batching.custom_vmap(function)
    made.def_vmap(lambda size, batched, *arguments: (rule(*arguments), True))
    return made


def square(forward: Any, backward: Any = lambda x, dy: 2 * x * dy) -> Any:
    made = jax.custom_vjp(forward)
    made.defvjp(lambda x: (forward(x), x), lambda x, dy: (backward(x, dy),))
    return made


def on_the_host(function: Any) -> Any:
    def call(x: Any) -> Any:
        return jax.pure_callback(function, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="broadcast_all")

    return call


ROWS = [
    (square(batching(lambda x: x**2, lambda x: x**2)), "pass", "a forward by its rule"),
    (square(batching(lambda x: x**2, lambda x: jnp.broadcast_to(x[:1] ** 2, x.shape))), "fail", "the first sample for all"),
    (square(jnp.square, batching(lambda x, dy: 2 * x * dy, lambda x, dy: 2 * x * dy)), "pass", "a backward by its rule"),
    (square(jnp.square, batching(lambda x, dy: 2 * x * dy, lambda x, dy: 2 * x * dy.mean(0))), "fail", "cotangents mixed"),
    (square(on_the_host(lambda x: np.asarray(x) ** 2)), "pass", "a function of the host"),
    (square(on_the_host(lambda x: np.asarray(x) ** 2 / (1 if np.ndim(x) == 2 else 2))), "fail", "another one in a batch"),
]


@pytest.mark.parametrize("x64", [True, False])
@pytest.mark.parametrize(("function", "verdict", "note"), ROWS, ids=[row[-1] for row in ROWS])
def test_a_rule_must_give_each_sample_what_it_gives_alone(function: Any, verdict: str, note: str, x64: bool) -> None:
    with jax.enable_x64(x64):
        report = gv.check(function, jnp.asarray(X))
    assert report.verdict == verdict, str(report)
    assert {c.name for check in report.checks for c in check.causes} == ({"vmap"} if verdict == "fail" else set())


def test_jaxs_own_rules_are_not_tried() -> None:
    def network(x: Any) -> Any:
        return jax.nn.softmax(jax.nn.gelu(x)) @ jnp.linalg.solve(x.T @ x, x.T)

    def drawing(x: Any) -> Any:
        return x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape) + jnp.linalg.slogdet(x.T @ x)[1]

    assert not has_rules(jax.make_jaxpr(network)(X))
    assert not has_rules(jax.make_jaxpr(drawing)(X))
    assert has_rules(jax.make_jaxpr(on_the_host(np.square))(X))


def test_a_primitive_of_ones_own_has_a_rule_of_its_own() -> None:
    own = jax.extend.core.Primitive("own_square")
    own.def_abstract_eval(lambda x: x)
    assert has_rules(jax.make_jaxpr(own.bind)(X))
