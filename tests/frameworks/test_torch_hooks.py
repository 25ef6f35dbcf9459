"""Hooks that users put on tensors and modules: what training sees is the gradient after them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import gradverify as gv
from gradverify import saved

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

X = torch.linspace(-1.3, 1.7, 12, dtype=torch.float64).reshape(3, 4)


def net() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()


def halve(g: Any) -> Any:
    return g * 0.5


def halve_accumulated(p: Any) -> None:
    p.grad.mul_(0.5)


def twice(_module: Any, grads: Any, *_: Any) -> Any:
    return tuple(2 * g for g in grads)


WRONG = [
    (lambda m: m[0].weight.register_hook(halve), "0.weight", "`halve` (line", "a factor on one parameter"),
    (lambda m: m[2].bias.register_hook(lambda g: g * (g > 0)), "2.bias", "`<lambda>` (line", "a mask"),
    (lambda m: m[0].weight.register_post_accumulate_grad_hook(halve_accumulated), "0.weight", "`halve_accumulated`",
     "a factor once it is accumulated"),
    (lambda m: m[0].register_full_backward_hook(twice), "input", "`twice` (line", "a module's backward"),
    (lambda m: m[2].register_full_backward_pre_hook(twice), "2.weight", "on the backward pass of 2",
     "before a module's backward"),
    (lambda m: [p.register_hook(halve) for p in m[0].parameters()], "0.bias", "on 0.bias", "several parameters"),
]


@pytest.mark.parametrize(("put", "leaf", "named", "note"), WRONG, ids=[row[-1] for row in WRONG])
def test_a_hook_that_changes_the_gradient_fails_and_is_named(put, leaf, named, note):
    module = net()
    put(module)
    report = gv.check(module, X, search="none")
    (failed,) = [c for c in report.checks if c.verdict == "fail" and c.wrt == leaf]
    assert failed.causes[0].name == "hook"
    assert named in failed.causes[0].text


def test_what_hooks_on_a_parameter_and_on_a_module_do_only_together_is_said_so():
    module = net()
    module[2].register_full_backward_pre_hook(twice)
    module[0].weight.register_hook(lambda g: 3 * g)
    failed = {c.wrt: c for c in gv.check(module, X, search="none").checks if c.verdict == "fail"}
    assert "several hooks together" in failed["0.weight"].causes[0].text
    assert "`twice`" in failed["0.bias"].causes[0].text


RIGHT = [
    (lambda m: m[0].weight.register_hook(lambda g: None), "watches"),
    (lambda m: m[0].weight.register_hook(lambda g: g.clone()), "copies"),
    (lambda m: m[0].weight.register_post_accumulate_grad_hook(lambda p: None), "watches what is accumulated"),
    (lambda m: m[0].register_full_backward_hook(lambda m, dx, dy: None), "watches a module"),
]


@pytest.mark.parametrize(("put", "note"), RIGHT, ids=[row[-1] for row in RIGHT])
def test_a_hook_that_leaves_the_gradient_as_it_is_passes(put, note):
    module = net()
    put(module)
    assert gv.check(module, X).ok


def test_a_clip_that_does_not_act_at_the_point_is_named_for_where_it_does():
    module = net()
    module[0].weight.register_hook(lambda g: g.clamp(-100, 100))
    assert gv.check(module, X, search="none").ok
    report = gv.check(module, X)
    assert report.verdict == "fail"
    assert any("the gradient of 0.weight: judged as the hook `<lambda>` (line" in note for note in report.notes)


def test_a_gradient_that_a_hook_detaches_has_no_second_derivative():
    module = nn.Sequential(nn.Linear(4, 1), nn.Tanh()).double()
    module[0].weight.register_hook(lambda g: g.detach())
    assert gv.check(module, X, search="none").ok
    assert gv.check(module, X, search="none", order=2).verdict == "fail"


def test_a_hook_on_an_input_is_judged_too():
    x = X.clone().requires_grad_()
    x.register_hook(lambda g: -g)
    (failed,) = gv.check(torch.sin, x, search="none", mode="reverse").checks
    assert failed.causes[0].name == "hook"


def test_a_missing_conjugate_in_the_hook_of_a_complex_parameter_is_named():
    weight = nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3) * (1 + 0.5j))
    weight.register_hook(lambda g: g.conj())
    module = nn.Module()
    module.w = weight
    module.forward = lambda x: (x.to(weight.dtype) @ module.w).abs()
    report = gv.check(module, X, search="none")
    (failed,) = [c for c in report.checks if c.verdict == "fail"]
    assert (failed.wrt, failed.causes[0].name) == ("w.imag", "hook")


def stepping(module: Any, *, by_parameter: bool) -> None:
    """An optimizer's step within the backward."""
    every = list(module.parameters())
    steps = {p: torch.optim.SGD([p], lr=0.1) for p in every} if by_parameter else {}
    whole = torch.optim.SGD(every, lr=0.1)

    def step(p: Any) -> None:
        optimizer = steps[p] if by_parameter else whole
        optimizer.step()
        p.grad = None

    for p in every:
        p.grad = torch.ones_like(p)
        p.register_post_accumulate_grad_hook(step)


