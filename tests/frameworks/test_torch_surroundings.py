"""What surrounds a rule in PyTorch: random numbers, checkpoints, layouts, the compiler, what no gradient comes near."""

from __future__ import annotations

from typing import Any

import pytest

import gradverify as gv

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

X = torch.linspace(-1.3, 1.7, 20, dtype=torch.float64).reshape(4, 5)


def causes(report: Any) -> set[str]:
    return {c.causes[0].name for c in report.checks if c.verdict == "fail"}


class Recomputed(torch.autograd.Function):
    """A checkpoint of one's own, which forgets the random state unless it `keeps` it."""

    @staticmethod
    def forward(ctx: Any, x: Any, keeps: bool) -> Any:
        ctx.state, ctx.keeps = torch.get_rng_state(), keeps
        ctx.save_for_backward(x)
        return nn.functional.dropout(x, 0.5) ** 2

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        if ctx.keeps:
            torch.set_rng_state(ctx.state)
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            y = nn.functional.dropout(x, 0.5) ** 2
        return torch.autograd.grad(y, x, dy)[0], None


def test_a_mask_that_the_backward_draws_again_is_another_one():
    assert gv.check(lambda x: Recomputed.apply(x, True), X, search="none").ok
    wrong = gv.check(lambda x: Recomputed.apply(x, False), X, search="none")
    assert causes(wrong) == {"redrawn"}


@pytest.mark.parametrize(("keeps", "verdict"), [(True, "pass"), (False, "fail")])
def test_a_checkpoint_has_to_keep_the_random_state(keeps, verdict):
    net = nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5), nn.Tanh()).double()

    def run(x: Any) -> Any:
        return checkpoint(net, x, use_reentrant=False, preserve_rng_state=keeps)

    report = gv.check(run, X, search="none")
    assert report.verdict == verdict
    assert causes(report) == (set() if keeps else {"redrawn"})


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpoints_are_judged_and_what_they_drop_is_found():
    net = nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5), nn.Tanh()).double()
    given = gv.check(lambda x: checkpoint(net, x, use_reentrant=True), X, search="none")
    assert given.ok
    assert {c.wrt for c in given.checks} == {"x", "net.0.weight", "net.0.bias"}
    assert causes(gv.check(lambda x: checkpoint(net, x, use_reentrant=True), X)) == {"subset"}


class WrongUnlessContiguous(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return dy * (2 if ctx.saved_tensors[0].is_contiguous() else 3)


def test_inputs_that_are_not_contiguous_are_tried():
    assert causes(gv.check(WrongUnlessContiguous, X)) == {"input-layout"}
    assert gv.check(lambda x: x.t().contiguous().view(-1) * 2, X).ok
    assert gv.check(nn.Dropout(0.5), X).ok  # which draws in the order of memory


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_an_oracle_runs_compiled_code_as_it_is_written():
    graphs = []

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    assert gv.check(torch.compile(lambda x: torch.tanh(x) @ x.T, backend=backend), X).ok
    assert len(graphs) <= 8  # of the function itself; of the oracle's own code there were dozens


class Float32Tanh(torch.autograd.Function):
    """Recomputes in its backward: nothing that it saved shows what 1 - tanh^2 loses in saturation."""

    @staticmethod
    def forward(ctx: Any, x: Any, factor: float) -> Any:
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        ctx.save_for_backward(x)
        ctx.factor = factor
        return torch.tanh(x)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return ctx.factor * dy * (1 - torch.tanh(ctx.saved_tensors[0]) ** 2), None


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.0001, "fail")])
def test_what_a_reference_loses_in_the_same_dtype_a_kernel_may_lose(factor, verdict):
    report = gv.check(lambda x: Float32Tanh.apply(x, factor), torch.linspace(-4, 4, 20), reference=torch.tanh)
    assert report.verdict == verdict


def test_no_gradient_is_missed_where_the_forward_jumps_away_and_back():
    # Of equal columns the second has no direction of its own: Q is one thing there and another beside it.
    assert gv.check(torch.linalg.qr, X.sin()[:, :3] + torch.eye(4, 3, dtype=torch.float64)).ok
    assert causes(gv.check(lambda x: torch.where(x > 0, x.sqrt(), 0 * x), X)) == {"nonfinite"}
