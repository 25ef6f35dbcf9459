"""Mixed precision in PyTorch: the formula is judged in float64 throughout, the rest by the coarsest dtype on the way."""

from __future__ import annotations

from typing import Any

import pytest

import gradverify as gv

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from gradverify.frameworks.torch.widening import Widened  # noqa: E402

X = torch.linspace(-1.3, 1.7, 20).reshape(5, 4)
W = torch.linspace(0.4, -0.9, 16).reshape(4, 4)


class RMSNorm(nn.Module):
    """As language models have it: bfloat16 outside, float32 inside."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))

    def forward(self, x: Any) -> Any:
        h = x.float()
        return self.weight * (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def linear(*, answer: Any = None) -> Any:
    layer = nn.Linear(4, 3)

    def run(x: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return layer(x) if answer is None else layer(x).to(answer)

    return run


class Product(torch.autograd.Function):
    """A matrix product in bfloat16 for matrices in float32, whose backward is off by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, factor: float) -> Any:
        ctx.save_for_backward(x, w)
        ctx.factor = factor
        return (x.bfloat16() @ w.bfloat16()).float()

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, w = (saved.bfloat16() for saved in ctx.saved_tensors)
        dy = ctx.factor * dy.bfloat16()
        return (dy @ w.t()).float(), (x.t() @ dy).float(), None


RIGHT = [
    (RMSNorm(), (X.bfloat16(),), "float32 within bfloat16"),
    (linear(), (X,), "autocast, and a result in bfloat16"),
    (linear(answer=torch.float32), (X,), "autocast, and a result in float32"),
    (lambda x, w: Product.apply(x, w, 1.0), (X, W), "a kernel that casts"),
    (lambda x: x.float().sin().double(), (X.double(),), "float32 within float64"),
]


@pytest.mark.parametrize(("target", "inputs", "note"), RIGHT, ids=[row[-1] for row in RIGHT])
def test_right_code_in_mixed_precision_passes(target, inputs, note):
    assert gv.check(target, *inputs).ok


@pytest.mark.parametrize("factor", [0.5, 1.0001])
def test_a_formula_that_is_wrong_by_less_than_a_rounding_is_found_behind_the_casts(factor):
    report = gv.check(lambda x, w: Product.apply(x, w, factor), X, W, search="none")
    assert {c.causes[0].name for c in report.checks if c.verdict == "fail"} == {"factor"}


def test_what_is_computed_in_a_coarser_dtype_is_named():
    notes = gv.check(linear(answer=torch.float32), X, search="none").notes
    assert any("computes in bfloat16 on the way" in note for note in notes)
    assert gv.check(lambda x: x.sin() * torch.tensor(0.5, dtype=torch.float64).float(), X.double(), search="none").notes == ()


def test_a_reference_in_the_dtype_of_the_inputs_says_that_narrowing_was_not_meant():
    report = gv.check(lambda x, w: Product.apply(x, w, 1.0), X, W, reference=lambda x, w: x @ w, search="none")
    assert "value" in {c.reason for c in report.checks if c.verdict == "fail"}


def test_in_place_results_and_constants_are_widened_too():
    with Widened():
        y = torch.zeros(2, dtype=torch.float32)
        y.add_(torch.full((2,), 0.1, dtype=torch.float16))
        z = y @ torch.ones(2, 2, dtype=torch.bfloat16)
    assert (y.dtype, z.dtype) == (torch.float64, torch.float64)
    with Widened(), pytest.raises(TypeError, match="reads the bits"):
        torch.ones(2, dtype=torch.float64).view(torch.int64)


def test_what_was_there_before_is_written_to_in_its_own_dtype():
    c, d = torch.ones(2), torch.zeros(2)
    half = torch.full((2,), 0.5, dtype=torch.float16)
    with Widened():
        c.add_(1)
        torch.mul(half, 2, out=d)
        e = torch.zeros(2)
        torch.mul(c.to(torch.float16).float(), 1, out=e)
    assert torch.equal(c, torch.full((2,), 2.0))
    assert torch.equal(e, torch.full((2,), 2.0, dtype=torch.float64))
    assert torch.equal(d, torch.ones(2))
    with Widened(), pytest.raises(TypeError, match="rounds float64 numbers into a coarser tensor"):
        d.copy_(torch.ones(2))


class Square(torch.autograd.Function):
    """Computes in a buffer, in float32 for an input in bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Any, scratch: Any, factor: float) -> Any:
        ctx.save_for_backward(x)
        ctx.factor = factor
        made = torch.zeros(x.shape)
        torch.mul(x.float(), x.float(), out=made)
        torch.mul(made, 1.0, out=scratch)
        return scratch.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        (x,) = ctx.saved_tensors
        return (ctx.factor * x.float() * dy.float()).to(dy.dtype), None, None


@pytest.mark.parametrize(("factor", "verdict"), [(2.0, "pass"), (1.999, "fail")])
def test_a_result_that_goes_to_a_buffer_is_not_lost(factor, verdict):
    scratch = nn.Module()
    scratch.register_buffer("own", torch.zeros(5, 4))
    report = gv.check(lambda x: Square.apply(x, scratch.own, factor), X.bfloat16(), search="none", mode="reverse")
    assert report.verdict == verdict


def test_random_numbers_and_constants_are_the_same_widened():
    def made() -> Any:
        torch.manual_seed(0)
        return torch.rand(3), torch.full((2,), 0.1, dtype=torch.float16)

    plain = made()
    with Widened():
        wide = made()
    assert {t.dtype for t in wide} == {torch.float64}
    assert all(torch.equal(a.double(), b) for a, b in zip(plain, wide, strict=True))
