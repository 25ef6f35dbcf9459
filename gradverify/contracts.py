"""What a pullback must obey whatever its values: no oracle is asked.

Linear in the cotangent, zero for zero, blind to its memory layout, repeatable, and leaving its
inputs, the upstream gradient and the saved state as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from gradverify.arrays import Arrays, all_finite, draw_signs, to_float64
from gradverify.noise import Gradient
from gradverify.probes import draw_tangent, entry_sizes
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR
from gradverify.trial import Trial, cotangents

_REPEATS, _MANY = 3, 12


@dataclass(frozen=True)
class Breach:
    """A broken contract: which cause, at which leaf, and the two numbers that differ."""

    cause: str
    leaf: str
    text: str
    computed: float
    expected: float
    bar: float
    error: str = ""  # what the code raised, where there are no two numbers


Contract: TypeAlias = Callable[[Trial, Arrays, Gradient, np.random.Generator], Iterator[Breach]]


def breaches(trial: Trial, u: Arrays, gradient: Gradient, seed: int) -> Iterator[Breach]:
    """Every contract that the pullback breaks at this point; what raises is left to the check itself."""
    for number, contract in enumerate(CONTRACTS):
        found = _asked(contract, trial, u, gradient, (seed, 11, number))
        if found and not _ends(found):
            found = _asked(_repeatable_for_long, trial, u, gradient, (seed, 11)) or found
        yield from found
        if _ends(found):
            return  # whatever is compared from here on differs


def _ends(found: list[Breach]) -> bool:
    return any(breach.cause in ("nondeterministic", "accumulated") for breach in found)


def _asked(contract: Contract, trial: Trial, u: Arrays, gradient: Gradient, seed: tuple[int, ...]) -> list[Breach]:
    found: list[Breach] = []
    try:
        for breach in contract(trial, u, gradient, np.random.default_rng(seed)):
            found.append(breach)  # noqa: PERF402 - what was found before a refusal stays found
    except Exception:  # layouts and zeros are our idea: a refusal is no finding
        return found
    return found


def _unchanged(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    given = _native(trial, u)
    before = {n: x.copy() for n, x in given.items()}
    trial.laid_out_gradient(given)
    for name, x in given.items():
        if not np.array_equal(x, before[name], equal_nan=True):
            i = int(np.argmax(np.ravel(x != before[name])))
            yield Breach(
                "mutated-upstream", trial.leaves[0], f"the backward overwrites its upstream gradient of {name}",
                float(np.ravel(x)[i]), float(np.ravel(before[name])[i]), 0.0,
            )  # fmt: skip


def _native(trial: Trial, u: Arrays) -> Arrays:
    dtype = "float32" if trial.target.dtype == "bfloat16" else trial.target.dtype
    return {n: np.array(x, dtype=np.longdouble if dtype == "longdouble" else dtype) for n, x in u.items()}


def _inputs_kept(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    if trial.target.overwritten is None:
        return
    for leaf, old, new in trial.target.overwritten(trial.point):
        i = int(np.argmax(np.ravel(old != new)))
        yield Breach(
            "mutated-input",
            leaf,
            f"the forward overwrites its input {leaf}",
            float(np.ravel(new)[i]),
            float(np.ravel(old)[i]),
            0.0,
        )


def _repeatable(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    yield from _same_again(trial, u, gradient, _REPEATS)


def _repeatable_for_long(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    """Asked where two calls differed for another reason, it seems: what differs now and then differs for none."""
    yield from _same_again(trial, u, gradient, _MANY)


def _same_again(trial: Trial, u: Arrays, gradient: Gradient, times: int) -> Iterator[Breach]:
    calls = [trial.raw_gradient(u) for _ in range(times)]
    grown = [leaf for leaf in trial.leaves if _grows(leaf, calls)]
    for call in calls:
        text = "each call adds its gradient to what the calls before it returned"
        yield from _compare(trial, gradient, call, "accumulated", text, tuple(grown))
        text = "two identical calls give different gradients"
        others = tuple(leaf for leaf in trial.leaves if leaf not in grown)
        yield from _compare(trial, gradient, call, "nondeterministic", text, others)


def _grows(leaf: str, calls: list[Arrays]) -> bool:
    """Whether from call to call the gradient grows by the same amount, which is not zero."""
    found = [to_float64(call[leaf]) for call in calls if call.get(leaf) is not None]
    if len(found) < _REPEATS or len({g.shape for g in found}) > 1:
        return False
    step = found[1] - found[0]
    return bool(np.any(step)) and np.allclose(found[2] - found[1], step, rtol=1e-6, atol=1e-9 * np.abs(found[2]).max())


def _saved_kept(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    if trial.target.twice is None:
        return
    first, second = trial.target.twice(trial.point, _native(trial, u))
    text = "the backward changes what the forward saved: called again it gives another gradient"
    for leaf in (name for name in trial.leaves if name in first and second.get(name) is not None):
        yield from _differs(
            leaf, to_float64(second[leaf]), to_float64(first[leaf]), gradient.noise[leaf], "mutated-saved", text
        )


def _zero_for_zero(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    zeros = {n: np.zeros_like(x) for n, x in u.items()}
    found = trial.raw_gradient(zeros)
    for leaf in trial.leaves:
        g = found.get(leaf)
        wrong = np.zeros(()) if g is None else np.nan_to_num(to_float64(g), nan=0.0)
        if np.any(wrong):
            i = int(np.argmax(np.abs(np.ravel(wrong))))
            text = "an upstream gradient of zero gives a gradient that is not zero"
            yield Breach("upstream-ignored", leaf, text, float(np.ravel(wrong)[i]), 0.0, 0.0)


def _linear(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    other = {n: draw_signs(rng, x.shape, 10) * np.abs(x) for n, x in u.items()}
    joint = trial.gradient({n: u[n] - 2 * other[n] for n in u})
    second = trial.gradient(other)
    for leaf in trial.leaves:
        sum_of_parts = gradient.value[leaf] - 2 * second.value[leaf]
        noise = gradient.noise[leaf] + 2 * second.noise[leaf] + joint.noise[leaf]
        noise = noise + _tolerated(trial, gradient.value[leaf], 2 * second.value[leaf])
        yield from _differs(
            leaf,
            joint.value[leaf],
            sum_of_parts,
            noise,
            "nonlinear",
            "the backward is not linear in the upstream gradient",
        )


def _tolerated(trial: Trial, *terms: np.ndarray) -> float:
    """As the noise of a leaf: what is tolerated of the largest entry, as where a rule rounds to a coarser dtype."""
    largest = max(float(np.max(np.abs(x), initial=0.0)) for x in terms)
    return trial.options.tolerate * largest / (FAIL_FACTOR * NOISE_FACTOR)


def _homogeneous(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    """Clipping or thresholds on the upstream gradient show only where it is very large or very small."""
    steps = (2.0**20, 2.0**-20) if trial.target.eps < 1e-6 else (2.0**6, 2.0**-6)
    for factor in steps:
        scaled = trial.raw_gradient({n: factor * x for n, x in u.items()})
        if not all_finite(scaled):
            continue
        back = {n: None if g is None else to_float64(g) / factor for n, g in scaled.items()}
        text = f"{factor:.3g} times the upstream gradient does not give {factor:.3g} times the gradient"
        yield from _compare(trial, gradient, back, "nonlinear", text)


def _upstream_layouts(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    """Each layout is asked for: what refuses one may read another wrongly, and a framework sends them all."""
    refused: dict[str, Exception] = {}
    for name, laid_out, contiguous in _laid_out(trial, u, gradient):
        try:
            found = trial.laid_out_gradient(laid_out)
        except Exception as error:  # in whatever words
            refused[name] = error
            continue
        text = f"an upstream gradient that is {name} in memory gives another gradient than the same numbers contiguous"
        yield from _compare(trial, contiguous, found, "upstream-layout", text)
    if refused and trial.target.strided:
        first, which = next(iter(refused.values())), ", or ".join(refused)
        said = ": ".join([type(first).__name__, *str(first).strip().splitlines()[:1]])
        text = f"the backward raises where its upstream gradient is {which} in memory; contiguous it takes them"
        yield Breach("upstream-refused", trial.leaves[0], text, np.nan, np.nan, 0.0, said)


def _laid_out(trial: Trial, u: Arrays, gradient: Gradient) -> Iterator[tuple[str, Arrays, Gradient]]:
    """Upstream gradients in each layout that is another one, and the gradient for the same numbers contiguous."""
    for name, laid in _LAYOUTS.items():
        views = {n: laid(x) for n, x in _native(trial, u).items()}
        if not all(x.flags.c_contiguous for x in views.values()):
            yield name, views, gradient
    constant = {n: np.full(x.shape, 0.75) for n, x in u.items()}
    views = {
        n: np.broadcast_to(x.reshape(-1)[:1].reshape(()), x.shape)
        for n, x in _native(trial, constant).items()
        if x.size
    }
    yield "expanded with stride 0 (as .sum() sends it)", views, trial.gradient(constant)


def _own_forward(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    """A pullback belongs to its own forward: one run in between, at another point, must not reach it."""
    elsewhere = trial.moved(0.25, trial.admissible(draw_tangent(rng, trial.point, trial.leaves, trial.target.dtype)))
    text = "the backward uses what another forward saved: a forward at another point, run in between, changes it"
    yield from _compare(trial, gradient, trial.raw_gradient(u, between=elsewhere), "stale-cache", text)


def _input_layouts(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    point = {n: np.array(x, order="F") for n, x in trial.point.items()}  # asfortranarray gives a scalar an axis
    if all(x.flags.c_contiguous for x in point.values()):
        return
    if trial.target.linearize is None:
        return
    trial.spend(backwards=1)
    outputs, pullback = trial.target.linearize(point, None)
    if not _same_forward(trial, outputs):  # a mask drawn in the order of memory is another mask: nothing to compare
        return
    text = "inputs in Fortran order give another gradient than the same numbers in C order"
    yield from _compare(trial, gradient, pullback(cotangents(u, outputs)), "input-layout", text)


def _same_forward(trial: Trial, theirs: Arrays) -> bool:
    """Whether the target's own forward, which need not be that of the oracles, gives the same at the trial's point.

    To the roundings of reordered sums.
    """
    assert trial.target.linearize is not None
    trial.spend()
    ours, room = trial.target.linearize(trial.point, None)[0], float(np.sqrt(trial.target.eps))
    sizes = {name: np.max(np.abs(y), initial=0.0) for name, y in ours.items()}
    return all(np.all(np.abs(theirs[name] - y) <= room * sizes[name]) for name, y in ours.items())


def _vmapped(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    """One sample among others under vmap is the same sample alone: the second of four, which no reversal leaves."""
    if trial.target.batched is None or trial.target.linearize is None or trial.large:
        return
    v = trial.admissible(draw_tangent(rng, trial.point, trial.leaves, trial.target.dtype))
    given, others = _native(trial, u), [trial.moved(t, v) for t in (2.0**-4, 2.0**-5, 2.0**-6)]
    us = [given if t == 1 else {n: t * x for n, x in given.items()} for t in (0.75, 1, -0.5, 1.25)]
    trial.spend(backwards=1)
    outputs, found = trial.target.batched([others[0], trial.point, *others[1:]], us)[1]
    room = float(np.sqrt(trial.target.eps)) / FAIL_FACTOR
    # Not what differences follow: that may be a reference, or a surrogate.
    for name, y in trial.target.linearize(trial.point, None)[0].items():
        text = f"under vmap {name} of one sample is another than that of the same sample alone"
        size = np.full(y.shape, room / NOISE_FACTOR * np.max(np.abs(y), initial=0.0))
        yield from _differs(trial.leaves[0], to_float64(outputs[name]), to_float64(y), size, "vmap", text)
    text = "under vmap the gradient of one sample is another than that of the same sample alone"
    yield from _compare(trial, gradient, found, "vmap", text)


_ALONE = 8  # leaves that are asked for on their own, and as many that are left out; each is one backward


def _subsets(trial: Trial, u: Arrays, gradient: Gradient, rng: np.random.Generator) -> Iterator[Breach]:
    """A backward may take another path where some inputs ask for no gradient: they must not change the others'."""
    if trial.target.subset is None:
        return
    for names in _proper_subsets(trial.leaves):
        trial.spend(backwards=1)
        found = trial.target.subset(trial.point, _native(trial, u), names)
        left_out = next(n for n in trial.leaves if n not in names)
        asked = f"only {names[0]} needs" if len(names) == 1 else f"all but {left_out} need"
        text = f"where {asked} a gradient, it is another than where all leaves do"
        yield from _compare(trial, gradient, found, "subset", text, names)


