"""One layer that fits the running shape: what can be drawn, and the shape it leaves behind.

A `Flow` says what the next layer will receive: rows of features, a channel-first image of one or more
dimensions, or a sequence of vectors. Each kind has a menu, the simplest layer first, so that Hypothesis
shrinks towards it. No shape is ever filtered: sizes are drawn between bounds that the shape implies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, TypeAlias

from hypothesis import strategies as st

from gradverify.reference import (
    Activation,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTransposed,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalPool,
    GroupNorm,
    Layer,
    LayerNorm,
    LogSoftmax,
    MaxPool,
    Reshape,
    RMSNorm,
    Softmax,
)
from gradverify.reference.activations import FUNCTIONS, SETTABLE
from gradverify.reference.initialisers import INITIALISERS
from gradverify.strategies.description import Shape

Draw: TypeAlias = st.DrawFn
WIDTH = 4  # features, channels and units: enough for every index to matter, small enough to be fast
SMOOTH = tuple(name for name in FUNCTIONS if name not in {"relu", "leaky_relu"})


@dataclass(frozen=True)
class Flow:
    """The shape that runs into the next layer, batch first, and what its axes mean."""

    kind: str  # features, image or sequence
    shape: Shape

    def of(self, *shape: int, kind: str = "") -> Flow:
        """The same batch with other axes behind it."""
        return Flow(kind or self.kind, (self.shape[0], *shape))


Maker: TypeAlias = Callable[[Draw, Flow], tuple[Layer, Flow]]


# Making a strategy costs Hypothesis ten times what drawing from it does: each is made once.
between = cache(st.integers)


@lru_cache(None, typed=True)
def choice(*options: Any) -> st.SearchStrategy[Any]:
    """One of these, the first the simplest."""
    return st.sampled_from(options)


def _upto(draw: Draw, most: int) -> int:
    return draw(between(1, most))


def _often(draw: Draw) -> bool:
    """True three times in four, and where shrinking is done."""
    return bool(draw(choice(1, 1, 1, 0)))


def dense(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`Dense` on the last axis."""
    units = _upto(draw, WIDTH)
    layer = Dense(flow.shape[-1], units, bias=_often(draw))
    return layer, replace(flow, shape=(*flow.shape[:-1], units))


