"""What was drawn, as small frozen records: an architecture, a point, and both with a question to ask.

Everything is rebuilt from numbers that fit on a line, so a description prints as code that can be pasted,
compares by value, and makes a readable `@example`. Arrays exist only once `Case` is asked for them.

>>> from gradverify.reference import Activation, Dense
>>> case = Case(Architecture((2, 3), (Dense(3, 1), Activation("tanh"))), Point(seed=7))
>>> case
Case(Architecture((2, 3), (Dense(3, 1), Activation('tanh'))), Point(seed=7))
>>> y, pullback = case.architecture.build().forward(case.params(), case.x())
>>> y.shape
(2, 1)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.arrays import draw_signs, flatten, is_floating
from gradverify.reference.layer import Array, Layer, Loss, Params, shape_of
from gradverify.reference.networks import Network, sequential
from gradverify.reference.reductions import Weighted

Shape = tuple[int, ...]
CONSTANT = ("mean", "variance")  # parameters that no layer claims a gradient for
_EVEN = 0.25  # of the rows
LAYOUTS = ("plain", "reversed", "strided", "transposed", "expanded")


def code(value: Any) -> str:
    """The shortest call that makes a record again: required fields by place, others where not the default.

    >>> from gradverify.reference import Conv
    >>> code(Conv(1, 2, (3,), stride=2))
    'Conv(1, 2, (3,), stride=2)'
    """
    if isinstance(value, tuple):
        inside = ", ".join(map(code, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {code(item)}' for key, item in value.items())}}}"
    if isinstance(value, Network):
        return f"sequential({', '.join(map(code, value.layers))})"
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return repr(value)
    return f"{type(value).__name__}({', '.join(_arguments(value))})"


def _arguments(record: Any) -> Iterator[str]:
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            yield code(value)
        elif value != field.default:
            yield f"{field.name}={code(value)}"


@dataclass(frozen=True)
class Architecture:
    """Layers that fit one another, and the shape of an input that fits the first.

    `rows` is given where the input is integers, for an `Embedding` of so many rows. `beside` names further
    inputs of the first layer, with their shapes: it is then given a dict of arrays, masks as booleans.
    """

    shape: Shape
    layers: tuple[Layer, ...]
    rows: int | None = None
    beside: tuple[tuple[str, Shape], ...] = ()

    def build(self) -> Network:
        """The network of `gradverify.reference`."""
        return sequential(*self.layers)

    @property
    def size(self) -> int:
        """How many layers there are, those within blocks counted one by one."""
        return sum(map(count_layers, self.layers))

    def __repr__(self) -> str:
        rows = "" if self.rows is None else f", rows={self.rows}"
        beside = f", beside={self.beside}" if self.beside else ""
        return f"Architecture({self.shape}, {code(self.layers)}{rows}{beside})"


def _inside(part: Any) -> list[Any]:
    if isinstance(part, (tuple, list)):
        return list(part)
    if isinstance(part, Mapping):
        return list(part.values())
    known = dataclasses.is_dataclass(part) and not isinstance(part, type)
    return [getattr(part, field.name) for field in dataclasses.fields(part)] if known else []


def parts_of(tree: Any) -> Iterator[Any]:
    """Every record within the tree that is a layer, blocks before what they contain."""
    for part in _inside(tree):
        if isinstance(part, Layer):
            yield part
        yield from parts_of(part)


def count_layers(layer: Layer) -> int:
    """One for a layer; for what contains layers, as many as it contains."""
    return sum(not any(parts_of(part)) for part in parts_of(layer)) or 1


@dataclass(frozen=True)
class Point:
    """Values of parameters and input: normal from a seed, or `entries` dealt out at random in between.

    `scale` multiplies the input. `entries` replace about half of all values, those of parameters too; being few,
    they tie. Of several rows, one in four becomes all zeros, as if masked, or all one of the entries: no variance.
    """

    seed: int = 0
    scale: float = 1.0
    entries: tuple[float, ...] = ()

    def values(self, shape: Shape, stream: int, scale: float = 1.0) -> np.ndarray:
        """The array of this shape; another `stream`, other values."""
        rng = np.random.default_rng((self.seed, stream))
        return self.special(rng.normal(size=shape) * scale, rng)

    def special(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The array with the entries dealt out."""
        if not self.entries:
            return x
        dealt = rng.choice(np.array(self.entries), x.shape)
        mixed = np.asarray(np.where(rng.random(x.shape) < 0.5, dealt, x))
        return self._with_even_rows(mixed, rng) if mixed.ndim > 1 else mixed

    def _with_even_rows(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows = (*x.shape[:-1], 1)
        even = rng.choice(np.array((0.0, *self.entries)), rows)
        return np.asarray(np.where(rng.random(rows) < _EVEN, even, x))

    def __repr__(self) -> str:
        return f"Point({', '.join(_keywords(self))})"


@dataclass(frozen=True)
class Upstream:
    """The gradient given to the pullback: random signs and sizes near 1, times a scale, in a memory layout.

    ``expanded`` is one number with stride 0 along every axis, as the gradient of a sum arrives.
    """

    seed: int = 0
    scale: float = 1.0
    layout: str = "plain"

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout={self.layout!r}: must be one of {', '.join(LAYOUTS)}")

    def values(self, shape: Shape) -> np.ndarray:
        """The array of this shape."""
        u = draw_signs(np.random.default_rng((self.seed, 3)), shape) * self.scale
        return laid_out(u, self.layout)

    def __repr__(self) -> str:
        return f"Upstream({', '.join(_keywords(self))})"


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """The same shape with other strides; ``expanded`` repeats the first entry, the rest keep the values."""
    if layout == "expanded" and x.size:
        return np.broadcast_to(x.ravel()[0], x.shape)
    if layout == "transposed":
        return np.asfortranarray(x)
    if layout == "reversed" and x.ndim:
        return np.flip(np.flip(x, -1).copy(), -1)
    if layout == "strided" and x.ndim:
        return np.repeat(x, 2, axis=-1)[..., ::2]
    return x


def _keywords(record: Any) -> Iterator[str]:
    for field in dataclasses.fields(record):
        if getattr(record, field.name) != field.default:
            yield f"{field.name}={getattr(record, field.name)!r}"


@dataclass(frozen=True)
class Case:
    """An architecture at a point, the upstream gradient, and the loss, if any, that stands behind it."""

    architecture: Architecture
    point: Point = Point()
    upstream: Upstream = Upstream()
    loss: Loss | None = None
    labels: bool = False
    weighted: bool = False

    @property
    def size(self) -> int:
        """How many layers, the loss included."""
        return self.architecture.size + (self.loss is not None)

    def params(self) -> Params:
        """The network's own initial values with the point's entries dealt out; biases random too."""
        rng = np.random.default_rng((self.point.seed, 0))
        leaves, rebuild = flatten(self.architecture.build().init(rng), "params")
        return rebuild({name: self._moved(name, leaf, rng) for name, leaf in leaves.items()})

    def _moved(self, name: str, leaf: Any, rng: np.random.Generator) -> Any:
        if not is_floating(leaf) or not np.size(leaf):
            return leaf
        if name.endswith("variance"):
            return rng.uniform(0.5, 2.0, np.shape(leaf))
        return self.point.special(leaf + rng.normal(size=np.shape(leaf)) * 0.3, rng)

    def x(self) -> Any:
        """The input: an array, or a dict of them where the first layer has several."""
        rows, shape = self.architecture.rows, self.architecture.shape
        if rows is not None:
            return np.random.default_rng((self.point.seed, 1)).integers(rows, size=shape)
        x = self.point.values(shape, 1, self.point.scale)
        beside = self.architecture.beside
        if not beside:
            return x
        main = "query" if "Attention" in type(self.architecture.layers[0]).__name__ else "x"
        return {main: x, **{name: self._named(name, shape, 10 + k) for k, (name, shape) in enumerate(beside)}}

    def _named(self, name: str, shape: Shape, stream: int) -> np.ndarray:
        if name == "mask":
            return np.random.default_rng((self.point.seed, stream)).random(shape) < 0.6
        return self.point.values(shape, stream)

    def y_true(self, shape: Shape) -> Any:
        """A truth that the loss accepts, for predictions of this shape."""
        truth = truth_for(self.loss, self.point.values(shape, 2), labels=self.labels)
        if not self.weighted:
            return truth
        return Weighted(truth, np.random.default_rng((self.point.seed, 4)).uniform(0.5, 2.0, shape[:1]))

    def u(self, y: Array) -> np.ndarray:
        """The upstream gradient of an output."""
        return self.upstream.values(shape_of(y))

    def __repr__(self) -> str:
        parts = [repr(self.architecture), repr(self.point)]
        parts += [repr(self.upstream)] if self.upstream != Upstream() else []
        parts += [f"loss={code(self.loss)}"] if self.loss is not None else []
        parts += [f"{name}=True" for name in ("labels", "weighted") if getattr(self, name)]
        return f"Case({', '.join(parts)})"


def truth_for(loss: Any, numbers: np.ndarray, *, labels: bool = False) -> np.ndarray:
    """The numbers turned into what the loss calls a truth: counts, sides, probabilities, class labels."""
    kind = type(loss).__name__
    if labels:
        return np.asarray(np.argmax(numbers, axis=-1))
    held = np.clip(numbers, -3, 3)
    if kind in {"CrossEntropy", "NLL", "CategoricalCrossEntropy", "KL"}:
        return np.asarray(np.exp(held) / np.sum(np.exp(held), axis=-1, keepdims=True))
    if kind == "Hinge":
        return np.where(held < 0, -1.0, 1.0)
    if kind == "Poisson":
        return np.asarray(np.exp(held))
    return np.asarray(held / 7 + 0.5 if kind == "BinaryCrossEntropy" else numbers)
