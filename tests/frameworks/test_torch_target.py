"""The closures of a torch target: exact values, the layouts asked for, and nothing left behind."""

from __future__ import annotations

import functools
import random
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from gradverify.arrays import dot
from gradverify.records import Options

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from gradverify.frameworks.torch import make_target  # noqa: E402
from gradverify.frameworks.torch.tensors import arranged, from_host  # noqa: E402

RNG = np.random.default_rng(0)


def target_of(obj: Any, *inputs: Any, **keywords: Any) -> Any:
    return make_target(obj, inputs, Options(**keywords))


def drawn(*shape: int, dtype: Any = None) -> Any:
    return torch.tensor(RNG.standard_normal(shape), dtype=dtype or torch.float64)


def ones_like(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: np.ones_like(y) for name, y in outputs.items()}


def gradients(target: Any, perturb: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    outputs, pullback = target.linearize(target.point, perturb)
    return dict(pullback(ones_like(outputs)))


class Tanh(torch.autograd.Function):
    """Saves its output; the derivative cancels in saturation."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        (y,) = ctx.saved_tensors
        return dy * (1 - y * y)


class TanhOfAttribute(Tanh):
    """The same, with what it saves as an attribute."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.kept = [torch.tanh(x)]
        return ctx.kept[0].clone()

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return dy * (1 - ctx.kept[0] ** 2)


class Noted(torch.autograd.Function):
    """The identity, noting the layout of its input and of its upstream gradient."""

    seen: ClassVar[list[tuple[int, ...]]] = []

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        Noted.seen.append(x.stride())
        return x.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        Noted.seen.append(dy.stride())
        return dy


class Scaled(torch.autograd.Function):
    """x times a fixed factor; old style, with a keyword."""

    @staticmethod
    def forward(ctx: Any, x: Any, factor: float = 2.0) -> Any:
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return dy * ctx.factor, None


class Apart(torch.autograd.Function):
    """New style: forward without ctx, and a forward mode."""

    @staticmethod
    def forward(x: Any, power: int) -> Any:
        return x**power

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])
        ctx.power = inputs[1]

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return dy * ctx.power * ctx.saved_tensors[0] ** (ctx.power - 1), None

    @staticmethod
    def jvp(ctx: Any, dx: Any, _: Any) -> Any:
        return dx * ctx.power * ctx.saved_tensors[0] ** (ctx.power - 1)


