"""Optimizers of torch: the right ones pass with their constants, wrong subclasses do not."""

from __future__ import annotations

import functools

import pytest

import gradverify as gv

torch = pytest.importorskip("torch")
optim = torch.optim

RIGHT = {
    "SGD": (lambda p: optim.SGD(p, lr=0.1), "sgd with rate 0.1"),
    "momentum": (lambda p: optim.SGD(p, lr=0.1, momentum=0.8), "momentum with rate 0.1, mu 0.8"),
    "dampened": (lambda p: optim.SGD(p, lr=0.1, momentum=0.8, dampening=0.3), "momentum with rate 0.1, mu 0.8, dampening 0.3"),
    "Nesterov": (lambda p: optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True), "nesterov with rate 0.1, mu 0.8"),
    "maximising": (lambda p: optim.SGD(p, lr=0.1, maximize=True), "sgd with rate 0.1"),
    "Adam with a penalty": (lambda p: optim.Adam(p, weight_decay=0.1), "adam with rate 0.001, b1 0.9, b2 0.999"),
    "AMSGrad": (lambda p: optim.Adam(p, amsgrad=True), "amsgrad with rate 0.001, b1 0.9, b2 0.999"),
    "AdamW": (optim.AdamW, "adam with rate 0.001, b1 0.9, b2 0.999"),
    "a partial": (functools.partial(optim.Adamax, lr=0.1), "adamax with rate 0.1, b1 0.9, b2 0.999"),
    "an instance": (optim.RMSprop([torch.zeros(2)], lr=0.1, centered=True), "centered with rate 0.1, rho 0.99"),
    "Adagrad": (optim.Adagrad, "adagrad with rate 0.01"),
    "RAdam": (optim.RAdam, ""),
    "ASGD": (optim.ASGD, ""),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_optimizer_passes(name):
    optimizer, rule = RIGHT[name]
    report = gv.check_optimizer(optimizer)
    assert (report.verdict, report.rule) == (gv.Verdict.PASS, rule), str(report)


class Coupled(optim.AdamW):
    """An AdamW whose decay goes through the gradient."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = p.grad + group["weight_decay"] * p.detach()
            group["weight_decay"], kept = 0.0, group["weight_decay"]
            super().step(closure)
            group["weight_decay"] = kept


class Forgetful(optim.SGD):
    """Its velocity is no part of what a checkpoint saves."""

    def state_dict(self):
        return {**super().state_dict(), "state": {}}


class NeverMaximises(optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data -= group["lr"] * p.grad


WRONG = [(lambda p: Coupled(p, weight_decay=0.1), "decay-coupled"), (lambda p: Forgetful(p, lr=0.1, momentum=0.9), "not-resumed"),
         (lambda p: NeverMaximises(p, lr=0.1), "maximize-ignored")]


@pytest.mark.parametrize(("make", "cause"), WRONG, ids=[cause for _, cause in WRONG])
def test_a_wrong_subclass_fails(make, cause):
    assert cause in [fact.cause for fact in gv.check_optimizer(make).failed]


def test_the_optimizer_given_is_not_stepped():
    w = torch.ones(2, requires_grad=True)
    optimizer = optim.Adam([w])
    gv.check_optimizer(optimizer)
    assert w.tolist() == [1.0, 1.0]
    assert not optimizer.state


def test_what_asks_for_the_loss_again_is_refused():
    with pytest.raises(TypeError, match="no function of gradients"):
        gv.check_optimizer(optim.LBFGS)
