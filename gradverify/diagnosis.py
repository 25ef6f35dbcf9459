"""A located failure -> ranked causes. Each explanation is one row of `EXPLANATIONS`.

A row looks at the case and answers with a cause or nothing. What explains every wrong entry to
within the bars outranks what explains them roughly; of two exact ones the more specific comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from gradverify.arrays import Arrays
from gradverify.localize import Located
from gradverify.records import FAIL_FACTOR, Cause


@dataclass(frozen=True)
class Case:
    """Everything an explanation may look at.

    `gradient` is the whole computed leaf; `located` the entries for which the expected value is
    known. The closures ask further questions: `at(point)` computes the gradient elsewhere,
    `expect(point, indices)` what the oracle expects there, `diagonal()` u_i dy_i/dx_i alone.
    """

    leaf: str
    x: np.ndarray
    point: Arrays
    gradient: np.ndarray
    located: Located
    u: Arrays
    outputs: Arrays
    gradient_dtype: str
    leaf_dtype: str
    sizes: Mapping[str, float] = field(default_factory=dict)
    at: Callable[[Arrays], np.ndarray | None] = lambda _: None
    with_u: Callable[[Arrays], np.ndarray | None] = lambda _: None
    expect: Callable[[Arrays, tuple[tuple[int, ...], ...]], np.ndarray | None] = lambda *_: None
    diagonal: Callable[[], np.ndarray | None] = lambda: None

    @property
    def computed(self) -> np.ndarray:
        """Computed values at the entries asked."""
        return self.located.computed

    @property
    def expected(self) -> np.ndarray:
        """Expected values there."""
        return self.located.expected

    def explains(self, candidate: np.ndarray) -> bool:
        """Whether `candidate` reproduces every computed entry, to within the bars and 1e-3 of the gap.

        The bars alone would let anything explain a discrepancy that barely exceeds them.
        """
        gap = float(np.max(np.abs(self.computed - self.expected), initial=0.0))
        bar = np.maximum(FAIL_FACTOR * self.located.bar, 1e-3 * gap)
        return bool(np.all(np.abs(candidate - self.computed) <= bar))

    def take(self, array: np.ndarray) -> np.ndarray:
        """The entries asked, of an array shaped like the leaf."""
        return np.array([array[i] for i in self.located.indices], dtype=float)


def diagnose(case: Case) -> tuple[Cause, ...]:
    """The causes that hold, the strongest first; ``unexplained`` if none does."""
    found = [cause for explain in EXPLANATIONS for cause in explain(case)]
    ranked = sorted(found, key=lambda cause: -cause.strength)
    return tuple(ranked) or (_unexplained(case),)


def at_singular_point(
    reason: str, computed: float, expected: float, slopes: tuple[float, float] | None
) -> Cause:
    """The cause of a failure that exists only exactly at a kink or a tie."""
    if reason == "tie":
        return Cause(
            "wrong-at-tie", "where several entries tie, their gradients do not add up",
            f"moving the tied entries together changes the output by {expected:.6g}, the gradient says {computed:.6g}",
            "give the gradient to one of the tied entries, or share it among them; not to each of them", 0.9,
        )  # fmt: skip
    sides = f"between {min(slopes):.6g} and {max(slopes):.6g}" if slopes else f"at most {expected:.6g}"
    return Cause(
        "wrong-at-kink", "exactly at the kink the value is no slope of either side, nor between them",
        f"the one-sided slopes leave room {sides}, computed is {computed:.6g}",
        "return a subgradient there: the derivative of either side or anything between", 0.9,
    )  # fmt: skip


def _unexplained(case: Case) -> Cause:
    gap = np.abs(case.computed - case.expected)
    rel = float(np.linalg.norm(gap) / max(float(np.linalg.norm(case.expected)), float(np.linalg.norm(gap)), 1e-300))
    return Cause(
        "unexplained", "the gradient differs by no known pattern",
        f"{int(case.located.wrong.sum())} of {len(gap)} entries asked differ, by {rel:.2g} of the gradient's size",
        "derive this leaf's gradient again, term by term, against the entries shown", 0.05,
    )  # fmt: skip


def _nonfinite(case: Case) -> Iterator[Cause]:
    bad = ~np.isfinite(case.gradient)
    if bad.any():
        yield Cause(
            "nonfinite", "the backward produces NaN or infinity where forward and oracle are finite",
            f"{int(bad.sum())} of {bad.size} entries are not finite",
            "guard the division, logarithm or power that fails there before it is used, not after", 1.0,
        )  # fmt: skip


def _zero(case: Case) -> Iterator[Cause]:
    if not np.any(case.gradient) and np.any(case.expected):
        yield Cause(
            "zero-gradient", "the gradient is zero (detached) though the output depends on this leaf",
            f"expected entries up to {np.abs(case.expected).max():.3g}, computed all zero",
            "look for a missing accumulation, a detached or copied tensor, or a branch that returns zeros", 0.98,
        )  # fmt: skip


def _spurious(case: Case) -> Iterator[Cause]:
    if not np.any(case.expected) and case.located.complete and np.any(case.gradient):
        yield Cause(
            "spurious-gradient", "there is a gradient though the output does not depend on this leaf here",
            f"expected zero in every entry, computed up to {np.abs(case.gradient).max():.3g}",
            "look for a forward that uses a copy or another array, or is clipped or saturated at this point", 0.92,
        )  # fmt: skip


def _upstream(case: Case) -> Iterator[Cause]:
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
        if scaled is not None and not np.allclose(scaled, factor * case.gradient, rtol=1e-4, atol=0):
            yield Cause(
                "nonlinear", "the backward is not linear in its upstream gradient",
                f"{factor:g} times the upstream gradient does not give {factor:g} times the gradient",
                "nothing may be squared, clipped, normalised or added to the upstream gradient", 0.975,
            )  # fmt: skip
            return


def _sign(case: Case) -> Iterator[Cause]:
    if case.explains(-case.expected) and np.any(case.expected):
        yield Cause(
            "sign",
            "the sign is flipped",
            "computed = -expected in every entry asked",
            "negate this gradient",
            0.96,
        )


def _factor(case: Case) -> Iterator[Cause]:
    weight = float(case.expected @ case.expected)
    if weight == 0 or (case.located.indices and len(case.expected) == 1 and not case.located.complete):
        return
    c = float(case.computed @ case.expected) / weight
    if not np.isfinite(c) or c == 0 or not case.explains(c * case.expected):
        return
    if abs(c + 1) < 1e-6:
        return
    name = _known_factor(c, case.sizes)
    strength = 0.9 if name else 0.8
    why = f" = {name}" if name else ""
    yield Cause(
        "factor", f"a constant factor {_number(c)}{why} is wrong in every entry",
        f"computed / expected = {c:.9g} throughout",
        f"multiply by {_number(1 / c)}" + (f": {_factor_advice(name)}" if name else ""), strength,
    )  # fmt: skip


def _number(c: float) -> str:
    return f"{c:.9g}"


def _known_factor(c: float, sizes: Mapping[str, float]) -> str:
    for label, value in sizes.items():
        for text, candidate in ((label, value), (f"1/{label}", 1 / value)):
            if value not in (0, 1) and abs(c - candidate) <= 1e-6 * abs(candidate):
                return f"{text} ({candidate:.6g})"
    for text, candidate in (("2", 2.0), ("1/2", 0.5), ("-2", -2.0), ("-1/2", -0.5)):
        if abs(c - candidate) <= 1e-6 * abs(candidate):
            return text
    return ""


def _factor_advice(name: str) -> str:
    if name.startswith("1/"):
        return (
            "a sum became a mean: do not divide by it here, the upstream gradient already carries that factor"
        )
    return "a mean became a sum, or a constant of the derivative was forgotten or doubled"


def _transposed(case: Case) -> Iterator[Cause]:
    g = case.gradient
    if g.ndim != 2 or g.shape[0] != g.shape[1] or g.shape[0] < 2:
        return
    if np.all(
        np.abs(case.take(g.T) - case.expected)
        <= FAIL_FACTOR * case.located.bar + 1e-9 * np.abs(case.expected)
    ):
        yield Cause(
            "transposed", "the gradient is transposed", "computed[i, j] = expected[j, i] in every entry asked",
            "swap the factors of the matrix product, or transpose the result; square sizes hide this", 0.95,
        )  # fmt: skip


def _permuted(case: Case) -> Iterator[Cause]:
    if not case.located.complete or len(case.expected) < 2:
        return
    close = 1e-3 * float(np.max(np.abs(case.computed - case.expected), initial=0.0))
    if (
        np.all(np.abs(np.sort(case.computed) - np.sort(case.expected)) <= close)
        and np.ptp(case.expected) > close
    ):
        yield Cause(
            "permuted", "the right values stand in the wrong places",
            "sorted, computed and expected agree", "check the order of axes, indices or reshapes", 0.85,
        )  # fmt: skip


def _at_activation(case: Case) -> Iterator[Cause]:
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
    twice = case.expect({case.leaf: y}, case.located.indices)
    if twice is not None and case.explains(twice):
        yield Cause(
            "derivative-at-activation", "the derivative is taken at the activation f(x) instead of at x",
            f"computed equals the expected derivative at x = {name}",
            "evaluate the derivative at the input of the activation, or write it in terms of its output", 0.94,
        )  # fmt: skip


def _epsilon(case: Case) -> Iterator[Cause]:
    sizes = []
    for scale in (1.0, 4.0, 16.0):
        point = {**case.point, case.leaf: case.x * scale}
        computed, expected = case.at(point), case.expect(point, case.located.indices)
        if computed is None or expected is None or not np.any(expected):
            return
        sizes.append(float(np.linalg.norm(case.take(computed) - expected) / np.linalg.norm(expected)))
    falls = [sizes[0] / max(sizes[1], 1e-300), sizes[1] / max(sizes[2], 1e-300)]
    if 0 < sizes[0] < 0.2 and all(8 < f < 32 for f in falls):
        yield Cause(
            "epsilon", "an epsilon of the forward (under a root or in a denominator) is missing in the backward",
            f"the relative error at 1, 4 and 16 times {case.leaf} is " + ", ".join(f"{s:.2g}" for s in sizes),
            "use the same epsilon in the backward: 1/sqrt(var + eps), not 1/sqrt(var)", 0.9,
        )  # fmt: skip


def _diagonal_only(case: Case) -> Iterator[Cause]:
    diagonal = case.diagonal()
    if diagonal is not None and case.explains(diagonal):
        yield Cause(
            "diagonal-only", "only the diagonal of the Jacobian is used: the cross terms are missing",
            "computed_i = u_i dy_i/dx_i in every entry asked",
            "add the terms of the other outputs: for a softmax dx = y * (dy - sum(dy * y))", 0.95,
        )  # fmt: skip


def _missing_term(case: Case) -> Iterator[Cause]:
    if not case.located.complete or case.x.ndim == 0:
        return
    gap = np.zeros(case.x.shape)
    for i, c, e in zip(case.located.indices, case.computed, case.expected, strict=True):
        gap[i] = e - c
    size = float(np.linalg.norm(gap) / max(float(np.linalg.norm(case.expected)), 1e-300))
    for axis in range(case.x.ndim):
        if case.x.shape[axis] < 3:
            continue
        for name, pattern, text in _terms(case, axis):
            if _rank_one(gap, pattern, axis):
                yield Cause(
                    name, f"a term is missing: {text} along axis {axis}",
                    f"expected - computed is that pattern along axis {axis}; its size is {size:.2g} of the gradient",
                    "differentiate the statistics (mean, variance, maximum) too: they depend on the input", 0.75,
                )  # fmt: skip
                return


def _terms(case: Case, axis: int) -> list[tuple[str, np.ndarray, str]]:
    centred = case.x - case.x.mean(axis=axis, keepdims=True)
    (y, *_) = case.outputs.values()
    terms = [
        (
            "missing-mean-term",
            np.ones(case.x.shape),
            "the same amount in every entry (the path through a mean or sum)",
        ),
        ("missing-variance-term", centred, "proportional to x - mean(x) (the path through the variance)"),
        ("missing-norm-term", case.x, "proportional to x (the path through a norm)"),
    ]
    return (
        [*terms, ("missing-output-term", y, "proportional to the output")]
        if y.shape == case.x.shape
        else terms
    )


def _rank_one(gap: np.ndarray, pattern: np.ndarray, axis: int) -> bool:
    """Whether along `axis` the gap is a multiple of the pattern."""
    inner = np.sum(gap * pattern, axis=axis, keepdims=True)
    weight = np.sum(pattern * pattern, axis=axis, keepdims=True)
    rest = gap - pattern * inner / np.where(weight > 0, weight, 1.0)
    return bool(np.linalg.norm(rest) <= 1e-5 * np.linalg.norm(gap))


def _dtype(case: Case) -> Iterator[Cause]:
    coarse = {"float32", "float16", "bfloat16"}
    if case.gradient_dtype in coarse and case.leaf_dtype not in coarse:
        yield Cause(
            "dtype", f"the gradient is {case.gradient_dtype} for a leaf of {case.leaf_dtype}: digits are lost",
            f"relative error {_relative(case):.2g}, a rounding of {case.gradient_dtype}",
            "compute and return the gradient in the dtype of its leaf", 0.9 if _relative(case) < 1e-2 else 0.2,
        )  # fmt: skip


def _relative(case: Case) -> float:
    return float(
        np.linalg.norm(case.computed - case.expected) / max(float(np.linalg.norm(case.expected)), 1e-300)
    )


def _places(case: Case) -> Iterator[Cause]:
    wrong, right = case.located.wrong, ~case.located.wrong
    if not wrong.any() or not right.any():
        return
    for name, text, mask in _regions(case):
        inside = case.take(mask.astype(float)) > 0
        if inside.any() and np.array_equal(inside, wrong):
            yield Cause(
                name, f"wrong only {text}",
                f"{int(wrong.sum())} entries there are wrong, {int(right.sum())} elsewhere are right",
                "look at the branch or slice that handles exactly these entries", 0.7,
            )  # fmt: skip
            return


def _regions(case: Case) -> Iterator[tuple[str, str, np.ndarray]]:
    x = case.x
    yield "wrong-at-zero", "where the input is exactly zero", x == 0
    yield "wrong-sign-branch", "where the input is negative", x < 0
    yield "wrong-sign-branch", "where the input is positive", x > 0
    for axis in range(x.ndim):
        where = np.indices(x.shape)[axis]
        for i in {0, x.shape[axis] - 1}:
            yield "one-slice", f"at index {i} of axis {axis}", where == i
        for i in range(min(x.shape[axis], 16)):
            yield "one-slice", f"at index {i} of axis {axis}", where == i
    if x.size and np.abs(x).max() > 4:
        yield (
            "wrong-in-saturation",
            "where |input| is large",
            np.abs(x) > np.abs(x[_right_mask(case)]).max(initial=0.0),
        )


def _right_mask(case: Case) -> np.ndarray:
    mask = np.zeros(case.x.shape, bool)
    for i, wrong in zip(case.located.indices, case.located.wrong, strict=True):
        mask[i] = not wrong
    return mask


EXPLANATIONS: tuple[Callable[[Case], Iterator[Cause]], ...] = (
    _nonfinite, _zero, _spurious, _upstream, _at_activation, _sign, _transposed, _diagonal_only, _factor,
    _epsilon, _dtype, _permuted, _missing_term, _places,
)  # fmt: skip