class Restless(nn.Module):
    """Changes everything a forward can change."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4).double()
        self.norm = nn.BatchNorm1d(4).double()
        self.frozen = nn.Parameter(torch.ones(4, dtype=torch.float64), requires_grad=False)
        self.cache: dict[str, Any] = {}
        self.log: list[float] = []
        self.plain = torch.zeros(1, dtype=torch.float64)
        self.own = torch.Generator().manual_seed(3)

    def forward(self, x: Any) -> Any:
        noise = torch.rand(4, dtype=x.dtype, generator=self.own) + torch.rand(4, dtype=x.dtype)
        self.calls = getattr(self, "calls", 0) + 1
        self.cache["last"] = x
        self.log.append(random.random() + np.random.rand())
        self.plain += 1
        self.frozen.data.mul_(2)
        self.register_buffer("late", torch.zeros(1), persistent=False)
        y = nn.functional.dropout(self.norm(self.linear(x.mul_(2))), 0.5)
        return y * noise * self.frozen * self.calls + self.log[0] + self.plain


def everything(net: Restless) -> list[Any]:
    arrays = [t.detach().clone() for t in [*net.parameters(), *net.buffers(), net.plain]]
    rng = [torch.get_rng_state(), net.own.get_state(), np.random.get_state()[1], random.getstate()]
    names = [sorted(vars(net)), sorted(net._buffers), net.cache.copy(), net.log.copy()]
    return [np.asarray(x, None if hasattr(x, "dtype") else object).tolist() for x in arrays + rng] + names


def test_no_call_leaves_a_trace_and_every_call_answers_the_same() -> None:
    net, x = Restless(), drawn(5, 3)
    given, before = x.clone(), everything(net)
    target = target_of(net, x)
    kept = {name: value.copy() for name, value in target.point.items()}
    first, again = [(target.forward(target.point), gradients(target)) for _ in range(2)]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_equal(a, b)
    np.testing.assert_equal(target.linearize(target.point, None)[0], first[0])
    np.testing.assert_equal(target.point, kept)
    assert torch.equal(x, given)
    assert everything(net) == before
    assert net.training
    assert all(p.grad is None for p in net.parameters())


def test_a_pullback_answers_the_same_twice_and_an_unasked_output_is_zero() -> None:
    target = target_of(lambda x, y: (x * y, y.exp()), drawn(3), drawn(3))
    outputs, pullback = target.linearize(target.point, None)
    np.testing.assert_equal(pullback(ones_like(outputs)), pullback(ones_like(outputs)))
    alone = pullback({"out[1]": np.ones(3)})
    assert alone["x"] is None
    np.testing.assert_allclose(alone["y"], np.exp(target.point["y"]), rtol=1e-15)
    assert pullback({}) == {"x": None, "y": None}


def test_gradients_of_a_module_are_those_of_backward() -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(), drawn(5, 3)
    computed = gradients(target_of(net, x))
    net(x.requires_grad_()).sum().backward()
    assert list(computed) == ["input", "0.weight", "0.bias", "2.weight", "2.bias"]
    for name, parameter in net.named_parameters():
        np.testing.assert_array_equal(computed[name], parameter.grad)
    np.testing.assert_array_equal(computed["input"], x.grad)


def test_the_forward_is_a_function_of_the_point_it_is_given() -> None:
    net = nn.Linear(3, 2).double()
    target = target_of(net, drawn(4, 3))
    moved = {name: value + 1 for name, value in target.point.items()}
    expected = moved["input"] @ moved["weight"].T + moved["bias"]
    np.testing.assert_allclose(target.forward(moved)["out"], expected, rtol=1e-14)
    np.testing.assert_allclose(target.linearize(moved, None)[0]["out"], expected, rtol=1e-14)


@pytest.mark.parametrize("u", [
    np.broadcast_to(1.5, (4, 6)),
    np.broadcast_to(RNG.standard_normal((4, 1)), (4, 6)),
    RNG.standard_normal((6, 4)).T,
    RNG.standard_normal((4, 12))[:, ::2],
    RNG.standard_normal((4, 6)),
], ids=["scalar", "rows", "transposed", "strided", "contiguous"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_strides_of_the_cotangent_reach_the_backward(u: Any, dtype: Any) -> None:
    Noted.seen = []
    target = target_of(Noted, drawn(4, 6, dtype=dtype))
    computed = target.linearize(target.point, None)[1]({"out": u})["x"]
    assert Noted.seen[-1] == tuple(s // 8 for s in u.strides)
    np.testing.assert_array_equal(computed, torch.tensor(u.copy()).to(dtype).double())


def test_a_cotangent_torch_has_no_strides_for_arrives_all_the_same() -> None:
    Noted.seen = []
    target, u = target_of(Noted, drawn(4)), RNG.standard_normal(4)
    np.testing.assert_array_equal(target.linearize(target.point, None)[1]({"out": u[::-1]})["x"], u[::-1])


@pytest.mark.parametrize("x", [
    drawn(4, 6).t(),
    drawn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    drawn(4, 1).expand(4, 6),
    drawn(4, 12)[:, ::2],
], ids=["transposed", "channels last", "expanded", "strided"])
def test_the_layout_of_an_input_reaches_the_forward(x: Any) -> None:
    Noted.seen = []
    target = target_of(Noted, x)
    target.forward(target.point)
    target.linearize(target.point, None)
    assert set(Noted.seen) == {x.stride()}


def test_an_expanded_input_moved_entry_by_entry_keeps_its_values() -> None:
    target = target_of(Noted, drawn(1).expand(5))
    np.testing.assert_array_equal(target.forward({"x": np.arange(5.0)})["out"], np.arange(5.0))


def test_memory_between_the_strides_is_not_a_number() -> None:
    laid = arranged(torch.ones(2, 2), (4, 2))
    assert torch.isnan(laid.as_strided((6,), (1,))[1::2][:2]).all()
    assert torch.equal(laid, torch.ones(2, 2))
    assert arranged(torch.arange(9.0).reshape(3, 3), (1, 1)).stride() == (3, 1)


def ulps(scale: float) -> Callable[[Any], Any]:
    return lambda a: (a * (1 - scale * np.finfo(a.dtype).eps)).astype(a.dtype)


def deep_inside(x: Any) -> Any:
    return TanhOfAttribute.apply(x * 1) * 1


@pytest.mark.parametrize("function", [Tanh, TanhOfAttribute, deep_inside, torch.tanh, nn.Tanh()])
def test_rounding_in_the_residuals_changes_the_gradient_in_saturation(function: Any) -> None:
    target = target_of(function, torch.tensor([12.0], dtype=torch.float64))
    (exact,), (moved,) = gradients(target).values(), gradients(target, ulps(1.0)).values()
    assert abs(moved - exact) > 1e-6 * abs(exact)
    np.testing.assert_equal(*[list(gradients(target).values()) for _ in range(2)])


def test_integer_residuals_are_left_alone() -> None:
    target = target_of(lambda x, i: x[i].prod(), drawn(5), torch.tensor([1, 3]))
    computed = gradients(target, lambda a: a * np.float64(1.0))["x"]
    assert np.flatnonzero(computed).tolist() == [1, 3]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_finite_number_of_a_dtype_comes_back_as_it_is(dtype: Any) -> None:
    x = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.bfloat16).to(dtype)
    target = target_of(lambda x: x * 1, x)
    assert target.dtype == str(dtype).removeprefix("torch.")
    np.testing.assert_array_equal(target.forward(target.point)["out"], x.double())


def test_a_host_point_is_rounded_to_bfloat16_once() -> None:
    # Both are ties; float32 would lose the bit that decides them.
    low, high, bit = 1 + 2**-8, 1 + 3 * 2**-8, 2**-40
    values = np.array([low, low + bit, high, high - bit, 1e300, -np.inf, np.nan, 0])
    rounded = from_host(values, torch.bfloat16, torch.device("cpu"), (1,)).double().numpy()
    np.testing.assert_array_equal(rounded, [1, 1 + 2**-7, 1 + 2**-6, 1 + 2**-7, np.inf, -np.inf, np.nan, 0])


def test_the_lowest_dtype_of_leaves_and_outputs_is_the_targets() -> None:
    assert target_of(lambda x, y: x + y, drawn(2), drawn(2, dtype=torch.float32)).dtype == "float32"
    assert target_of(lambda x: x.bfloat16(), drawn(2)).dtype == "bfloat16"


@dataclass
class Pair:
    left: Any
    right: Any


class Output(OrderedDict):  # type: ignore[type-arg]
    """As transformer libraries return it."""


@pytest.mark.parametrize(("result", "names"), [
    (lambda x: x, ["out"]),
    (lambda x: (x, [x]), ["out[0]", "out[1][0]"]),
    (lambda x: {"logits": x, "best": x.argmax()}, ["out.logits"]),
    (lambda x: Output(logits=x, states=(x,)), ["out.logits", "out.states[0]"]),
    (lambda x: Pair(x, None), ["out.left"]),
], ids=["tensor", "tuple", "dict", "mapping", "dataclass"])
def test_outputs_are_named_by_their_path(result: Any, names: list[str]) -> None:
    target = target_of(lambda x: result(x * 2), drawn(3))
    assert list(target.forward(target.point)) == names
    np.testing.assert_array_equal(gradients(target)["x"], 2.0 * len(names))


def nested(x: Any, params: Any, *args: Any, scale: Any = None, flag: bool = True) -> Any:
    assert flag
    return (x @ params["W"] + params["b"][0]) * args[1].left * scale


def test_leaves_are_named_by_their_path() -> None:
    inputs = drawn(2, 3), {"W": drawn(3, 4), "b": [drawn(4)]}, 7, Pair(drawn(4), "text")
    target = target_of(nested, *inputs, kwargs={"scale": drawn(1), "flag": True})
    assert list(target.point) == ["x", "params.W", "params.b[0]", "args[1].left", "scale"]
    assert all(g is not None for g in gradients(target).values())


@pytest.mark.parametrize(("make", "name", "leaves"), [
    (lambda: nn.Linear(2, 2), "Linear", ["input", "weight", "bias"]),
    (lambda: nn.Linear(2, 2).forward, "Linear.forward", ["input", "weight", "bias"]),
    (lambda: functools.partial(nn.Linear(2, 2)), "Linear", ["input", "weight", "bias"]),
    (lambda: Tanh, "Tanh", ["x"]),
    (lambda: Tanh.apply, "Tanh", ["x"]),
    (lambda: torch.sigmoid, "sigmoid", ["x"]),
    (lambda: nested_module, "nested_module", ["x", "SHARED.weight"]),
    (lambda: closed_over(nn.Linear(2, 2)), "call", ["x", "net.weight", "net.bias"]),
])
def test_names_and_parameters_of_every_kind_of_target(make: Any, name: str, leaves: list[str]) -> None:
    target = target_of(make(), drawn(3, 2, dtype=torch.float32))
    assert (target.name, list(target.point)) == (name, leaves)
    assert all(g is not None for g in gradients(target).values())


SHARED = nn.Linear(2, 2, bias=False)


def nested_module(x: Any) -> Any:
    return SHARED(x).sum()


def closed_over(net: Any) -> Any:
    def call(x: Any) -> Any:
        return net(x)
    return call


def test_a_module_among_the_inputs_brings_its_parameters() -> None:
    target = target_of(lambda net, x: net(x).sum(), nn.Linear(2, 2).double(), drawn(3, 2))
    assert list(target.point) == ["x", "net.weight", "net.bias"]
    np.testing.assert_array_equal(gradients(target)["net.bias"], [3.0, 3.0])


def test_a_parameter_named_like_an_input_keeps_apart() -> None:
    class Clash(nn.Linear):
        def forward(self, weight: Any) -> Any:
            return super().forward(weight)

    target = target_of(Clash(2, 2).double(), drawn(3, 2))
    assert list(target.point) == ["weight", "self.weight", "bias"]
    assert gradients(target)["self.weight"].shape == (2, 2)


def test_a_shared_parameter_is_one_leaf_with_the_whole_gradient() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)).double()
    net[1].weight = net[0].weight
    target = target_of(net, drawn(3, 2))
    assert list(target.point) == ["input", "0.weight"]
    v = {"0.weight": np.eye(2)}
    jv = target.pushforward(target.point, v)
    assert dot(gradients(target), v) == pytest.approx(dot(ones_like(jv), jv))


def test_a_module_reached_under_two_names_is_one() -> None:
    first = second = nn.Linear(2, 2).double()
    computed = gradients(target_of(lambda x: first(x) + second(x), drawn(3, 2)))
    assert list(computed) == ["x", "first.weight", "first.bias"]
    np.testing.assert_array_equal(computed["first.bias"], [6.0, 6.0])


def test_frozen_parameters_integers_and_generators_are_constants() -> None:
    net = nn.Embedding(5, 3).double()
    net.weight.requires_grad_(False)

    def call(i: Any, s: Any, g: Any) -> Any:
        return net(i) * s * torch.rand(3, generator=g, dtype=s.dtype)

    target = target_of(call, torch.tensor([0, 2]), drawn(3), torch.Generator())
    assert list(target.point) == ["s"]
    np.testing.assert_array_equal(target.forward(target.point)["out"], target.forward(target.point)["out"])


def test_an_unused_input_and_an_unused_parameter_get_none() -> None:
    net = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}).double()
    computed = gradients(target_of(lambda x, y: net["a"](x), drawn(3, 2), drawn(1)))
    assert [name for name, g in computed.items() if g is None] == ["y", "net.b.weight", "net.b.bias"]


def test_an_output_cut_from_the_graph_gives_none() -> None:
    assert gradients(target_of(lambda x: x.detach() * 2, drawn(2))) == {"x": None}


def test_one_tensor_used_twice_is_two_leaves() -> None:
    x = drawn(3)
    computed = gradients(target_of(lambda a, b: a * b * b, x, x))
    np.testing.assert_allclose(computed["a"], x**2)
    np.testing.assert_allclose(computed["b"], 2 * x**2)


def test_an_input_written_to_keeps_its_gradient() -> None:
    x = drawn(3)
    target = target_of(lambda x: x.mul_(3).add_(1), x)
    np.testing.assert_array_equal(gradients(target)["x"], [3.0] * 3)
    np.testing.assert_array_equal(target.point["x"], x)


def test_sparse_gradients_come_back_dense() -> None:
    target = target_of(nn.Embedding(5, 2, sparse=True), torch.tensor([1, 1, 3]))
    np.testing.assert_array_equal(gradients(target)["weight"][:, 0], [0, 2, 0, 1, 0])


def test_code_that_differentiates_inside_is_run_with_a_graph() -> None:
    target = target_of(force, torch.tensor([2.0], dtype=torch.float64))
    np.testing.assert_allclose(target.forward(target.point)["out"], [12.0])
    np.testing.assert_allclose(gradients(target)["x"], [12.0])


def test_code_that_computes_otherwise_without_a_graph_is_run_with_one() -> None:
    target = target_of(lambda x: x * (2 if torch.is_grad_enabled() else 3), torch.ones(1))
    assert target.forward(target.point)["out"] == 2.0
    assert target_of(lambda x: x * x, torch.ones(1)).forward.args[0].graph is False


def test_a_keyword_reaches_a_function_class() -> None:
    target = target_of(Scaled, drawn(2), kwargs={"factor": 5.0})
    np.testing.assert_array_equal(gradients(target)["x"], [5.0, 5.0])


def doubled_in_place(x: Any) -> Any:
    return x.mul_(2) * x


def force(x: Any) -> Any:
    return torch.autograd.grad((x**3).sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("obj", [
    torch.sin, doubled_in_place, force,
    nn.Linear(2, 2).double(), nn.LSTM(2, 3).double(), nn.BatchNorm1d(2).double(),
])
def test_forward_mode_is_adjoint_to_reverse_mode(obj: Any) -> None:
    target = target_of(obj, drawn(4, 2))
    v = {name: RNG.standard_normal(x.shape) for name, x in target.point.items()}
    jv = target.pushforward(target.point, v)
    assert dot(ones_like(jv), jv) == pytest.approx(dot(gradients(target), v), rel=1e-12)


def test_forward_mode_is_there_only_where_it_works_and_is_asked_for() -> None:
    assert target_of(Tanh, drawn(2)).pushforward is None
    assert target_of(torch.sin, drawn(2), mode="reverse").pushforward is None
    target = target_of(Apart, drawn(2), 3)
    jv = target.pushforward(target.point, {"x": np.ones(2)})
    np.testing.assert_allclose(jv["out"], gradients(target)["x"])


def test_a_hessian_product_comes_from_a_second_backward() -> None:
    target = target_of(lambda x, y: (x**3).sum() + y.sum(), drawn(3), drawn(2), order=2)
    product = target.higher(target.point, {"out": np.ones(())}, [{"x": np.ones(3)}])
    np.testing.assert_allclose(product["x"], 6 * target.point["x"])
    assert product["y"] is None


def test_a_module_runs_in_float64_on_the_same_values_and_stays_as_it_is() -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU()), drawn(5, 3, dtype=torch.float32)
    target = target_of(net, x)
    wide = target.cast("float64")
    assert wide.dtype == "float64"
    np.testing.assert_array_equal(wide.point["0.weight"], target.point["0.weight"])
    assert wide.forward(wide.point)["out"] == pytest.approx(target.forward(target.point)["out"], abs=1e-5)
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def only_float32(x: Any) -> Any:
    assert x.dtype == torch.float32
    return x * 2


def test_a_kernel_of_one_dtype_has_no_cast() -> None:
    assert target_of(only_float32, drawn(2, dtype=torch.float32)).cast("float64") is None


def test_a_cast_torch_does_not_know_is_none() -> None:
    assert target_of(torch.sin, drawn(2)).cast("longdouble") is None


@pytest.mark.parametrize(("obj", "inputs", "message"), [
    (torch.sin, (torch.eye(2).to_sparse(),), "x has layout sparse_coo"),
    (lambda x: x.to_sparse(), (torch.eye(2),), "out has layout sparse_coo"),
    (torch.sin, (torch.ones(2, device="meta"),), "meta device"),
    (torch.neg, (torch.arange(3),), "neg has no floating input"),
    (torch.argmax, (torch.ones(3),), r"argmax has no floating output \(out is int64\)"),
    (lambda x: None, (torch.ones(3),), "it returns NoneType, not a tensor"),
    (lambda x: "text", (torch.ones(3),), "it returns str, not a tensor"),
    (lambda x: x.sum().item(), (torch.ones(3),), "it returns float, not a tensor"),
    (nn.LazyLinear(3), (torch.ones(3),), "LazyLinear is lazy"),
    (3, (torch.ones(3),), "target=3: must be callable"),
])
def test_what_cannot_be_checked_is_refused_by_name(obj: Any, inputs: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        target_of(obj, *inputs)


@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_complex_halves_are_refused() -> None:
    with pytest.raises(TypeError, match="x is complex32: NumPy has no such numbers"):
        target_of(torch.sin, torch.ones(2, dtype=torch.complex32))


def test_the_users_own_error_is_raised() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        target_of(nn.Linear(3, 2), torch.ones(2, 5))


class WrongShape(Tanh):
    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return dy[:1].repeat(3)


def test_a_gradient_of_the_wrong_shape_is_torchs_error() -> None:
    with pytest.raises(RuntimeError, match="invalid gradient"):
        gradients(target_of(WrongShape, drawn(2)))


def test_dropout_keeps_its_mask_and_follows_the_seed() -> None:
    net = nn.Dropout()
    first, second = (target_of(net, torch.ones(50), seed=s) for s in (0, 1))
    a, b = first.forward(first.point)["out"], second.forward(second.point)["out"]
    np.testing.assert_array_equal(gradients(first)["input"], a)
    assert not np.array_equal(a, b)


def test_it_works_inside_no_grad_and_inference_mode() -> None:
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            computed = gradients(target_of(nn.Linear(2, 2), torch.ones(1, 2)))
        assert computed["weight"].tolist() == [[1.0, 1.0]] * 2


def test_code_that_computes_in_float32_inside_is_cast_to_float64_throughout() -> None:
    x = drawn(2, dtype=torch.float32)
    wide = target_of(lambda x: x.float().exp().to(x.dtype), x).cast("float64")
    np.testing.assert_allclose(wide.forward(wide.point)["out"], np.exp(wide.point["x"]), rtol=1e-15)
    assert target_of(lambda x: x * torch.tensor(0.1), x).cast("float64").dtype == "float64"
    assert target_of(lambda x: x.float().view(torch.int32).view(torch.float32), x).cast("float64") is None


def test_what_a_function_keeps_in_its_closure_is_left_to_it() -> None:
    compiled: dict[str, int] = {}
    target_of(lambda x: x * compiled.setdefault("times", 2), torch.ones(1))
    assert compiled == {"times": 2}


def test_checkpointed_code_is_run_again_at_the_point_it_was_run_at() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh()).double()
    x, moved = drawn(4, 2), {name: RNG.standard_normal(p.shape) for name, p in net.named_parameters()}

    def call(x: Any) -> Any:
        return checkpoint(net, x, use_reentrant=False)

    again = target_of(call, x)
    moved = {f"net.{name}": value for name, value in moved.items()}
    computed = again.linearize({**again.point, **moved}, None)[1]({"out": np.ones((4, 3))})
    net.load_state_dict({name.removeprefix("net."): torch.tensor(value) for name, value in moved.items()})
    net(x).sum().backward()
    np.testing.assert_allclose(computed["net.0.weight"], net[0].weight.grad, rtol=1e-12)


def test_code_that_forbids_saved_tensor_hooks_is_linearized_all_the_same() -> None:
    def slope(x: Any) -> Any:
        return torch.func.grad(lambda y: (y**3).sum())(x)

    target = target_of(slope, drawn(3))
    np.testing.assert_array_equal(gradients(target, ulps(1.0))["x"], gradients(target)["x"])


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_code_is_a_target() -> None:
    net = nn.Linear(2, 3)
    target = target_of(torch.compile(net, backend="eager"), drawn(4, 2, dtype=torch.float32), mode="reverse")
    np.testing.assert_array_equal(gradients(target)["_orig_mod.bias"], [4.0, 4.0, 4.0])


def test_a_reference_runs_in_float64_at_the_targets_own_values() -> None:
    net, trusted = nn.Linear(3, 2), nn.Linear(3, 2).double()
    target = target_of(net, drawn(4, 3, dtype=torch.float32))
    forward = target.substitute(trusted, "float64")
    moved = {name: value + 1.5 for name, value in target.point.items()}
    expected = moved["input"].astype(float) @ moved["weight"].astype(float).T + moved["bias"].astype(float)
    np.testing.assert_allclose(forward(moved)["out"], expected, rtol=1e-14)


def test_the_parameters_of_a_reference_are_matched_by_name_and_shape() -> None:
    net = nn.Linear(3, 2).double()
    target = target_of(net, drawn(4, 3))
    expected = {name: np.zeros_like(value) for name, value in target.point.items()}
    assert not target.substitute(closed_over(nn.Linear(3, 2)), "float64")(expected)["out"].any()
    assert target.substitute(lambda x: x.sum(), None)(expected)["out"] == 0.0
    seen: list[Any] = []
    target.cast("float32").substitute(lambda x: seen.append(x.dtype) or x, None)(expected)
    assert seen == [torch.float32]
    with pytest.raises(ValueError, match=r"net.weight of shape \(5, 3\) is not among those of Linear"):
        target.substitute(closed_over(nn.Linear(3, 5)), "float64")


class Overwriting(Tanh):
    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return dy.mul_(1 - ctx.saved_tensors[0] ** 2)


@pytest.mark.parametrize(("function", "written"), [(Overwriting, True), (Tanh, False)])
def test_an_overwritten_cotangent_is_overwritten_for_the_caller(function: Any, written: bool) -> None:
    target, u = target_of(function, drawn(3, dtype=torch.float32)), {"out": np.full(3, 0.1)}
    computed = target.linearize(target.point, None)[1](u)["x"]
    np.testing.assert_array_equal(u["out"], computed if written else 0.1)


def test_complex_leaves_and_outputs_come_in_parts_in_pytorchs_convention() -> None:
    z, w = drawn(2, 3, dtype=torch.complex128), drawn(3, 2, dtype=torch.complex128).t()
    target = target_of(lambda z, w: z * w, z, w)
    assert list(target.point) == ["z.real", "z.imag", "w.real", "w.imag"]
    computed = target.linearize(target.point, None)[1]({"out.real": np.ones((2, 3)), "out.imag": 2 * np.ones((2, 3))})
    expected = ((1 + 2j) * w.conj()).numpy()
    np.testing.assert_allclose(computed["z.real"] + 1j * computed["z.imag"], expected, rtol=1e-14)
    jv = target.pushforward(target.point, {"z.imag": np.ones((2, 3))})
    np.testing.assert_allclose(jv["out.real"] + 1j * jv["out.imag"], (1j * w).numpy(), rtol=1e-14)
    assert target.cast("float32").dtype == "float32"


def test_the_layouts_of_complex_inputs_and_cotangents_reach_the_code() -> None:
    Noted.seen = []
    target = target_of(Noted, drawn(4, 6, dtype=torch.complex128).t())
    u = {f"out.{part}": np.broadcast_to(1.5, (6, 4)) for part in ("real", "imag")}
    computed = target.linearize(target.point, None)[1](u)
    assert Noted.seen[-2:] == [(1, 6), (0, 0)]
    np.testing.assert_array_equal(computed["x.imag"], 1.5)


def test_a_subset_of_leaves_alone_asks_for_a_gradient() -> None:
    seen: list[tuple[bool, ...]] = []

    class Multiply(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            seen.append(ctx.needs_input_grad)
            return tuple(dy * x for x in reversed(ctx.saved_tensors))

    target = target_of(Multiply, drawn(3), drawn(3))
    np.testing.assert_array_equal(target.subset(target.point, {"out": np.ones(3)}, ("b",))["b"], target.point["a"])
    assert seen == [(False, True)]


@pytest.mark.parametrize("recording", [True, False])
def test_the_callers_grad_mode_is_left_as_it_was(recording: bool) -> None:
    with torch.set_grad_enabled(recording):
        target = target_of(nn.Linear(2, 2).double(), drawn(3, 2))
        target.forward(target.point)
        assert torch.is_grad_enabled() is recording


def test_what_an_operator_is_not_differentiated_by_is_a_constant() -> None:
    target = target_of(lambda x, w: nn.functional.cross_entropy(x, torch.tensor([0, 1]), w), drawn(2, 3), drawn(3).exp())
    assert list(target.point) == ["x"]


def test_a_gradient_known_to_be_zero_is_an_array_of_zeros() -> None:
    assert not gradients(target_of(torch.sgn, drawn(3)))["x"].any()


def test_rounding_in_the_residuals_leaves_the_largest_the_largest() -> None:
    assert gradients(target_of(torch.max, drawn(5)), ulps(1.0))["x"].sum() == 1.0


def test_the_point_of_a_large_tensor_is_the_tensors_own_memory_and_cannot_be_written_to() -> None:
    w = torch.randn(80, 80, dtype=torch.float64)
    target = target_of(torch.sin, w)
    (x,) = target.point.values()
    assert np.shares_memory(x, w.numpy())
    with pytest.raises(ValueError, match="read-only"):
        x[0, 0] = 1.0


def test_along_a_line_of_a_large_tensor_the_users_own_numbers_stay_as_they_are() -> None:
    w = torch.randn(80, 80, dtype=torch.float64)
    before = w.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target = target_of(lambda w: w.mul_(2.0), w)
        (name,) = target.point
        along = target.line(target.point, {name: np.ones((80, 80))})
        found = along(1.0)["out"]
    assert np.array_equal(found, 2.0 * (before + 1.0).numpy())
    assert torch.equal(w, before)


def test_what_a_forward_writes_into_a_leaf_that_stands_still_does_not_reach_the_next_run_along_a_line() -> None:
    target = target_of(lambda x, w: x.mul_(2.0) @ w, drawn(3, 3), drawn(3, 3))
    _, w = target.point
    along = target.line(target.point, {w: np.ones((3, 3))})
    assert np.array_equal(along(0.5)["out"], along(0.5)["out"])
