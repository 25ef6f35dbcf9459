"""Kinds of PyTorch code as they are met: hooks, custom operators, layouts, records, autocast, scaled losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

import gradverify as gv

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from gradverify.frameworks.torch.facts import on_device  # noqa: E402

X = torch.linspace(-1.3, 1.7, 12, dtype=torch.float64).reshape(3, 4)


def cube_operator(factor: float) -> Any:
    """A custom operator whose registered backward has this factor."""

    @torch.library.custom_op(f"gradverify_tests::cube{int(factor)}", mutates_args=())
    def cube(x: torch.Tensor) -> torch.Tensor:
        return x**3

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])

    cube.register_autograd(lambda ctx, g: factor * g * ctx.saved_tensors[0] ** 2, setup_context=keep)
    return cube


CUBES = {factor: cube_operator(factor) for factor in (3.0, 2.0)}


@pytest.mark.parametrize(("factor", "verdict"), [(3.0, "pass"), (2.0, "fail")])
def test_a_custom_operator_is_judged_in_the_mode_it_has(factor, verdict):
    report = gv.check(CUBES[factor], X, search="none")
    assert report.verdict == verdict
    assert {c.mode for c in report.checks} == {"reverse"}


def test_a_forward_mode_that_a_custom_operator_would_silently_drop_is_not_claimed():
    report = gv.check(lambda x: CUBES[3.0](x) + x, X, search="none")
    assert report.ok
    assert {c.mode for c in report.checks} == {"reverse"}


def test_a_tangent_known_to_be_zero_does_no_harm():
    # Under a dispatch mode PyTorch multiplies by it without looking, and the process ends.
    assert gv.check(lambda x: torch.ldexp(x, torch.tensor([1, 2, 3, 4])), X, search="none").ok


@pytest.mark.parametrize(("hook", "verdict"), [
    (lambda m: m[0].register_forward_hook(lambda m, i, y: 2 * y), "pass"),
    (lambda m: m[0].register_full_backward_hook(lambda m, dx, dy: tuple(2 * g for g in dx)), "fail"),
], ids=["a forward hook is part of the forward", "a backward hook that changes the gradient is wrong"])
def test_hooks_of_a_module_run(hook, verdict):
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()
    hook(net)
    assert gv.check(net, X, search="none").verdict == verdict


def test_channels_last_inputs_keep_their_layout():
    seen = []

    def conv(x: Any) -> Any:
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return nn.functional.conv2d(x, torch.ones(1, 2, 2, 2, dtype=x.dtype)).sin()

    x = torch.linspace(0, 1, 36, dtype=torch.float64).reshape(2, 2, 3, 3).to(memory_format=torch.channels_last)
    assert gv.check(conv, x, search="none").ok
    assert all(seen)


@dataclass
class Pair:
    a: Any
    b: Any


def test_dataclasses_go_in_and_come_out():
    report = gv.check(lambda p: Pair(p.a * p.b, p.a.sin()), Pair(X, X + 1), search="none")
    assert report.ok
    assert {c.wrt for c in report.checks} == {"p.a", "p.b"}


def test_a_surrogate_is_what_differences_follow_too():
    wrong = gv.check(lambda x: x * 1.0, X, surrogate=lambda x: -0.5 * x, search="none")
    assert wrong.verdict == "fail"


def test_autocast_around_the_check_is_named():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = gv.check(nn.Linear(4, 3), X.float(), search="none")
    assert any("autocast to bfloat16 is on" in note for note in report.notes)


def test_an_output_coarser_than_its_leaves_is_named():
    report = gv.check(lambda x: x.sin().to(torch.bfloat16), X.float(), search="none")
    assert any("out is bfloat16 where the leaves are float32" in note for note in report.notes)


def test_a_scaled_loss_is_named():
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    report = gv.check(lambda x: scaler.scale((x**2).sum()), X, search="none")
    assert report.ok
    assert any("scaled by 8" in note for note in report.notes)


def test_plain_code_on_the_host_needs_no_words():
    assert gv.check(torch.sin, X, search="none").notes == ()


@pytest.mark.parametrize(("setting", "word"), [(True, "on"), (False, "off")])
def test_a_device_says_its_name_and_what_tensorfloat_does(monkeypatch, setting, word):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = setting
        assert f"cuda:0 (Some GPU); TensorFloat-32 is {word} in matrix products" in on_device("cuda:0")
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_another_device_is_named():
    assert "mps" in on_device("mps:0")


def squared(rule: Any) -> Any:
    """A `Function` with a rule of its own for vmap."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x**2

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(inputs[0])

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return 2 * ctx.saved_tensors[0] * dy

        @staticmethod
        def vmap(info: Any, in_dims: Any, x: Any) -> Any:
            return rule(Square, x), in_dims[0]

    return Square


