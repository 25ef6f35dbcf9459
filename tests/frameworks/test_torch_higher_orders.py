"""Second and third derivatives of PyTorch code: right ones pass, wrong ones fail at their order."""

from __future__ import annotations

import pytest

import gradverify as gv
from tests.higher_orders import X, all_three_orders_pass, fails_first_at, third_derivative_is_of_the_cotangent

torch = pytest.importorskip("torch")

from tests.torch_functions import elementwise, elementwise_by  # noqa: E402

POINT = torch.tensor(X)
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


RIGHT = [
    torch.tanh, lambda x: (torch.exp(x) * x).sum(), sine, cosine, lambda x: torch.nn.functional.gelu(x) @ x.T,
]  # fmt: skip


@pytest.mark.parametrize("function", RIGHT)
def test_right_derivatives_of_all_three_orders_pass(function):
    all_three_orders_pass(function, POINT)


@pytest.mark.parametrize(("function", "order"), [(second_order_detached, 2), (third_order_wrong, 3)])
def test_a_derivative_that_is_wrong_at_one_order_fails_there_and_not_below(function, order):
    fails_first_at(function, POINT, order)


@pytest.mark.parametrize(("function", "failing"), [
    (right_in_both, None), (wrong_by_duals, "forward over reverse"), (wrong_twice_back, "reverse"),
], ids=["right in both", "wrong by dual numbers", "wrong backward through backward"])
def test_each_composition_of_modes_is_judged(function, failing):
    report = gv.check(function, POINT, order=2, search="none")
    second = {check.mode: check.verdict for check in report.checks if check.order == 2}
    assert second.keys() == {"reverse", "forward over reverse", "upstream"}, str(report)
    assert {mode for mode, verdict in second.items() if verdict is gv.Verdict.FAIL} == ({failing} - {None}), str(report)


def test_a_third_derivative_is_that_of_the_cotangent_given():
    third_derivative_is_of_the_cotangent(lambda x: x**4, POINT)


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
        gv.check(Once.apply, POINT, order=3)


def test_a_network_is_linear_in_its_last_bias_and_its_second_and_third_derivative_there_a_zero_that_passes():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
    report = gv.check(net, torch.ones(1, 2, dtype=torch.float64), order=3, search="none")
    assert report.ok, str(report)
    rows = [c for c in report.checks if c.wrt == "2.bias" and c.mode != "upstream"]
    assert [c.reason for c in rows] == ["", "", "zero", "zero", "zero"]


def by_its_upstream_gradient(factor):
    """A cube whose backward has a rule of its own, with this factor in what it sends to its upstream gradient."""

    class Slope(torch.autograd.Function):
        @staticmethod
        def forward(ctx, dy, x):
            ctx.save_for_backward(dy, x)
            return 3 * x**2 * dy

        @staticmethod
        def backward(ctx, g):
            dy, x = ctx.saved_tensors
            return factor * g * 3 * x**2, g * 6 * x * dy

    return elementwise_by(lambda x: x**3, Slope.apply)


@pytest.mark.parametrize(("factor", "failing"), [(1.0, []), (0.5, ["upstream"]), (0.0, ["upstream"])])
def test_a_backward_is_differentiated_by_its_upstream_gradient_too(factor, failing):
    report = gv.check(by_its_upstream_gradient(factor), POINT, order=2, search="none")
    failed = [check for check in report.checks if check.verdict is gv.Verdict.FAIL]
    assert [check.mode for check in failed] == failing
    assert "of the backward by its upstream gradient" in str(report) or not failing
    assert {check.causes[0].name for check in failed} <= {"factor", "zero-gradient"}


def test_outputs_that_no_leaf_reaches_send_nothing_back_in_any_order():
    assert gv.check(lambda x: (x.sin(), torch.ones(2, dtype=x.dtype)), POINT, order=2, search="none").ok
