"""Second and third derivatives of every framework's code: right ones pass, detached and wrong ones fail at their order."""

from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv

anp = pytest.importorskip("autograd.numpy")
jax = pytest.importorskip("jax")
tf = pytest.importorskip("tensorflow")
torch = pytest.importorskip("torch")

import jax.numpy as jnp  # noqa: E402
from autograd.extend import defvjp, primitive  # noqa: E402

from tests.torch_functions import elementwise  # noqa: E402

X = np.random.default_rng(5).normal(size=(1, 3))


sine = elementwise(torch.sin, torch.cos)
cosine = elementwise(torch.cos, lambda x: -torch.sin(x))
second_order_detached = elementwise(lambda x: x**3, lambda x: 3 * x.detach() ** 2)
cube = elementwise(lambda x: x**3, lambda x: (3 * x**2).detach() + 0 * x)
third_order_wrong = elementwise(lambda x: x**4, lambda x: 4 * cube(x))


def with_both_modes(value, slope, push=None):
    """An elementwise function whose forward mode is `push`, or the slope of its backward."""

    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            ctx.save_for_forward(x)
            return value(x)

        @staticmethod
        def backward(ctx, dy):
            return dy * slope(ctx.saved_tensors[0])

        @staticmethod
        def jvp(ctx, dx):
            return dx * (push or slope)(ctx.saved_tensors[0])

    return Both.apply


def minus_sine(x):
    return -torch.sin(x)


right_in_both = with_both_modes(torch.sin, with_both_modes(torch.cos, minus_sine), torch.cos)
wrong_by_duals = with_both_modes(torch.sin, with_both_modes(torch.cos, minus_sine, lambda x: -1.1 * torch.sin(x)), torch.cos)
wrong_twice_back = with_both_modes(torch.sin, with_both_modes(torch.cos, lambda x: -1.1 * torch.sin(x), minus_sine), torch.cos)


@jax.custom_vjp
def jax_cube(x):
    return x**3


jax_cube.defvjp(lambda x: (x**3, x), lambda x, dy: (dy * jax.lax.stop_gradient(3 * x**2),))


@primitive
def taped_cube(x):
    return x**3


defvjp(taped_cube, lambda y, x: lambda dy: dy * anp.array(3 * getattr(x, "_value", x) ** 2))


@tf.custom_gradient
def tf_cube(x):
    return x**3, lambda dy: dy * tf.stop_gradient(3 * x**2)


def on(framework, x=X):
    return {"torch": torch.tensor, "jax": jnp.asarray, "tensorflow": tf.constant, "autograd": np.array}[framework](x)


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


RIGHT = [
    ("torch", torch.tanh), ("torch", lambda x: (torch.exp(x) * x).sum()), ("torch", sine),
    ("torch", cosine), ("torch", lambda x: torch.nn.functional.gelu(x) @ x.T),
    ("jax", jnp.tanh), ("jax", lambda x: jnp.sum(jnp.exp(x) * x)), ("jax", jax.nn.softmax),
    ("autograd", anp.tanh), ("autograd", lambda x: anp.sum(anp.exp(x) * x)), ("autograd", lambda x: anp.dot(x, x.T) ** 2),
    ("tensorflow", tf.tanh), ("tensorflow", lambda x: tf.reduce_sum(tf.exp(x) * x)),
]  # fmt: skip


@pytest.mark.parametrize(("framework", "function"), RIGHT)
def test_right_derivatives_of_all_three_orders_pass(framework, function):
    report = gv.check(function, on(framework), order=3, search="none")
    assert report.ok, str(report)
    assert {check.order for check in report.checks} == {1, 2, 3}


@pytest.mark.parametrize(("framework", "function", "order"), [
    ("torch", second_order_detached, 2), ("torch", third_order_wrong, 3), ("jax", jax_cube, 2),
    ("autograd", taped_cube, 2), ("tensorflow", tf_cube, 2),
])
def test_a_derivative_that_is_wrong_at_one_order_fails_there_and_not_below(framework, function, order):
    report = gv.check(function, on(framework), order=order, search="none")
    failed = [check for check in report.checks if check.verdict is gv.Verdict.FAIL]
    assert {check.order for check in failed} == {order}, str(report)
    assert failed[0].causes[0].name == "zero-gradient", str(report)
    assert all(check.verdict is gv.Verdict.PASS for check in report.checks if check.order < order)


