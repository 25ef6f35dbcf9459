"""The figures of a failure as paths of SVG: the error against the step, and maps of its entries.

Drawn here and not by a script, so that they stand in a print and in a viewer that runs none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from gradverify.records import Check, Sampled, Step
from gradverify.report import words

Cell = tuple[int, int]  # row, column

HEAT_LEVELS = 10
VALUE_LEVELS = 4  # on either side of zero
MOST_SIDE = 64  # of a map; a larger leaf has several entries a square
PIXELS = 190
NOT_FINITE, NEUTRAL = "n", ""


@dataclass(frozen=True)
class Tick:
    """A place on an axis and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class StepCurve:
    """How far a central difference is from expected and from computed at each step, on logarithmic axes."""

    width: int
    height: int
    to_expected: str
    to_computed: str
    steps: tuple[Tick, ...]
    errors: tuple[Tick, ...]
    caption: str

    @property
    def size(self) -> int:
        """Characters that drawing it takes, about."""
        return 700 + len(self.to_expected) + len(self.to_computed) + len(self.caption)


@dataclass(frozen=True)
class Panel:
    """One map: for each level the path around its squares."""

    title: str
    paths: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Maps:
    """The entries that were asked, where they stand in the leaf, its last axis across."""

    width: int
    height: int
    cell: int
    panels: tuple[Panel, ...]
    note: str

    @property
    def size(self) -> int:
        """Characters that drawing them takes, about."""
        return 800 + sum(len(path) + 25 for panel in self.panels for _, path in panel.paths)


WIDTH, HEIGHT = 300, 150
SMALLEST = 1e-17  # distances below float64's own spacing are drawn on the floor


def curve(check: Check) -> StepCurve | None:
    """The figure of a sweep with at least three steps around a number that is not zero."""
    scale = max(abs(check.expected), abs(check.computed))
    if len(check.sweep) < 3 or not (0 < scale < math.inf):
        return None
    near = [_distance(step, check.expected, scale) for step in check.sweep]
    far = [_distance(step, check.computed, scale) for step in check.sweep]
    floor = math.floor(math.log10(min(*near, *far)))
    top = max(math.ceil(math.log10(max(*near, *far))), floor + 4)
    steps = [math.log10(step.h) for step in check.sweep]
    xs = [_scaled(x, min(steps), max(steps), WIDTH) for x in steps]
    to_expected, to_computed = (
        _line(xs, [HEIGHT - _scaled(math.log10(y), floor, top, HEIGHT) for y in ys]) for ys in (near, far))
    upwards = tuple(Tick(HEIGHT - tick.at, tick.label) for tick in _ticks(floor, top, HEIGHT))
    return StepCurve(WIDTH, HEIGHT, to_expected, to_computed, _ticks(min(steps), max(steps), WIDTH), upwards,
                     _caption(check.sweep, near, far))


def _distance(step: Step, number: float, scale: float) -> float:
    return max(SMALLEST, abs(step.quotient - number) / scale)


def _scaled(value: float, low: float, high: float, length: int) -> float:
    return (value - low) / (high - low) * length


def _line(xs: Iterable[float], ys: Iterable[float]) -> str:
    return "M" + "L".join(f"{round(x)} {round(y)}" for x, y in zip(xs, ys, strict=True))


def _ticks(low: float, high: float, length: int) -> tuple[Tick, ...]:
    every = max(1, math.ceil((high - low) / 4))
    decades = range(math.ceil(low / every) * every, math.floor(high) + 1, every)
    return tuple(Tick(round(_scaled(k, low, high, length)), f"1e{k}" if k else "1") for k in decades)


def _caption(sweep: Sequence[Step], near: Sequence[float], far: Sequence[float]) -> str:
    best = min(range(len(near)), key=near.__getitem__)
    return (f"Central differences, step by step. At their best, h = {words.short(sweep[best].h)}, they are "
            f"{_size(near[best])} from expected and {_size(far[best])} from computed.")


def _size(distance: float) -> str:
    return "less than 1e-16" if distance < 1e-16 else words.relative(distance)


