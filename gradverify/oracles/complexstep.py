"""Im f(x + ihv) / h is the derivative without a difference: no cancellation, no truncation.

    f(x + ihv) = f(x) + ih Jv + O(h^2),   h^2 below every rounding error          (Squire and Trapp 1998)

What can go wrong is not the step but the arithmetic: a forward that conjugates, casts or leaves the
branch of x. So the forward runs on wrapper arrays that refuse what they cannot carry, the real part
must equal the plain forward, a second step of another size must agree, and three runs with every last
bit moved at random measure how far rounding inside the forward reaches into the derivative. Where numbers
near the end of float64's range were met, a third step, large enough not to underflow, has its say.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gradverify.arithmetic.allocation import allocating
from gradverify.arithmetic.complexarray import ComplexArray
from gradverify.arithmetic.complextable import Watch
from gradverify.arithmetic.planes import Planes
from gradverify.arithmetic.scipyfunctions import scipy_functions
from gradverify.arrays import Arrays, dot, is_floating, magnitude, to_float64
from gradverify.oracles.line import refusal, twice
from gradverify.records import Estimate

STEP = 2.0**-200  # relative to x: h^2 is below 2^-52 of anything a forward makes of x within 2^148
OTHER_STEP = 1.37 * 2.0**39  # no power of two, so that h v rounds differently
LARGE_STEP = 2.0**174  # h^2 is 2^-52 of the point: no digits are lost, and what is truncated joins the bound
SMALLEST_STEP = 2.0**-400
EPS = 2.0**-52
SPREAD_FACTOR = 4.0
FLOOR = 8.0  # ulps of the terms u_i (Jv)_i: the last rounding of each, in NumPy's complex functions too
UNDERFLOW = 2.0**-1000  # imaginary parts near 2^-1074 have no digits; 2^74 for what multiplies them later
REAL_ULPS = 512.0  # of max|f|: sums in another order, complex functions of a few ulps
JITTERED_RUNS = 3  # two were silent at once in one draw of 600 of sin(300 x)
UNSEEN = 32.0  # times `FLOOR`: where no second run shows how far rounding inside the forward reaches

Slopes = tuple[float, float] | None


@dataclass(frozen=True)
class _Run:
    derivative: Arrays
    values: Arrays
    watch: Watch

    @property
    def tied(self) -> bool:
        return bool(self.watch.ties or self.watch.jumps)


@dataclass
class Question:
    """``<u, J v>`` at a point, and how often the forward was run for it."""

    forward: Callable[[Arrays], Arrays]
    point: Arrays
    u: Arrays
    v: Arrays
    calls: int = 0
    allocates: bool = False  # arrays of its own, for a forward that fills what it allocated or what it was given
    still: dict[str, np.ndarray] = field(default_factory=dict)

    def real_part(self, name: str) -> np.ndarray:
        """The point without a copy of it: a forward that writes to it is refused, and given one when asked again."""
        if self.allocates:
            return np.array(self.point[name], np.float64)
        if name not in self.still:
            self.still[name] = np.asarray(self.point[name], np.float64).view()
            self.still[name].flags.writeable = False
        return self.still[name]

    def plain(self) -> Arrays:
        self.calls += 1
        outputs = self.forward({name: _own(array) for name, array in self.point.items()})
        return {name: to_float64(array) for name, array in outputs.items() if name in self.u}

    def run(self, h: float, watch: Watch, v: Arrays | None = None) -> _Run:
        """The forward at ``x + ihv``; with ``watch.rng`` at x moved by an ulp, constants with it."""
        self.calls += 1
        v, step = self.v if v is None else v, np.array(h)  # as an array it is float64 beside float32 tangents too
        wrapped = {name: _wrap(self.real_part(name), tangent, step, watch) for name, tangent in v.items()}
        plain = {name: watch.nearby(_own(array)) for name, array in self.point.items() if name not in v}
        if not self.allocates:
            return _unpack(self.forward({**plain, **wrapped}), h, watch)
        with scipy_functions(), allocating(lambda a: ComplexArray(Planes(a, np.zeros_like(a)), watch)):
            return _unpack(self.forward({**plain, **wrapped}), h, watch)

    def jittered(self, h: float, rng: np.random.Generator) -> _Run:
        """A run with every last bit moved, of constants and intermediate results too."""
        others = (name for name, array in self.point.items() if name not in self.v and is_floating(array))
        still = {name: np.zeros(np.shape(self.point[name])) for name in others}
        try:
            return self.run(h, Watch(rng=rng), {**self.v, **still})
        except Exception:
            if not still:
                raise
            # Constants may be used as wrapper arrays cannot be; their own last bits still move.
            return self.run(h, Watch(rng=rng))

    def estimate(self, value: float, error: float, reason: str = "", slopes: Slopes = None) -> Estimate:
        return Estimate(value, error, self.calls, "complex", reason, slopes)


def complex_step(
    forward: Callable[[Arrays], Arrays], point: Arrays, u: Arrays, v: Arrays, seed: int = 0, known: Arrays | None = None
) -> Estimate:
    """``<u, J v>`` with a measured bound, exact to rounding; ``unsupported`` where it may not be believed.

    At a kink along v the two one-sided derivatives are exact too: they are the `slopes`, and the
    error is infinite. An output that comes back as a plain array counts as independent of v.
    With `known` outputs, as where a forward is dear, one run has to do if it meets nothing odd, its
    bound then a generous one.

    >>> import numpy as np
    >>> cube = lambda p: {"y": p["x"] ** 3}
    >>> estimate = complex_step(cube, {"x": np.array([2.0])}, {"y": np.ones(1)}, {"x": np.ones(1)})
    >>> estimate.value, estimate.error < 1e-13
    (12.0, True)
    """
    return twice(lambda allocates: _ask(Question(forward, point, u, v, allocates=allocates), seed, known))


def _ask(question: Question, seed: int, known: Arrays | None) -> Estimate:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            return _answer(question, np.random.default_rng(seed), known)
    except Exception as error:  # whatever a forward raises on a foreign array is a refusal
        return replace(question.estimate(np.nan, np.inf, "unsupported"), note=refusal(error))


def _answer(question: Question, rng: np.random.Generator, known: Arrays | None) -> Estimate:
    h = step_of(question.point, question.v)
    brief = _brief(question, known, question.run(h, Watch(examines=True)), h) if known is not None else None
    if brief is not None:
        return brief
    plain, base = question.plain(), question.run(h, Watch())
    value = dot(question.u, base.derivative)
    if not np.isfinite(value):
        # A finite value without a finite slope: sqrt at 0, a norm at the origin, arccos at 1.
        finite = all(np.all(np.isfinite(array)) for array in plain.values())
        return question.estimate(value, np.inf, "kink" if finite else "domain")
    examined = Watch(examines=True)
    others = [question.run(h * OTHER_STEP, examined)]
    if examined.faint:
        # Beside numbers like exp(-600) the imaginary parts may be lost, in both runs alike.
        others.append(question.run(h * LARGE_STEP, Watch()))
    others += [question.jittered(h * (3 + k), rng) for k in range(JITTERED_RUNS)]
    if not _same_values(base.values, others[0], []):
        return question.estimate(value, np.inf, "nondeterministic")
    error = _bound(question.u, base, others, h)
    if not np.isfinite(error) or not _same_values(plain, base, others):
        return question.estimate(value, np.inf, "kink" if base.tied else "unsupported")
    if base.tied:
        # A jittered run breaks the tie one way or the other, which is not rounding.
        return _beside_a_tie(question, plain, base, _bound(question.u, base, others[:1], h), error)
    return question.estimate(value, error)


def _brief(question: Question, known: Arrays, run: _Run, h: float) -> Estimate | None:
    """What a single run says, if it met no tie and nothing faint and has the values that are known."""
    value, error = dot(question.u, run.derivative), UNSEEN * _bound(question.u, run, [], h)
    plain = {name: array for name, array in known.items() if name in question.u}
    clean = not run.tied and not run.watch.faint and _same_values(plain, run, [])
    return question.estimate(value, error) if clean and np.isfinite(value) and np.isfinite(error) else None


def _beside_a_tie(question: Question, plain: Arrays, base: _Run, rounding: float, error: float) -> Estimate:
    """Ties were decided for small positive t; decided for negative t they give the left slope."""
    left = question.run(step_of(question.point, question.v), Watch(side=-1))
    value, slope = dot(question.u, base.derivative), dot(question.u, left.derivative)
    jumps = base.watch.jumps or not _same_values(plain, left, [])
    if not jumps and abs(slope - value) <= rounding:
        return question.estimate(value, error)
    slopes = None if jumps or not np.isfinite(slope) else (slope, value)
    return question.estimate(value, np.inf, "kink", slopes)


def _own(array: Any) -> Any:
    return array.copy() if isinstance(array, np.ndarray) else array


def step_of(point: Arrays, v: Arrays) -> float:
    """A power of two: `STEP` of the smallest nonzero ``|x_i|``, at most 1, over the largest ``|v_i|``."""
    room = 1.0
    for name, tangent in v.items():
        size = np.abs(to_float64(point[name]))
        speed = _largest(tangent)
        if speed > 0:
            room = min(room, float(np.min(size, initial=1.0, where=size > 0)) / speed)
    return float(max(2.0 ** np.floor(np.log2(STEP * room)), SMALLEST_STEP))


def _wrap(re: np.ndarray, v: Any, h: np.ndarray, watch: Watch) -> ComplexArray:
    im = np.multiply(v, h, np.empty(re.shape))
    parts = Planes(re, im) if watch.rng is None else Planes(watch.jitter(re), watch.jitter(im))
    return ComplexArray(parts, watch)


def _unpack(outputs: Arrays, h: float, watch: Watch) -> _Run:
    slopes, values = {}, {}
    for name, array in outputs.items():
        carried = isinstance(array, ComplexArray)
        values[name] = array.values if carried else array
        slopes[name] = _over(array.planes.imag, h) if carried else np.zeros(np.shape(array))
    return _Run(slopes, values, watch)


def _over(part: np.ndarray, h: float) -> Any:
    # A product is cheaper, and as exact where h is a power of two.
    return part * (1.0 / h) if math.frexp(h)[0] == 0.5 else part / h


def _bound(u: Arrays, base: _Run, others: list[_Run], h: float) -> float:
    """Spread of the probe and of its terms, never less than the last roundings and underflow."""
    spread = 0.0
    for run in others:
        gap = {name: run.derivative[name] - base.derivative[name] for name in u}
        spread = max(spread, abs(dot(u, gap)), magnitude(u, gap))
    terms = {name: np.abs(base.derivative[name]) for name in u}
    weights = {name: np.abs(to_float64(u[name])) for name in u}
    lost = UNDERFLOW / h * sum(float(np.sum(weight)) for weight in weights.values())
    return SPREAD_FACTOR * spread + FLOOR * EPS * dot(weights, terms) + lost


def _same_values(plain: Arrays, base: _Run, others: list[_Run]) -> bool:
    """Whether the real part is the plain forward, to rounding and to its own measured noise."""
    return all(_close(expected, base.values[name], [run.values[name] for run in others])
               for name, expected in plain.items())


def _close(expected: Any, seen: Any, jittered: list[Any]) -> bool:
    if np.shape(seen) != np.shape(expected):
        return False
    noise = max((_largest(values - seen) for values in jittered), default=0.0)
    return _largest(seen - expected) <= REAL_ULPS * EPS * _largest(expected) + SPREAD_FACTOR * noise


def _largest(array: Any) -> float:
    return float(np.max(np.abs(array), initial=0.0))


Imaginary = Callable[[Arrays, Arrays, float, int | None], tuple[Arrays, Arrays]]


@dataclass(frozen=True)
class Steps:
    """Complex steps along one direction, taken by a framework that carries them itself; any cotangent may be asked."""

    plain: Arrays
    base: _Run
    others: list[_Run]
    h: float

    def estimate(self, u: Arrays) -> Estimate:
        """``<u, J v>`` with the bound of `complex_step`."""
        value, calls = dot(u, self.base.derivative), 1 + len(self.others)
        error = _bound(u, self.base, self.others, self.h) * (1 if self.others else UNSEEN)
        plain = {name: array for name, array in self.plain.items() if name in u}
        fits = plain.keys() <= self.base.values.keys() and _same_values(plain, self.base, self.others)
        if not fits or not np.isfinite(value) or not np.isfinite(error):
            return Estimate(np.nan, np.inf, calls, "complex", "unsupported")
        return Estimate(value, error, calls, "complex")


def take_steps(imaginary: Imaginary, plain: Arrays, point: Arrays, v: Arrays, seed: int = 0, runs: int = 2) -> Steps:
    """Runs at steps of several sizes: the first as it is, the others with every last bit moved."""
    keys = np.random.default_rng(seed).integers(2**62, size=runs)
    h = step_of(point, v)
    values, slopes = imaginary(point, v, h, None)
    others = [imaginary(point, v, h * OTHER_STEP * (1 + k), int(key)) for k, key in enumerate(keys)]
    return Steps(plain, _Run(slopes, values, Watch()), [_Run(dy, y, Watch()) for y, dy in others], h)
