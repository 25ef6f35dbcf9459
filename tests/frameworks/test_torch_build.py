"""A described network is the same in PyTorch: values, and gradients of every leaf."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.arrays import flatten
from gradverify.reference import Activation, Dense, sequential
from gradverify.strategies import Architecture, Case, Point, Upstream, cases, explore

torch = pytest.importorskip("torch")

from gradverify.frameworks.torch import build as building  # noqa: E402 - after the framework is known to be there


def in_torch(case):
    """The output, and the gradients by leaf in the reference's names."""
    module, x = building.build(case.architecture.build(), case.params()), building.to_tensor(case.x())
    y = module(x)
    y.backward(torch.tensor(np.array(case.u(y.detach().numpy()))))
    named = {name: p.grad for name, p in module.named_parameters()}
    inputs = {"x": x} if torch.is_tensor(x) else x
    named |= {f"x.{name}": tensor.grad for name, tensor in inputs.items()}
    return y.detach().numpy(), {name: g.numpy() for name, g in named.items() if g is not None}


def in_reference(case):
    y, pullback = case.architecture.build().forward(case.params(), case.x())
    dparams, dx = pullback(case.u(y))
    named = flatten({str(k): part for k, part in enumerate(dparams)}, "")[0]
    named |= {f"x.{name}": g for name, g in (dx if isinstance(dx, dict) else {"x": dx}).items()}
    return y, {name.replace("[", ".").replace("]", ""): g for name, g in named.items() if g is not None}


def furthest(case):
    """The largest difference of any leaf on that leaf's scale; nan where a name is missing."""
    (y, computed), (ty, expected) = in_reference(case), in_torch(case)
    pairs = [(y, ty), *((computed[name], g) for name, g in expected.items())]
    return max(float(np.max(np.abs(a - b), initial=0.0)) / max(float(np.max(np.abs(b), initial=0.0)), 1e-3)
               for a, b in pairs)


def test_random_networks_are_the_same_in_pytorch():
    compared = 0

    def differs(case):
        nonlocal compared
        ordinary = Case(case.architecture, Point(case.point.seed), Upstream(case.upstream.seed))
        try:
            building.build(case.architecture.build(), case.params())(building.to_tensor(ordinary.x()))
        except TypeError:
            return False
        compared += 1
        return not furthest(ordinary) < 1e-9

    found = explore(cases(max_layers=2), differs, 60)
    assert found is None, (found.example, furthest(found.example))
    assert compared > 30


def test_a_layer_without_an_operator_is_named():
    with pytest.raises(TypeError, match=r"RotaryPositions.*no operator"):
        building.build(building_of("RotaryPositions"), {})


def building_of(name):
    from gradverify import reference

    return getattr(reference, name)()


def test_a_wrong_operator_is_found(monkeypatch):
    monkeypatch.setitem(building.operators.ACTIVATIONS, "tanh", torch.sigmoid)
    assert furthest(Case(Architecture((2, 2), (Dense(2, 2), Activation("tanh"))))) > 0.1


def test_parameters_keep_the_reference_s_names():
    network = sequential(Dense(2, 3), Activation("relu"))
    module = building.build(network, network.init(np.random.default_rng(0)))
    assert [name for name, _ in module.named_parameters()] == ["0.W", "0.b"]
