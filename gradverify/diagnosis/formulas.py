"""Explanations by value: another formula, factor, sign, dtype, or use of the upstream gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from gradverify.diagnosis.case import Case
from gradverify.records import Cause


def nonfinite(case: Case) -> Iterator[Cause]:
    """NaN or infinity where forward and oracle are finite."""
    bad = ~np.isfinite(case.gradient)
    if bad.any():
        yield Cause(
            "nonfinite", "the backward produces NaN or infinity where forward and oracle are finite",
            f"{int(bad.sum())} of {bad.size} entries are not finite",
            "guard the division, logarithm or power that fails there before it is used, not after", 1.0,
        )  # fmt: skip


def zero_gradient(case: Case) -> Iterator[Cause]:
    """Nothing at all comes back, though the output depends on the leaf."""
    if not np.any(case.gradient) and np.any(case.expected):
        yield Cause(
            "zero-gradient", "the gradient is zero (detached) though the output depends on this leaf",
            f"expected entries up to {np.abs(case.expected).max():.3g}, computed all zero",
            "look for a missing accumulation, a detached or copied tensor, or a branch that returns zeros", 0.98,
        )  # fmt: skip


def spurious(case: Case) -> Iterator[Cause]:
    """Something comes back though the output does not depend on the leaf."""
    if not np.any(case.expected) and case.located.complete and np.any(case.gradient):
        yield Cause(
            "spurious-gradient", "there is a gradient though the output does not depend on this leaf here",
            f"expected zero in every entry, computed up to {np.abs(case.gradient).max():.3g}",
            "look for a forward that uses a copy or another array, or is clipped or saturated at this point", 0.92,
        )  # fmt: skip


def upstream(case: Case) -> Iterator[Cause]:
    """Ignored, or used in another way than linearly: asked with fresh upstream gradients."""
    rng = np.random.default_rng(0)
    other = case.with_u({n: rng.normal(size=x.shape) for n, x in case.u.items()})
    if other is None or not np.any(case.gradient):
        return
    if np.array_equal(other, case.gradient):
        yield Cause(
            "upstream-ignored", "the backward ignores its upstream gradient",
            "another upstream gradient gives exactly the same result",
            "multiply the local derivative by the upstream gradient: right only for .sum() otherwise", 0.97,
        )  # fmt: skip
        return
    for factor in (2.0, -1.0, 2.0**-10):
        scaled = case.with_u({n: factor * x for n, x in case.u.items()})
        if scaled is not None and not np.allclose(
            scaled, factor * case.gradient, rtol=1e-4, atol=0, equal_nan=True
        ):
            yield Cause(
                "nonlinear", "the backward is not linear in its upstream gradient",
                f"{factor:g} times the upstream gradient does not give {factor:g} times the gradient",
                "nothing may be squared, clipped, normalised or added to the upstream gradient", 0.975,
            )  # fmt: skip
            return


def passed_through(case: Case) -> Iterator[Cause]:
    """The gradient is the upstream gradient itself."""
    (u, *more) = case.u.values()
    if not more and u.shape == case.gradient.shape and u.ndim and np.array_equal(u, case.gradient):
        yield Cause(
            "passed-through", "the upstream gradient is handed on unchanged",
            "computed equals the upstream gradient in every entry",
            "multiply by this operation's own derivative", 0.945,
        )  # fmt: skip


def at_activation(case: Case) -> Iterator[Cause]:
    """A derivative written for the output of the activation, or taken there."""
    (name, y), *more = case.outputs.items()
    if more or y.shape != case.x.shape or len(case.point) != 1:
        return
    elsewhere = case.at({case.leaf: y})
    if elsewhere is not None and np.allclose(case.take(elsewhere), case.expected, rtol=1e-6, atol=1e-12):
        yield Cause(
            "derivative-at-activation", "the derivative is written for the activation a = f(z), but is given z",
            f"called at {name} instead of {case.leaf}, it gives the expected values",
            "pass the output of the forward, or rewrite the derivative in terms of the input", 0.99,
        )  # fmt: skip
    told = len(np.unique(case.computed[case.located.wrong])) > 2  # a slope or two may be met at any point
    twice = case.expect({case.leaf: y}, case.located.indices) if told else None
    if twice is not None and case.explains(twice):
        yield Cause(
            "derivative-at-activation", "the derivative is taken at the activation f(x) instead of at x",
            f"computed equals the expected derivative at x = {name}",
            "evaluate the derivative at the input of the activation, or write it in terms of its output", 0.94,
        )  # fmt: skip


def sign(case: Case) -> Iterator[Cause]:
    """The sign is flipped."""
    if case.explains(-case.expected) and np.any(case.expected):
        yield Cause(
            "sign",
            "the sign is flipped",
            "computed = -expected in every entry asked",
            "negate this gradient",
            0.96,
        )


def factor(case: Case) -> Iterator[Cause]:
    """One constant factor, named where it is a size that occurs in the problem."""
    weight = float(case.expected @ case.expected)
    telling = int(np.count_nonzero(case.expected))
    if weight == 0 or (telling == 1 and case.gradient.size > 1):  # one number is a factor of any other
        return
    c = float(case.computed @ case.expected) / weight
    if not np.isfinite(c) or c == 0 or not case.explains(c * case.expected):
        return
    if abs(c + 1) < 1e-6:
        return
    name = _known_factor(c, case.sizes)
    strength = 0.9 if name else 0.8
    said = name if name.startswith(f"{_number(c)} (") else f"{_number(c)} = {name}" if name else _number(c)
    yield Cause(
        "factor", f"a constant factor {said} is wrong in every entry",
        f"computed / expected = {_number(c)} throughout",
        f"multiply by {_number(1 / c)}" + (f": {_factor_advice(name)}" if name else ""), strength,
    )  # fmt: skip


def _number(c: float) -> str:
    """The factor with the digits that matter: ``0.25``, but ``1 + 1e-09``."""
    away = abs(c - 1)
    return f"1 {'+' if c > 1 else '-'} {away:.2g}" if 0 < away < 1e-4 else f"{c:.9g}"


def _known_factor(c: float, sizes: Mapping[str, float]) -> str:
    named = {label: value for label, value in sizes.items() if label[0] not in "(0123456789"}
    plain = {"2": 2.0, "1/2": 0.5, "-2": -2.0, "-1/2": -0.5}
    for text, value in plain.items():
        if abs(c - value) <= 1e-6 * abs(value) and value not in named.values():
            return text
    for label, value in {**named, **sizes}.items():
        for text, candidate in ((label, value), (f"1/{label}", 1 / value)):
            if value not in (0, 1) and abs(c - candidate) <= 1e-6 * abs(candidate):
                return f"{text} ({candidate:.6g})" if label in named else f"{text} (a number in the code)"
    return ""


def _factor_advice(name: str) -> str:
    if "in the code" in name:
        return "a number that the code names (a rate, a scale, a step) is applied where it should not be, or forgotten"
    if name.startswith("1/") and "(" in name:
        return (
            "a sum became a mean: do not divide by it here, the upstream gradient already carries that factor"
        )
    if "(" not in name:
        return "a constant of the derivative was forgotten or doubled"
    return "a mean became a sum: divide by it here too"


def epsilon(case: Case) -> Iterator[Cause]:
    """An epsilon of the forward is missing: the error falls with the square of the scale."""
    sizes = [_relative(case)]
    if not 0 < sizes[0] < 0.2:
        return
    for scale in (4.0, 16.0):
        point = {**case.point, case.leaf: case.x * scale}
        computed, expected = case.at(point), case.expect(point, case.located.indices)
        if computed is None or expected is None or not np.any(expected):
            return
        sizes.append(float(np.linalg.norm(case.take(computed) - expected) / np.linalg.norm(expected)))
        if not 8 < sizes[-2] / max(sizes[-1], 1e-300) < 32:
            return
    yield Cause(
        "epsilon", "an epsilon of the forward (under a root or in a denominator) is missing in the backward",
        f"the relative error at 1, 4 and 16 times {case.leaf} is " + ", ".join(f"{s:.2g}" for s in sizes),
        "use the same epsilon in the backward: 1/sqrt(var + eps), not 1/sqrt(var)", 0.9,
    )  # fmt: skip


def dtype(case: Case) -> Iterator[Cause]:
    """Digits are lost in a coarser dtype than the leaf's."""
    coarse = {"float32", "float16", "bfloat16"}
    if case.gradient_dtype in coarse and case.leaf_dtype not in coarse and _relative(case) < 1e-2:
        yield Cause(
            "dtype", f"the gradient is {case.gradient_dtype} for a leaf of {case.leaf_dtype}: digits are lost",
            f"relative error {_relative(case):.2g}, a rounding of {case.gradient_dtype}",
            "compute and return the gradient in the dtype of its leaf", 0.9,
        )  # fmt: skip
        return
    blind = _blind_to(case)
    if case.leaf_dtype == "float64" and blind:
        yield Cause(
            "dtype", f"digits are lost in {blind} somewhere inside",
            f"the gradient does not move when {case.leaf} moves by less than a spacing of {blind}; "
            f"it is off by {_relative(case):.2g}",
            "compute and return the gradient in the dtype of its leaf", 0.6,
        )  # fmt: skip


def _blind_to(case: Case) -> str:
    """The coarser dtype through which the gradient sees its leaf: most of its entries then do not move within one."""
    for name, moved, error in (("float32", 2.0**-28, 2.0**-21), ("float16", 2.0**-15, 2.0**-8)):
        near = case.at({case.leaf: case.x * (1 + moved)})
        if near is None or _relative(case) > error:
            continue
        # A gradient that is constant, or of float64, has moved in all entries or in none.
        far = case.at({case.leaf: case.x * (1 + 64 * moved)})
        still = np.mean(case.take(near) == case.computed)
        if still >= 0.5 and far is not None and np.mean(case.take(far) == case.computed) < still / 2:
            return name
    return ""


def _relative(case: Case) -> float:
    return float(
        np.linalg.norm(case.computed - case.expected) / max(float(np.linalg.norm(case.expected)), 1e-300)
    )
