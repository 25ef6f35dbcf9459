"""Explanations by algebra: a rule of differentiation misapplied, recognised from x, y, u and the expected entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from gradverify.diagnosis.case import Case
from gradverify.records import Cause


def elementwise(case: Case) -> Iterator[Cause]:
    """Slips at one function of one number: value for derivative, inverse, applied twice, half a product rule."""
    y, u = _of_the_same_shape(case)
    if y is None or u is None or len(case.computed) < 3:
        return
    x, e = case.take(case.x), case.expected
    with np.errstate(all="ignore"):
        slope = e / u
        for name, text, evidence, remedy, candidate in (
            ("value-for-derivative", "the function's value is used where its derivative should be",
             "computed = u y in every entry asked", "differentiate: this is f(x), not f'(x)", u * y),
            ("inverse", "the derivative is that of the inverse function",
             "computed = u / f'(x) in every entry asked", "multiply by the derivative instead of dividing", u / slope),
            ("applied-twice", "the derivative is applied twice",
             "computed = u f'(x)^2 in every entry asked",
             "one of the two factors is already in the upstream gradient", e * slope),
            ("missing-term", "a term of the product rule is missing: of y = x h(x) only h(x) is left",
             "computed = u y / x in every entry asked", "add x h'(x)", u * y / x),
            ("missing-term", "a term of the product rule is missing: of y = x h(x) only x h'(x) is left",
             "computed = expected - u y / x in every entry asked", "add h(x)", e - u * y / x),
        ):  # fmt: skip
            if np.all(np.isfinite(candidate)) and case.explains(candidate) and _has_no_cross_terms(case):
                yield Cause(name, text, evidence, remedy, 0.79)


def _of_the_same_shape(case: Case) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Output and cotangent at the entries asked, where the one output is shaped like the leaf."""
    (name, y), *more = case.outputs.items()
    if more or y.shape != case.x.shape or not y.ndim:
        return None, None
    return case.take(y), case.take(case.u[name])


def _has_no_cross_terms(case: Case) -> bool:
    diagonal = case.diagonal()
    return diagonal is None or bool(np.allclose(diagonal, case.expected, rtol=1e-6, atol=0))


def skip_path(case: Case) -> Iterator[Cause]:
    """The gap is a multiple of the upstream gradient: an identity beside the rest of the layer."""
    _, u = _of_the_same_shape(case)
    if u is None or len(u) < 3:
        return
    gap = case.expected - case.computed
    c = float(gap @ u) / max(float(u @ u), 1e-300)
    if abs(c) > 1e-6 and case.explains(case.expected - c * u):
        what = "the identity path is missing" if c > 0 else "the identity path is there, but not in the forward"
        yield Cause(
            "missing-skip", f"{what}: {abs(c):.6g} times the upstream gradient",
            f"expected - computed = {c:.6g} u in every entry asked",
            "a residual connection y = x + F(x) adds dy itself to what comes back through F", 0.78,
        )  # fmt: skip


def logits(case: Case) -> Iterator[Cause]:
    """Probabilities and logits mixed up: the gradient is right for the other one."""
    if case.x.ndim == 0 or len(case.computed) < 2 or not case.located.complete:
        return
    computed, expected = (np.reshape(v, case.x.shape) for v in (case.computed, case.expected))
    x = case.x
    for kind, given, p in (("softmax", "logits", _softmax(x)), ("sigmoid", "logits", _sigmoid(x)),
                           ("softmax", "probabilities", x), ("sigmoid", "probabilities", x)):
        if given == "probabilities" and not np.all((x > 0) & (x < 1)):
            continue
        inner, outer = (computed, expected) if given == "logits" else (expected, computed)
        if _through(kind, p, outer, inner) and case.explains(case.computed):
            other = "probabilities" if given == "logits" else "logits"
            yield Cause(
                "wrt-logits" if given == "probabilities" else "wrt-probabilities",
                f"the gradient is the one with respect to {other}, but {case.leaf} holds {given}",
                f"the two differ by exactly the derivative of a {kind} between them",
                f"differentiate by the {given}: a cross-entropy has -t / p by p, and p - t by the logits", 0.935,
            )  # fmt: skip
            return


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))


def _through(kind: str, p: np.ndarray, by_logits: np.ndarray, by_probabilities: np.ndarray) -> bool:
    """Whether one gradient is the other pulled back through the function that makes probabilities."""
    if kind == "sigmoid":
        pulled = by_probabilities * p * (1 - p)
    else:
        pulled = p * (by_probabilities - np.sum(by_probabilities * p, axis=-1, keepdims=True))
    size = float(np.max(np.abs(by_logits), initial=0.0))
    far = float(np.max(np.abs(by_probabilities - by_logits), initial=0.0))
    return size > 0 and far > 1e-6 * size and bool(np.all(np.abs(pulled - by_logits) <= 1e-7 * size))


def another_norm(case: Case) -> Iterator[Cause]:
    """The derivative of another norm or loss: both are known functions of x, or of its distance from another input."""
    if len(case.computed) < 3:
        return
    others = {leaf: np.asarray(x, float) for leaf, x in case.point.items()
              if leaf != case.leaf and np.shape(x) == case.x.shape}
    for away, d in {"": case.x, **{f" - {leaf}": case.x - x for leaf, x in others.items()}}.items():
        meant, given = (_slope_of(case.take(d), g / _u_for(case)) for g in (case.expected, case.computed))
        if meant and given and meant != given:
            yield Cause(
                "another-function", f"the derivative of {given} under a forward that computes {meant}",
                f"computed is proportional to the slope of the one at {case.leaf}{away}, expected to that of the other",
                "differentiate what the forward computes, or compute what the gradient belongs to", 0.915,
            )  # fmt: skip
            return


def _u_for(case: Case) -> np.ndarray:
    _, u = _of_the_same_shape(case)
    return u if u is not None else np.ones(len(case.computed))


def _logistic(d: np.ndarray) -> np.ndarray:
    return np.asarray(np.tanh(d / 2))


_SLOPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "squares (a 2-norm, a mean squared error)": lambda d: d,
    "absolute values (a 1-norm, a mean absolute error)": np.sign,
    "a plain sum or mean": np.ones_like,
    "logarithms of cosh": np.tanh,
    "the Huber loss": lambda d: np.clip(d, -1, 1),
    "cubes": np.square,
    "fourth powers": lambda d: d**3,
    "exponentials": np.exp,
}


def _slope_of(d: np.ndarray, g: np.ndarray) -> str:
    return next((name for name, slope in _SLOPES.items() if _parallel(g, slope(d))), "")


def _parallel(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a = c b for one c, over enough different numbers to be no chance."""
    size = float(b @ b)
    if not size or not np.all(np.isfinite(a)) or not np.any(a):
        return False
    return bool(np.max(np.abs(a - b * (float(a @ b) / size))) <= 1e-7 * np.max(np.abs(a)))
