"""Convolution: the same small weights at every place of space, in any number of dimensions, and its transpose.

With the windows of x written as rows (`windows.patches`), a convolution is `Dense` applied to each of them:
z = patches(x) W + b, and its pullback is Dense's followed by the adjoint of `patches`. The transposed
convolution is that adjoint taken as a forward: it spreads each entry over the window it would have come from.
What is called convolution in networks does not flip the kernel; it is a correlation.
Sources: LeCun et al., *Backpropagation applied to handwritten zip code recognition* (1989); Dumoulin and
Visin (2016), chapter 4 (transposed); groups: Krizhevsky, Sutskever and Hinton (2012), section 3.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradverify.reference.initialisers import draw, require_initialiser
from gradverify.reference.layer import Array, Params, Pullback, require_size, shape_of
from gradverify.reference.windows import Axes, Windows, fold, make_windows, patches, require_space


def _rows(p: Array, groups: int) -> Array:
    """(n, c, *counts, entries) as (n, groups, places, c / groups x entries)."""
    n, c, *counts, entries = shape_of(p)
    places = math.prod(counts)
    apart = np.reshape(p, (n, groups, c // groups, places, entries))
    return np.reshape(np.moveaxis(apart, 2, 3), (n, groups, places, c // groups * entries))


def _windows_of(rows: Array, counts: Axes, entries: int) -> Array:
    """What `_rows` was made from."""
    n, groups, places, width = shape_of(rows)
    apart = np.reshape(rows, (n, groups, places, width // entries, entries))
    return np.reshape(np.moveaxis(apart, 3, 2), (n, groups * (width // entries), *counts, entries))


def _grouped(z: Array, groups: int) -> Array:
    """(n, c, *space) as (n, groups, c / groups, places)."""
    n, c, *space = shape_of(z)
    return np.reshape(z, (n, groups, c // groups, math.prod(space)))


def _transposed(a: Array) -> Array:
    return np.swapaxes(a, -1, -2)


def _matrix(W: Array, groups: int) -> Array:
    return np.reshape(W, (groups, shape_of(W)[0] // groups, math.prod(shape_of(W)[1:])))


def _with_bias(z: Array, params: Params) -> Array:
    return z + np.reshape(params["b"], (-1,) + (1,) * (len(shape_of(z)) - 2)) if "b" in params else z


def _bias_gradient(dy: Array, params: Params) -> Params:
    return {"b": np.sum(dy, axis=(0, *range(2, len(shape_of(dy)))))} if "b" in params else {}


def convolve(x: Array, W: Array, how: Windows, groups: int) -> Array:
    """Z = patches(x) W: (n, c, *space) and (units, c / groups, *size) to (n, units, *counts)."""
    counts = how.counts(shape_of(x)[2:])
    z = _transposed(_rows(patches(x, how), groups) @ _transposed(_matrix(W, groups)))
    return np.reshape(z, (shape_of(x)[0], shape_of(W)[0], *counts))


def convolve_transposed(z: Array, W: Array, how: Windows, groups: int, lengths: Axes) -> Array:
    """fold(z W^T): the adjoint of `convolve` in x, onto space of these lengths."""
    rows = _transposed(_grouped(z, groups)) @ _matrix(W, groups)
    return fold(_windows_of(rows, shape_of(z)[2:], how.entries), how, lengths)


def weight_gradient(x: Array, z: Array, W: Array, how: Windows, groups: int) -> Array:
    """sum_n z patches(x): the adjoint of `convolve` in W."""
    return np.reshape(np.sum(_grouped(z, groups) @ _rows(patches(x, how), groups), axis=0), shape_of(W))


def _require_groups(inputs: int, units: int, groups: int) -> None:
    for keyword, value in (("inputs", inputs), ("units", units), ("groups", groups)):
        require_size(keyword, value)
    if inputs % groups or units % groups:
        raise ValueError(f"groups={groups!r}: must divide inputs={inputs} and units={units}")


@dataclass(frozen=True)
class Conv:
    """z_nop = sum_cj x_nc,(p s - pad + j d) W_ocj + b_o, with c over the channels of o's group.

    x (n, inputs, *space), W (units, inputs / groups, *size), b (units,), z (n, units, *counts). The number of
    sizes is the number of dimensions: ``Conv(1, 8, (3,))`` is one-dimensional, ``Conv(1, 8, (3, 3))`` two.

        dW_ocj = sum_np x_nc,(p s - pad + j d) dz_nop       every place used the same weight: summed over all
        dx     = each dz_nop spread by W_o over the window that it came from, overlaps added
        db_o   = sum_np dz_nop

    >>> x = np.arange(5.0).reshape(1, 1, 5)
    >>> y, pullback = Conv(1, 1, (3,), bias=False).forward({"W": np.array([[[1.0, 0.0, -1.0]]])}, x)
    >>> y, pullback(np.ones((1, 1, 3)))[1]
    (array([[[-2., -2., -2.]]]), array([[[ 1.,  1.,  0., -1., -1.]]]))
    """

    inputs: int
    units: int
    size: Axes
    stride: int | Axes = 1
    padding: int | Axes = 0
    dilation: int | Axes = 1
    groups: int = 1
    bias: bool = True
    initialiser: str = "glorot_uniform"

    def __post_init__(self) -> None:
        _require_groups(self.inputs, self.units, self.groups)
        require_initialiser(self.initialiser)
        make_windows(self.size, self.stride, self.padding, self.dilation)

    @property
    def windows(self) -> Windows:
        """How the kernel slides."""
        return make_windows(self.size, self.stride, self.padding, self.dilation)

    def init(self, rng: np.random.Generator) -> Params:
        field = self.windows.entries
        shape = (self.units, self.inputs // self.groups, *self.windows.size)
        fan_in, fan_out = shape[1] * field, self.units // self.groups * field
        W = draw(self.initialiser, rng, shape, fan_in, fan_out)
        return {"W": W, "b": np.zeros(self.units)} if self.bias else {"W": W}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        W, how, groups = params["W"], self.windows, self.groups
        lengths = require_space(x, self.inputs, how, self)

        def pullback(dy: Array) -> tuple[Params, Array]:
            dparams = {"W": weight_gradient(x, dy, W, how, groups), **_bias_gradient(dy, params)}
            return dparams, convolve_transposed(dy, W, how, groups, lengths)

        return _with_bias(convolve(x, W, how, groups), params), pullback

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        """Dz = conv(dx, W) + conv(x, dW) + db, the product rule."""
        how, groups = self.windows, self.groups
        moved = convolve(dx, params["W"], how, groups) + convolve(x, dparams["W"], how, groups)
        return self.forward(params, x)[0], _with_bias(moved, dparams)


@dataclass(frozen=True)
class ConvTransposed:
    """The adjoint of `Conv` in x as a layer: each entry of x is spread over a window of y, overlaps added.

    x (n, inputs, *space), W (inputs, units / groups, *size), y (n, units, *lengths) with
    lengths = (space - 1) s - 2 pad + d (size - 1) + 1 + extra; `extra` < stride chooses among the lengths that
    a convolution of this stride would have mapped to this space. Its pullback is a convolution:

        dx = conv(dy, W),   dW_cuj = sum_np dy_nu,(p s - pad + j d) x_ncp,   db_u = sum_np dy_nup
    """

    inputs: int
    units: int
    size: Axes
    stride: int | Axes = 1
    padding: int | Axes = 0
    dilation: int | Axes = 1
    groups: int = 1
    extra: int | Axes = 0
    bias: bool = True
    initialiser: str = "glorot_uniform"

    def __post_init__(self) -> None:
        _require_groups(self.inputs, self.units, self.groups)
        require_initialiser(self.initialiser)
        if any(e < 0 or e >= s for e, s in zip(self._extra(), self.windows.stride, strict=True)):
            raise ValueError(f"extra={self.extra!r}: must be at least 0 and less than stride={self.stride!r}")

    @property
    def windows(self) -> Windows:
        """How the kernel slides over the output."""
        return make_windows(self.size, self.stride, self.padding, self.dilation)

    def _extra(self) -> Axes:
        return make_windows(self.windows.size, 1, self.extra, 1).padding

    def lengths(self, space: Axes) -> Axes:
        """The space of y."""
        how = self.windows
        each = zip(space, how.stride, how.padding, how.spans, self._extra(), strict=True)
        return tuple((n - 1) * s - 2 * p + span + e for n, s, p, span, e in each)

    def init(self, rng: np.random.Generator) -> Params:
        field = self.windows.entries
        shape = (self.inputs, self.units // self.groups, *self.windows.size)
        fan_in, fan_out = self.inputs // self.groups * field, shape[1] * field
        W = draw(self.initialiser, rng, shape, fan_in, fan_out)
        return {"W": W, "b": np.zeros(self.units)} if self.bias else {"W": W}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        W, how, groups = params["W"], self.windows, self.groups

        def pullback(dy: Array) -> tuple[Params, Array]:
            dparams = {"W": weight_gradient(dy, x, W, how, groups), **_bias_gradient(dy, params)}
            return dparams, convolve(dy, W, how, groups)

        return _with_bias(self._spread(params, x), params), pullback

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        moved = self._spread(params, dx) + self._spread(dparams, x)
        return self.forward(params, x)[0], _with_bias(moved, dparams)

    def _spread(self, params: Params, x: Array) -> Array:
        space = require_space(x, self.inputs, self.windows, self)
        return convolve_transposed(x, params["W"], self.windows, self.groups, self.lengths(space))
