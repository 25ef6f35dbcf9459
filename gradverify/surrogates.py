"""Another computation in the forward's place: the one whose derivative is meant, or a trusted one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradverify.arrays import EPS, one_ulp, to_float64
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Cause, Check, Entry, Verdict
from gradverify.targets.record import Target
from gradverify.trial import Trial


def with_surrogate(target: Target, surrogate: Any) -> Target:
    """The target judged as if its forward were `surrogate`; the values are not compared.

    What a surrogate detaches is a constant to whoever differentiates it, and so it is here: held as at the point.
    """
    if not callable(surrogate):
        raise TypeError(f"surrogate={surrogate!r}: must be a callable with the target's inputs")
    if target.substitute is None:
        raise ValueError(f"surrogate=: {target.name} cannot be judged by another forward")
    cast, forward = target.cast, target.substitute(surrogate, None)

    def recast(dtype: str) -> Target | None:
        twin = cast(dtype) if cast is not None else None
        return with_surrogate(twin, surrogate) if twin is not None else None

    anchored = target.holding(surrogate) if target.holding is not None else None

    def findings() -> tuple[str, ...]:
        held = "what the surrogate detaches counts as a constant, as in its own gradient"
        return (*target.findings(), *([held] if anchored is not None else []))

    return replace(target, forward=forward, start=None, cast=recast, line=None, imaginary=None, anchored=anchored,
                   findings=findings)


def with_reference(target: Target, reference: Any) -> Target:
    """The target judged by `reference` in float64, at the same quantised inputs."""
    if target.substitute is None:
        raise ValueError(f"reference=: {target.name} cannot be judged by another forward")
    forward = target.substitute(reference, "float64")
    trusted = None
    if target.counterpart is not None and target.eps > EPS["float64"]:
        trusted = target.counterpart(reference, "float64"), target.counterpart(reference, target.dtype)
    # What the framework can do with the target's own forward says nothing about the reference's.
    return replace(target, forward=forward, start=None, forward_eps=EPS["float64"], cast=None, line=None,
                   imaginary=None, trusted=trusted)


def compare_values(target: Target, trusted: Target, trial: Trial) -> list[Check]:
    """The outputs of the target against those of its reference, to within the target's own rounding."""
    rng = np.random.default_rng((trial.options.seed, 29))
    eps = target.eps / 2
    ours, theirs = target.forward(target.point), trusted.forward(trusted.point)
    keys = [int(key) for key in rng.integers(2**62, size=3)]
    near = [{n: one_ulp(x, key, eps) for n, x in target.point.items()} for key in keys]
    moved = [target.forward(point) for point in near]
    rows = []
    for name in trial.outputs:
        value, truth = to_float64(ours[name]), to_float64(theirs[name])
        if value.shape != truth.shape:
            raise ValueError(
                f"reference=: {name} has shape {truth.shape} there and {value.shape} in {target.name}"
            )
        spread = np.max([np.abs(to_float64(m[name]) - value) for m in moved], axis=0)
        floor = target.eps * max(float(np.max(np.abs(truth), initial=0.0)), 0.0)
        rows.append(_value_row(trial, name, value, truth, NOISE_FACTOR * np.maximum(spread, floor)))
    return rows


def _value_row(trial: Trial, name: str, value: np.ndarray, truth: np.ndarray, bar: np.ndarray) -> Check:
    gap = np.where(np.isfinite(value), np.abs(value - truth), np.inf)
    excess = np.ravel(gap - FAIL_FACTOR * bar)
    i = np.unravel_index(int(np.argmax(excess)), gap.shape) if gap.size else ()
    wrong = bool(excess.size) and float(excess.max()) > 0
    scale = float(np.max(np.abs(truth), initial=0.0))
    entry = Entry(name, tuple(int(k) for k in i), float(value[i]), float(truth[i])) if gap.size else None
    cause = Cause(
        "value",
        "the forward's values differ from the reference's",
        str(entry),
        "compare the forwards first",
        1.0,
    )
    return Check(
        target=trial.target.name, wrt="", output=name, order=0, mode="value",
        verdict=Verdict.FAIL if wrong else Verdict.PASS,
        oracle="reference in float64", dtype=trial.target.dtype, shape=value.shape, reason="value" if wrong else "",
        computed=float(value[i]) if gap.size else 0.0, expected=float(truth[i]) if gap.size else 0.0,
        discrepancy=float(gap[i]) if gap.size else 0.0, bar=float(bar[i]) if gap.size else 0.0,
        resolution=float(bar.max(initial=0.0)) / scale if scale else np.inf, worst=entry if wrong else None,
        causes=(cause,) if wrong else (), seed=trial.options.seed,
    )  # fmt: skip