RULES = [
    (lambda f, x: f.apply(x), "pass", "each sample its own"),
    (lambda f, x: f.apply(x[:1].expand_as(x)), "fail", "the first sample's values for all"),
    (lambda f, x: f.apply(x.detach()) + 2 * x.detach() * (x - x.detach()).sum(0), "fail", "gradients mixed"),
]


@pytest.mark.parametrize(("rule", "verdict", "note"), RULES, ids=[row[-1] for row in RULES])
def test_a_rule_for_vmap_must_give_what_a_call_of_its_own_gives(rule, verdict, note):
    report = gv.check(squared(rule), X)
    assert report.verdict == verdict
    assert {c.name for check in report.checks for c in check.causes} == ({"vmap"} if verdict == "fail" else set())


def test_a_module_with_random_numbers_is_the_same_sample_by_sample():
    assert gv.check(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Tanh()).double(), X).ok


def test_under_vmap_a_target_is_compared_with_itself_not_with_its_surrogate():
    reversal = gv.check(lambda x: x + (-2 * x.detach() + 2 * x.detach()), X, surrogate=lambda x: 1.0 * x + 5.0)
    assert reversal.ok


def test_a_gradient_on_symmetric_matrices_is_called_that_and_passes_where_they_are_meant():
    spd = X @ X.T + 2 * torch.eye(3, dtype=torch.float64)
    report = gv.check(torch.linalg.cholesky, spd, search="none", mode="reverse")
    assert [c.causes[0].name for c in report.checks] == ["symmetrised"]
    assert gv.check(torch.linalg.cholesky, spd, search="none", mode="reverse", domain={"x": "symmetric"}).ok


class Normalised(torch.autograd.Function):
    """``x / |x|`` and the norm, which is marked as no differentiable output."""

    @staticmethod
    def forward(ctx, x, factor):
        norm = x.norm(dim=-1, keepdim=True)
        ctx.mark_non_differentiable(norm)
        ctx.save_for_backward(x / norm, norm)
        ctx.factor = factor
        return x / norm, norm

    @staticmethod
    def backward(ctx, dy, _):
        y, norm = ctx.saved_tensors
        return ctx.factor * (dy - y * (dy * y).sum(-1, keepdim=True)) / norm, None


@pytest.mark.parametrize("target", [
    lambda x: Normalised.apply(x, 1.0), lambda x: (x.sin(), x.cos().detach()), lambda x: {"y": x.sin(), "s": torch.ones(2).double()},
])  # fmt: skip
def test_an_output_without_a_graph_beside_others_is_a_constant_and_named(target):
    x = torch.linspace(0.3, 1.9, 12, dtype=torch.float64).reshape(3, 4)
    for each in (x, x.float()):
        report = gv.check(target, each, search="none")
        assert report.ok
        assert any("has no graph" in note for note in report.notes)


def test_the_other_outputs_are_judged_and_a_constant_one_where_it_is_named():
    x = torch.linspace(0.3, 1.9, 12, dtype=torch.float64).reshape(3, 4)
    assert gv.check(lambda x: Normalised.apply(x, 1.001), x, search="none").verdict == "fail"
    assert gv.check(lambda x: Normalised.apply(x, 1.0), x, outputs="out[1]", search="none").verdict == "fail"
    assert gv.check(lambda x: x.sin().detach(), x, search="none").verdict == "fail"
    assert gv.check(lambda x: (x.sin().detach(), x.cos().detach()), x, search="none").verdict == "fail"


class Reversing(torch.autograd.Function):
    """The sine, whose rule for vmap turns the batch round."""

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.saved_tensors[0].cos()

    @staticmethod
    def vmap(info, dims, x):
        return Reversing.apply(x.movedim(dims[0], 0).flip(0)), 0


def test_a_rule_for_vmap_that_reverses_the_batch_is_found():
    report = gv.check(Reversing, torch.linspace(0.3, 1.9, 4, dtype=torch.float64))
    assert {c.reason for c in report.checks if c.verdict == "fail"} == {"vmap"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_constant_in_a_coarser_dtype_is_no_noise(dtype):
    c, x = torch.linspace(0.3, 1.7, 12).reshape(3, 4), torch.linspace(-1.1, 1.9, 12, dtype=dtype).reshape(3, 4)
    (given, *_) = gv.check(lambda x: (x * c).sin(), x, search="none").checks
    assert given.verdict == "pass"
    assert given.resolution < 1e-10
    # What is narrowed on the way is none.
    report = gv.check(lambda x: (x.float() * c).sin().to(dtype), x, search="none")
    assert report.ok
