"""Functions of autograd.numpy and primitives with rules: what is claimed, and what is found wrong."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import gradverify as gv
from gradverify.records import Options, Verdict
from gradverify.targets import framework_of

autograd = pytest.importorskip("autograd")

import autograd.numpy as anp  # noqa: E402
from autograd.extend import defjvp, defvjp, primitive  # noqa: E402

from gradverify.frameworks.autograd import make_target  # noqa: E402

X = np.random.default_rng(0).normal(size=(3, 4))


def target_of(obj: Any, *inputs: Any, **keywords: Any) -> Any:
    return make_target(obj, inputs, Options(**keywords))


def gradients(target: Any, perturb: Any = None) -> Any:
    outputs, pullback = target.linearize(target.point, perturb)
    return pullback({name: np.ones(np.shape(y)) for name, y in outputs.items()})


def ruled(forward: Any, *vjps: Any, jvps: tuple[Any, ...] = (), **keywords: Any) -> Any:
    """A primitive with these rules."""
    made = primitive(forward)
    if vjps:
        defvjp(made, *vjps, **keywords)
    if jvps:
        defjvp(made, *jvps)
    return made


def sine(x: Any) -> Any:
    return np.sin(x)


def product(x: Any, w: Any) -> Any:
    return x * w


def add(x: Any, b: Any) -> Any:
    return x + b


RIGHT = [
    (lambda x: anp.tanh(x) ** 2, X),
    (lambda p: anp.sum(anp.tanh(X @ p["W"] + p["b"])), {"W": np.ones((4, 2)), "b": np.zeros(2)}),
    (ruled(sine, lambda ans, x: lambda g: g * np.cos(x)), X),
    (ruled(np.tanh, lambda ans, x: lambda g: g * (1 - ans**2)), np.array([12.0, -15.0, 3.0])),
    (autograd.grad(lambda x: anp.sum(anp.sin(x) * x)), X),
    (anp.exp, X.astype(np.float32)),
    (anp.exp, 0.5),
]
WRONG = [
    ("scale", ruled(sine, lambda ans, x: lambda g: 1.0009 * g * np.cos(x)), (X,), "x"),
    ("sign-flipped", ruled(sine, lambda ans, x: lambda g: -g * np.cos(x)), (X,), "x"),
    ("at-output", ruled(sine, lambda ans, x: lambda g: g * np.cos(ans)), (X,), "x"),
    ("zero", ruled(product, lambda ans, x, w: lambda g: g * w, None), (X, X + 1), "w"),
    ("not-summed", ruled(add, lambda ans, x, b: lambda g: g, lambda ans, x, b: lambda g: g), (X, np.ones(4)), "b"),
    ("scale", ruled(sine, jvps=(lambda g, ans, x: 1.001 * g * np.cos(x),)), (X,), "x"),
]


@pytest.mark.parametrize(("function", "x"), RIGHT)
def test_a_right_gradient_passes(function: Any, x: Any) -> None:
    report = gv.check(function, x, search="none")
    assert report.verdict is Verdict.PASS, str(report)


@pytest.mark.parametrize(("cause", "function", "inputs", "leaf"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_rule_is_found_and_explained(cause: str, function: Any, inputs: Any, leaf: str) -> None:
    failed = [c for c in gv.check(function, *inputs, search="none").checks if c.verdict is Verdict.FAIL]
    assert [c.wrt for c in failed] == [leaf]
    assert failed[0].causes


def test_a_rule_that_overwrites_its_upstream_gradient_is_found() -> None:
    report = gv.check(ruled(sine, lambda ans, x: lambda g: np.multiply(g, np.cos(x), out=g)), X)
    assert [c.reason for c in report.checks if not c.ok] == ["mutated-upstream"]


def test_plain_functions_are_recognised_by_what_they_use() -> None:
    mine = ruled(sine, lambda ans, x: lambda g: g)
    for written in (mine, lambda x: 2 * mine(x), functools.partial(uses, 1.0), uses):
        assert framework_of(written, (X,)) == "autograd"
    assert framework_of(sine, (X,)) is None
    assert framework_of(gv.function(uses, vjp=lambda s, x, u: u), (X,)) is None


def uses(scale: float, x: Any = X) -> Any:
    return anp.tanh(scale * x)


def test_autograd_is_not_imported_to_find_out() -> None:
    code = ("import sys, gradverify as gv, numpy as np; "
            "gv.check(gv.function(np.sin, derivative=np.cos), 0.3); print('autograd' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_only_what_the_rules_speak_of_is_claimed() -> None:
    target = target_of(ruled(product, lambda ans, x, w: lambda g: g * w), X, X)
    assert target.claimed == ("x",)
    assert target.pushforward is None
    assert list(gradients(target)) == ["x"]


def test_names_are_those_of_the_function_inside_a_primitive() -> None:
    target = target_of(ruled(product, lambda ans, x, w: lambda g: g * w, lambda ans, x, w: lambda g: g * x), X, X)
    assert (target.name, list(target.point)) == ("product", ["x", "w"])
    assert target_of(autograd.grad(anp.sin), 0.5).name.startswith("grad")


@pytest.mark.parametrize(("function", "inputs", "message"), [
    (ruled(sine), (X,), "sine has neither a VJP nor a JVP"),
    (uses, (np.arange(3),), "uses has no floating input"),
    (anp.argmax, (X,), "returned no floating array"),
])
def test_what_claims_nothing_is_refused(function: Any, inputs: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        target_of(function, *inputs)


def test_an_input_that_no_output_depends_on_has_no_gradient() -> None:
    computed = gradients(target_of(lambda x, y: anp.sum(x**2), X, X))
    assert computed["y"] is None
    np.testing.assert_allclose(computed["x"], 2 * X)


def test_perturbed_residuals_change_the_gradient_in_saturation_and_nothing_else() -> None:
    target = target_of(ruled(np.tanh, lambda ans, x: lambda g: g * (1 - ans**2)), np.array([12.0]))
    exact = gradients(target)["x"]
    moved = gradients(target, lambda a: a * (1 - np.finfo(a.dtype).eps))["x"]
    assert abs(moved - exact) > 1e-6 * abs(exact)
    np.testing.assert_array_equal(gradients(target)["x"], exact)


def test_functions_without_a_gradient_stay_constants_under_perturbation() -> None:
    target = target_of(lambda x: x * anp.floor(x), X)
    np.testing.assert_array_equal(gradients(target, lambda a: a)["x"], np.floor(X))


def test_outputs_in_containers_are_named_as_in_the_plain_forward() -> None:
    target = target_of(lambda x: (anp.linalg.eigh(x + x.T), {"s": anp.sum(x)}), X[:, :3])
    assert list(target.forward(target.point)) == ["out[0].eigenvalues", "out[0].eigenvectors", "out[1].s"]
    assert list(target.linearize(target.point, None)[0]) == list(target.forward(target.point))


def test_forward_mode_and_second_order_are_judged() -> None:
    report = gv.check(lambda x: anp.sum(anp.sin(x) * x), X, order=2, mode="both", search="none")
    assert report.ok
    kinds = {("reverse", 1), ("forward", 1), ("reverse", 2), ("upstream", 2)}
    assert {(c.mode, c.order) for c in report.checks} == kinds




bad_exp = ruled(np.exp, lambda ans, x: lambda g: 2 * g * ans)
exp = ruled(np.exp, lambda ans, x: lambda g: g * bad_exp(x))


def test_a_wrong_second_derivative_is_found() -> None:
    report = gv.check(lambda x: anp.sum(exp(x)), X[0, :2], order=2, search="none")
    assert {c.order: c.verdict.value for c in report.checks if c.mode == "reverse"} == {1: "pass", 2: "fail"}


def test_no_call_changes_the_point_or_the_random_state() -> None:
    state = np.random.get_state()[1].copy()
    target = target_of(lambda x: x * np.random.rand(*X.shape), X)
    np.testing.assert_array_equal(target.forward(target.point)["out"], X * gradients(target)["x"])
    np.testing.assert_array_equal(target.point["x"], X)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_complex_leaves_and_outputs_come_in_parts() -> None:
    z = X[0] + 1j * X[1]
    target = make_target(lambda z, w: anp.exp(z) * w, (z, 2.0 - z), Options())
    assert list(target.point) == ["z.real", "z.imag", "w.real", "w.imag"]
    computed = target.linearize(target.point, None)[1]({"out.real": np.ones(4), "out.imag": 2 * np.ones(4)})
    np.testing.assert_allclose(computed["w.real"] + 1j * computed["w.imag"], (1 + 2j) * np.exp(z).conj(), rtol=1e-14)


@pytest.mark.parametrize("function", [anp.abs, anp.angle, anp.fft.fft, lambda z: anp.real(z * anp.conj(z))])
def test_complex_functions_are_right_in_autograds_convention(function: Any) -> None:
    z = X[0] + 1j * X[1]
    assert gv.check(function, z, search="none").ok


def test_a_mask_that_a_rule_draws_again_is_another_one() -> None:
    def mask(x: Any) -> Any:
        return np.random.rand(*x.shape) > 0.5

    drawn = ruled(lambda x: x * mask(x), lambda y, x: lambda g: g * mask(x))
    (failed,) = gv.check(drawn, X, search="none").checks
    assert failed.causes[0].name == "redrawn"
