"""Whole networks: a family chooses the input and the menu, then layers follow while there is room.

A network ends where the draw says stop, which is the simplest choice, so that shrinking removes layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from hypothesis import strategies as st

from gradverify.reference import MSE, CrossEntropy, Layer, Loss
from gradverify.strategies.description import Architecture, Case
from gradverify.strategies.layers import (
    GROWING,
    MENUS,
    WIDTH,
    Draw,
    Flow,
    Maker,
    between,
    choice,
    embeddings,
    layers_after,
)
from gradverify.strategies.points import any_points, upstreams

_GO_ON = choice(False, True, True, True)
LOSSES = (MSE(), CrossEntropy())
LARGEST = 64  # entries of one example: a transposed convolution must not grow a network without end


@dataclass(frozen=True)
class Family:
    """Where a family starts, and which layers it is made of where not of all that fit."""

    start: Callable[[Draw], Flow]
    menus: dict[str, tuple[Maker, ...]]
    embedded: bool = False


def _features(draw: Draw) -> Flow:
    return Flow("features", (_batch(draw), draw(between(1, WIDTH))))


def _image(draw: Draw) -> Flow:
    batch, channels = _batch(draw), draw(between(1, 3))
    dimensions = draw(between(1, 2))
    return Flow("image", (batch, channels, *(draw(between(1, 6 // dimensions + 1)) for _ in range(dimensions))))


def _sequence(draw: Draw) -> Flow:
    return Flow("sequence", (_batch(draw), draw(between(1, 4)), draw(between(1, WIDTH))))


def _batch(draw: Draw) -> int:
    return draw(between(1, 3))


def _anything(draw: Draw) -> Flow:
    return draw(choice(_features, _image, _sequence))(draw)


FAMILIES: dict[str, Family] = {
    "mlp": Family(_features, {"features": MENUS["features"][:-1]}),
    "convolutional": Family(_image, MENUS),
    "embedded": Family(_sequence, MENUS, embedded=True),
    "mixed": Family(_anything, MENUS),
}


@cache
def architectures(
    families: tuple[str, ...] | None = None, min_layers: int = 1, max_layers: int = 6
) -> st.SearchStrategy[Architecture]:
    """Architectures of these families (all of them: ``FAMILIES``), one elementwise function of one number the simplest.

    >>> from gradverify.strategies import architectures, minimal
    >>> minimal(architectures())
    Architecture((1, 1), (Activation('identity'),))
    """
    return _architecture(choice(*_known(families)), min_layers, max_layers)


@st.composite
def _architecture(draw: Draw, families: st.SearchStrategy[str], min_layers: int, max_layers: int) -> Architecture:
    family = FAMILIES[draw(families)]
    flow, layers, rows = family.start(draw), [], None
    shape = flow.shape
    if family.embedded:
        table = draw(embeddings())
        rows, shape = table.rows, flow.shape[:-1]
        layers, flow = [table], Flow(flow.kind, (*shape, table.units))
    # The last question is asked and ignored where there is no more room: a shrink that removes a layer in
    # the middle leaves room at the end, and finds the answer already there.
    while (draw(_GO_ON) or len(layers) < min_layers) and len(layers) < max_layers:
        layer, flow = draw(layers_after(flow, _menu(family, flow)))
        layers.append(layer)
    return Architecture(shape, tuple(layers), rows)


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


def losses() -> st.SearchStrategy[Loss]:
    """The losses of the reference, squared error first."""
    return choice(*LOSSES)


@cache
def cases(families: tuple[str, ...] | None = None, max_layers: int = 6) -> st.SearchStrategy[Case]:
    """Everything that one gradient check needs; half of them end in a loss."""
    networks, loss = architectures(families, max_layers=max_layers), choice(None, None, *LOSSES)
    return st.builds(Case, networks, any_points(), upstreams(), loss)
