"""PyTorch modules, watched through hooks: every layer within, none changed, and nothing left behind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradverify.arrays import flatten
from gradverify.flow import rules
from gradverify.flow.sites import Backward, Change, Passage, Rule, Site
from gradverify.frameworks.torch.state import frozen
from gradverify.frameworks.torch.tensors import floating, to_host
from gradverify.reference.activations import Activation

ACTIVATIONS: dict[type, tuple[str, str]] = {
    nn.ReLU: ("relu", ""), nn.Sigmoid: ("sigmoid", ""), nn.Tanh: ("tanh", ""), nn.SiLU: ("silu", ""),
    nn.LeakyReLU: ("leaky_relu", "negative_slope"), nn.ELU: ("elu", "alpha"), nn.CELU: ("celu", "alpha"),
    nn.SELU: ("selu", ""), nn.GELU: ("gelu", ""), nn.Mish: ("mish", ""), nn.Softsign: ("softsign", ""),
    nn.LogSigmoid: ("log_sigmoid", ""), nn.Hardsigmoid: ("hard_sigmoid", ""), nn.Hardswish: ("hard_swish", ""),
}  # the module, the reference's function, the attribute that is its constant
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
AVERAGES, MAXIMA = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
WHOLE = (nn.MultiheadAttention, nn.RNNBase, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


@dataclass(frozen=True)
class Call:
    """One call of one module, all tensors still in the graph.

    `source` is what it was given, `x` a copy of that for this module alone, `y` its output, and `left` a copy that
    went on. A call without a module is a function between two modules that was recognised by its values.
    """

    name: str
    module: nn.Module | None
    source: Tensor
    x: Tensor
    y: Tensor
    left: Tensor
    first: bool = True
    function: Activation | None = None
    follows: bool = True
    tied: bool = False
    args: tuple[Any, ...] = ()


def record(network: Any, inputs: tuple[Any, ...]) -> Passage:
    """One forward pass of a module at these inputs, in the mode it is in; buffers and random states are put back."""
    if not isinstance(network, nn.Module):
        raise TypeError(f"network={network!r}: must be a torch.nn.Module, whose layers can be watched")
    leaves, rebuild = flatten(list(inputs), "x")
    own = {name: t.detach().clone().requires_grad_() if floating(t) else t for name, t in leaves.items()}
    calls: list[Call] = []
    with _running(network), watching(network, calls):
        outputs = network(*rebuild(own))
    y, calls = _main(outputs, type(network).__name__), _joined(calls)
    entry = next((t for t in own.values() if floating(t)), None)
    return Passage(
        name=type(network).__name__, sites=tuple(map(_site, calls)), output=to_host(y),
        pull=partial(_pull, calls, y, entry), cotangent=partial(_cotangent, outputs, y),
        x=None if entry is None else to_host(entry), push=None if entry is None else partial(_push, y, entry),
        forward=None if entry is None else partial(_forward, network, own, rebuild, entry),
        altered=partial(_altered, network, inputs))


def _push(y: Tensor, entry: Tensor, dx: np.ndarray) -> np.ndarray:
    """J dx as the derivative of <J^T u, dx> by u, so that modules need no forward mode of their own."""
    with torch.enable_grad():
        u = torch.zeros_like(y, requires_grad=True)
        (back,) = torch.autograd.grad(y, entry, u, retain_graph=True, create_graph=True)
        (dy,) = torch.autograd.grad(back, u, _like(dx, entry))
    return to_host(dy)


def _forward(network: nn.Module, own: Mapping[str, Any], rebuild: Any, entry: Tensor, x: np.ndarray) -> np.ndarray:
    """The output at another input."""
    other = {name: _like(x, entry) if t is entry else t for name, t in own.items()}
    with _running(network):
        return to_host(_main(network(*rebuild(other)), type(network).__name__))


def _like(a: np.ndarray, t: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(a)).to(t.device, t.dtype)


def _altered(network: nn.Module, inputs: tuple[Any, ...], change: Change) -> Passage:
    """A copy with other weights, activations or normalisations, watched."""
    copy = deepcopy(network)
    modules, scales, activation = dict(copy.named_modules()), change.scales, change.activation
    with torch.no_grad():
        for name, scale in scales.items():
            for p in modules.get(name, copy).parameters():  # one layer alone goes under the name of its class
                p.mul_(scale if p.ndim > 1 else 1.0)
    for name, module in modules.items():
        if activation is not None and type(module) in ACTIVATIONS and name:
            parent, _, key = name.rpartition(".")
            setattr(modules[parent], key, nn.ReLU())
    if change.normalised:
        _normalise(copy)
    return record(copy, inputs)


def _normalise(network: nn.Module) -> None:
    """A normalisation behind every sum but the last one."""
    modules = dict(network.named_modules())
    sums = [(n, m) for n, m in _innermost(network, "") if isinstance(m, (nn.Linear, *CONVOLUTIONS)) and n in modules]
    for name, module in sums[:-1]:
        parent, _, key = name.rpartition(".")
        norm = nn.LayerNorm(module.out_features, elementwise_affine=False) if isinstance(module, nn.Linear) else \
            nn.GroupNorm(1, module.out_channels, affine=False)
        setattr(modules[parent], key, nn.Sequential(module, norm))


@contextmanager
def _running(network: nn.Module) -> Iterator[None]:
    """Gradients on, random states frozen; running statistics move in copies."""
    kept = [(module, dict(module._buffers)) for module in network.modules()]  # noqa: SLF001 - as functional_call does
    with torch.inference_mode(mode=False), torch.enable_grad(), frozen(0, ()):
        try:
            for module, buffers in kept:
                module._buffers.update({n: None if b is None else b.clone() for n, b in buffers.items()})  # noqa: SLF001
            yield
        finally:
            for module, buffers in kept:
                module._buffers.update(buffers)  # noqa: SLF001


@contextmanager
def watching(network: nn.Module, calls: list[Call]) -> Iterator[None]:
    """Hooks on every innermost module while the block runs."""
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        for name, module in _innermost(network, ""):
            opened: list[tuple[Tensor, Tensor]] = []
            before, after = partial(_enter, opened), partial(_leave, name, opened, counts, calls)
            stack.callback(module.register_forward_pre_hook(before, prepend=True).remove)
            stack.callback(module.register_forward_hook(after).remove)
        yield


def _innermost(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    children = [] if isinstance(module, WHOLE) else list(module.named_children())
    if not children:
        yield name or type(module).__name__, module
    for key, child in children:
        yield from _innermost(child, f"{name}.{key}" if name else key)


def _enter(opened: list[tuple[Tensor, Tensor]], module: nn.Module, args: tuple[Any, ...]) -> Any:
    if not args or not floating(args[0]):
        return None
    # A copy is what this module alone receives, so that its gradient is this module's share; a second one stands
    # between it and modules that write into their input.
    x = args[0].clone() if args[0].requires_grad else args[0].clone().requires_grad_()
    opened.append((args[0], x))
    return (x.clone(), *args[1:])


def _leave(
    name: str, opened: list[tuple[Tensor, Tensor]], counts: dict[str, int], calls: list[Call],
    module: nn.Module, args: Any, y: Any,
) -> Any:
    if not opened:
        return None
    (source, x), main = opened.pop(), y[0] if isinstance(y, tuple) and y else y
    if not floating(main) or not main.requires_grad:
        return None
    count = counts[name] = counts.get(name, -1) + 1
    left = main.clone()
    unique = f"{name}@{count}" if count else name
    calls.append(Call(unique, module, source, x, main, left, count == 0, args=args[1:]))
    return (left, *y[1:]) if isinstance(y, tuple) else left


def _joined(calls: Sequence[Call]) -> list[Call]:
    """The calls with functions between them, such as ``F.relu``, that their values give away."""
    joined = list(calls[:1])
    for call in calls[1:]:
        before = joined[-1]
        if call.source is not before.left:
            f = rules.recognised(to_host(before.left), to_host(call.source))
            if f is not None:
                x, y = before.left, call.source
                joined.append(Call(f"{before.name} > {f.name}", None, x, x, y, y, function=f))
        joined.append(replace(call, follows=call.source is joined[-1].left))
    used = Counter(id(call.module) for call in joined if call.module is not None)
    return [replace(call, tied=used[id(call.module)] > 1) for call in joined]


def _main(outputs: Any, name: str) -> Tensor:
    """The first floating tensor of what the network returned."""
    found = [y for y in flatten(outputs, "out")[0].values() if floating(y) and y.requires_grad]
    if not found:
        raise TypeError(f"nothing to check: no output of {name} depends on a parameter or a floating input")
    return found[0]


def _cotangent(outputs: Any, y: Tensor, loss: Callable[..., Any]) -> tuple[float, np.ndarray]:
    with torch.enable_grad():
        value = loss(outputs)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise TypeError(f"loss: must return a tensor with one entry, not {value!r}")
        (u,) = torch.autograd.grad(value.sum(), y, retain_graph=True, allow_unused=True)
    return float(value.detach()), np.zeros(tuple(y.shape), np.float32) if u is None else to_host(u)


def _pull(calls: Sequence[Call], y: Tensor, entry: Tensor | None, u: np.ndarray) -> Backward:
    params = [(call.name, key, p) for call in calls if call.first
              for key, p in _parameters(call)]
    asked = [*(call.y for call in calls), *(call.x for call in calls), *(p for _, _, p in params)]
    asked += [] if entry is None else [entry]
    found = torch.autograd.grad(y, asked, _like(u, y), retain_graph=True, allow_unused=True)
    n = len(calls)
    received, sent, rest = found[:n], found[n : 2 * n], found[2 * n :]
    grads: dict[str, dict[str, np.ndarray]] = {}
    for (name, key, _), g in zip(params, rest, strict=False):
        if g is not None:
            grads.setdefault(name, {})[key] = to_host(g)
    return Backward(received=_hosts(calls, received), sent=_hosts(calls, sent), grads=grads,
                    dx=None if entry is None or rest[-1] is None else to_host(rest[-1]))


def _parameters(call: Call) -> list[tuple[str, Tensor]]:
    module = call.module
    return [] if module is None else [(key, p) for key, p in module.named_parameters() if p.requires_grad]


def _hosts(calls: Sequence[Call], tensors: Sequence[Tensor | None]) -> dict[str, np.ndarray]:
    return {call.name: to_host(t) for call, t in zip(calls, tensors, strict=True) if t is not None}


def _site(call: Call) -> Site:
    module, x, y = call.module, to_host(call.x), to_host(call.y)
    axis = -1 if x.ndim == 2 or isinstance(module, (nn.Linear, nn.LayerNorm)) else 1
    if module is None:
        assert call.function is not None
        return rules.function_site(call.name, call.function, x, y, axis)
    return Site(
        name=call.name, kind=type(module).__name__, x=x, y=y, rule=_tied(rule_of(module, x, y), tied=call.tied),
        weights={key: to_host(p) for key, p in _parameters(call)}, axis=axis, follows=call.follows,
        again=partial(_again, module, call.x, call.args))


def _tied(rule: Rule | None, *, tied: bool) -> Rule | None:
    """Weights that are used again further on are known to what arrives."""
    return replace(rule, tied=True) if rule is not None and tied and rule.weights else rule


def _again(module: nn.Module, like: Tensor, args: tuple[Any, ...], x: np.ndarray) -> np.ndarray:
    """The module at another x, beside the same other arguments."""
    with torch.no_grad(), _running(module):
        y = module(torch.from_numpy(x).to(like.device, like.dtype), *args)
    return to_host(y[0] if isinstance(y, tuple) else y)


def rule_of(module: nn.Module, x: np.ndarray, y: np.ndarray) -> Rule | None:
    """What is expected of a module, by its class; None where theory has no say."""
    if type(module) in ACTIVATIONS:
        return _activation(module, x)
    if not any(True for _ in module.parameters()) and (f := rules.recognised(x, y)) is not None:
        return rules.elementwise_rule(f, x)
    if isinstance(module, (nn.Linear, *CONVOLUTIONS)):
        return _weights(module, x)
    if isinstance(module, (nn.Identity, nn.Flatten, nn.Unflatten)):
        return rules.identity_rule()
    if isinstance(module, DROPOUTS):
        return rules.dropout_rule(module.p if module.training else 0.0)
    return _normal(module, x) or _pool(module, x, y)


def _activation(module: nn.Module, x: np.ndarray) -> Rule:
    name, constant = ACTIVATIONS[type(module)]
    if name == "gelu" and module.approximate == "tanh":
        name = "gelu_tanh"
    setting = float(getattr(module, constant)) if constant else None
    return rules.elementwise_rule(Activation(name, setting), x)


def _weights(module: Any, x: np.ndarray) -> Rule | None:
    W = to_host(module.weight)
    if isinstance(module, nn.Linear):
        return rules.linear_rule(W, module.in_features)
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    space = x.shape[-len(module.kernel_size) :]
    return rules.convolution_rule(W, module.in_channels, space, module.stride, module.padding, module.dilation)


def _normal(module: Any, x: np.ndarray) -> Rule | None:
    scale = 1.0 if getattr(module, "weight", None) is None else to_host(module.weight)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - the one base of all three
        axes = tuple(a for a in range(x.ndim) if a != 1)
        return rules.normal_rule(x, axes, scale, module.eps) if module.training else None
    if isinstance(module, nn.LayerNorm):
        axes = tuple(range(x.ndim - len(module.normalized_shape), x.ndim))
        return rules.normal_rule(x, axes, scale, module.eps)
    return None


def _pool(module: Any, x: np.ndarray, y: np.ndarray) -> Rule | None:
    if isinstance(module, MAXIMA):
        return rules.pool_rule(x, y, entries=1)
    if isinstance(module, AVERAGES):
        size = module.kernel_size
        dims = y.ndim - 2
        return rules.pool_rule(x, y, entries=math.prod(size) if isinstance(size, tuple) else size**dims)
    return None