def maps(check: Check) -> Maps | None:
    """Computed, expected and how far they are apart, of a leaf with at least two entries that were asked."""
    sampled = check.sampled
    if sampled is None or len(sampled.indices) < 2 or not sampled.indices[0]:
        return None
    shape = _extent(sampled.indices, check.shape)
    width, height = shape[-1], math.prod(shape[:-1])
    across, down = -(-width // MOST_SIDE), -(-height // MOST_SIDE)
    drawn = _worst_of_each(sampled, [(_row(index, shape) // down, index[-1] // across) for index in sampled.indices])
    shown = -(-width // across), -(-height // down)
    return Maps(*shown, max(3, min(18, PIXELS // max(shown))), _panels(sampled, drawn), _note(across, down))


def _panels(sampled: Sampled, drawn: Mapping[Cell, int]) -> tuple[Panel, ...]:
    numbers = [x for place in drawn.values() for x in (sampled.computed[place], sampled.expected[place])]
    most = max((abs(x) for x in numbers if math.isfinite(x)), default=0.0)
    values = {"computed": sampled.computed, "expected": sampled.expected}
    panels = [Panel(title, runs({cell: tone(column[k], most) for cell, k in drawn.items()}))
              for title, column in values.items()]
    return (*panels, Panel("off by", runs({cell: _off(sampled, k) for cell, k in drawn.items()})))


def _worst_of_each(sampled: Sampled, cells: Sequence[Cell]) -> dict[Cell, int]:
    """For every square the entry in it that is most wrong."""
    worst: dict[Cell, int] = {}
    for place, cell in enumerate(cells):
        if cell not in worst or _off(sampled, place) > _off(sampled, worst[cell]):
            worst[cell] = place
    return worst


def _off(sampled: Sampled, place: int) -> str:
    """How far off an entry is, ``h0`` to ``h9``; within the bar of its comparison it is right: empty."""
    computed, expected = sampled.computed[place], sampled.expected[place]
    right = abs(computed - expected) <= sampled.bar[place]
    return NEUTRAL if right else f"h{heat(relative_error(computed, expected))}"


def relative_error(computed: float, expected: float) -> float:
    """|computed - expected| / |expected|: infinite where only expected is 0, NaN where it has no sense."""
    distance = abs(computed - expected)
    if expected == 0.0:
        return math.inf if distance > 0 else distance
    return distance / abs(expected)


def heat(size: float) -> int:
    """A level of relative error, one a decade: 9 is all wrong, 0 a billionth or less."""
    if math.isnan(size) or size >= 1:
        return HEAT_LEVELS - 1
    return 0 if size <= 0 else max(0, HEAT_LEVELS - 1 + math.ceil(math.log10(size) - 0.5))


def tone(value: float, most: float) -> str:
    """A level of a value between -most and most: ``m4`` to ``m1``, nothing, ``p1`` to ``p4``."""
    if not math.isfinite(value):
        return NOT_FINITE
    level = round(VALUE_LEVELS * value / most) if most else 0
    return f"{'mp'[level > 0]}{abs(level)}" if level else NEUTRAL


def _note(across: int, down: int) -> str:
    return f"a square covers {down} x {across} entries and shows the worst of them" if across * down > 1 else ""


def _extent(indices: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The leaf's shape, or the box around the indices where these count something else (H[i, j], J v)."""
    if all(len(index) == len(shape) and all(map(int.__lt__, index, shape)) for index in indices):
        return shape
    rank = max(map(len, indices))
    return tuple(1 + max(index[axis] for index in indices if len(index) == rank) for axis in range(rank))


def _row(index: Sequence[int], shape: Sequence[int]) -> int:
    row = 0
    for position, size in zip(index[:-1], shape[:-1], strict=True):
        row = row * size + position
    return row


def runs(levels: Mapping[Cell, str]) -> tuple[tuple[str, str], ...]:
    """For each level one path of rectangles, neighbours in a row joined."""
    paths: dict[str, str] = {}
    for (row, column), level in sorted(levels.items()):
        if levels.get((row, column - 1)) == level:
            continue
        length = next(n for n in count(1) if levels.get((row, column + n)) != level)
        paths[level] = f"{paths.get(level, '')}M{column} {row}h{length}v1h-{length}z"
    return tuple(sorted(paths.items()))
