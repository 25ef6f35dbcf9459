"""PyTorch modules watched by `check_flow`."""

from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


def deep(depth, activation=nn.ReLU, width=32):
    torch.manual_seed(depth)
    return nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(width, width), activation())], nn.Linear(width, 4))


def x(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_pytorchs_default_initialisation_vanishes_under_relu():
    report = gv.check_flow(deep(24), x(40, 32))
    assert report.verdict == "vanishing"
    assert report.findings[0].name == "explained-by-initialisation"
    assert len(report.layers) == 49


def test_remedies_are_tried_on_copies():
    network = deep(24)
    report = gv.check_flow(network, x(40, 32))
    assert {t.remedy for t in report.trials if t.verdict == "healthy"} >= {
        "weights rescaled layer by layer", "layer normalisation behind every layer"}
    assert [type(m) for m in network] == [nn.Linear, nn.ReLU] * 24 + [nn.Linear]


def test_a_loss_scales_the_sizes_and_not_the_verdict():
    network, labels = deep(10), torch.arange(40) % 4
    reports = [gv.check_flow(network, x(40, 32), loss=lambda y, s=s: s * F.cross_entropy(y, labels)) for s in (1, 1e-8)]
    assert reports[0].verdict == reports[1].verdict
    assert reports[0].decades == pytest.approx(reports[1].decades, abs=1e-5)
    assert reports[1].layers[0].gradient == pytest.approx(1e-8 * reports[0].layers[0].gradient, rel=1e-4)


class Bad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.tanh(x)

    @staticmethod
    def backward(ctx, dy):
        return dy


class BadTanh(nn.Module):
    def forward(self, x):
        return Bad.apply(x)


def test_a_missing_slope_is_not_explained_and_proved_wrong():
    network = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), BadTanh(), nn.Linear(32, 4)).double()
    report = gv.check_flow(network, x(40, 32).double())
    assert report.unexplained == report.wrong == ("3",)
    assert "wrong-backward" in str(report)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x):
        h = F.gelu(self.a(x))
        return self.c(h + torch.tanh(self.b(h)))


def test_functions_between_modules_are_recognised_by_their_values():
    report = gv.check_flow(Functional(), x(20, 8))
    assert [layer.layer for layer in report.layers] == ["a", "a > gelu", "b", "c"]
    assert np.isnan(report.predicted)  # a skip stands between b and c


def test_convolutions_norms_pools_and_inplace_activations():
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, stride=2), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
    frame = gv.check_flow(network, x(32, 3, 12, 12)).frame()
    assert frame.predicted.notna().all()
    assert frame.z.abs().max() < 4


def test_a_module_of_unknown_kind_is_expected_to_do_what_its_forward_shows():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 32), nn.GRUCell(32, 32), nn.Linear(32, 4))
    frame = gv.check_flow(network, x(32, 16)).frame().set_index("layer")
    assert abs(frame.z["1"]) < 4
    assert frame.predicted.notna().all()


def test_nothing_is_left_behind():
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    gv.check_flow(network, x(10, 4))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert all(p.grad is None for p in network.parameters())


def test_modules_called_again_have_a_row_for_every_call():
    layer = nn.Linear(8, 8)
    report = gv.check_flow(nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), layer), x(10, 8))
    assert [layer.layer for layer in report.layers][::2] == ["0", "0@1", "0@2"]
    assert report.unexplained == ()


NONSENSE = [
    (lambda: gv.check_flow(torch.relu, x(3)), TypeError, "must be a torch.nn.Module"),
    (lambda: gv.check_flow(deep(1), x(3, 32), loss=lambda y: 1.0), TypeError, "loss: must return a tensor"),
    (lambda: gv.check_flow(nn.ReLU(), x(3, 32)), TypeError, "nothing to check"),
]


@pytest.mark.parametrize(("call", "error", "message"), NONSENSE)
def test_what_makes_no_sense_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