def activation(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """An elementwise function."""
    name = draw(choice(*FUNCTIONS))
    setting = draw(choice(None, 0.3)) if name in SETTABLE else None
    return Activation(name, setting), flow


def softmax(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """Softmax or its logarithm over the last axis."""
    return draw(choice(Softmax(), LogSoftmax())), flow


def last_axes_norm(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`LayerNorm` or `RMSNorm` over one or more of the last axes."""
    axes = _upto(draw, len(flow.shape) - 1)
    norm = draw(choice(RMSNorm, LayerNorm))
    return norm(flow.shape[-axes:], affine=_often(draw)), flow


def channel_norm(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`BatchNorm`, in either mode, or `GroupNorm`, over the second axis."""
    channels = flow.shape[1]
    if draw(choice(0, 1)):
        return GroupNorm(_divisor(draw, channels), channels, affine=_often(draw)), flow
    return BatchNorm(channels, affine=_often(draw), training=_often(draw)), flow


def dropout(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`Dropout`."""
    return Dropout(draw(choice(0.5, 0.25))), flow


def flatten(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """All axes but the batch's as one."""
    return Flatten(), flow.of(math.prod(flow.shape[1:]), kind="features")


def reshape(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """The features of a row as channels of a one-dimensional image."""
    channels = _divisor(draw, flow.shape[1])
    shape = (channels, flow.shape[1] // channels)
    return Reshape(shape), flow.of(*shape, kind="image")


def conv(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`Conv` with a window that fits."""
    inputs, space = flow.shape[1], flow.shape[2:]
    groups = _divisor(draw, inputs)
    units = groups * _upto(draw, max(WIDTH // groups, 1))
    size, stride, padding, dilation = _window(draw, space)
    layer = Conv(inputs, units, size, stride, padding, dilation, groups, bias=_often(draw))
    return layer, flow.of(units, *layer.windows.counts(space))


def conv_transposed(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`ConvTransposed`, padded by less than what it adds."""
    inputs, space = flow.shape[1], flow.shape[2:]
    groups = _divisor(draw, inputs)
    units = groups * _upto(draw, max(WIDTH // groups, 1))
    size = tuple(_upto(draw, 3) for _ in space)
    stride, dilation = _upto(draw, 2), _upto(draw, 2)
    extra = draw(between(0, stride - 1))
    padding = draw(between(0, dilation * (min(size) - 1) // 2))
    layer = ConvTransposed(inputs, units, size, stride, padding, dilation, groups, extra, bias=_often(draw))
    return layer, flow.of(units, *layer.lengths(space))


def pool(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`AveragePool` or `MaxPool` with a window that fits."""
    space = flow.shape[2:]
    size = tuple(_upto(draw, min(3, length)) for length in space)
    padding = draw(between(0, min(size) // 2))
    stride = draw(choice(None, 1, 2))
    layer = draw(choice(AveragePool, MaxPool))(size, stride, padding)
    return layer, flow.of(flow.shape[1], *layer.windows.counts(space))


def global_pool(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """The mean or the maximum of each channel."""
    return GlobalPool(draw(choice("mean", "max"))), flow.of(flow.shape[1], kind="features")


def _divisor(draw: Draw, n: int) -> int:
    return draw(choice(*(d for d in range(1, n + 1) if n % d == 0)))


def _window(draw: Draw, space: Shape) -> tuple[Shape, int | Shape, int, int]:
    """Size, stride, padding and dilation: each drawn below what the ones before leave room for."""
    padding = draw(between(0, 1))
    size = tuple(_upto(draw, min(3, length + 2 * padding)) for length in space)
    room = min((n + 2 * padding - 1) // (k - 1) if k > 1 else 2 for n, k in zip(space, size, strict=True))
    stride = draw(choice(1, 2, tuple(range(1, len(space) + 1))))
    return size, stride, padding, _upto(draw, min(room, 2))


MENUS: dict[str, tuple[Maker, ...]] = {
    "features": (dense, activation, activation, softmax, last_axes_norm, channel_norm, dropout, reshape),
    "image": (activation, conv, pool, channel_norm, conv_transposed, global_pool, flatten, last_axes_norm, dropout),
    "sequence": (dense, activation, activation, softmax, last_axes_norm, flatten, dropout),
}
GROWING = (conv, conv_transposed)


@lru_cache(4096)
def layers_after(flow: Flow, menu: tuple[Maker, ...] | None = None) -> st.SearchStrategy[tuple[Layer, Flow]]:
    """A layer that accepts this flow, and the flow behind it."""
    return _layer_after(flow, choice(*(menu or MENUS[flow.kind])))


@st.composite
def _layer_after(draw: Draw, flow: Flow, makers: st.SearchStrategy[Maker]) -> tuple[Layer, Flow]:
    return draw(makers)(draw, flow)


def layers(shape: Shape, kind: str | None = None) -> st.SearchStrategy[Layer]:
    """Layers that accept an array of this shape, batch first; `kind` says what three axes mean.

    Two axes are rows of features. Three are a one-dimensional image, or with ``kind="sequence"`` vectors in
    order; four and five are images.
    """
    if len(shape) < 2 or any(length < 1 for length in shape):
        raise ValueError(f"shape={shape!r}: must have a batch axis and at least one more, none of them empty")
    known = kind or ("features" if len(shape) == 2 else "image")
    if known not in MENUS or (known == "features") != (len(shape) == 2):
        raise ValueError(f"kind={kind!r}: no kind of shape {shape}; there are {', '.join(MENUS)}")
    return layers_after(Flow(known, tuple(shape))).map(lambda pair: pair[0])


def embeddings() -> st.SearchStrategy[Embedding]:
    """Tables, some with a padding row."""
    return st.builds(_embedding, between(1, WIDTH), between(1, WIDTH), choice(False, True))


def _embedding(rows: int, units: int, padded: bool) -> Embedding:
    return Embedding(rows, units, padding=rows - 1 if padded else None)


def initialisers() -> st.SearchStrategy[str]:
    """The names of the initialisers, zeros first."""
    return st.sampled_from(INITIALISERS)
