"""Normalisation: entries of a set are shifted and scaled to mean 0 and mean square 1, then to learned values.

The four layers differ in the set alone. For x (n, c, *space):

    BatchNorm   one set for each channel: all examples, all of space
    LayerNorm   one set for each example: the last axes
    GroupNorm   one set for each example and group of channels, all of space
    RMSNorm     as LayerNorm, scaled but not shifted

With m entries in a set, mu their mean, v = 1/m sum (x - mu)^2, s = sqrt(v + eps), h = (x - mu) / s:

    dh/dx along dx:    dh = (dx - mean(dx) - h mean(h dx)) / s

for d mu = mean(dx), and dv = 2 mean((x - mu) dx) gives ds = mean(h dx). The matrix is symmetric, so the pullback
is the same formula, with the gradient in place of dx. It removes from the gradient its mean and its part along
h: shifting or scaling all of x changes nothing. At zero variance h = 0 and s = sqrt(eps).
Sources: Ioffe and Szegedy (2015), section 3; Ba, Kiros and Hinton (2016); Wu and He (2018); Zhang and
Sennrich (2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradverify.reference.layer import Array, Params, Pullback, require_size, shape_of

Axes = tuple[int, ...]
Project = Callable[[Array], Array]


def _mean(a: Array, axes: Axes) -> Array:
    return np.mean(a, axis=axes, keepdims=True)


def standardised(x: Array, axes: Axes, eps: float) -> tuple[Array, Project]:
    """h, and the symmetric product with dh/dx."""
    centred = x - _mean(x, axes)
    s = np.sqrt(_mean(centred * centred, axes) + eps)
    h = centred / s
    return h, lambda d: (d - _mean(d, axes) - h * _mean(h * d, axes)) / s


def scaled_to_one(x: Array, axes: Axes, eps: float) -> tuple[Array, Project]:
    """The same without the mean: h = x / s with s = sqrt(mean(x^2) + eps)."""
    s = np.sqrt(_mean(x * x, axes) + eps)
    h = x / s
    return h, lambda d: (d - h * _mean(h * d, axes)) / s


def _affine(params: Params, h: Array, shape: tuple[int, ...]) -> Array:
    y = h * np.reshape(params["scale"], shape) if "scale" in params else h
    return y + np.reshape(params["shift"], shape) if "shift" in params else y


def _affine_pullback(params: Params, h: Array, shape: tuple[int, ...], dy: Array) -> tuple[Params, Array]:
    """Gradients of scale and shift, each summed over where it was repeated, and of h."""
    axes = tuple(k for k, n in enumerate((1,) * (len(shape_of(dy)) - len(shape)) + shape) if n == 1)
    dparams: dict[str, Array] = dict.fromkeys(params)
    for name, repeated in (("scale", dy * h), ("shift", dy)):
        if name in params:
            dparams[name] = np.reshape(np.sum(repeated, axis=axes), shape_of(params[name]))
    return dparams, dy * np.reshape(params["scale"], shape) if "scale" in params else dy


def _apply(
    params: Params, x: Array, shape: tuple[int, ...], normalise: Callable[[Array], tuple[Array, Project]]
) -> tuple[Array, Pullback]:
    h, project = normalise(x)

    def pullback(dy: Array) -> tuple[Params, Array]:
        dparams, dh = _affine_pullback(params, h, shape, dy)
        return dparams, project(dh)

    return _affine(params, h, shape), pullback


def _push(
    params: Params, x: Array, dparams: Params, dx: Array, shape: tuple[int, ...],
    normalise: Callable[[Array], tuple[Array, Project]],
) -> tuple[Array, Array]:
    h, project = normalise(x)
    dy = project(dx) * np.reshape(params["scale"], shape) if "scale" in params else project(dx)
    return _affine(params, h, shape), dy + _affine(dparams, h, shape) if dparams else dy


def _learned(shape: tuple[int, ...], names: tuple[str, ...]) -> Params:
    return {name: np.ones(shape) if name == "scale" else np.zeros(shape) for name in names}


def _require_eps(eps: float) -> None:
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps={eps!r}: must be a finite number >= 0")


@dataclass(frozen=True)
class BatchNorm:
    """y = scale h + shift, h standardised over all axes of x (n, channels, *space) but the channels'.

    After training, h = (x - mean) / sqrt(variance + eps) with the running statistics, which are parameters
    without a gradient. `advance` moves them: new = (1 - momentum) old + momentum batch, where the variance
    of the batch is the unbiased one, m / (m - 1) v, as in the frameworks. A batch of one entry has variance
    0: y = shift, dx = 0, and nothing unbiased to move the running variance by.

    >>> y, _ = BatchNorm(1, eps=0.0).forward(BatchNorm(1).init(None), np.array([[1.0], [3.0]]))
    >>> y.ravel()
    array([-1.,  1.])
    """

    channels: int
    momentum: float = 0.1
    eps: float = 1e-5
    affine: bool = True
    training: bool = True

    def __post_init__(self) -> None:
        require_size("channels", self.channels)
        _require_eps(self.eps)
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum={self.momentum!r}: must lie in 0..1")

    def init(self, rng: np.random.Generator | None) -> Params:  # noqa: ARG002 - a layer's signature
        running = {"mean": np.zeros(self.channels), "variance": np.ones(self.channels)}
        return {**_learned((self.channels,), ("scale", "shift") if self.affine else ()), **running}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        return _apply(params, x, self._shape(x), self._normalise(params, x))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        learned = {name: dparams[name] for name in ("scale", "shift") if name in params}
        return _push(params, x, learned, dx, self._shape(x), self._normalise(params, x))

    def advance(self, params: Params, x: Array) -> Params:
        """The parameters with running statistics moved towards those of x."""
        if not self.training:
            return params
        axes, m = self._axes(x), math.prod(shape_of(x)) // self.channels
        centred = x - _mean(x, axes)
        seen = {"mean": np.mean(x, axis=axes)}
        if m > 1:
            seen["variance"] = np.sum(centred * centred, axis=axes) / (m - 1)
        moved = {name: (1 - self.momentum) * params[name] + self.momentum * new for name, new in seen.items()}
        return {**params, **moved}

    def _normalise(self, params: Params, x: Array) -> Callable[[Array], tuple[Array, Project]]:
        axes, shape = self._axes(x), self._shape(x)
        if self.training:
            return lambda a: standardised(a, axes, self.eps)
        s = np.sqrt(np.reshape(params["variance"], shape) + self.eps)
        return lambda a: ((a - np.reshape(params["mean"], shape)) / s, lambda d: d / s)

    def _axes(self, x: Array) -> Axes:
        return (0, *range(2, len(shape_of(x))))

    def _shape(self, x: Array) -> tuple[int, ...]:
        shape = shape_of(x)
        if len(shape) < 2 or shape[1] != self.channels:
            raise ValueError(f"x of shape {shape}: its second axis must be {self.channels} for {self}")
        if self.training and 0 in shape:
            raise ValueError(f"x of shape {shape}: an empty batch has no mean")
        return (1, self.channels) + (1,) * (len(shape) - 2)


@dataclass(frozen=True)
class LayerNorm:
    """y = scale h + shift, h standardised over the last axes of x (..., *shape); scale, shift (*shape).

    >>> LayerNorm((2,), eps=0.0, affine=False).forward({}, np.array([[1.0, 3.0], [5.0, 9.0]]))[0]
    array([[-1.,  1.], [-1.,  1.]])
    """

    shape: tuple[int, ...]
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        _require_lengths(self.shape)
        _require_eps(self.eps)

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return _learned(self.shape, ("scale", "shift") if self.affine else ())

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        return _apply(params, x, _spread(x, self.shape), lambda a: standardised(a, self._axes, self.eps))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        shape = _spread(x, self.shape)
        return _push(params, x, dparams, dx, shape, lambda a: standardised(a, self._axes, self.eps))

    @property
    def _axes(self) -> Axes:
        return tuple(range(-len(self.shape), 0))


@dataclass(frozen=True)
class RMSNorm:
    """y = scale x / s with s = sqrt(mean(x^2) + eps) over the last axes of x (..., *shape)."""

    shape: tuple[int, ...]
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        _require_lengths(self.shape)
        _require_eps(self.eps)

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return _learned(self.shape, ("scale",) if self.affine else ())

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        return _apply(params, x, _spread(x, self.shape), lambda a: scaled_to_one(a, self._axes, self.eps))

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        shape = _spread(x, self.shape)
        return _push(params, x, dparams, dx, shape, lambda a: scaled_to_one(a, self._axes, self.eps))

    @property
    def _axes(self) -> Axes:
        return tuple(range(-len(self.shape), 0))


def _require_lengths(shape: tuple[int, ...]) -> None:
    if not shape:
        raise ValueError(f"shape={shape!r}: must have at least one axis")
    for length in shape:
        require_size("shape", length)


def _spread(x: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    if shape_of(x)[-len(shape):] != shape:
        raise ValueError(f"x of shape {shape_of(x)}: its last axes must be {shape}")
    return (1,) * (len(shape_of(x)) - len(shape)) + shape


@dataclass(frozen=True)
class GroupNorm:
    """y = scale h + shift, h standardised over each group of channels of each example, and its space.

    x (n, channels, *space), scale and shift (channels,). One group is LayerNorm over all but the examples,
    as many groups as channels are instance normalisation.
    """

    groups: int
    channels: int
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        require_size("groups", self.groups)
        require_size("channels", self.channels)
        _require_eps(self.eps)
        if self.channels % self.groups:
            raise ValueError(f"groups={self.groups!r}: must divide channels={self.channels}")

    def init(self, rng: np.random.Generator) -> Params:  # noqa: ARG002
        return _learned((self.channels,), ("scale", "shift") if self.affine else ())

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        return _apply(params, x, self._shape(x), self._normalise)

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        return _push(params, x, dparams, dx, self._shape(x), self._normalise)

    def _normalise(self, x: Array) -> tuple[Array, Project]:
        n, rest = shape_of(x)[0], math.prod(shape_of(x)[1:])
        apart = (n, self.groups, rest // self.groups)
        h, project = standardised(np.reshape(x, apart), (2,), self.eps)
        return np.reshape(h, shape_of(x)), lambda d: np.reshape(project(np.reshape(d, apart)), shape_of(x))

    def _shape(self, x: Array) -> tuple[int, ...]:
        shape = shape_of(x)
        if len(shape) < 2 or shape[1] != self.channels or 0 in shape[1:]:
            raise ValueError(f"x of shape {shape}: must be (n, {self.channels}, *space) for {self}")
        return (1, self.channels) + (1,) * (len(shape) - 2)