def _proper_subsets(leaves: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Each leaf alone, then all but one; of many leaves the first, which are the inputs, and some of the rest."""
    chosen = leaves if len(leaves) <= _ALONE else (*leaves[:4], *leaves[4 :: max(1, len(leaves) // 4)][:4])
    yield from ((leaf,) for leaf in chosen if len(leaves) > 1)
    if len(leaves) > 2:
        yield from (tuple(n for n in leaves if n != left_out) for left_out in chosen)


def _strided(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (), dtype=x.dtype)
    view = wide[..., ::2] if x.ndim else wide
    view[...] = x
    return view


def _sliced(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((*x.shape[:-1], x.shape[-1] + 1) if x.ndim else (), dtype=x.dtype)
    view = wide[..., :-1] if x.ndim else wide
    view[...] = x
    return view


_LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "strided": _strided,
    "a slice of a wider one (as a concatenation sends it)": _sliced,
}


def _compare(
    trial: Trial, gradient: Gradient, other: Arrays, cause: str, text: str, leaves: tuple[str, ...] | None = None
) -> Iterator[Breach]:
    """The same numbers in another order: reordered sums differ by about the root of the rounding at most."""
    room = max(float(np.sqrt(trial.target.eps)), trial.options.tolerate) / FAIL_FACTOR
    for leaf in trial.leaves if leaves is None else leaves:
        g, old = other.get(leaf), gradient.value[leaf]
        new = np.zeros_like(old) if g is None else to_float64(g)
        if new.shape != old.shape:
            yield Breach(cause, leaf, f"{text}: of another shape, {new.shape} for {old.shape}", np.nan, np.nan, 0.0)
        elif np.all(np.isfinite(old)):
            # Where all terms cancel the gradient is its own noise, and another order gives another one. But what
            # exceeds the rounding of terms as large as the values moved is chance, and noise no excuse for it.
            size, noise = (float(np.max(np.abs(x), initial=0.0)) for x in (old, gradient.noise[leaf]))
            bar = max(room * size, min(NOISE_FACTOR * noise, room * _largest_terms(trial, leaf)))
            yield from _beyond(leaf, new, old, np.full(old.shape, bar), cause, text)


def _largest_terms(trial: Trial, leaf: str) -> float:
    """|u| |f| / |x|, the size of what a gradient is put together from; cotangents are about as large as 1 / |f|."""
    outputs = sum(y.size for y in trial.base.values())
    return float(np.sqrt(outputs) / np.min(entry_sizes(trial.point[leaf]), initial=np.inf))


def _differs(
    leaf: str, new: np.ndarray, old: np.ndarray, noise: np.ndarray, cause: str, text: str
) -> Iterator[Breach]:
    if new.shape != old.shape:
        yield Breach(
            cause,
            leaf,
            f"{text}: of another shape, {new.shape} for {old.shape}",
            float("nan"),
            float("nan"),
            0.0,
        )
        return
    if not np.all(np.isfinite(old)):
        return
    # Reordered sums differ by roundings of their largest term, which an entry that cancels does not show.
    noise = np.maximum(noise, 2.0**-53 * np.abs(old))  # both sides went through float64
    yield from _beyond(leaf, new, old, NOISE_FACTOR * np.maximum(noise, np.max(noise, initial=0.0)), cause, text)


def _beyond(leaf: str, new: np.ndarray, old: np.ndarray, bar: np.ndarray, cause: str, text: str) -> Iterator[Breach]:
    gap = np.abs(new - old)
    gap = np.where(np.isnan(gap), np.inf, gap)
    if np.any(gap > FAIL_FACTOR * bar):
        i = np.unravel_index(int(np.argmax(gap - FAIL_FACTOR * bar)), gap.shape)
        yield Breach(cause, leaf, text, float(new[i]), float(old[i]), float(bar[i]))


CONTRACTS = (
    _inputs_kept, _unchanged, _repeatable, _saved_kept, _zero_for_zero, _linear, _homogeneous,
    _upstream_layouts, _input_layouts, _own_forward, _subsets, _vmapped,
)  # fmt: skip
