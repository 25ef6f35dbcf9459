"""One case, one probe: does ``<J^T u, v>`` of the pullback equal ``<u, J v>`` of the complex step?

The fast judgement behind `selftest`: five forwards, three pullbacks, a few milliseconds. Every leaf of v is scaled
to contribute alike, so that a small gradient is not hidden by a large one. The bar is that of `check`: what the
oracle cannot know plus 8 times the measured noise of the pullback; beyond four bars lies a failure.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify.arrays import EPS, Arrays, dot, draw_signs, flatten, is_floating, one_ulp, to_float64
from gradverify.oracles.complexstep import complex_step
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Verdict
from gradverify.reference import Embedding
from gradverify.strategies import Case

CONSTANT = ("mean", "variance", "weights")  # running statistics and weights of examples: no claim is made
RESOLVED = 1e-6  # the relative error that a pass must exclude, as in `check`
KEYS = (0x5DEECE66D, 0x2545F4914F6CDD1D)  # two ways to move every last bit
FLOOR = 2.0**-12  # of the largest gradient: a leaf below it may be zero but for rounding, which nothing should enlarge
ROUNDING = 16.0  # ulps of the terms g_i v_i that one more summation may cost


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


@dataclass(frozen=True)
class _Run:
    outputs: Arrays
    gradient: Arrays


@dataclass(frozen=True)
class Subject:
    """A case as arrays: parameters, input and truth by name, and how to run both passes on such arrays."""

    case: Case
    point: Arrays
    rebuild: Callable[[Arrays], Any]
    u: np.ndarray

    def forward(self, point: Arrays) -> Arrays:
        return {"y": self._forward(point)[0]}

    def _forward(self, point: Arrays) -> tuple[Any, Callable[[Any], Any]]:
        params, x, y_true = self.rebuild(point)
        y, pullback = self.case.architecture.build().forward(params, x)
        if self.case.loss is None:
            return y, lambda u: (*pullback(u), None)
        value, loss_pullback = self.case.loss.forward(y_true, y)
        return value, lambda u: _through(pullback, loss_pullback(u))

    def gradient(self, point: Arrays, u: np.ndarray) -> Arrays:
        """``J^T u`` by leaf; None where the network claims nothing."""
        return flatten(self._forward(point)[1](u), "")[0]


def _through(pullback: Callable[[Any], Any], from_loss: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    dy_true, dy_pred = from_loss
    return (*pullback(dy_pred), dy_true)


def judge(case: Case) -> Judgement:
    """The verdict on one case; an exception from forward or pullback is a failure that names it."""
    with np.errstate(all="ignore"):
        try:
            subject = make_subject(case)
            gradient = subject.gradient(subject.point, subject.u)
        except Exception as error:
            return Judgement(Verdict.FAIL, f"raises {type(error).__name__} in {_where(error)}: {error}")
        moving = {name: leaf for name, leaf in subject.point.items() if _moves(name, leaf)}
        misshapen = [name for name, leaf in moving.items() if not _fits(gradient.get(name), leaf)]
        if misshapen:
            return Judgement(Verdict.FAIL, f"gradient of another shape: {', '.join(misshapen)}")
        return _compared(subject, gradient, moving)


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
    return gradient is None or np.shape(gradient) == np.shape(leaf)


def _compared(subject: Subject, gradient: Arrays, moving: Arrays) -> Judgement:
    v = _directions(subject.case, gradient, moving)
    if not all(np.all(np.isfinite(g)) for g in gradient.values() if g is not None):
        return _not_finite(subject, v)
    computed = dot(gradient, v)
    estimate = complex_step(subject.forward, subject.point, {"y": subject.u}, v)
    if not math.isfinite(estimate.error):
        return Judgement(Verdict.INCONCLUSIVE, estimate.reason)
    scale = _terms(gradient, v)
    bar = estimate.error + NOISE_FACTOR * _noise(subject, v, computed, scale)
    gap, scale = abs(computed - estimate.value), max(scale, abs(estimate.value))
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
    first = case.architecture.layers[0]
    if isinstance(first, Embedding) and first.padding is not None:
        table = next(name for name in v if name.endswith(".W"))
        v[table][first.padding] = 0.0
    return v


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


def _noise(subject: Subject, v: Arrays, computed: float, scale: float) -> float:
    """How far the answer moves when every last bit of the point and of u does."""
    spread = 0.0
    for key in KEYS:
        nearby = {name: one_ulp(leaf, key, EPS["float64"]) for name, leaf in subject.point.items()}
        moved = dot(subject.gradient(nearby, one_ulp(subject.u, key, EPS["float64"])), v)
        spread = max(spread, abs(moved - computed))
    return max(spread, ROUNDING / NOISE_FACTOR * EPS["float64"] * scale)
