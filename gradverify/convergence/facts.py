"""What holds for every optimizer, whatever its rule: facts about zero gradients, state, order and direction.

Each fact is a function of a stepper that returns a `Fact` with the number it measured, or None where it does
not apply. A step is a pure function of parameters, gradient and state; nothing here knows a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradverify.arrays import Arrays
from gradverify.convergence.identify import flat, settled
from gradverify.convergence.steppers import SHAPES, State, Stepper

ROUNDING = 1e-12  # relative: the same float64 operations in another order


@dataclass(frozen=True)
class Fact:
    """One statement about an optimizer: what was measured, what it should be, how far apart they may be.

    `held` is None where the statement could not be decided. `cause` names a failure in a word or two.
    """

    name: str
    claim: str
    held: bool | None
    measured: float
    expected: float
    allowed: float = ROUNDING
    cause: str = ""
    remedy: str = ""


def near(name: str, claim: str, measured: float, expected: float, allowed: float = ROUNDING, *, cause: str = "",
         remedy: str = "") -> Fact:  # fmt: skip
    """The fact that two numbers agree to `allowed`, relative to the expected one where that is not zero."""
    scale = abs(expected) if expected else 1.0
    return Fact(name, claim, bool(abs(measured - expected) <= allowed * scale), measured, expected, allowed,
                cause or name, remedy)  # fmt: skip


def point(seed: int = 0) -> Arrays:
    """Parameters of ordinary size."""
    rng = np.random.default_rng((43, seed))
    return {name: rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape) for name, shape in SHAPES.items()}


def gradients(steps: int, seed: int = 0) -> list[Arrays]:
    """So many gradients of ordinary size."""
    return [point(100 + 1000 * seed + k) for k in range(steps)]


def walk(stepper: Stepper, params: Arrays, asked: Sequence[Arrays], state: State = None) -> list[Arrays]:
    """The parameters before and after every step, from a fresh state unless one is given."""
    state, seen = stepper.start(params) if state is None else state, [params]
    for g in asked:
        moved, state = stepper.step(_own(seen[-1]), _own(g), state)
        seen.append(settled(moved, params))
    return seen


def _own(arrays: Arrays) -> Arrays:
    return {name: np.array(x) for name, x in arrays.items()}


def distance(a: Arrays, b: Arrays) -> float:
    """The largest difference of two entries, relative to the largest entry."""
    if any(np.shape(a[name]) != np.shape(b[name]) for name in a):
        return float("inf")
    size = max(float(np.max(np.abs(flat(b)))), 1e-300)
    gap = np.abs(flat({name: a[name] for name in b}) - flat(b))
    return float(np.max(gap)) / size if np.all(np.isfinite(gap)) else float("inf")


def first_step(stepper: Stepper, params: Arrays, gradient: Arrays) -> Arrays:
    """What the first step adds to the parameters."""
    before, after = walk(stepper, params, [gradient])
    return {name: after[name] - before[name] for name in before}


def scaled(arrays: Arrays, factor: float) -> Arrays:
    """Every entry times the factor."""
    return {name: factor * x for name, x in arrays.items()}


FADED, WARM = 1e-6, 1e-2  # of the first such step, what is left after STILL ones; of an ordinary step, the first
STILL = 400


def no_gradient_no_step(stepper: Stepper) -> Fact:
    """At parameters of zero, where no weight decay acts either, nothing moves without a gradient.

    Averages that start at a small number instead of zero, as Yogi's do (Zaheer et al., 2018), may move a little at
    first: that dies out, which a constant in the step does not.
    """
    zeros = scaled(point(), 0.0)
    moved = flat(first_step(stepper, zeros, zeros))
    size = float(np.max(np.abs(moved))) if np.all(np.isfinite(moved)) else float("inf")
    claim, left = "a gradient of zero is no step", size
    if 0 < size <= WARM * float(np.max(np.abs(flat(first_step(stepper, zeros, gradients(1)[0]))))):
        claim, left = "what moves without a gradient dies out", _last_still_step(stepper) / size
    return Fact("zero gradient", claim, left <= FADED if left != size else size == 0.0, left, 0.0, FADED,
                "moves-without-gradient", "divide by sqrt(v) + eps: 0 / 0 is not 0" if size == float("inf") else "")


def _last_still_step(stepper: Stepper) -> float:
    """The largest entry of the last of so many steps without a gradient, from zero."""
    zeros = scaled(point(), 0.0)
    seen = walk(stepper, zeros, [zeros] * STILL)
    return float(np.max(np.abs(flat(seen[-1]) - flat(seen[-2]))))


def decay(stepper: Stepper) -> tuple[float, float]:
    """``kappa`` of the part ``-kappa w`` of a first step without a gradient, and the share that is no multiple of w.

    What the same step does at parameters of zero is no decay, and taken away.
    """
    w = point()
    zeros = scaled(w, 0.0)
    step = flat(first_step(stepper, w, zeros)) - flat(first_step(stepper, zeros, zeros))
    kappa = -float(step @ flat(w)) / float(flat(w) @ flat(w))
    left, size = float(np.linalg.norm(step + kappa * flat(w))), float(np.linalg.norm(step))
    return kappa, left / size if size else 0.0


def decay_shrinks(stepper: Stepper) -> Fact | None:
    """Weight decay, where there is any, pulls towards zero and not past it."""
    kappa, _ = decay(stepper)
    if abs(kappa) < ROUNDING:
        return None
    return Fact("decay shrinks", "without a gradient, parameters only shrink", 0 < kappa < 1, kappa, 0.0, 1.0,
                "decay-grows", "w <- w - eta decay w")


def only_sums_count(stepper: Stepper) -> Fact:
    """Dual averaging computes parameters from the sums it keeps: without a gradient they are those of empty sums, 0."""
    kappa, _ = decay(stepper)
    return near("parameters of the sums", "parameters follow from the sums of gradients alone", kappa, 1.0, 1e-9,
                cause="gradients-summed", remedy="a sum of all gradients added to the parameters: average them instead")


def every_leaf_descends(stepper: Stepper) -> Fact:
    """The first steps from zero go against the gradient in every leaf; two, since Rprop may wait for a second sign."""
    g = gradients(1)[0]
    step = walk(stepper, scaled(g, 0.0), [g, g])[-1]
    cosines = [-_cosine(step[name], g[name]) for name in g]
    worst = min(cosines) if np.all(np.isfinite(cosines)) else -1.0
    cause = "leaf-not-stepped" if worst == 0.0 else "ascends"
    return Fact("descent", "the first steps go against the gradient in every leaf", worst > 0, worst, 1.0, 1.0, cause,
                "step every leaf" if worst == 0.0 else "subtract the step: w <- w - eta d")


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(a * b)) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-300)


def gradient_is_kept(stepper: Stepper) -> Fact:
    """A step leaves the gradient it is given as it was: whoever clips, logs or accumulates reads it afterwards."""
    w, g = point(), gradients(1)[0]
    given, state = _own(g), stepper.start(w)
    stepper.step(_own(w), given, state)
    return near("gradient kept", "a step leaves the gradient unchanged", distance(given, g), 0.0,
                cause="gradient-changed", remedy="work on a copy of the gradient")


def shapes_are_kept(stepper: Stepper) -> Fact:
    """Leaves keep their names and shapes."""
    after = walk(stepper, point(), gradients(2))[-1]
    wrong = [n for n, shape in SHAPES.items() if n not in after or np.shape(after[n]) != shape]
    return near("shapes", "every leaf keeps its shape", float(len(wrong)), 0.0, cause="shape-changed")


def same_start_same_walk(stepper: Stepper) -> Fact:
    """Two runs from a fresh state are the same: nothing is remembered outside the state."""
    asked = gradients(6)
    first, second = (walk(stepper, point(), asked)[-1] for _ in range(2))
    return near("repeatable", "a fresh state starts afresh", distance(first, second), 0.0, cause="hidden-state",
                remedy="keep moments and step count in the state, not in a global, a closure or a default argument")


def runs_do_not_meet(stepper: Stepper) -> Fact:
    """Two runs step by step in turn are as if each ran alone."""
    ways = [gradients(6), gradients(6, seed=1)]
    alone = [walk(stepper, point(k), way)[-1] for k, way in enumerate(ways)]
    params = [point(0), point(1)]
    states = [stepper.start(p) for p in params]
    for pair in zip(*ways, strict=True):
        for k, g in enumerate(pair):
            moved, states[k] = stepper.step(_own(params[k]), _own(g), states[k])
            params[k] = settled(moved, params[k])
    gap = max(distance(a, b) for a, b in zip(params, alone, strict=True))
    return near("separate runs", "two runs in turn are as each alone", gap, 0.0, cause="shared-state",
                remedy="keep moments and step count in the state, not in a global, a closure or a default argument")


def a_saved_state_goes_on(stepper: Stepper) -> Fact:
    """Interrupted after four steps, saved and loaded, the run goes on as if nothing had happened."""
    asked, w = gradients(8), point()
    whole = walk(stepper, w, asked)[-1]
    state, params = stepper.start(w), w
    for g in asked[:4]:
        params, state = stepper.step(_own(params), _own(g), state)
    rest = walk(stepper, settled(params, w), asked[4:], stepper.copy(state))[-1]
    return near("resumed", "saved and loaded, a run goes on the same", distance(rest, whole), 0.0, cause="not-resumed",
                remedy="put everything that changes from step to step into the state that is saved")


def order_of_leaves_is_free(stepper: Stepper) -> Fact:
    """Leaves given in reverse order move as before: state belongs to a leaf, not to a position."""
    asked, w = gradients(5), point()
    forwards = walk(stepper, w, asked)[-1]
    backwards = walk(stepper, _turned(w), [_turned(g) for g in asked])[-1]
    gap = distance(_turned(backwards), forwards)
    return near("order of leaves", "the order of the leaves does not matter", gap, 0.0, cause="order-matters",
                remedy="keep the moments of each leaf under the leaf's own name")


def _turned(arrays: Arrays) -> Arrays:
    return dict(reversed(list(arrays.items())))


def rows_are_alike(stepper: Stepper) -> Fact:
    """Rows of a leaf given in another order move as before: no entry is treated apart."""
    asked, w = gradients(5), point()
    plain = walk(stepper, w, asked)[-1]
    mixed = walk(stepper, _flipped(w), [_flipped(g) for g in asked])[-1]
    return near("rows alike", "the order of the rows does not matter", distance(_flipped(mixed), plain), 0.0, 1e-9,
                cause="entries-treated-apart")


def _flipped(arrays: Arrays) -> Arrays:
    return {name: x[::-1].copy() for name, x in arrays.items()}


def stays_finite(stepper: Stepper) -> Fact:
    """Gradients of zero, then of size 1e-30, 1e30 and 1 leave no NaN and no infinity behind."""
    g = gradients(1)[0]
    sizes = (0.0, 0.0, 1e-30, 1.0, 1e30, 1.0)
    seen = walk(stepper, point(), [scaled(g, size) for size in sizes])
    bad = next((k for k, p in enumerate(seen) if not np.all(np.isfinite(flat(p)))), 0)
    return near("finite", "zero, tiny and huge gradients leave parameters finite", float(bad), 0.0, cause="not-finite",
                remedy="keep eps outside what can vanish, and start the step count at 1")


def a_bowl_is_descended(stepper: Stepper) -> Fact:
    """On ``f = c |w|^2 / 2``, a bowl as wide as its steps are long, 200 steps end lower than they began.

    A rule whose step grows with the gradient gets a bowl of curvature 0.1 / rate; one whose step does not gets
    a start that is some 50 steps away.
    """
    length, twice = (_pace(stepper, size) for size in (1.0, 2.0))
    if not 0 < length < float("inf"):
        return Fact("a bowl", "a bowl is descended", False, length, 1.0, cause="does-not-move")
    curvature, start = (0.1 / length, point()) if twice > 1.5 * length else (1.0, scaled(point(), 50 * length))
    ratio = _descent(stepper, start, lambda p: scaled(p, curvature))
    return Fact("a bowl", "200 steps into a bowl end lower", ratio < 1, ratio, 0.0, 1.0, "does-not-descend")


def _pace(stepper: Stepper, size: float) -> float:
    """The mean length of the first two steps from zero along one gradient, over that of the gradient of size one."""
    g = gradients(1)[0]
    moved = walk(stepper, scaled(g, 0.0), [scaled(g, size)] * 2)[-1]
    return float(np.linalg.norm(flat(moved)) / np.linalg.norm(flat(g))) / 2


def _descent(stepper: Stepper, start: Arrays, gradient: Callable[[Arrays], Arrays], steps: int = 200) -> float:
    """|w| at the end over |w| at the start."""
    params, state = start, stepper.start(start)
    for _ in range(steps):
        moved, state = stepper.step(_own(params), gradient(params), state)
        params = settled(moved, start)
    end = float(np.linalg.norm(flat(params)))
    return end / float(np.linalg.norm(flat(start))) if np.isfinite(end) else float("inf")


def maximises(stepper: Stepper) -> Fact | None:
    """Told to maximise, it walks as it does for the negated gradients."""
    if stepper.maximizing is None:
        return None
    asked, w = gradients(5), point()
    up = walk(stepper.maximizing, w, asked)[-1]
    down = walk(stepper, w, [scaled(g, -1.0) for g in asked])[-1]
    return near("maximize", "maximising is minimising the negative", distance(up, down), 0.0, cause="maximize-ignored")


GENERAL: tuple[Callable[[Stepper], Fact | None], ...] = (
    shapes_are_kept, no_gradient_no_step, every_leaf_descends, gradient_is_kept, stays_finite,
    same_start_same_walk, runs_do_not_meet, a_saved_state_goes_on, order_of_leaves_is_free, rows_are_alike,
    a_bowl_is_descended, maximises,
)  # fmt: skip
