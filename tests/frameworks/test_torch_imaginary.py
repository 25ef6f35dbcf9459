"""PyTorch code at x + ihv: every rule against PyTorch's own derivative, and refused what has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify as gv
from gradverify.records import Options

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from gradverify.frameworks.torch import make_target  # noqa: E402

RNG = np.random.default_rng(2)
LABELS = torch.tensor([0, 2, 1])
SHARES = torch.tensor(RNG.uniform(size=(3, 4)))


def drawn(*shape: int) -> Any:
    return torch.tensor(RNG.standard_normal(shape))


def assigned(x: Any) -> Any:
    y = torch.zeros_like(x)
    y[0] = x[1] ** 2
    return y.add_(x)


FUNCTIONS = {
    "relu": F.relu, "relu in place": lambda x: F.relu(x * 1, inplace=True), "abs": torch.abs, "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"), "leaky relu": F.leaky_relu, "elu": F.elu, "celu": F.celu,
    "selu": F.selu, "hardtanh": F.hardtanh, "hardswish": F.hardswish, "silu": F.silu,
    "mish": F.mish, "softplus": F.softplus, "logsigmoid": F.logsigmoid, "softshrink": F.softshrink,
    "hardshrink": F.hardshrink, "threshold": lambda x: F.threshold(x, 0.1, 2.0), "erf": torch.erf, "erfc": torch.erfc,
    "cube": lambda x: x**3, "inverse square": lambda x: x**-2, "power": lambda x: x.abs() ** 1.5,
    "exponent": lambda x: torch.pow(2.0, x), "clamp": lambda x: x.clamp(-0.5, 0.5), "remainder": lambda x: x % 0.7,
    "maximum": lambda x: torch.maximum(x, -x), "minimum": lambda x: torch.minimum(x, x.flip(0)),
    "max": lambda x: x.max(-1).values, "min of all": lambda x: x.min(), "amax": lambda x: x.amax((0, 1)),
    "sort": lambda x: x.sort(-1).values, "topk": lambda x: x.topk(2).values, "median": lambda x: x.median(-1).values,
    "softmax": lambda x: x.softmax(-1), "log softmax": lambda x: x.log_softmax(0),
    "logsumexp": lambda x: x.logsumexp(-1), "logaddexp": lambda x: torch.logaddexp(x, 2 * x),
    "var": torch.var, "std": lambda x: x.std(0), "norm": torch.linalg.vector_norm, "1-norm": lambda x: x.norm(p=1),
    "3-norm": lambda x: x.norm(p=3), "layer norm": lambda x: F.layer_norm(x, (4,)),
    "group norm": lambda x: F.group_norm(x, 2), "batch norm": lambda x: F.batch_norm(x, None, None, training=True),
    "rms norm": lambda x: F.rms_norm(x, (4,)), "cross entropy": lambda x: F.cross_entropy(x, LABELS),
    "bce": lambda x: F.binary_cross_entropy(x.sigmoid(), SHARES), "mse": lambda x: F.mse_loss(x, SHARES),
    "bce of logits": lambda x: F.binary_cross_entropy_with_logits(x, SHARES), "huber": lambda x: F.huber_loss(x, SHARES),
    "smooth l1": lambda x: F.smooth_l1_loss(x, SHARES), "where": lambda x: torch.where(x > 0, x, x.exp()),
    "conv": lambda x: F.conv1d(x[None], x[:, :, None].repeat(1, 1, 2).transpose(0, 1)[:3, :3], x[0, :3]),
    "transposed conv": lambda x: F.conv_transpose1d(x[None], x[:, None, :2].contiguous()),
    "max pool": lambda x: F.max_pool2d(x[None], 2), "average pool": lambda x: F.avg_pool2d(x[None], 2),
    "upsampling": lambda x: F.interpolate(x[None], scale_factor=2, mode="linear"), "cumprod": lambda x: x.cumprod(-1),
    "prod": torch.prod, "inverse": lambda x: torch.linalg.inv(x[:, :3]), "det": lambda x: torch.det(x[:, :3]),
    "attention": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True),
    "embedding": lambda x: F.embedding(LABELS, x), "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "assignment": assigned, "dropout": F.dropout, "embedding bag": lambda x: x[LABELS].sum(0),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_imaginary_part_is_the_derivative(name: str) -> None:
    target = make_target(FUNCTIONS[name], (drawn(3, 4),), Options())
    (leaf,) = target.point
    v = {leaf: RNG.standard_normal((3, 4))}
    values, slopes = target.imaginary(target.point, v, 2.0**-200, None)
    plain, pushed = target.forward(target.point), target.pushforward(target.point, v)
    for path, y in plain.items():
        np.testing.assert_allclose(values[path], y, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(slopes[path], pushed[path], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("function", "what"), [
    (torch.lgamma, "lgamma"),
    (lambda x: x.float().double(), "_to_copy"),
    (lambda x: torch.zeros(3, 4, dtype=torch.float64).copy_(x), "copy into a real tensor"),
    (lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(3)), "linalg_cholesky_ex"),
])
def test_what_nobody_continued_is_refused(function: Any, what: str) -> None:
    target = make_target(function, (drawn(3, 4),), Options())
    with pytest.raises(Exception, match=what):
        target.imaginary(target.point, target.point, 2.0**-200, None)


def test_a_key_moves_the_last_bits_only() -> None:
    target = make_target(torch.exp, (drawn(3, 4),), Options())
    exact, moved = (target.imaginary(target.point, target.point, 2.0**-200, key)[1]["out"] for key in (None, 5))
    assert 0 < np.max(np.abs(moved / exact - 1)) < 1e-14


def test_a_deep_network_of_relus_passes_entry_by_entry_in_a_dozen_forwards() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*[part for _ in range(6) for part in (nn.Linear(120, 120), nn.ReLU())]).double()
    report = gv.check(net, drawn(4, 120), search="none")
    assert report.ok, str(report)
    assert report.forwards + report.backwards < 25
    assert max(c.entrywise for c in report.checks if c.mode == "reverse") < 1e-4
