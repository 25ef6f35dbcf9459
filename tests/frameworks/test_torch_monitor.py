"""Gradient flow watched while a module trains."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gradverify as gv
from gradverify.reference import Activation, Dense, sequential

torch = pytest.importorskip("torch")
nn = torch.nn


def trained(network, steps, *, rate=0.05, x=None):
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(1)) if x is None else x
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    with gv.monitor_flow(network, optimizer=optimizer) as monitor:
        for _ in range(steps):
            with torch.no_grad():
                network(x)  # an evaluation is no step
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
    return monitor.history()


def mlp(depth=2, width=16):
    torch.manual_seed(0)
    layers = [part for k in range(depth) for part in (nn.Linear(8 if k == 0 else width, width), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def test_every_step_has_the_sizes_that_the_plain_gradients_have():
    network = mlp()
    same = mlp()
    history = trained(network, 1)
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    z = same[0](x)
    z.retain_grad()
    same[1:](z).square().mean().backward()
    assert history.layers == ("0", "2", "4")
    assert history.activation[0, 0] == pytest.approx(float(z.detach().square().mean().sqrt()), rel=1e-5)
    assert history.delta[0, 0] == pytest.approx(float(z.grad.square().mean().sqrt()), rel=1e-5)


def test_more_steps_than_wait_on_the_device_are_all_there_and_no_hook_is_left():
    network = mlp()
    history = trained(network, 150)
    assert history.delta.shape == (150, 3)
    assert (history.delta > 0).all()
    assert np.all(np.diff(history.delta[:, -1]) < 0)  # the loss falls
    assert history.ok
    assert not any(module._forward_hooks for module in network.modules())


def test_a_rate_that_explodes_is_seen_at_its_step():
    history = trained(nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3)), 60, rate=50.0)
    assert history.delta.shape == (60, 2)  # steps of NaN are steps
    assert history.verdict == "nonfinite"
    assert history.verdicts[0] == "healthy"
    assert "the first that is not healthy" in str(history)


def test_a_deep_sigmoid_network_vanishes_at_every_step():
    torch.manual_seed(0)
    layers = [part for _ in range(12) for part in (nn.Linear(8, 8), nn.Sigmoid())]
    assert set(trained(nn.Sequential(*layers, nn.Linear(8, 1)), 3).verdicts) == {"vanishing"}


def test_a_layer_used_twice_and_a_recurrent_one_are_one_column_each(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.r, self.b = nn.Linear(8, 8), nn.GRU(8, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x):
            return self.b(self.r(torch.tanh(self.a(torch.tanh(self.a(x)))))[0])

    history = trained(Twice(), 2, x=torch.randn(4, 5, 8))
    assert history.layers == ("a", "r", "b")
    history.to_json(tmp_path / "flow.json")
    assert len(json.loads((tmp_path / "flow.json").read_text())["rows"]) == 2
    assert list(history.frame().columns) == ["step", "verdict", "decades", "a", "r", "b"]


NONSENSE = [
    (lambda: gv.monitor_flow(sequential(Dense(2, 2), Activation("relu"))), TypeError, "must be a torch.nn.Module"),
    (lambda: gv.monitor_flow(nn.ReLU()), TypeError, "nothing to monitor"),
    (lambda: gv.monitor_flow(nn.Linear(2, 2)).history(), ValueError, "no step was seen"),
    (lambda: gv.monitor_flow(nn.Linear(2, 2), optimizer="nonsense"), ValueError, "optimizer='nonsense'"),
]


@pytest.mark.parametrize(("call", "error", "message"), NONSENSE)
def test_what_makes_no_sense_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
