"""Blocks of several layers: residual ones, and graphs that join or share.

What a block contains is drawn from makers that leave all axes alone but the last, or the channels', so that a
shortcut can always be made to fit.
"""

from __future__ import annotations

from gradverify.reference import (
    Add,
    Concatenate,
    Conv,
    Dense,
    Graph,
    Layer,
    Multiply,
    Network,
    Node,
    Residual,
    sequential,
)
from gradverify.strategies.makers import (
    Draw,
    Flow,
    Maker,
    activation,
    attention,
    between,
    channel_norm,
    choice,
    dense,
    gated,
    last_axes_norm,
)


def same_conv(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`Conv` that keeps the lengths of space."""
    inputs, units, wide = flow.shape[1], draw(between(1, 3)), draw(choice(0, 1))
    size = (1 + 2 * wide,) * len(flow.shape[2:])
    return Conv(inputs, units, size, padding=wide), flow.of(units, *flow.shape[2:])


BODIES: dict[str, tuple[Maker, ...]] = {
    "features": (activation, dense, last_axes_norm),
    "sequence": (activation, dense, attention, last_axes_norm),
    "image": (activation, same_conv, channel_norm),
}


def _body(draw: Draw, flow: Flow) -> tuple[Network, Flow]:
    layers = []
    for _ in range(draw(between(1, 2))):
        layer, flow = draw(choice(*BODIES[flow.kind]))(draw, flow)
        layers.append(layer)
    return sequential(*layers), flow


def residual(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`Residual`, with a linear shortcut where the body changes the shape, else with none."""
    body, after = _body(draw, flow)
    shortcut = None if after.shape == flow.shape else _projection(flow, after)
    return Residual(body, shortcut, depth=draw(choice(1, 4))), after


def _projection(flow: Flow, after: Flow) -> Layer:
    if flow.kind == "image":
        return Conv(flow.shape[1], after.shape[1], (1,) * len(flow.shape[2:]))
    return Dense(flow.shape[-1], after.shape[-1])


def joined(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """The input beside, or times, what a body makes of it."""
    body, after = _body(draw, flow)
    node = {"body": Node(body, ("x",))}
    if after.shape == flow.shape and draw(choice(0, 1)):
        return Graph({**node, "y": Node(Multiply(), ("body", "x"), "")}, "y"), flow
    axis = 1 if flow.kind == "image" else len(flow.shape) - 1
    together = list(flow.shape)
    together[axis] += after.shape[axis]
    return Graph({**node, "y": Node(Concatenate(axis), ("x", "body"), "")}, "y"), flow.of(*together[1:])


def branches(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """Two to four functions of one input side by side: as in an Inception block, but along the last axis."""
    parts = [draw(choice(activation, gated))(draw, flow) for _ in range(draw(between(2, 4)))]
    nodes = {f"b{k}": Node(layer, ("x",)) for k, (layer, _) in enumerate(parts)}
    y = Node(Concatenate(len(flow.shape) - 1), tuple(nodes), "")
    return Graph({**nodes, "y": y}, "y"), flow.ending(sum(after.shape[-1] for _, after in parts))


def shared(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """One linear layer used twice, and the sum of both uses."""
    units = flow.shape[-1]
    again = Dense(units, units)
    nodes = {"a": Node(again, ("x",), "shared"), "b": Node(again, ("a",), "shared"), "y": Node(Add(), ("a", "b"), "")}
    return Graph(nodes, "y"), flow
