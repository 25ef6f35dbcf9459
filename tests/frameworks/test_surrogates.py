"""Straight-through estimators: a surrogate that detaches is differentiated as its own framework does, nothing trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify as gv
from gradverify.frameworks.holding import Kept

X = np.linspace(-1.3, 1.7, 12).reshape(3, 4) + 0.013

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

T = torch.tensor(X)


class Through(torch.autograd.Function):
    """round(3 x) / 3 with the slope `factor`."""

    @staticmethod
    def forward(ctx: Any, x: Any, factor: float) -> Any:
        ctx.factor = factor
        return torch.round(3 * x) / 3

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return ctx.factor * dy, None


class Sine(torch.autograd.Function):
    """A right one, inside a surrogate."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return torch.from_numpy(np.sin(x.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return dy * ctx.saved_tensors[0].cos()


sine = Sine.apply


def q(x: Any) -> Any:
    return torch.round(3 * x) / 3


def under_no_grad(x: Any) -> Any:
    with torch.no_grad():
        c = q(x) - x
    return x + c


def written(x: Any) -> Any:
    c = q(x) - x
    c.detach_()
    return x + c


def clipped(x: Any) -> Any:
    """Straight through within [-1, 1]."""
    y = x.clamp(-1, 1)
    return y + (q(x) - y).detach()


def by_item(x: Any) -> Any:
    return x + torch.tensor([[v - u for u, v in zip(a, b, strict=True)] for a, b in zip(x.tolist(), q(x).tolist(), strict=True)])


IDENTITIES = [
    (lambda x: x + (q(x) - x).detach(), "detach"),
    (lambda x: x + (q(x) - x).data, "data"),
    (under_no_grad, "no_grad"),
    (by_item, "numbers of Python"),
    (nn.Identity(), "a module"),
    (lambda x: x, "nothing detached"),
]


@pytest.mark.parametrize(("surrogate", "note"), IDENTITIES, ids=[row[1] for row in IDENTITIES])
@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.001, "fail"), (0.0, "fail")])
def test_a_straight_through_gradient_in_pytorch_is_judged_by_what_its_surrogate_detaches(surrogate, note, factor, verdict):
    report = gv.check(lambda x: Through.apply(x, factor), T, surrogate=surrogate, mode="reverse", search="none")
    assert report.verdict == verdict


def test_in_single_precision_too():
    surrogate = IDENTITIES[0][0]
    assert gv.check(lambda x: Through.apply(x, 1.0), T.float(), surrogate=surrogate, mode="reverse").ok
    assert not gv.check(lambda x: Through.apply(x, 1.01), T.float(), surrogate=surrogate, mode="reverse").ok


def clipping(x: Any, limit: float) -> Any:
    inside = (x.abs() <= limit).to(x.dtype).detach()
    return inside * x + (q(x) - inside * x).detach()


@pytest.mark.parametrize(("limit", "verdict"), [(1.0, "pass"), (1.5, "fail")])
def test_a_clipped_one_is_judged_entry_by_entry(limit, verdict):
    report = gv.check(lambda x: clipping(x, limit), T, surrogate=clipped, search="none", mode="reverse")
    assert report.verdict == verdict


def test_custom_functions_inside_a_surrogate_are_not_taken_for_constants():
    surrogate = lambda x: sine(x) + (q(x) - sine(x)).detach()  # noqa: E731
    right = lambda x: x.sin() + (q(x) - x.sin()).detach()  # noqa: E731
    assert gv.check(right, T, surrogate=surrogate, search="none", mode="reverse").ok
    report = gv.check(right, T, surrogate=lambda x: 1.01 * sine(x), search="none", mode="reverse")
    assert report.verdict == "fail"


def test_a_surrogate_without_a_graph_means_its_values():
    numbers = lambda x: torch.from_numpy(np.sin(x.detach().numpy()))  # noqa: E731
    assert gv.check(torch.sin, T, surrogate=numbers, search="none", mode="reverse").ok
    assert gv.check(torch.cos, T, surrogate=numbers, search="none", mode="reverse").verdict == "fail"


def test_a_parameter_that_the_surrogate_detaches_has_no_gradient():
    layer = nn.Linear(4, 2).double()
    frozen = lambda x: x @ layer.weight.detach().T + layer.bias  # noqa: E731
    assert gv.check(frozen, T, surrogate=frozen, search="none").ok
    report = gv.check(layer, T, surrogate=frozen, search="none")
    assert {c.wrt for c in report.checks if c.verdict == "fail"} == {"weight"}
    assert "what the surrogate detaches counts as a constant, as in its own gradient" in report.notes


