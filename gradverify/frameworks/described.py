"""A described network run on any framework's operators: which layer comes after which, and the leaves by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from gradverify.arrays import Arrays, Rebuild, flatten, is_floating
from gradverify.reference import Network, Residual
from gradverify.reference.graphs import Graph

Operate: TypeAlias = Callable[[Any, Mapping[str, Any], Any], Any]  # (layer, its parameters, x) -> y
CONSTANT = ("mean", "variance")  # what no layer claims a gradient for


def run(operate: Operate, layer: Any, params: Any, x: Any) -> Any:
    """The output of a layer, or of all layers of a network in their order."""
    if isinstance(layer, Network):
        for part, own in zip(layer.layers, params, strict=True):
            x = run(operate, part, own, x)
        return x
    if isinstance(layer, Residual):
        return run(operate, layer._graph, params, x)  # noqa: SLF001 - a residual block is that graph
    return _nodes(operate, layer, params, x) if isinstance(layer, Graph) else operate(layer, params, x)


def _nodes(operate: Operate, graph: Graph, params: Any, x: Any) -> Any:
    values = dict(x) if isinstance(x, Mapping) else {"x": x}
    for name, node in graph.nodes.items():
        parts = tuple(values[source] for source in node.inputs)
        own = params.get(name if node.params is None else node.params, {})
        values[name] = run(operate, node.layer, own, parts if len(parts) > 1 else parts[0])
    return values[graph.output]


def leaves_of(params: Any, x: Any) -> tuple[Arrays, Arrays, Rebuild]:
    """What a gradient is taken of, all arrays, both by path, and the way back to a dict of ``params`` and ``x``.

    >>> import numpy as np
    >>> list(leaves_of(({"W": np.ones(2)}, {"key": np.array(3)}), np.ones(2))[0])
    ['params[0].W', 'x']
    """
    everything, rebuild = flatten({"params": params, "x": x}, "")
    moving = {name: leaf for name, leaf in everything.items() if is_floating(leaf) and not name.endswith(CONSTANT)}
    return moving, everything, rebuild
