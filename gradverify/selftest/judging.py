"""One case, one probe: ``<J^T u, v>`` of the pullback must be ``<u, J v>`` of the complex step.

The fast judgement behind `selftest`: five forwards, three pullbacks, a few milliseconds. Every leaf of v is scaled
to contribute alike, so that a small gradient is not hidden by a large one. The bar is that of `check`: what the
oracle cannot know plus 8 times the measured noise of the pullback; beyond four bars lies a failure, unless the same
pullback in longdouble shows the gap to be rounding: noise is measured between layers, and blocks lose digits within.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gradverify.arrays import EPS, Arrays, dot, draw_signs, flatten, is_floating, to_float64
from gradverify.oracles.complexstep import complex_step
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Verdict
from gradverify.reference import Embedding, Layer, Network
from gradverify.strategies import Case

Move: TypeAlias = Callable[[Any], Any]
CONSTANT = ("mean", "variance", "weights")  # running statistics and weights of examples: no claim is made
RESOLVED = 1e-6  # the relative error that a pass must exclude, as in `check`
KEYS = (1, 2, 3)  # ways to move every last bit
ULPS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)  # by so much: two equal numbers move alike in all three ways once in 216
FLOOR = 2.0**-12  # of the largest gradient: below, a leaf may be zero but for rounding, not to be enlarged
ROUNDING = 16.0  # ulps of the largest gradient that any entry of another may be off by


@dataclass(frozen=True)
class Judgement:
    """What came of one case: `agreement` is |computed - expected| on the scale of the terms."""

    verdict: Verdict
    reason: str = ""
    agreement: float = math.nan
    computed: float = math.nan
    expected: float = math.nan
    bar: float = math.nan

    def __str__(self) -> str:
        if math.isnan(self.expected):
            return f"{self.verdict}: {self.reason}"
        off = f"computed {self.computed:.12g}, expected {self.expected:.12g}, bar {self.bar:.1e}"
        return f"{self.verdict}{': ' if self.reason else ''}{self.reason} {off}"


def _unmoved(x: Any) -> Any:
    return x


@dataclass(frozen=True)
class Subject:
    """A case as arrays: parameters, input and truth by name, and how to run both passes on such arrays."""

    case: Case
    point: Arrays
    rebuild: Callable[[Arrays], Any]
    u: np.ndarray

    def forward(self, point: Arrays) -> Arrays:
        return {"y": self._forward(point)[0]}

    def _forward(self, point: Arrays, moved: Move = _unmoved) -> tuple[Any, Callable[[Any], Any]]:
        params, x, y_true = self.rebuild(point)
        y, pullback = _through_layers(self.case.architecture.layers, params, x, moved)
        if self.case.loss is None:
            return y, lambda u: (*pullback(u), None)
        value, loss_pullback = self.case.loss.forward(y_true, moved(y))
        return value, lambda u: _through(pullback, loss_pullback(moved(u)))

    def gradient(self, point: Arrays, u: np.ndarray, moved: Move = _unmoved) -> Arrays:
        """``J^T u`` by leaf; None where the network claims nothing."""
        return flatten(self._forward(point, moved)[1](u), "")[0]


def _through_layers(
    layers: tuple[Layer, ...], params: Any, x: Any, moved: Move
) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
    """What `Network` does, with everything that passes between layers moved on its way."""
    if moved is _unmoved:
        return Network(layers).forward(params, x)
    pullbacks = []
    for layer, own in zip(layers, params, strict=True):
        x, pullback = layer.forward(own, moved(x))
        pullbacks.append(pullback)

    def backwards(dy: Any) -> tuple[Any, Any]:
        found = []
        for pullback in reversed(pullbacks):
            own, dy = pullback(moved(dy))
            found.append(own)
        return tuple(reversed(found)), dy

    return x, backwards


def _through(pullback: Callable[[Any], Any], from_loss: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    dy_true, dy_pred = from_loss
    return (*pullback(dy_pred), dy_true)


def judge(case: Case, *, only_failures: bool = False) -> Judgement:
    """The verdict on one case; an exception from forward or pullback is a failure that names it.

    With `only_failures` noise is not measured where the oracle's own error explains the gap: a case that cannot
    fail costs half as much, and is inconclusive.
    """
    with np.errstate(all="ignore"):
        try:
            subject = make_subject(case)
            gradient = subject.gradient(subject.point, subject.u)
        except Exception as error:
            return Judgement(Verdict.FAIL, f"raises {type(error).__name__} in {_where(error)}: {error}")
        moving = {name: leaf for name, leaf in subject.point.items() if _moves(name, leaf)}
        misshapen = [name for name, leaf in moving.items() if not _fits(gradient.get(name), leaf)]
        if misshapen:
            return Judgement(Verdict.FAIL, f"gradient of another shape or kind: {', '.join(misshapen)}")
        if not _holds_padding(case, gradient):
            return Judgement(Verdict.FAIL, "the row of the padding has a gradient, and is a constant")
        return _compared(subject, gradient, moving, only_failures)


def make_subject(case: Case) -> Subject:
    """The arrays of a case."""
    params, x = case.params(), case.x()
    y, _ = case.architecture.build().forward(params, x)
    y_true = None if case.loss is None else case.y_true(np.shape(y))
    point, rebuild = flatten((params, x, y_true), "")
    value = y if case.loss is None else case.loss.forward(y_true, y)[0]
    u = case.upstream.values(np.shape(value))
    return Subject(case, point, rebuild, u)


def _where(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return frame.name if "gradverify" in frame.filename else _last_of_ours(error)


def _last_of_ours(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "gradverify" in f.filename]
    return frames[-1].name if frames else "?"


def _moves(name: str, leaf: Any) -> bool:
    return is_floating(leaf) and not name.endswith(CONSTANT)


def _fits(gradient: Any, leaf: Any) -> bool:
    return gradient is None or (np.shape(gradient) == np.shape(leaf) and np.asarray(gradient).dtype.kind in "fiub")


def _compared(subject: Subject, gradient: Arrays, moving: Arrays, only_failures: bool) -> Judgement:
    v = _directions(subject.case, gradient, moving)
    if not all(np.all(np.isfinite(g)) for g in gradient.values() if g is not None):
        return _not_finite(subject, v)
    computed = dot(gradient, v)
    estimate = complex_step(subject.forward, subject.point, {"y": subject.u}, v)
    if not math.isfinite(estimate.error):
        return Judgement(Verdict.INCONCLUSIVE, estimate.reason)
    gap, scale = abs(computed - estimate.value), max(_terms(gradient, v), abs(estimate.value))
    if only_failures and gap <= FAIL_FACTOR * estimate.error:
        return Judgement(Verdict.INCONCLUSIVE, "cannot fail")
    bar = estimate.error + NOISE_FACTOR * _noise(subject, gradient, v, computed)
    if gap > FAIL_FACTOR * bar:
        bar += NOISE_FACTOR * _rounding(subject, v, computed)
    numbers = (gap / scale if scale else 0.0, computed, estimate.value, bar)
    if gap > FAIL_FACTOR * bar:
        return Judgement(Verdict.FAIL, "", *numbers)
    if bar > RESOLVED * scale and scale > 0:
        return Judgement(Verdict.INCONCLUSIVE, "resolution", *numbers)
    return Judgement(Verdict.PASS if gap <= bar else Verdict.INCONCLUSIVE, "" if gap <= bar else "resolution", *numbers)


def _directions(case: Case, gradient: Arrays, moving: Arrays) -> Arrays:
    rng = np.random.default_rng((case.upstream.seed, 5))
    sizes = {name: _largest(gradient.get(name)) for name in moving}
    floor = max(sizes.values(), default=0.0) * FLOOR
    v = {name: draw_signs(rng, np.shape(leaf)) * _weight(sizes[name], floor) for name, leaf in moving.items()}
    return _with_padding_held(case, v)


def _with_padding_held(case: Case, v: Arrays) -> Arrays:
    """The row of an embedding that is a constant by contract does not move."""
    row = _padding_of(case)
    if row is not None:
        v[_table_of(v)][row] = 0.0
    return v


def _padding_of(case: Case) -> int | None:
    first = case.architecture.layers[0]
    return first.padding if isinstance(first, Embedding) else None


def _table_of(leaves: Arrays) -> str:
    return next(name for name in leaves if name.endswith(".W"))


def _holds_padding(case: Case, gradient: Arrays) -> bool:
    """Whether the constant row has no gradient; where nothing is finite, that is judged with all the rest."""
    row = _padding_of(case)
    table = None if row is None else gradient[_table_of(gradient)]
    return table is None or not np.any(np.isfinite(table[row]) & (table[row] != 0))


def _largest(gradient: Any) -> float:
    return 0.0 if gradient is None else float(np.max(np.abs(gradient), initial=0.0))


def _weight(size: float, floor: float) -> float:
    """A power of two near one over the largest entry, so that a leaf of small gradients counts like the others."""
    size = max(size, floor)
    return 1.0 if size == 0.0 or not math.isfinite(size) else 2.0 ** -min(max(round(math.log2(size)), -100), 100)


def _not_finite(subject: Subject, v: Arrays) -> Judgement:
    estimate = complex_step(subject.forward, subject.point, {"y": subject.u}, v)
    if math.isfinite(estimate.error):
        return Judgement(Verdict.FAIL, "nonfinite", math.inf, math.nan, estimate.value, estimate.error)
    return Judgement(Verdict.INCONCLUSIVE, estimate.reason or "domain")


def _terms(gradient: Arrays, v: Arrays) -> float:
    return sum(float(np.sum(np.abs(to_float64(gradient[name]) * d))) for name, d in v.items()
               if gradient.get(name) is not None)


def _noise(subject: Subject, gradient: Arrays, v: Arrays, computed: float) -> float:
    """How far the answer moves when every last bit of the point, of u and of all between layers does.

    Each entry moves by an amount of its own: where equal numbers cancel, the rounding errors that are left show only
    if they stop being equal. No entry is taken to be known better than to rounding of the largest gradient.
    """
    spread = 0.0
    for key in KEYS:
        moved = _mover(key)
        nearby = {name: moved(leaf) for name, leaf in subject.point.items()}
        other = dot(subject.gradient(nearby, subject.u, moved), v)
        spread = max(spread, abs(other - computed))
    largest = max((_largest(gradient.get(name)) for name in v), default=0.0)
    reach = sum(float(np.sum(np.abs(d))) for d in v.values())
    return max(spread, ROUNDING / NOISE_FACTOR * EPS["float64"] * largest * reach)


def _rounding(subject: Subject, v: Arrays, computed: float) -> float:
    """How far the answer is from that of the same formulas in longdouble; zero where these cannot say."""
    point = {name: _widened(leaf) for name, leaf in subject.point.items()}
    try:
        wide = subject.gradient(point, _widened(subject.u), _widened)
    except TypeError:  # SciPy's erf and its kin have no longdouble
        return 0.0
    answer = sum(np.sum(wide[name] * d) for name, d in v.items() if wide.get(name) is not None)
    gap = abs(float(answer) - computed)
    return gap if math.isfinite(gap) else 0.0


def _widened(x: Any) -> Any:
    return np.asarray(x, np.longdouble) if is_floating(x) else x


def _mover(key: int) -> Move:
    """Moves every entry by a few rounding units of its own size, up or down."""
    rng = np.random.default_rng(key)

    def moved(x: Any) -> Any:
        if isinstance(x, Mapping):
            return {name: moved(part) for name, part in x.items()}
        if not is_floating(x):
            return x
        return x * (1.0 + EPS["float64"] * rng.choice(ULPS, np.shape(x)))

    return moved