def test_a_surrogate_that_detaches_other_parts_beside_the_point_is_not_decided():
    def wavering(x: Any) -> Any:
        return x + sum((x[0, 0] * 0).detach() for _ in range(3 if bool((x == T).all()) else 4))

    report = gv.check(lambda x: Through.apply(x, 1.0), T, surrogate=wavering, search="none", mode="reverse")
    assert report.verdict == "inconclusive"
    first = Kept()
    assert first(1.0) == 1.0
    with pytest.raises(TypeError, match="detaches other parts beside the point"):
        [(again := first.again())(2.0), again(3.0)]


def test_a_detached_part_under_vmap_is_refused_in_words():
    surrogate = torch.func.vmap(lambda r: r + (q(r) - r).detach())
    with pytest.raises(TypeError, match="detach inside a transformation of torch"):
        gv.check(lambda x: Through.apply(x, 1.0), T, surrogate=surrogate)
    assert gv.check(lambda x: 2 * x, T, surrogate=torch.func.vmap(lambda r: r + r), mode="reverse").ok


def test_a_wrong_straight_through_gradient_in_another_shape_is_found():
    class Doubling(Through):
        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return (dy if len(dy) % 2 else 2 * dy), None

    surrogate = IDENTITIES[0][0]
    report = gv.check(lambda x: Doubling.apply(x, 1.0), T, surrogate=surrogate, mode="reverse", search="deep")
    assert report.verdict == "fail"


def test_taylor_remainders_follow_the_surrogate_too():
    surrogate = IDENTITIES[0][0]
    assert gv.check_taylor(lambda x: Through.apply(x, 1.0), T, surrogate=surrogate).ok
    assert not gv.check_taylor(lambda x: Through.apply(x, 1.1), T, surrogate=surrogate).ok


def rounding_of_jax(factor: float) -> Any:
    jax = pytest.importorskip("jax")

    @jax.custom_jvp
    def rounded(x: Any) -> Any:
        return jax.numpy.round(3 * x) / 3

    rounded.defjvp(lambda primals, tangents: (rounded(*primals), factor * tangents[0]))
    return rounded


def surrogates_of_jax() -> dict[str, Any]:
    jax = pytest.importorskip("jax")
    stop, q = jax.lax.stop_gradient, lambda x: jax.numpy.round(3 * x) / 3
    plain = lambda x: x + stop(q(x) - x)  # noqa: E731
    rows = lambda reverse: lambda x: jax.lax.scan(lambda c, r: (c, plain(r)), 0.0, x, reverse=reverse)[1]  # noqa: E731
    return {
        "plain": plain, "jit": jax.jit(plain), "vmap": jax.vmap(plain), "scan": rows(False), "reverse scan": rows(True),
        "cond": lambda x: jax.lax.cond(x.sum() > -1e9, plain, lambda x: x, x), "checkpoint": jax.checkpoint(plain),
        "relu": lambda x: plain(jax.nn.relu(x) - jax.nn.relu(-x)),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["plain", "jit", "vmap", "scan", "reverse scan", "cond", "checkpoint", "relu"])
@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.01, "fail")])
def test_a_straight_through_gradient_in_jax(name, factor, verdict):
    jax = pytest.importorskip("jax")
    report = gv.check(rounding_of_jax(factor), jax.numpy.asarray(X), surrogate=surrogates_of_jax()[name], search="none")
    assert report.verdict == verdict


def test_a_stop_in_a_loop_of_jax_that_cannot_be_held_is_refused_in_words():
    jax = pytest.importorskip("jax")

    def loop(x: Any) -> Any:
        return jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] + jax.lax.stop_gradient(c[1])), (0, x))[1]

    with pytest.raises(TypeError, match="surrogate=: stop_gradient inside while cannot be held"):
        gv.check(lambda x: x + 0, jax.numpy.asarray(X), surrogate=loop, search="none")


def test_the_rule_of_a_custom_function_inside_a_surrogate_of_jax_is_not_its_forwards():
    jax = pytest.importorskip("jax")

    @jax.custom_jvp
    def sine(x: Any) -> Any:
        return jax.lax.stop_gradient(jax.numpy.sin(x))

    sine.defjvp(lambda p, t: (sine(*p), jax.numpy.cos(p[0]) * t[0]))
    surrogate = lambda x: sine(x) + jax.lax.stop_gradient(jax.numpy.round(x))  # noqa: E731
    assert gv.check(jax.numpy.sin, jax.numpy.asarray(X), surrogate=surrogate, search="none").ok


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.01, "fail")])
def test_a_straight_through_gradient_in_tensorflow(factor, verdict):
    tf = pytest.importorskip("tensorflow")

    @tf.custom_gradient
    def rounded(x: Any) -> Any:
        return tf.round(3 * x) / 3, lambda u: factor * u

    surrogate = lambda x: x + tf.stop_gradient(tf.round(3 * x) / 3 - x)  # noqa: E731
    for each in (surrogate, tf.function(surrogate)):
        report = gv.check(rounded, tf.constant(X), surrogate=each, search="none", mode="reverse")
        assert report.verdict == verdict
