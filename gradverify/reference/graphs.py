"""Networks that are no chain: skips, joins, and weights that are used more than once.

A `Graph` is a list of nodes, each a layer with the names of what goes into it. Backwards there is one rule more
than in a chain: **what was used several times receives the sum of what each use sends back**. That covers a skip
(one value into two layers) and shared weights (one parameter in two nodes) alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.arrays import flatten
from gradverify.reference.layer import Array, Layer, Params, Pullback, require_size, shape_of
from gradverify.reference.modes import advanced
from gradverify.reference.trees import added, without_values


@dataclass(frozen=True)
class Add:
    """y = sum_k x_k of a tuple of arrays of one shape; every summand gets dy."""

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002 - a layer's signature
        return {}

    def forward(self, params: Params, x: tuple[Array, ...]) -> tuple[Array, Pullback]:  # noqa: ARG002
        _require_one_shape(x)
        return sum(x[1:], start=x[0]), lambda dy: ({}, (dy,) * len(x))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        return self.forward({}, x)[0], sum(dx[1:], start=dx[0])


@dataclass(frozen=True)
class Multiply:
    """y = a b of two arrays of one shape; da = b dy, db = a dy."""

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return {}

    def forward(self, params: Params, x: tuple[Array, Array]) -> tuple[Array, Pullback]:  # noqa: ARG002
        _require_one_shape(x)
        a, b = x
        return a * b, lambda dy: ({}, (b * dy, a * dy))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        (a, b), (da, db) = x, dx
        return a * b, a * db + da * b


@dataclass(frozen=True)
class Concatenate:
    """The arrays of a tuple side by side along an axis; each gets back its own part of dy."""

    axis: int = -1

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return {}

    def forward(self, params: Params, x: tuple[Array, ...]) -> tuple[Array, Pullback]:  # noqa: ARG002
        ends = np.cumsum([shape_of(part)[self.axis] for part in x])[:-1]
        return self._joined(x), lambda dy: ({}, tuple(np.split(dy, ends, axis=self.axis)))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:  # noqa: ARG002
        return self._joined(x), self._joined(dx)

    def _joined(self, x: tuple[Array, ...]) -> Array:
        return np.concatenate(list(x), axis=self.axis)


def _require_one_shape(x: tuple[Array, ...]) -> None:
    # Broadcasting would need the gradient summed over what was repeated.
    if len({shape_of(part) for part in x}) != 1:
        raise ValueError(f"x of shapes {[shape_of(part) for part in x]}: must be of one shape")


@dataclass(frozen=True)
class Residual:
    """y = body(x) + shortcut(x), the shortcut being x itself where none is given.

    dx = body's + dy: the gradient has a way back that nothing multiplies, however deep the network is.
    `depth`, the number of residual blocks of the whole network, divides the last weight of the body by its
    square root at the start, so that the sum of all branches does not grow with their number.
    Sources: He, Zhang, Ren and Sun (2016); Radford et al. (2019), section 2.3 (the scaling).
    """

    body: Layer
    shortcut: Layer | None = None
    depth: int = 1

    def __post_init__(self) -> None:
        require_size("depth", self.depth)

    def init(self, rng: np.random.Generator) -> Params:
        body = scaled_by_depth(self.body.init(rng), self.depth)
        return {"body": body} if self.shortcut is None else {"body": body, "shortcut": self.shortcut.init(rng)}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        return self._graph.forward(params, x)

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        return self._graph.pushforward(params, x, dparams, dx)

    def advance(self, params: Params, x: Array) -> Params:
        """The parameters of both branches after a training pass over x; see `modes`."""
        return self._graph.advance(params, x)

    @property
    def _graph(self) -> Graph:
        nodes = {"body": Node(self.body, ("x",))}
        if self.shortcut is not None:
            nodes["shortcut"] = Node(self.shortcut, ("x",))
        sides = ("body", "x" if self.shortcut is None else "shortcut")
        return Graph({**nodes, "sum": Node(Add(), sides, "")}, "sum")


def scaled_by_depth(params: Params, depth: int) -> Params:
    """The same parameters with the last weight (the last leaf of two or more axes) divided by sqrt(depth)."""
    leaves, rebuild = flatten(params, "p")
    weights = [name for name, leaf in leaves.items() if len(shape_of(leaf)) > 1]
    scaled = {name: leaf / math.sqrt(depth) if weights[-1:] == [name] else leaf for name, leaf in leaves.items()}
    return rebuild(scaled)


@dataclass(frozen=True)
class Node:
    """A layer in a graph: the names of its inputs, and of its parameters, its own name where none is given.

    With one input the layer gets that array, with several a tuple. Nodes whose parameters have one name share
    them. The empty name stands for a layer without parameters.
    """

    layer: Layer
    inputs: tuple[str, ...]
    params: str | None = None


@dataclass(frozen=True)
class Graph:
    """The nodes in an order in which each comes after its inputs; y is the value of the node `output`.

    x is one array, called "x", or a dict of named ones; dx has the same form.

    >>> twice = {"a": Node(Add(), ("x", "x"), ""), "y": Node(Multiply(), ("a", "x"), "")}
    >>> y, pullback = Graph(twice, "y").forward({}, np.array([3.0]))       # 2 x^2
    >>> y, pullback(np.array([1.0]))[1]
    (array([18.]), array([12.]))
    """

    nodes: Mapping[str, Node]
    output: str

    def __post_init__(self) -> None:
        if self.output not in self.nodes:
            raise ValueError(f"output={self.output!r}: must be one of {', '.join(self.nodes)}")

    def init(self, rng: np.random.Generator) -> Params:
        params: dict[str, Params] = {}
        for name, node in self.nodes.items():
            key = _key(name, node)
            if key and key not in params:
                params[key] = node.layer.init(rng)
        return params

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        values, pullbacks = dict(_named(x)), dict[str, Pullback]()
        for name, node in self.nodes.items():
            own = _params_of(params, name, node)
            values[name], pullbacks[name] = node.layer.forward(own, self._input(values, name))
        return values[self.output], lambda dy: self._backwards(params, x, pullbacks, dy)

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        values, moved = dict(_named(x)), dict(_named(dx))
        for name, node in self.nodes.items():
            values[name], moved[name] = node.layer.pushforward(
                _params_of(params, name, node), self._input(values, name),
                _params_of(dparams, name, node), self._input(moved, name))
        return values[self.output], moved[self.output]

    def advance(self, params: Params, x: Array) -> Params:
        """The parameters of every node after a training pass over x, those shared once for each use."""
        values, after = dict(_named(x)), dict(params)
        for name, node in self.nodes.items():
            seen = self._input(values, name)
            values[name], _ = node.layer.forward(_params_of(params, name, node), seen)
            if _key(name, node):
                after[_key(name, node)] = advanced(node.layer, after[_key(name, node)], seen)
        return after

    def _input(self, values: Mapping[str, Array], name: str) -> Any:
        missing = [source for source in self.nodes[name].inputs if source not in values]
        if missing:
            raise ValueError(f"node {name!r}: input {missing[0]!r} is neither an input nor a node before it")
        parts = tuple(values[source] for source in self.nodes[name].inputs)
        return parts if len(parts) > 1 else parts[0]

    def _backwards(self, params: Params, x: Array, pullbacks: dict[str, Pullback], dy: Array) -> tuple[Params, Array]:
        received: dict[str, Array] = {self.output: dy}
        dparams: dict[str, Params] = dict.fromkeys(params)
        for name, node in reversed(list(self.nodes.items())):
            if name not in received:
                continue
            its_dparams, sent = pullbacks[name](received[name])
            if key := _key(name, node):
                dparams[key] = added(dparams[key], its_dparams)
            for source, part in zip(node.inputs, sent if len(node.inputs) > 1 else (sent,), strict=True):
                received[source] = added(received.get(source), part)
        unused = {key: without_values(params[key]) for key, g in dparams.items() if g is None}
        dx = {name: received.get(name) for name in _named(x)}
        return {**dparams, **unused}, dx if isinstance(x, Mapping) else dx["x"]


def _named(x: Any) -> Mapping[str, Array]:
    return x if isinstance(x, Mapping) else {"x": x}


def _key(name: str, node: Node) -> str:
    return name if node.params is None else node.params


def _params_of(params: Params, name: str, node: Node) -> Params:
    key = _key(name, node)
    return params[key] if key else {}
