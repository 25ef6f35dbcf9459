"""Whole networks: a family chooses the input and the menu, then layers follow while there is room.

A network ends where the draw says stop, which is the simplest choice, so that shrinking removes layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from hypothesis import strategies as st

from gradverify.reference import LSTM, Attention, Layer, MultiHeadAttention
from gradverify.strategies.description import Architecture, Case, Shape
from gradverify.strategies.layers import GROWING, MENUS, embeddings, layers_after
from gradverify.strategies.losses import endings
from gradverify.strategies.makers import (
    FEW,
    WIDTHS,
    Draw,
    Flow,
    Maker,
    between,
    choice,
    divisor,
    recurrent,
)
from gradverify.strategies.points import any_points, upstreams

_GO_ON = choice(False, True, True, True, True)
LARGEST = 64  # entries of one example: a transposed convolution must not grow a network without end
Beside = tuple[tuple[str, Shape], ...]


@dataclass(frozen=True)
class Start:
    """The input, the layers that belong to it, and what flows out of them."""

    flow: Flow
    shape: Shape
    layers: tuple[Layer, ...] = ()
    rows: int | None = None
    beside: Beside = ()


@dataclass(frozen=True)
class Family:
    """How a family starts, and which layers it is made of."""

    start: Callable[[Draw], Start]
    menus: dict[str, tuple[Maker, ...]]


def _features(draw: Draw) -> Start:
    flow = Flow("features", (draw(FEW), draw(WIDTHS)))
    return Start(flow, flow.shape)


def _image(draw: Draw) -> Start:
    batch, channels = draw(FEW), draw(FEW)
    space = draw(choice(1, 2, 1))
    flow = Flow("image", (batch, channels, *(draw(between(1, 6 // space + 1)) for _ in range(space))))
    return Start(flow, flow.shape)


def _sequence(draw: Draw) -> Start:
    flow = Flow("sequence", (draw(FEW), draw(between(1, 4)), draw(WIDTHS)))
    return Start(flow, flow.shape)


def _embedded(draw: Draw) -> Start:
    table, places = draw(embeddings()), (draw(FEW), draw(between(1, 4)))
    return Start(Flow("sequence", (*places, table.units)), places, (table,), table.rows)


def _stateful(draw: Draw) -> Start:
    """A recurrent layer with what it may be given beside x: initial states and a mask."""
    start = _sequence(draw)
    layer, flow = recurrent(draw, start.flow)
    batch, steps, _ = start.shape
    state = (batch, flow.shape[-1])
    states: dict[str, Shape] = {"h": state, "mask": (batch, steps)}
    if isinstance(layer, LSTM):
        states["c"] = state
    return Start(flow, start.shape, (layer,), beside=_some(draw, states))


def _attending(draw: Draw) -> Start:
    """Attention of queries to other keys and values, with a mask."""
    batch, queries, keys, units = draw(FEW), draw(FEW), draw(FEW), draw(WIDTHS)
    query = (batch, queries, units)
    if draw(choice(0, 1)):
        value = (batch, keys, draw(WIDTHS))
        mask = _some(draw, {"mask": (batch, queries, keys)})
        beside = (("key", (batch, keys, units)), ("value", value), *mask)
        causal = not draw(choice(1, 1, 0))
        return Start(Flow("sequence", (batch, queries, value[-1])), query, (Attention(causal),), beside=beside)
    heads = MultiHeadAttention(units, divisor(draw, units))
    other = (batch, keys, units)
    given: Beside = draw(choice((), (("key", other),), (("key", other), ("value", other))))
    mask = _some(draw, {"mask": (batch, keys if given else queries)})
    return Start(Flow("sequence", query), query, (heads,), beside=(*given, *mask))


def _some(draw: Draw, named: dict[str, Shape]) -> Beside:
    return tuple((name, shape) for name, shape in named.items() if draw(choice(0, 1)))


def _recurrent(draw: Draw) -> Start:
    start: Callable[[Draw], Start] = draw(choice(_stateful, _stateful, _embedded))
    return start(draw)


def _transformer(draw: Draw) -> Start:
    start: Callable[[Draw], Start] = draw(choice(_attending, _attending, _embedded))
    return start(draw)


def _anything(draw: Draw) -> Start:
    start: Callable[[Draw], Start] = draw(choice(_features, _image, _sequence, _embedded, _stateful, _attending))
    return start(draw)


FAMILIES: dict[str, Family] = {
    "mlp": Family(_features, {"features": MENUS["features"][:-1]}),
    "convolutional": Family(_image, MENUS),
    "recurrent": Family(_recurrent, MENUS),
    "attention": Family(_transformer, MENUS),
    "mixed": Family(_anything, MENUS),
}


@cache
def architectures(
    families: tuple[str, ...] | None = None, min_layers: int = 1, max_layers: int = 8
) -> st.SearchStrategy[Architecture]:
    """Architectures of these families (all of them: ``FAMILIES``), one function of one number the simplest.

    >>> from gradverify.strategies import minimal
    >>> minimal(architectures())
    Architecture((1, 1), (Activation('identity'),))
    """
    if not 1 <= min_layers <= max_layers:
        raise ValueError(f"min_layers={min_layers!r}: must be at least 1 and at most max_layers={max_layers!r}")
    return _network(choice(*_known(families)), min_layers, max_layers).map(lambda drawn: drawn[0])


@st.composite
def _network(
    draw: Draw, families: st.SearchStrategy[str], min_layers: int, max_layers: int
) -> tuple[Architecture, Flow]:
    family = FAMILIES[draw(families)]
    start = family.start(draw)
    flow, layers = start.flow, list(start.layers)
    # The last question is asked and ignored where there is no more room: a shrink that removes a layer in
    # the middle leaves room at the end, and finds the answer already there.
    while (draw(_GO_ON) or len(layers) < min_layers) and len(layers) < max_layers:
        layer, flow = draw(layers_after(flow, _menu(family, flow)))
        layers.append(layer)
    return Architecture(start.shape, tuple(layers), start.rows, start.beside), flow


def _known(families: tuple[str, ...] | None) -> tuple[str, ...]:
    chosen = tuple(FAMILIES) if families is None else tuple(families)
    for name in chosen:
        if name not in FAMILIES:
            raise ValueError(f"families={families!r}: {name!r} is none of {', '.join(FAMILIES)}")
    if not chosen:
        raise ValueError("families=(): must name at least one")
    return chosen


def _menu(family: Family, flow: Flow) -> tuple[Maker, ...]:
    """The makers for this flow; where it is large already, without those that enlarge it."""
    menu = family.menus[flow.kind]
    if math.prod(flow.shape[1:]) <= LARGEST:
        return menu
    return tuple(maker for maker in menu if maker not in GROWING)


@cache
def cases(families: tuple[str, ...] | None = None, max_layers: int = 8) -> st.SearchStrategy[Case]:
    """Everything that one gradient check needs; half of them end in a loss."""
    return _case(_network(choice(*_known(families)), 1, max_layers))


@st.composite
def _case(draw: Draw, networks: st.SearchStrategy[tuple[Architecture, Flow]]) -> Case:
    architecture, flow = draw(networks)
    case = Case(architecture, draw(any_points()), draw(upstreams()))
    if not draw(choice(0, 1)):
        return case
    ending = draw(endings(flow))
    whole = replace(architecture, layers=(*architecture.layers, *ending.before))
    return replace(case, architecture=whole, loss=ending.loss, labels=ending.labels, weighted=ending.weighted)
