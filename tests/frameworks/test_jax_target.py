"""JAX targets: exact values, both widths, what is a leaf, and what is found wrong in custom rules."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradverify as gv
from gradverify.arrays import dot
from gradverify.records import Options, Verdict

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from gradverify.frameworks.jax import make_target  # noqa: E402
from gradverify.frameworks.jax.leaves import rounded  # noqa: E402

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((2, 3)), jnp.float32)


def target_of(obj: Any, *inputs: Any, **keywords: Any) -> Any:
    return make_target(obj, inputs, Options(**keywords))


def ones_like(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: np.ones_like(y) for name, y in outputs.items()}


def gradients(target: Any, perturb: Callable[[Any], Any] | None = None) -> Any:
    outputs, pullback = target.linearize(target.point, perturb)
    return pullback(ones_like(outputs))


def ulps(scale: float) -> Callable[[Any], Any]:
    return lambda a: (a * (1 - scale * np.finfo(a.dtype).eps)).astype(a.dtype)


def ruled(forward: Any, backward: Any, save: Any = None, **keywords: Any) -> Any:
    """A `custom_vjp` function that saves its inputs, or what `save` makes of them."""
    made = jax.custom_vjp(forward, **keywords)
    made.defvjp(lambda *xs: (forward(*xs), (save or (lambda *ys: ys))(*xs)), backward)
    return made


def sine(x: Any) -> Any:
    return jnp.sin(x)


def affine(p: Any, x: Any) -> Any:
    return x @ p["W"] + p["b"]


PARAMS = {"W": jnp.ones((3, 2)) / 3, "b": jnp.ones(2)}


def affine_rule(W: Any = None, b: Any = None) -> Any:
    """The backward of `affine`, or with another gradient of a part of its pytree."""
    def backward(saved: Any, u: Any) -> Any:
        p, x = saved
        return {"W": (W or (lambda x, u: x.T @ u))(x, u), "b": (b or (lambda u: u.sum(0)))(u)}, u @ p["W"].T
    return ruled(affine, backward)


WRONG = [
    ("scaled", ruled(sine, lambda s, u: (1.0009 * u * jnp.cos(s[0]),)), (X,), ["x"]),
    ("flipped", ruled(sine, lambda s, u: (-u * jnp.cos(s[0]),)), (X,), ["x"]),
    ("residual", ruled(sine, lambda s, u: (u * jnp.cos(s),), save=jnp.sin), (X,), ["x"]),
    ("missing", ruled(lambda x, w: x * w, lambda s, u: (u * s[1], None)), (X, X + 1), ["w"]),
    ("part", affine_rule(b=lambda u: u[0]), (PARAMS, X), ["p.b"]),
    ("swapped", affine_rule(W=lambda x, u: x[::-1].T @ u), (PARAMS, X), ["p.W"]),
    ("shape", ruled(sine, lambda s, u: (u.sum(),)), (X,), ["x"]),
    ("structure", ruled(sine, lambda s, u: u), (X,), ["x"]),
]


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize(("function", "inputs", "leaves"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_rule_is_found(function: Any, inputs: Any, leaves: Any, x64: bool) -> None:
    with wide(x64):
        given = jax.tree.map(lambda x: x.astype(jnp.float64 if x64 else jnp.float32), inputs)
        report = gv.check(function, *given, search="none")
    assert [c.wrt for c in report.checks if c.verdict is Verdict.FAIL] == leaves
    assert "error" not in {c.reason for c in report.checks}


def wide(x64: bool = True) -> Any:
    return jax.enable_x64(x64) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64(x64)


def scanned(w: Any, xs: Any) -> Any:
    return jax.lax.scan(lambda c, x: (jnp.tanh(w * c + x), c), jnp.zeros(3, w.dtype), xs)


@jax.custom_jvp
def tangled(x: Any, y: Any) -> Any:
    return jnp.sin(x) * y


@tangled.defjvp
def _tangled_jvp(primals: Any, tangents: Any) -> Any:
    (x, y), (dx, dy) = primals, tangents
    return tangled(x, y), jnp.cos(x) * y * dx + jnp.sin(x) * dy


RIGHT = [
    ("function", jnp.tanh, (X,)),
    ("vjp", ruled(sine, lambda s, u: (u * jnp.cos(s[0]),)), (X,)),
    ("pytree", affine_rule(), (PARAMS, X)),
    ("jvp", tangled, (X, X + 1)),
    ("jit", jax.jit(lambda x: jnp.exp(x).sum(0)), (X,)),
    ("vmap", jax.vmap(lambda v: v @ v), (X,)),
    ("grad", jax.grad(lambda v: jnp.sum(jnp.sin(v))), (X,)),
    ("scan", scanned, (X[0], X)),
    ("indices", lambda x, i: x[i].prod(), (X, jnp.array([0, 1]))),
    ("key", lambda x, k: x * jax.random.normal(k, x.shape, x.dtype), (X, jax.random.key(0))),
    ("numpy", tangled, (np.asarray(X), 1.5)),
    ("bfloat16", jnp.tanh, (X.astype(jnp.bfloat16),)),
]


@pytest.mark.parametrize(("function", "inputs"), [row[1:] for row in RIGHT], ids=[row[0] for row in RIGHT])
def test_a_right_derivative_passes(function: Any, inputs: Any) -> None:
    report = gv.check(function, *inputs, search="none")
    assert report.ok, str(report)


def test_regimes_and_contracts_add_nothing_to_a_right_one() -> None:
    report = gv.check(affine_rule(), PARAMS, X)
    assert report.ok, str(report)


def test_with_x64_off_formula_and_implementation_are_judged() -> None:
    report = gv.check(jnp.tanh, X, search="none", mode="reverse")
    assert [c.regime for c in report.checks] == ["given", "implementation"]
    assert any("scoped x64" in note for note in report.notes)
    assert not jax.config.jax_enable_x64


def test_the_twin_runs_in_float64_at_the_same_values() -> None:
    target = target_of(jnp.exp, X)
    twin = target.cast("float64")
    assert (target.dtype, twin.dtype) == ("float32", "float64")
    np.testing.assert_array_equal(twin.point["x"], np.asarray(X))
    np.testing.assert_allclose(twin.forward(twin.point)["out"], np.exp(twin.point["x"]), rtol=1e-15)
    np.testing.assert_allclose(gradients(twin)["x"], np.exp(twin.point["x"]), rtol=1e-15)
    assert jnp.ones(1).dtype == jnp.float32


@pytest.mark.parametrize("function", [
    lambda x: x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape),
    lambda x: x * jnp.float32(2) if x.dtype == jnp.float32 else 1 / 0,
    lambda x: jnp.sin(x) if x.sum() > 0 else jnp.cos(x),
], ids=["draws", "refuses", "reads values"])
def test_code_that_computes_something_else_in_float64_has_no_twin(function: Any) -> None:
    assert target_of(function, X).cast("float64") is None


@pytest.mark.parametrize(("function", "exact", "slope"), [
    (lambda x: jnp.exp(x.astype(jnp.float32)).astype(x.dtype), np.exp, np.exp),
    (lambda x: jax.lax.map(lambda v: jnp.sin(v.astype(jnp.float32)).astype(x.dtype), x), np.sin, np.cos),
    (ruled(jnp.sin, lambda s, u: ((jnp.cos(s[0].astype(jnp.float32)) * u.astype(jnp.float32)).astype(u.dtype),)),
     np.sin, np.cos),
    (lambda x: jnp.sin(x.astype(jnp.float32)), np.sin, np.cos),
], ids=["inside", "in a loop", "in the rule", "outside"])
def test_code_that_narrows_has_a_twin_in_which_it_does_not(function: Any, exact: Any, slope: Any) -> None:
    twin = target_of(function, X).cast("float64")
    np.testing.assert_allclose(twin.forward(twin.point)["out"], exact(twin.point["x"]), rtol=1e-15)
    np.testing.assert_allclose(gradients(twin)["x"], slope(twin.point["x"]), rtol=1e-15)


def test_draws_of_a_fixed_width_have_a_twin() -> None:
    target = target_of(lambda x: x * jax.random.normal(jax.random.key(0), x.shape, jnp.float32), X)
    np.testing.assert_array_equal(gradients(target)["x"], gradients(target.cast("float64"))["x"])


def test_without_a_twin_the_note_says_so() -> None:
    report = gv.check(lambda x: jnp.exp(x) if x.dtype == jnp.float32 else 1 / 0, X, search="none")
    assert any("its own dtype alone" in note for note in report.notes)


def test_no_call_changes_the_point_and_every_call_answers_the_same() -> None:
    target = target_of(jax.jit(lambda x: x * 2 + 1, donate_argnums=0), X)
    kept = {name: value.copy() for name, value in target.point.items()}
    first, again = [(target.forward(target.point), gradients(target)) for _ in range(2)]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_equal(a, b)
    np.testing.assert_equal(target.point, kept)


def test_a_pullback_holds_the_values_it_was_made_at() -> None:
    target = target_of(jnp.square, X)
    outputs, pullback = target.linearize(target.point, None)
    before = pullback(ones_like(outputs))["x"]
    target.point["x"][...] = 0
    np.testing.assert_array_equal(pullback(ones_like(outputs))["x"], before)
    assert np.asarray(X).any()


def test_an_output_without_a_cotangent_counts_as_zero() -> None:
    target = target_of(lambda x, y: (x * y, jnp.exp(y), jnp.argmax(x)), X, X)
    outputs, pullback = target.linearize(target.point, None)
    assert list(outputs) == ["out[0]", "out[1]"]
    found = pullback({"out[1]": np.ones((2, 3))})
    assert not found["x"].any()
    np.testing.assert_allclose(found["y"], np.exp(X), rtol=1e-6)


@pytest.mark.parametrize("function", [
    ruled(jnp.tanh, lambda s, u: (u * (1 - s**2),), save=jnp.tanh),
    jnp.tanh,
    jax.jit(lambda x: jnp.tanh(x) * 2),
    jax.vmap(jnp.tanh),
], ids=["rule", "function", "jit", "vmap"])
def test_rounding_in_the_residuals_changes_the_gradient_in_saturation(function: Any) -> None:
    target = target_of(function, jnp.array([5.0]))
    (exact,), (moved,) = gradients(target).values(), gradients(target, ulps(1.0)).values()
    assert abs(moved - exact) > 1e-4 * abs(exact)
    np.testing.assert_equal(*[list(gradients(target).values()) for _ in range(2)])


def test_indices_and_exact_results_are_not_perturbed() -> None:
    target = target_of(lambda x: (x[jnp.floor(3 * x[0, 0]).astype(int)] * jnp.sign(x)).sum(), jnp.ones((2, 2)))
    np.testing.assert_allclose(gradients(target, ulps(1.0))["x"], gradients(target)["x"], rtol=1e-6)


@pytest.mark.parametrize("x64", [False, True])
def test_a_forward_that_cancels_does_not_fail_its_right_derivative(x64: bool) -> None:
    with wide(x64):
        report = gv.check(lambda x: (1 - jnp.cos(x)) / x**2, jnp.array([1e-4, 3e-6, 1e-3]), search="none")
    assert report.verdict is not Verdict.FAIL, str(report)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_every_number_of_a_dtype_comes_back_as_it_is(dtype: Any) -> None:
    x = jnp.arange(1, 2**15).astype(jnp.int16).view(jnp.bfloat16).astype(dtype)
    x = x[jnp.isfinite(x) & (jnp.abs(x) > jnp.finfo(dtype).tiny)]  # XLA flushes subnormal numbers
    target = target_of(lambda x: x * 1, x)
    assert target.dtype == str(x.dtype)
    np.testing.assert_array_equal(target.forward(target.point)["out"], np.asarray(x, np.float64))


def test_a_host_point_is_rounded_to_bfloat16_once() -> None:
    # Both are ties; float32 would lose the bit that decides them.
    low, high, bit = 1 + 2**-8, 1 + 3 * 2**-8, 2**-40
    found = rounded(np.array([low, low + bit, high, high - bit, 1e300, -np.inf, np.nan, 0]), "bfloat16")
    expected = [1, 1 + 2**-7, 1 + 2**-6, 1 + 2**-7, np.inf, -np.inf, np.nan, 0]
    np.testing.assert_array_equal(found.astype(np.float64), expected)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    W: Any
    b: Any

    def __call__(self, x: Any) -> Any:
        return x @ self.W + self.b

    def loss(self, x: Any) -> Any:
        return jnp.sum(self(x))


@pytest.mark.parametrize(("obj", "inputs", "name", "leaves"), [
    (affine, (PARAMS, X), "affine", ["p.W", "p.b", "x"]),
    (jax.jit(affine), (PARAMS, X), "affine", ["p.W", "p.b", "x"]),
    (functools.partial(affine, PARAMS), (X,), "affine", ["x"]),
    (Layer(PARAMS["W"], PARAMS["b"]), (X,), "Layer", ["x", "W", "b"]),
    (Layer(PARAMS["W"], PARAMS["b"]).loss, (X,), "Layer.loss", ["x", "W", "b"]),
    (lambda W: Layer(W, 0)(X), (PARAMS["W"],), "<lambda>", ["W"]),
    (lambda m, *args: m(args[1][0]), (Layer(PARAMS["W"], None or 0.0), 3, (X,)), "<lambda>",
     ["m.W", "m.b", "args[1][0]"]),
])
def test_names_and_leaves_of_every_kind_of_target(obj: Any, inputs: Any, name: str, leaves: list[str]) -> None:
    target = target_of(obj, *inputs)
    assert (target.name, list(target.point)) == (name, leaves)


def test_a_part_of_a_module_named_like_an_input_keeps_apart() -> None:
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Scale:
        x: Any

        def __call__(self, x: Any) -> Any:
            return self.x * x * x

    computed = gradients(target_of(Scale(X), X + 1))
    np.testing.assert_allclose(computed["self.x"], (X + 1) ** 2, rtol=1e-6)
    np.testing.assert_allclose(computed["x"], 2 * X * (X + 1), rtol=1e-6)


def test_python_floats_are_leaves_where_the_code_can_be_differentiated_by_them() -> None:
    function = lambda x, a: jnp.sin(x) * a  # noqa: E731
    assert list(target_of(function, X, 0.5).point) == ["x", "a"]
    assert list(target_of(functools.partial(jax.jit, static_argnums=1)(function), X, 0.5).point) == ["x"]
    assert list(target_of(function, X, kwargs={"a": 0.5}).point) == ["x"]
    assert list(target_of(function, X, kwargs={"a": X}).point) == ["x", "a"]
    assert target_of(function, X.astype(jnp.bfloat16), 0.5).dtype == "bfloat16"


def test_settings_of_a_custom_rule_are_constants() -> None:
    clipped = jax.custom_vjp(lambda a, x: jnp.clip(x, -a, a), nondiff_argnums=(0,))
    clipped.defvjp(lambda a, x: (clipped(a, x), x), lambda a, x, u: (jnp.where(abs(x) < a, u, 0),))
    assert list(target_of(clipped, 0.5, X).point) == ["x"]
    assert gv.check(clipped, 0.5, X, search="none").ok


def test_code_is_traced_once_unless_it_reads_values() -> None:
    calls: list[int] = []

    def counted(x: Any) -> Any:
        calls.append(1)
        return jnp.sin(x)

    target = target_of(counted, X, mode="reverse")
    for _ in range(3):
        gradients(target)
        target.forward(target.point)
    assert len(calls) == 2  # the forward and its linearization
    branching = target_of(lambda x: jnp.sin(x) if x.sum() > 0 else -x, X)
    for sign in (1, -1):
        y = branching.forward({"x": sign * np.ones((2, 3))})["out"]
        np.testing.assert_allclose(y, np.sin(1) if sign == 1 else 1.0, rtol=1e-6)


def test_forward_mode_is_adjoint_and_its_absence_is_no_error() -> None:
    target = target_of(scanned, X[0], X)
    v = {name: RNG.standard_normal(x.shape).astype(np.float32) for name, x in target.point.items()}
    jv = target.pushforward(target.point, v)
    assert dot(ones_like(jv), jv) == pytest.approx(dot(gradients(target), v), rel=1e-5)
    alone = target.pushforward(target.point, {"w": v["w"]})
    assert not np.allclose(alone["out[1]"], jv["out[1]"])
    assert target_of(WRONG[0][1], X).pushforward is None
    assert target_of(jnp.sin, X, mode="reverse").pushforward is None


@pytest.mark.parametrize("function", [jnp.square, ruled(jnp.square, lambda s, u: (2 * s[0] * u,))])
def test_a_hessian_product_is_that_of_the_gradient(function: Any) -> None:
    target = target_of(lambda x, y: jnp.sum(function(x) * x) + y, X, 1.0, order=2)
    product = target.higher(target.point, {"out": np.ones(())}, [{"x": np.ones((2, 3))}])
    np.testing.assert_allclose(product["x"], 6 * X, rtol=1e-6)


def test_second_order_is_judged() -> None:
    with wide():
        report = gv.check(lambda x: jnp.sum(jnp.tanh(x) ** 2), jnp.asarray(RNG.normal(size=3)), order=2, search="none")
    assert report.ok, str(report)
    assert {c.order for c in report.checks} == {1, 2}


def test_a_reference_judges_a_kernel_of_low_precision() -> None:
    def kernel(x: Any, scale: float = 1.0) -> Any:
        return (scale * jnp.tanh(x.astype(jnp.float32))).astype(x.dtype)

    x = X.astype(jnp.bfloat16)
    assert gv.check(kernel, x, reference=jnp.tanh, search="none").ok
    wrong = functools.partial(kernel, scale=1.5)
    assert gv.check(wrong, x, reference=jnp.tanh, search="none").verdict is Verdict.FAIL


def test_the_parts_of_a_reference_module_are_matched_by_name_and_shape() -> None:
    target = target_of(Layer(PARAMS["W"], PARAMS["b"]), X)
    moved = {name: value + 1 for name, value in target.point.items()}
    forward = target.substitute(Layer(0 * PARAMS["W"], PARAMS["b"]), "float64")
    expected = moved["x"].astype(float) @ moved["W"] + moved["b"]
    np.testing.assert_allclose(forward(moved)["out"], expected, rtol=1e-14)
    assert target.substitute(lambda x: x.sum(), None)(moved)["out"] == pytest.approx(moved["x"].sum(), rel=1e-6)
    with pytest.raises(ValueError, match=r"W of shape \(3, 5\) is not among those of Layer"):
        target.substitute(Layer(jnp.ones((3, 5)), 0), None)


def test_a_straight_through_gradient_is_right_for_what_it_stands_for() -> None:
    rounding = ruled(lambda x: jnp.round(x), lambda s, u: (u,))  # noqa: PLW0108 - round takes more
    assert gv.check(rounding, X, surrogate=lambda x: x, search="none").ok


@pytest.mark.parametrize(("obj", "inputs", "message"), [
    (jnp.negative, (jnp.arange(3),), "no floating input"),
    (jnp.argmax, (X,), r"no floating output \(out is int32\)"),
    (lambda x: None, (X,), "it returns NoneType, not an array"),
    (jnp.sin, (np.ones(2, np.longdouble),), "x is longdouble"),
    (3, (X,), "target=3: must be callable"),
    (lambda x: x @ jnp.ones(9), (X,), "dot_general"),
])
def test_what_cannot_be_checked_is_refused_by_name(obj: Any, inputs: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        target_of(obj, *inputs)


def product(a: Any, b: Any) -> Any:
    return a * b


Z = X + 1j * X[::-1]


def test_complex_leaves_and_outputs_come_in_parts_and_rules_see_jaxs_convention() -> None:
    seen: list[Any] = []

    def back(saved: Any, dy: Any) -> Any:
        seen.append(dy)
        return dy * saved[1], dy * saved[0]

    target = target_of(ruled(product, back), Z, Z + 1)
    assert list(target.point) == ["a.real", "a.imag", "b.real", "b.imag"]
    outputs, pullback = target.linearize(target.point, None)
    u = {"out.real": np.ones((2, 3)), "out.imag": 2 * np.ones((2, 3))}
    computed = pullback(u)
    np.testing.assert_allclose(computed["a.real"] + 1j * computed["a.imag"], (1 + 2j) * (Z + 1).conj(), rtol=1e-6)
    np.testing.assert_allclose(outputs["out.imag"], (Z * (Z + 1)).imag, rtol=1e-6)


@pytest.mark.parametrize(("rule", "verdict"), [
    (lambda s, dy: (dy * s[1], dy * s[0]), Verdict.PASS),
    (lambda s, dy: (dy * s[1].conj(), dy * s[0]), Verdict.FAIL),
])
def test_a_conjugate_too_many_is_named(rule: Any, verdict: Verdict) -> None:
    report = gv.check(ruled(product, rule), Z, Z + 1, search="none")
    assert report.verdict is verdict, str(report)
    assert {c.causes[0].name for c in report.checks if c.causes} == ({"conj-missing"} if verdict == "fail" else set())


def test_jax_is_not_imported_to_find_out() -> None:
    code = ("import sys, gradverify as gv, numpy as np; "
            "gv.check(gv.function(np.sin, derivative=np.cos), 0.3); print('jax' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_equinox_module_brings_its_arrays() -> None:
    eqx = pytest.importorskip("equinox")
    net = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    target = target_of(net, X[0])
    layers = [f"layers[{i}].{part}" for i in range(2) for part in ("weight", "bias")]
    assert list(target.point) == ["x", *layers]
    np.testing.assert_array_equal(gradients(target)["layers[1].bias"], [1.0, 1.0])
    assert gv.check(net, X[0], search="none").ok


def test_flax_modules_are_targets() -> None:
    linen, nnx = pytest.importorskip("flax.linen"), pytest.importorskip("flax.nnx")
    dense = linen.Dense(2)
    target = target_of(dense.apply, dense.init(jax.random.key(0), X), X)
    assert [name.rsplit(".", maxsplit=1)[-1] for name in target.point] == ["bias", "kernel", "args[0]"]
    norm = target_of(nnx.BatchNorm(3, rngs=nnx.Rngs(0)), X)
    np.testing.assert_equal(norm.forward(norm.point), norm.forward(norm.point))


@pytest.mark.parametrize("wrong", [False, True])
def test_a_loop_that_has_a_forward_mode_alone_is_judged_in_that(wrong: bool) -> None:
    sine = jax.custom_jvp(jnp.sin)
    sine.defjvp(lambda p, t: (jnp.sin(p[0]), (1.01 if wrong else 1.0) * jnp.cos(p[0]) * t[0]))
    loop = lambda x: jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, sine(c[1])), (0, x))[1]  # noqa: E731
    report = gv.check(loop, X)
    assert report.verdict == ("fail" if wrong else "pass")
    assert {c.mode for c in report.checks} == {"forward"}
    assert any("no reverse mode" in note for note in report.notes)
    assert gv.check(loop, X, mode="reverse").verdict == "inconclusive"
