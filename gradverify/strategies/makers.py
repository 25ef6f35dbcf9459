"""One layer that fits the running shape, drawn; and the shape that it leaves behind.

A `Flow` says what the next layer will receive. Sizes are drawn between bounds that the flow implies, so nothing
is ever filtered; the first of all options is the simplest, so Hypothesis shrinks towards it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeAlias

from hypothesis import strategies as st

from gradverify.reference import (
    GLU,
    GRU,
    LSTM,
    RNN,
    Activation,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTransposed,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    GroupNorm,
    Layer,
    LayerNorm,
    LearnedPositions,
    LogSoftmax,
    Maxout,
    MaxPool,
    MultiHeadAttention,
    PReLU,
    Reshape,
    RMSNorm,
    RotaryPositions,
    SinusoidalPositions,
    Softmax,
    sequential,
)
from gradverify.reference.activations import FUNCTIONS, SETTABLE
from gradverify.strategies.description import Shape

Draw: TypeAlias = st.DrawFn
WIDTH = 4  # features, channels and units: enough for every index to matter, small enough to be fast


@dataclass(frozen=True)
class Flow:
    """The shape that runs into the next layer, batch first, and what its axes mean."""

    kind: str  # features, image or sequence
    shape: Shape

    def of(self, *shape: int, kind: str = "") -> Flow:
        """The same batch with other axes behind it."""
        return Flow(kind or self.kind, (self.shape[0], *shape))

    def ending(self, last: int) -> Flow:
        """The same but for the last axis."""
        return Flow(self.kind, (*self.shape[:-1], last))


Maker: TypeAlias = Callable[[Draw, Flow], tuple[Layer, Flow]]

# Making a strategy costs Hypothesis ten times what drawing from it does: each is made once.
between = cache(st.integers)


@lru_cache(None, typed=True)
def choice(*options: Any) -> st.SearchStrategy[Any]:
    """One of these, the first the simplest."""
    return st.sampled_from(options)


# Softmax and norms of a single entry are constants, and hide what came before: width 1 is rare.
WIDTHS = choice(1, 2, 3, 4, 2, 3, 4, 3)
FEW = choice(1, 2, 3)


def often(draw: Draw) -> bool:
    """True three times in four, and where shrinking is done."""
    return bool(draw(choice(1, 1, 1, 0)))


def divisor(draw: Draw, n: int) -> int:
    """A divisor of n, 1 the simplest."""
    return int(draw(choice(*(d for d in range(1, n + 1) if n % d == 0))))


def dense(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`Dense` on the last axis."""
    units = draw(WIDTHS)
    return Dense(flow.shape[-1], units, bias=often(draw)), flow.ending(units)