@pytest.mark.parametrize(("by_parameter", "why"), [(True, "raises KeyError"), (False, "takes the gradient away")])
def test_an_optimizer_in_the_backward_moves_nothing_and_the_report_says_what_was_not_judged(by_parameter, why):
    module = net()
    stepping(module, by_parameter=by_parameter)
    before = [(p.clone(), p.grad) for p in module.parameters()]
    report = gv.check(module, X, search="none")
    assert report.ok
    (note,) = report.notes
    assert why in note
    assert note.startswith("the gradients of 0.weight, 0.bias, 2.weight and 1 more: judged as before the hook `step`")
    assert all(torch.equal(p, v) and p.grad is g for p, (v, g) in zip(module.parameters(), before, strict=True))


def test_a_hook_that_writes_into_the_parameters_themselves_leaves_them_as_they_were():
    module = net()
    before = [p.detach().clone() for p in module.parameters()]
    for p in module.parameters():
        p.register_post_accumulate_grad_hook(lambda _, own=p: own.data.clamp_(-0.01, 0.01))
    assert gv.check(module, X, search="none").ok
    assert all(torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))


def test_parameters_are_looked_at_once_for_all_hooks(monkeypatch):
    from gradverify.frameworks.torch import hooks

    looked = []
    monkeypatch.setattr(hooks, "kept", lambda tensors, own=hooks.kept: looked.append(len(tensors)) or own(tensors))
    module = net()
    for p in module.parameters():
        p.register_post_accumulate_grad_hook(halve_accumulated)
    target = hooks_target(module)
    target.linearize(target.point, None)[1]({"out": np.ones((3, 2))})
    assert looked == [4]


def hooks_target(module: Any) -> Any:
    from gradverify.frameworks.torch import make_target
    from gradverify.records import Options

    return make_target(module, (X,), Options())


def test_the_users_hooks_are_as_they_were():
    module = net()
    module[0].register_full_backward_hook(twice)
    module[0].weight.register_hook(halve)
    gv.check(module, X, search="none")
    assert list(module[0]._backward_hooks.values()) == [twice]
    assert list(module[0].weight._backward_hooks.values()) == [halve]


def test_a_saved_failure_keeps_its_hooks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = net()
    module[0].weight.register_hook(halve)
    module[2].bias.register_post_accumulate_grad_hook(halve_accumulated)
    gv.check(module, X, search="none")
    target, inputs, _ = saved.load(next((tmp_path / ".gradverify").glob("*.json")).stem)
    again = gv.check(target, *inputs, search="none")
    assert {c.wrt for c in again.checks if c.verdict == "fail"} == {"0.weight", "2.bias"}
    np.testing.assert_array_equal(target[0].weight.detach(), module[0].weight.detach())


class Log:
    """What a training writes down of its gradients."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Any]] = {"w": []}
        self.steps, self.total = 0, torch.zeros(3, 4, dtype=torch.float64)

    def hear(self, g: Any) -> None:
        self.seen["w"].append(g)
        self.steps += 1
        self.total.add_(g)


TRACES = [
    (lambda m, log: m[0].weight.register_hook(log.hear), "a method of the user's object"),
    (lambda m, log: m[0].weight.register_hook(lambda g: log.hear(1 * g)), "an object that it closes over"),
    (lambda m, log: m[0].weight.register_hook(partial(Log.hear, log)), "a partial"),
    (lambda m, log: m[0].weight.register_hook(log.seen["w"].append), "a method of a list"),
    (lambda m, log: m[0].weight.register_post_accumulate_grad_hook(lambda p: log.hear(p.grad)), "after accumulating"),
    (lambda m, log: m[0].register_full_backward_hook(lambda _m, gi, _go: log.seen["w"].append(gi)), "of a module"),
]


@pytest.mark.parametrize(("put", "note"), TRACES)
@pytest.mark.parametrize("order", [1, 2])
def test_what_a_hook_writes_down_of_a_check_is_taken_back(put: Any, note: str, order: int) -> None:
    module, log = net(), Log()
    put(module, log)
    report = gv.check(module, X, order=order, search="none")
    assert report.verdict is gv.Verdict.PASS, note
    assert (log.seen, log.steps) == ({"w": []}, 0)
    assert (bool(log.total.any()), log.total.requires_grad) == (False, False)


def test_a_hook_still_writes_down_what_training_does() -> None:
    module, log = net(), Log()
    module[0].weight.register_hook(log.hear)
    gv.check(module, X, search="none")
    module(X).sum().backward()
    assert (len(log.seen["w"]), log.steps) == (1, 1)
    assert torch.equal(log.total, module[0].weight.grad)


def test_a_running_sum_that_a_hook_returns_begins_anew_in_each_pass() -> None:
    total = torch.zeros(3, dtype=torch.float64)
    w = torch.linspace(1, 2, 3, dtype=torch.float64).requires_grad_()
    w.register_hook(total.add_)
    assert gv.check(lambda w: (w * w).sum(), w, search="none").verdict is gv.Verdict.PASS
    assert not total.any()
