"""JAX functions and modules watched by `check_flow`."""

from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv
from gradverify.reference import Activation, Dense, sequential

jax = pytest.importorskip("jax")
jnp = jax.numpy


def parameters(depth, variance, width=32, seed=0):
    rng = np.random.default_rng(seed)
    return [{"W": rng.normal(0, np.sqrt(variance / width), (width, width)).astype(np.float32),
             "b": np.zeros(width, np.float32)} for _ in range(depth)]


def mlp(params, x):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["W"] + layer["b"])
    return x @ params[-1]["W"] + params[-1]["b"]


def x(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def test_a_function_of_params_has_the_flow_of_the_same_network_of_the_reference():
    params, data = parameters(8, 2.0), x(20, 32)
    ours = sequential(*[part for _ in range(7) for part in (Dense(32, 32), Activation("relu"))], Dense(32, 32))
    same = gv.check_flow(ours, tuple(p for own in params for p in (own, {}))[:-1], data)
    report = gv.check_flow(mlp, jax.tree.map(jnp.asarray, params), jnp.asarray(data))
    assert report.decades == pytest.approx(same.decades, abs=1e-4)
    assert [layer.log_ratio for layer in report.layers] == pytest.approx([layer.log_ratio for layer in same.layers],
                                                                         abs=1e-3)
    assert [layer.kind for layer in report.layers][:3] == ["dot_general", "relu", "dot_general"]
    assert report.layers[0].gradient == pytest.approx(same.layers[0].gradient, rel=1e-3)


@pytest.mark.parametrize(("variance", "verdict"), [(0.2, "vanishing"), (2.0, "healthy"), (12.0, "exploding")])
def test_the_verdict_of_a_known_network(variance, verdict):
    report = gv.check_flow(mlp, jax.tree.map(jnp.asarray, parameters(16, variance)), jnp.asarray(x(20, 32)))
    assert report.verdict == verdict
    assert report.unexplained == ()


def test_weights_are_rescaled_in_a_copy():
    params = jax.tree.map(jnp.asarray, parameters(16, 0.2))
    before = np.array(params[0]["W"])
    trial = gv.check_flow(mlp, params, jnp.asarray(x(20, 32))).trials[0]
    assert (trial.remedy, trial.verdict) == ("weights rescaled layer by layer", "healthy")
    assert np.array_equal(before, params[0]["W"])


def test_a_wrong_custom_vjp_is_not_explained():
    @jax.custom_vjp
    def tanh(z):
        return jnp.tanh(z)

    tanh.defvjp(lambda z: (jnp.tanh(z), None), lambda _, dy: (dy,))

    def network(params, x):
        x = tanh(x @ params[0]["W"])
        return x @ params[1]["W"]

    report = gv.check_flow(network, jax.tree.map(jnp.asarray, parameters(2, 1.0)), jnp.asarray(x(20, 32)))
    assert report.unexplained == ("> params[1].W",)
    assert not report.ok


def test_a_loop_is_run_step_by_step():
    def network(params, xs):
        def step(h, x):
            h = jnp.tanh(x @ params["W"] + h @ params["U"])
            return h, None

        return jax.lax.scan(step, jnp.zeros((20, 32)), xs)[0] @ params["W"]

    params = {"W": parameters(1, 1.0)[0]["W"], "U": parameters(1, 0.2, seed=3)[0]["W"]}
    frame = gv.check_flow(network, jax.tree.map(jnp.asarray, params), jnp.asarray(x(6, 20, 32))).frame()
    assert sum(frame.layer.str.startswith("params.U")) == 5  # the first state is a constant
    assert frame.delta.notna().all()


def test_an_equinox_module_with_vmap_and_convolutions():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    network = eqx.nn.Sequential([
        eqx.nn.Conv1d(2, 16, 3, key=keys[0]), eqx.nn.Lambda(jax.nn.relu), eqx.nn.Lambda(jnp.ravel),
        eqx.nn.Linear(96, 32, key=keys[1]), eqx.nn.Lambda(jnp.tanh), eqx.nn.Linear(32, 4, key=keys[2])])
    report = gv.check_flow(eqx.filter_vmap(network), jnp.asarray(x(12, 2, 8)))
    assert report.verdict == "healthy"
    assert {layer.kind for layer in report.layers} >= {"conv_general_dilated", "dot_general", "tanh"}
    assert max(abs(layer.z) for layer in report.layers if layer.z == layer.z) < 4


def test_a_loss_gives_the_sizes():
    params = jax.tree.map(jnp.asarray, parameters(3, 2.0))
    report = gv.check_flow(mlp, params, jnp.asarray(x(20, 32)), loss=lambda y: jnp.mean(y**2))
    assert report.loss == pytest.approx(float(jnp.mean(mlp(params, x(20, 32)) ** 2)), rel=1e-5)


def test_a_function_without_parameters_is_refused():
    with pytest.raises(TypeError, match="nothing to check"):
        gv.check_flow(jnp.tanh, jnp.ones((3, 4)))