def activation(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """An elementwise function."""
    name = draw(choice(*FUNCTIONS))
    setting = draw(choice(None, 0.3)) if name in SETTABLE else None
    return Activation(name, setting), flow


def joining(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`PReLU` or `Maxout`."""
    last = flow.shape[-1]
    if draw(choice("prelu", "maxout")) == "prelu":
        return PReLU(draw(choice(1, flow.shape[1]))), flow
    pieces = divisor(draw, last)
    return Maxout(pieces), flow.ending(last // pieces)


def gated(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`GLU`, with a `Dense` before it where the last axis is odd: of a gate the value counts, not the slope alone."""
    last, gate = flow.shape[-1], GLU(draw(choice("sigmoid", *FUNCTIONS)))
    if last % 2 == 0:
        return gate, flow.ending(last // 2)
    units = draw(choice(1, 2))
    return sequential(Dense(last, 2 * units), gate), flow.ending(units)


def softmax(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """Softmax or its logarithm over the last axis."""
    return draw(choice(Softmax(), LogSoftmax())), flow


def last_axes_norm(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`LayerNorm` or `RMSNorm` over one or more of the last axes."""
    axes = draw(between(1, len(flow.shape) - 1))
    norm = draw(choice(RMSNorm, LayerNorm))
    return norm(flow.shape[-axes:], affine=often(draw)), flow


def channel_norm(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`BatchNorm`, in either mode, or `GroupNorm`, over the second axis."""
    channels = flow.shape[1]
    if draw(choice(0, 1)):
        return GroupNorm(divisor(draw, channels), channels, affine=often(draw)), flow
    return BatchNorm(channels, affine=often(draw), training=often(draw)), flow


def dropout(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`Dropout`."""
    return Dropout(draw(choice(0.5, 0.25))), flow


def flatten(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """All axes but the batch's as one."""
    return Flatten(), flow.of(math.prod(flow.shape[1:]), kind="features")


def reshape(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """The features of a row as channels of a one-dimensional image."""
    channels = divisor(draw, flow.shape[1])
    shape = (channels, flow.shape[1] // channels)
    return Reshape(shape), flow.of(*shape, kind="image")


def conv(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`Conv` with a window that fits."""
    inputs, space = flow.shape[1], flow.shape[2:]
    groups = divisor(draw, inputs)
    units = groups * draw(between(1, max(WIDTH // groups, 1)))
    size, stride, padding, dilation = _window(draw, space)
    layer = Conv(inputs, units, size, stride, padding, dilation, groups, bias=often(draw))
    return layer, flow.of(units, *layer.windows.counts(space))


def _window(draw: Draw, space: Shape) -> tuple[Shape, int | Shape, int, int]:
    """Size, stride, padding and dilation: each drawn below what the ones before leave room for."""
    padding = draw(choice(0, 1))
    size = tuple(draw(between(1, min(3, n + 2 * padding))) for n in space)
    room = min((n + 2 * padding - 1) // (k - 1) if k > 1 else 2 for n, k in zip(space, size, strict=True))
    stride = draw(choice(1, 2, tuple(range(1, len(space) + 1))))
    return size, stride, padding, draw(between(1, min(room, 2)))


def conv_transposed(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`ConvTransposed`, padded by less than what it adds."""
    inputs, space = flow.shape[1], flow.shape[2:]
    groups = divisor(draw, inputs)
    units = groups * draw(between(1, max(WIDTH // groups, 1)))
    size = tuple(draw(FEW) for _ in space)
    stride, dilation = draw(choice(1, 2)), draw(choice(1, 2))
    extra = draw(between(0, stride - 1))
    padding = draw(between(0, dilation * (min(size) - 1) // 2))
    layer = ConvTransposed(inputs, units, size, stride, padding, dilation, groups, extra, bias=often(draw))
    return layer, flow.of(units, *layer.lengths(space))


def pool(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`AveragePool` or `MaxPool` with a window that fits."""
    space = flow.shape[2:]
    size = tuple(draw(between(1, min(3, n))) for n in space)
    padding = draw(between(0, min(size) // 2))
    layer = draw(choice(AveragePool, MaxPool))(size, draw(choice(None, 1, 2)), padding)
    return layer, flow.of(flow.shape[1], *layer.windows.counts(space))


def global_pool(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """The mean or the maximum of each channel."""
    return GlobalPool(draw(choice("mean", "max"))), flow.of(flow.shape[1], kind="features")


def recurrent(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`RNN`, `GRU` or `LSTM`: all of its outputs, or the last."""
    kind, inputs, units = draw(choice(RNN, GRU, LSTM, RNN)), flow.shape[-1], draw(FEW)
    output = draw(choice("sequence", "sequence", "last"))
    options = {"activation": draw(choice("tanh", *FUNCTIONS))} if kind is RNN else {}
    after = flow.ending(units) if output == "sequence" else flow.of(units, kind="features")
    return kind(inputs, units, output=output, **options), after


def attention(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """`MultiHeadAttention` of a sequence to itself."""
    units = flow.shape[-1]
    return MultiHeadAttention(units, divisor(draw, units), causal=not often(draw), bias=often(draw)), flow


def positions(draw: Draw, flow: Flow) -> tuple[Layer, Flow]:
    """Learned places, or where the last axis is even, waves or rotations."""
    steps, units = flow.shape[1:]
    learned = LearnedPositions(steps + draw(between(0, 1)), units)
    waves = (SinusoidalPositions(), RotaryPositions(), RotaryPositions()) if units % 2 == 0 else ()
    return draw(choice(learned, *waves)), flow
