"""A described network in PyTorch: the same layers and parameters, computed and differentiated by PyTorch.

`build` turns a layer of `gradverify.reference` (what ``Architecture.build`` returns, too) into an `nn.Module`:
one module for each layer, parameters in the reference's own names and layout, so that gradients compare leaf by
leaf. Every forward is PyTorch's own operator; nothing of the reference is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from gradverify.arrays import Arrays
from gradverify.frameworks.described import leaves_of
from gradverify.frameworks.torch import operators
from gradverify.reference import Network, Residual
from gradverify.reference.graphs import Graph
from gradverify.reference.layer import Layer, Params

Tensor: TypeAlias = torch.Tensor
CONSTANT = ("mean", "variance", "key")


class Built(nn.Module):
    """One layer; its parameters carry the reference's names."""

    def __init__(self, layer: Layer, params: Mapping[str, Any], forward: Callable[..., Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.function = forward
        for name, leaf in params.items():
            _register(self, name, leaf)

    def forward(self, x: Any) -> Tensor:
        """The output of PyTorch's operator."""
        return self.function(self.layer, tensors_of(self), x)


def _register(module: nn.Module, name: str, leaf: Any) -> None:
    if isinstance(leaf, Mapping):
        child = nn.Module()
        for inner, value in leaf.items():
            _register(child, inner, value)
        module.add_module(name, child)
    elif name in CONSTANT or np.asarray(leaf).dtype.kind != "f":
        module.register_buffer(name, torch.as_tensor(np.array(leaf)))
    else:
        module.register_parameter(name, nn.Parameter(torch.as_tensor(np.array(leaf))))


def tensors_of(module: nn.Module) -> dict[str, Any]:
    """The parameters of a layer as a tree, buffers among them."""
    own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
    return {**own, **{name: tensors_of(child) for name, child in module.named_children()}}


class Joined(nn.Module):
    """The nodes of a `Graph`; what shares parameters shares the module."""

    def __init__(self, graph: Graph, params: Mapping[str, Any]) -> None:
        super().__init__()
        self.graph = graph
        keys = {name: name if node.params is None else node.params for name, node in graph.nodes.items()}
        self.names = {name: keys[name] or f"{name}_" for name in graph.nodes}
        for name, node in graph.nodes.items():
            if self.names[name] not in self._modules:
                self.add_module(self.names[name], build(node.layer, params.get(keys[name], {})))

    def forward(self, x: Any) -> Tensor:
        """The value of the output node."""
        values = dict(x) if isinstance(x, Mapping) else {"x": x}
        for name, node in self.graph.nodes.items():
            parts = tuple(values[source] for source in node.inputs)
            values[name] = self._modules[self.names[name]](parts if len(parts) > 1 else parts[0])
        return values[self.graph.output]


def build(layer: Layer, params: Params) -> nn.Module:
    """The layer, or network, as a module in the dtype of its parameters; TypeError where PyTorch has none.

    >>> from gradverify.reference import Dense
    >>> module = build(Dense(1, 1), {"W": np.array([[2.0]]), "b": np.array([1.0])})
    >>> module(torch.tensor([[3.0]], dtype=torch.float64)).item()
    7.0
    """
    if isinstance(layer, Network):
        return nn.Sequential(*(build(part, own) for part, own in zip(layer.layers, params, strict=True)))
    if isinstance(layer, Graph):
        return Joined(layer, params)
    if isinstance(layer, Residual):
        return Joined(layer._graph, params)  # noqa: SLF001 - a residual block is that graph
    return Built(layer, params, operators.operator_of(layer))


def differentiate(layer: Layer, params: Params, x: Any, u: np.ndarray) -> tuple[np.ndarray, Arrays]:
    """The output, and the gradient of every leaf by the names of `described.leaves_of`, for the upstream gradient u."""
    module, given = build(layer, params), to_tensor(x)
    y = module(given)
    y.backward(torch.tensor(np.array(u)))
    inputs = {"x": given} if torch.is_tensor(given) else given
    found = {f"params.{name}": p.grad for name, p in module.named_parameters()}
    found |= {name if name == "x" else f"x.{name}": tensor.grad for name, tensor in inputs.items()}
    names = {_plain(name): name for name in leaves_of(params, x)[0]}
    return y.detach().numpy(), {names[n]: g.numpy() for n, g in found.items() if g is not None and n in names}


def _plain(path: str) -> str:
    """``params.0.W`` for ``params[0].W``, as modules name it."""
    return path.replace("[", ".").replace("]", "")


def to_tensor(x: Any) -> Any:
    """Arrays, or a dict of them, as tensors; floating ones collect gradients."""
    if isinstance(x, Mapping):
        return {name: to_tensor(part) for name, part in x.items()}
    return torch.tensor(np.array(x), requires_grad=np.asarray(x).dtype.kind == "f")
