"""Gradient flow watched while a module trains."""

from __future__ import annotations

import json
import weakref
from functools import partial

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


class Branching(nn.Module):
    """A head that no loss uses, a layer used twice, and an output that is written into."""

    def __init__(self):
        super().__init__()
        self.a, self.twice, self.b, self.unused = (nn.Linear(8, 8) for _ in range(4))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.b(torch.tanh(self.twice(torch.tanh(self.twice(self.relu(self.a(x)))))))
        self.unused(y)
        return y


def once(network, x):
    network(x).square().mean().backward()


def two_forwards(network, x):
    (network(x) - network(x + 1)).square().mean().backward()


def by_grad(network, x):
    torch.autograd.grad(network(x).square().mean(), list(network.parameters()), allow_unused=True)


def forwards_alone(network, x):
    once(network, x)
    network(x)  # a validation that forgot no_grad: its graph must not pile up
    network(x)


def told_by_hooks(network, x, run, steps):
    """rms of outputs and of dL/d output, added in squares over the calls of a step, with a hook for every tensor."""
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    tables = np.zeros((2, steps, len(layers)))
    now = []

    def seen(k, module, args, y):
        row, size = now[-1], y.numel()
        tables[0, row, k] = np.hypot(tables[0, row, k], float(y.detach().norm()) / size**0.5)
        y.register_hook(lambda g: tables[1, row].__setitem__(k, np.hypot(tables[1, row, k], float(g.norm()) / size**0.5)))

    hooks = [network.get_submodule(name).register_forward_hook(partial(seen, k)) for k, name in enumerate(layers)]
    for step in range(steps):
        now.append(step)
        run(network, x)
    for hook in hooks:
        hook.remove()
    return layers, tables


@pytest.mark.parametrize("run", [once, two_forwards, by_grad])
@pytest.mark.parametrize("make", [mlp, Branching, lambda: mlp().double()])
def test_later_steps_have_the_sizes_that_hooks_on_every_tensor_see(make, run):
    torch.manual_seed(3)
    network = make()
    x = torch.randn(20, 8, dtype=next(network.parameters()).dtype)
    layers, (activation, delta) = told_by_hooks(network, x, run, 70)
    with gv.monitor_flow(network) as monitor:
        for step in range(70):
            run(network, x)
            if step == 5:
                monitor.history()  # asking changes nothing
    history = monitor.history()
    assert history.layers == tuple(layers)
    assert history.activation == pytest.approx(activation, rel=1e-5)
    assert history.delta == pytest.approx(delta, rel=1e-5)


def test_passes_without_a_backward_pass_keep_one_graph_at_most():
    network = mlp()
    with gv.monitor_flow(network):
        for _ in range(6):
            forwards_alone(network, torch.randn(20, 8))
        alive = [weakref.ref(network(torch.randn(20, 8))) for _ in range(9)]
        assert sum(y() is not None for y in alive) <= 1


def test_a_layer_that_begins_to_be_written_into_loses_a_step_and_no_more():
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(20, 8)
    with gv.monitor_flow(network) as monitor:
        for step in range(8):
            network[1].inplace = step >= 4
            once(network, x)
    history = monitor.history()
    assert len(history.delta) == 7
    assert np.ptp(history.activation, axis=0) == pytest.approx(0, abs=1e-6)
    assert np.ptp(history.delta, axis=0) == pytest.approx(0, abs=1e-6)


def test_a_gradient_that_comes_after_the_monitor_has_ended_is_still_counted():
    network = mlp()
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    with gv.monitor_flow(network) as monitor:
        for _ in range(5):
            once(network, x)
        loss = network(x).square().mean()
    loss.backward()
    history = monitor.history()
    assert len(history.delta) == 6
    assert history.delta[5] == pytest.approx(history.delta[4], rel=1e-5)


def test_half_precision_overflows_nowhere():
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2)).half()
    x = torch.full((2000, 8), 2000, dtype=torch.float16)  # a norm of so many outputs is no float16
    with gv.monitor_flow(network) as monitor:
        for _ in range(4):
            network(x).mean().backward()
    assert np.isfinite(monitor.history().activation).all()


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


def test_a_training_step_by_function_transforms_goes_on_while_watched():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    with gv.monitor_flow(net):
        for _ in range(4):
            net(x).sum().backward()
        parameters = {name: p.detach() for name, p in net.named_parameters()}
        gradients = torch.func.grad(lambda p: torch.func.functional_call(net, p, (x,)).sum())(parameters)
    assert gradients.keys() == parameters.keys()
