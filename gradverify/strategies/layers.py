"""Which layers may follow which shape: a menu for each kind of flow, the simplest first."""

from __future__ import annotations

from functools import cache, lru_cache

from hypothesis import strategies as st

from gradverify.reference import INITIALISERS, Embedding, Layer
from gradverify.strategies.blocks import branches, joined, residual, shared
from gradverify.strategies.description import Shape
from gradverify.strategies.makers import (
    WIDTHS,
    Draw,
    Flow,
    Maker,
    activation,
    attention,
    channel_norm,
    choice,
    conv,
    conv_transposed,
    dense,
    dropout,
    flatten,
    gated,
    global_pool,
    joining,
    last_axes_norm,
    pool,
    positions,
    recurrent,
    reshape,
    softmax,
)

# What there is more of stands more often: there are more activations, alone and as gates, than all other layers.
# What every kind of flow has stands at the same place, so that a shrink may change the kind and keep the layer.
_EVERYWHERE = (branches, activation, gated, joining, residual, joined, last_axes_norm, dropout)
MENUS: dict[str, tuple[Maker, ...]] = {
    "features": (activation, dense, *_EVERYWHERE, softmax, channel_norm, shared, activation, branches, reshape),
    "image": (activation, conv, *_EVERYWHERE, pool, channel_norm, conv_transposed, conv, pool, global_pool, flatten),
    "sequence": (activation, dense, *_EVERYWHERE, softmax, recurrent, attention, recurrent, positions, positions,
                 flatten),
}
GROWING = (conv, conv_transposed, joined, branches)


@lru_cache(4096)
def layers_after(flow: Flow, menu: tuple[Maker, ...] | None = None) -> st.SearchStrategy[tuple[Layer, Flow]]:
    """A layer that accepts this flow, and the flow behind it."""
    return _layer_after(flow, choice(*(menu or MENUS[flow.kind])))


@st.composite
def _layer_after(draw: Draw, flow: Flow, makers: st.SearchStrategy[Maker]) -> tuple[Layer, Flow]:
    layer, after = draw(makers)(draw, flow)
    return layer, after


def layers(shape: Shape, kind: str | None = None) -> st.SearchStrategy[Layer]:
    """Layers that accept an array of this shape, batch first; `kind` says what three axes mean.

    Two axes are rows of features. Three are a one-dimensional image, or with ``kind="sequence"`` vectors in
    order; four and five are images.
    """
    if len(shape) < 2 or any(length < 1 for length in shape):
        raise ValueError(f"shape={shape!r}: must have a batch axis and at least one more, none of them empty")
    known = kind or ("features" if len(shape) == 2 else "image")
    lengths = {"features": (2,), "sequence": (3,), "image": (3, 4, 5)}
    if len(shape) not in lengths.get(known, ()):
        raise ValueError(f"kind={kind!r}: no kind of shape {shape}; there are {', '.join(MENUS)}")
    return layers_after(Flow(known, tuple(shape))).map(lambda pair: pair[0])


@cache
def embeddings() -> st.SearchStrategy[Embedding]:
    """Tables, some with a padding row."""
    return st.builds(_embedding, WIDTHS, WIDTHS, choice(False, True))


def _embedding(rows: int, units: int, padded: bool) -> Embedding:
    return Embedding(rows, units, padding=rows - 1 if padded else None)


def initialisers() -> st.SearchStrategy[str]:
    """The names of the initialisers, zeros first."""
    return st.sampled_from(INITIALISERS)
