"""The windows a kernel slides over, and their adjoint: what convolutions and pooling are made of.

`patches` copies each window's entries into a row; `fold` adds rows back to where they came from. They are the
two sides of one linear map, ``<patches(x), p> = <x, fold(p)>``: every pullback in `convolution` and `pooling`
is a matrix product or a choice between one and the other.

Arrays are (n, channel, *space). A window of size k, dilation d, reads entries i s - pad + d j, j < k, and
there are floor((length + 2 pad - d (k - 1) - 1) / s) + 1 of them along an axis.
Source of the arithmetic: Dumoulin and Visin, *A guide to convolution arithmetic for deep learning* (2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.reference.layer import Array, require_size, shape_of

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Size, stride, padding and dilation along each axis of space."""

    size: Axes
    stride: Axes
    padding: Axes
    dilation: Axes

    @property
    def entries(self) -> int:
        """How many entries a window has."""
        return math.prod(self.size)

    @property
    def spans(self) -> Axes:
        """How far it reaches, holes included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.size, self.dilation, strict=True))

    def padded(self, lengths: Axes) -> Axes:
        """The lengths of space with its padding."""
        return tuple(n + 2 * p for n, p in zip(lengths, self.padding, strict=True))

    def counts(self, lengths: Axes) -> Axes:
        """How many windows fit along each axis."""
        steps = zip(self.padded(lengths), self.spans, self.stride, strict=True)
        counts = tuple((n - span) // s + 1 for n, span, s in steps)
        if any(count < 1 for count in counts):
            raise ValueError(f"x with space {lengths}: a window of {self.size} does not fit, {self}")
        return counts

    def places(self, offset: Axes, counts: Axes) -> tuple[slice, ...]:
        """Where the entry at `offset` of every window lies in the padded array."""
        each = zip(offset, self.dilation, self.stride, counts, strict=True)
        return tuple(slice(d * o, d * o + s * (n - 1) + 1, s) for o, d, s, n in each)


def make_windows(size: Any, stride: Any, padding: Any, dilation: Any) -> Windows:
    """The windows of these numbers; one number stands for every axis that `size` has."""
    sizes = (size,) if isinstance(size, int) else tuple(size)
    stride, padding, dilation = (_along(value, len(sizes)) for value in (stride, padding, dilation))
    for keyword, values in (("size", sizes), ("stride", stride), ("dilation", dilation)):
        for value in values:
            require_size(keyword, value)
    if len({len(sizes), len(stride), len(padding), len(dilation)}) > 1:
        raise ValueError(f"size={size!r}: stride, padding and dilation must be numbers or as many as it has")
    if any(isinstance(p, bool) or not isinstance(p, int) or p < 0 for p in padding):
        raise ValueError(f"padding={padding!r}: must be integers >= 0")
    return Windows(sizes, stride, padding, dilation)


def _along(value: Any, axes: int) -> Axes:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def require_space(x: Array, channels: int | None, how: Windows, layer: object) -> Axes:
    """The lengths of space of x (n, channels, *space); raises where its shape is another."""
    shape = shape_of(x)
    if len(shape) != 2 + len(how.size) or (channels is not None and shape[1] != channels):
        wanted = f"(n, {channels or 'channels'}, {len(how.size)} of space)"
        raise ValueError(f"x of shape {shape}: must be {wanted} for {layer}")
    return shape[2:]


def patches(x: Array, how: Windows, fill: float = 0.0) -> Array:
    """The windows of x (n, c, *space) as (n, c, *counts, entries); `fill` stands in the padding."""
    axes, counts = tuple(range(2, 2 + len(how.size))), how.counts(shape_of(x)[2:])
    if any(how.padding):
        width = [(0, 0), (0, 0), *((p, p) for p in how.padding)]
        x = np.pad(x, width, constant_values=fill)
    every = np.lib.stride_tricks.sliding_window_view(x, how.spans, axis=axes)
    strided = tuple(slice(None, None, s) for s in (*how.stride, *how.dilation))
    return np.reshape(every[(slice(None), slice(None), *strided)], (*shape_of(x)[:2], *counts, how.entries))


def fold(p: Array, how: Windows, lengths: Axes) -> Array:
    """The sum of every entry of p (n, c, *counts, entries) where its window read it: (n, c, *lengths)."""
    shape = shape_of(p)
    total = np.zeros_like(p, shape=(*shape[:2], *how.padded(lengths)))
    for k, offset in enumerate(np.ndindex(*how.size)):
        places = (slice(None), slice(None), *how.places(offset, shape[2:-1]))
        total[places] = total[places] + p[..., k]
    inside = tuple(slice(pad, pad + n) for pad, n in zip(how.padding, lengths, strict=True))
    return total[(slice(None), slice(None), *inside)]