@pytest.mark.parametrize(("function", "failing"), [
    (right_in_both, None), (wrong_by_duals, "forward over reverse"), (wrong_twice_back, "reverse"),
], ids=["right in both", "wrong by dual numbers", "wrong backward through backward"])
def test_each_composition_of_modes_is_judged(function, failing):
    report = gv.check(function, on("torch"), order=2, search="none")
    second = {check.mode: check.verdict for check in report.checks if check.order == 2}
    assert second.keys() == {"reverse", "forward over reverse"}, str(report)
    assert {mode for mode, verdict in second.items() if verdict is gv.Verdict.FAIL} == ({failing} - {None}), str(report)


def test_jax_is_judged_by_both_compositions_of_modes():
    report = gv.check(jnp.tanh, on("jax"), order=2, search="none")
    assert [check.mode for check in report.checks if check.order == 2] == ["reverse", "reverse over reverse"]
    assert report.ok


@pytest.mark.parametrize("framework", ["torch", "jax", "autograd", "tensorflow"])
def test_a_third_derivative_is_that_of_the_cotangent_given(framework):
    from gradverify.records import Options
    from gradverify.targets import make_targets

    (target,) = make_targets({"torch": lambda x: x**4, "jax": lambda x: x**4, "tensorflow": lambda x: x**4,
                              "autograd": lambda x: x**4 + 0 * anp.sin(x)}[framework], (on(framework),),
                             Options(order=3))
    u, v, w = np.random.default_rng(1).normal(size=(3, 1, 3))
    found = target.higher(target.point, {"out": u}, [{"x": v}, {"x": w}])
    np.testing.assert_allclose(found["x"], 24 * X * u * v * w, rtol=1e-12)


def test_an_asymmetric_second_derivative_fails_below_what_differences_resolve():
    def value(x):  # `float` keeps foreign numbers out, the offset most digits from differences
        return 1e12 + np.sin(float(x[0]) * float(x[1]))

    def hessian(x):
        (a, b), s, c = x, np.sin(x[0] * x[1]), np.cos(x[0] * x[1])
        return np.array([[-b * b * s, c - a * b * s], [(c - a * b * s) * (1 + 1e-4), -a * a * s]])

    report = gv.check(gv.function(value, hessian=hessian), np.array([0.7, -1.3]), search="none")
    (check,) = (c for c in report.checks if c.order == 2)
    assert (check.verdict, check.reason) == (gv.Verdict.FAIL, "asymmetric"), str(report)


def test_a_backward_that_cannot_be_differentiated_again_claims_no_higher_derivative():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, dy):
            return 2 * dy * ctx.saved_tensors[0]

    with pytest.raises(ValueError, match="claims no second derivative"):
        gv.check(Once.apply, on("torch"), order=3)


def test_numpy_claims_end_at_the_second_order():
    claim = gv.function(lambda x: np.sum(x**3), gradient=lambda x: 3 * x**2, hvp=lambda x, v: 6 * x * v)
    with pytest.raises(ValueError, match="claims no third derivative"):
        gv.check(claim, X[0], order=3)


def test_a_network_is_linear_in_its_last_bias_and_its_second_and_third_derivative_there_a_zero_that_passes():
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
    report = gv.check(net, torch.ones(1, 2, dtype=torch.float64), order=3, search="none")
    assert report.ok, str(report)
    assert [c.reason for c in report.checks if c.wrt == "2.bias"] == ["", "", "zero", "zero", "zero"]


def test_a_second_derivative_that_is_small_is_no_zero():
    claim = gv.function(lambda x: float(np.sum(x + 1e-9 * x**2)), gradient=lambda x: 1 + 2e-9 * x, hvp=lambda x, v: 0 * v)
    assert not gv.check(claim, X[0], search="none", oracle="finite").ok
