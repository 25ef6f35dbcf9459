"""Identities that hold for every right training program, whatever it learns, and what a broken one means.

They need a handful of gradients. Those of the gradient are held against differences of the loss alone.

Source: they are those of sums and means; Goodfellow, Bengio and Courville, *Deep learning* (2016), section 8.4, for
units that begin alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from gradverify.arrays import Arrays, dot, flatten, norm
from gradverify.convergence.program import Program, leaves
from gradverify.oracles.finite import finite
from gradverify.records import Cause, Estimate

Finding = Cause
EPS = 2.0**-52
SAME = 1e-9  # relative: sums of the same terms in another order


def structure(program: Program) -> Iterator[Finding]:
    """The broken identities."""
    with np.errstate(all="ignore"):
        for look in STRUCTURE:
            found = look(program)
            if found is not None:
                yield found


def _gradient(program: Program, rows: slice = slice(None)) -> Arrays:
    return {
        n: np.array(g) for n, g in leaves(program.gradient(program.params, program.x[rows], program.y[rows])).items()
    }


def _slope(program: Program, v: Arrays, rows: slice = slice(None)) -> Estimate:
    """The derivative of the loss along v, by differences of the loss alone."""
    weights, rebuild = flatten(program.params, "params")

    def phi(t: float) -> float:
        moved = {n: w if n not in v else np.asarray(w, np.float64) + t * v[n] for n, w in weights.items()}
        return float(program.loss(rebuild(moved), program.x[rows], program.y[rows]))

    return finite(phi, EPS)


def _off(computed: float, known: Estimate) -> bool:
    """Whether a computed slope is certainly not the one that the loss has."""
    return bool(abs(computed - known.value) > 4 * known.error + 1e-6 * abs(known.value))


def missing_zero_grad(program: Program) -> Finding | None:
    """A gradient asked for twice is the same gradient."""
    first, second = _gradient(program), _gradient(program)
    gap = norm({n: second[n] - first[n] for n in first})
    if gap <= SAME * norm(first):
        return None
    ratio = dot(second, first) / max(dot(first, first), 1e-300)
    if abs(ratio - 2) < 1e-6:
        return Cause(
            "missing-zero-grad",
            "gradients add up from call to call",
            f"the same gradient, asked for twice, was {ratio:.6g} times as large",
            "zero the gradients before each backward pass: optimizer.zero_grad()",
            1.0,
        )
    return Cause(
        "random-gradient",
        "the same gradient, asked for twice, differs",
        f"by {gap / norm(first):.3g} of its size",
        "fix the random state to compare (dropout and noise are fine in training)",
        0.3,
    )


def wrong_gradient(program: Program) -> Finding | None:
    """The gradient is that of the loss, on all examples and on a number of them that no batch size divides."""
    n = len(program.x)
    sizes = [n] + [k for k in (n - 1, n - 3) if k > 1]
    ratios = [_ratio(program, slice(0, k)) for k in sizes]
    if all(ratio is None for ratio in ratios):
        return _dead_leaf(program)
    seen = next(ratio for ratio in ratios if ratio is not None)
    evidence = f"along itself it is {seen:.6g} times the slope of the loss"
    if ratios[0] is None:
        return Cause(
            "wrong-reduction",
            "the gradient is right for all examples and wrong for a number that does not divide "
            "evenly: a mean of means",
            evidence,
            "weight each part by its number of examples",
            1.0,
        )
    if abs(seen + 1) < 1e-4:
        return Cause(
            "wrong-sign",
            "the gradient has the wrong sign",
            evidence,
            "the loss and its gradient must both be minimised",
            1.0,
        )
    if _is_count(seen, n, program.batch_size):
        return Cause(
            "wrong-reduction",
            "the gradient is of a sum where the loss is a mean, or the other way round",
            evidence,
            "divide both, or neither, by the number of examples",
            1.0,
        )
    return _dead_leaf(program) or Cause(
        "wrong-gradient",
        "the gradient is not that of the loss",
        evidence,
        "gradverify.check names the leaf and the cause",
        1.0,
    )


def _is_count(ratio: float, n: int, size: int | None) -> bool:
    counts = {float(k) for k in (n, n - 1, n - 3, size or n)}
    return any(abs(ratio / k - 1) < 1e-4 or abs(ratio * k - 1) < 1e-4 for k in counts if k > 1)


def _ratio(program: Program, rows: slice) -> float | None:
    """Computed slope along the gradient over the slope that the loss has; None where they agree."""
    g = _gradient(program, rows)
    size = norm(g)
    if not 0 < size < math.inf:
        return None
    v = {name: x / size for name, x in g.items()}
    known = _slope(program, v, rows)
    return size / known.value if known.value and _off(size, known) else None


def _dead_leaf(program: Program) -> Finding | None:
    """A leaf whose gradient is zero although the loss depends on it."""
    g = _gradient(program)
    for name, x in leaves(program.params).items():
        if name in g and np.any(g[name]):
            continue
        v = {name: np.sign(np.sin(np.arange(1.0, x.size + 1))).reshape(x.shape)}
        known = _slope(program, v)
        if abs(known.value) > 8 * known.error + 1e-12:
            return Cause(
                "frozen-layer",
                f"{name} gets no gradient although the loss depends on it",
                f"the loss changes by {known.value:.3g} along it",
                "do not detach it; register it as a parameter",
                1.0,
            )
    return None


def sum_for_mean(program: Program) -> Finding | None:
    """The loss of every example twice is the loss: a sum is twice that."""
    once = float(program.loss(program.params, program.x, program.y))
    twice = float(program.loss(program.params, np.concatenate([program.x] * 2), np.concatenate([program.y] * 2)))
    if once and abs(twice / once - 2) < 1e-6:
        return Cause(
            "wrong-reduction",
            "the loss is a sum over examples: its gradient and every step grow with the batch",
            f"all examples twice make the loss {twice / once:.6g} times as large",
            "take the mean over examples",
            1.0,
        )
    return None


def inputs_ignored(program: Program) -> Finding | None:
    """The inputs make a difference to the loss, at some parameters near or far: not at those where units are dead."""
    weights, rebuild = flatten(program.params, "params")
    blind = np.zeros_like(program.x)
    for size in (0.0, 1.0, 10.0, 100.0):
        rng = np.random.default_rng((program.seed, 13))
        moved = rebuild({n: w + size * rng.normal(size=np.shape(w)) for n, w in weights.items()})
        seen, unseen = (float(program.loss(moved, x, program.y)) for x in (program.x, blind))
        if not abs(seen - unseen) <= SAME * abs(seen):
            return None
    return Cause(
        "inputs-ignored", "the inputs make no difference",
        "with inputs of zero the loss is the same, at four sets of parameters",
        "the path from the inputs to the loss is cut: look for a multiplication by zero or a wrong variable", 1.0,
    )  # fmt: skip


def frozen_layer(program: Program) -> Finding | None:
    """Every leaf with a gradient is moved by the step."""
    g = program.gradient(program.params, program.x, program.y)
    moved, _ = program.step(program.params, g, program.state)
    before, after, slopes = leaves(program.params), leaves(moved), leaves(g)
    still = [n for n in before if n in slopes and np.any(slopes[n]) and not np.any(after[n] != before[n])]
    if still and len(still) < len(before):
        return Cause(
            "frozen-layer",
            f"{still[0]} has a gradient and is not moved",
            f"|gradient| {norm({'g': slopes[still[0]]}):.3g}, step 0",
            "give all parameters to the optimizer",
            1.0,
        )
    return None


def wrong_sign(program: Program) -> Finding | None:
    """The first step goes down the loss."""
    moved, _ = program.step(program.params, program.gradient(program.params, program.x, program.y), program.state)
    before, after = leaves(program.params), leaves(moved)
    v = {n: after[n] - before[n] for n in before}
    size = norm(v)
    if not 0 < size < math.inf:
        return None
    known = _slope(program, {n: x / size for n, x in v.items()})
    if known.value > 8 * known.error:
        return Cause(
            "wrong-sign",
            "the step goes up the loss",
            f"slope {known.value:.3g} along the first step",
            "w <- w - eta dL/dw, with L what is to become small",
            1.0,
        )
    return None


def symmetric(program: Program) -> Finding | None:
    """The units of a layer begin different from each other, or they stay the same for ever."""
    g = _gradient(program)
    weights = leaves(program.params)
    for name, w in weights.items():
        alike = w.ndim == 2 and w.shape[1] > 1 and bool(np.all(w == w[:, :1]))
        inner = name in g and np.allclose(g[name], g[name][:, :1], rtol=1e-9, atol=0) if alike else False
        if alike and inner:
            return Cause(
                "symmetric-initialisation",
                f"all units of {name} begin the same and get the same gradient",
                f"{w.shape[1]} equal columns",
                "draw the weights at random",
                1.0,
            )
    return None


def softmax_twice(program: Program) -> Finding | None:
    """A cross-entropy that takes logits is not given probabilities."""
    if program.predict is None or np.ndim(program.y) != 1 or np.asarray(program.y).dtype.kind not in "iu":
        return None
    p = np.asarray(program.predict(program.params, program.x), np.float64)
    if p.ndim != 2 or np.any(p < 0) or np.max(np.abs(p.sum(axis=1) - 1)) > 1e-6:
        return None
    once = -np.log(p[np.arange(len(p)), program.y]).mean()
    again = p - np.log(np.exp(p).sum(axis=1, keepdims=True))
    twice = -again[np.arange(len(p)), program.y].mean()
    loss = float(program.loss(program.params, program.x, program.y))
    if abs(loss - twice) < 1e-6 * abs(twice) < abs(loss - once):
        return Cause(
            "softmax-twice",
            "the loss takes logits and is given probabilities: a softmax of a softmax",
            f"the loss is {loss:.6g}; of these probabilities it would be {once:.6g}",
            "drop the last softmax, or use a loss of probabilities",
            1.0,
        )
    return None


def dropout_left_on(program: Program) -> Finding | None:
    """The network as it is used afterwards answers twice the same."""
    if program.predict is None:
        return None
    first, second = (np.asarray(program.predict(program.params, program.x)) for _ in range(2))
    if np.array_equal(first, second):
        return None
    return Cause(
        "dropout-in-evaluation",
        "two predictions of the same examples differ",
        f"by up to {float(np.max(np.abs(first - second))):.3g}",
        "switch dropout off for evaluation: model.eval()",
        1.0,
    )


def batch_leakage(program: Program) -> Finding | None:
    """The prediction for an example does not depend on its neighbours."""
    if program.predict is None or dropout_left_on(program) is not None:
        return None
    together = np.asarray(program.predict(program.params, program.x))
    alone = np.asarray(program.predict(program.params, program.x[: len(program.x) // 2]))
    gap = float(np.max(np.abs(together[: len(alone)] - alone)))
    if gap <= 1e-6 * max(float(np.max(np.abs(together))), 1e-300):
        return None
    return Cause(
        "batch-leakage",
        "predictions depend on the other examples of the batch",
        f"by up to {gap:.3g}",
        "statistics must be over features, or running ones in evaluation; check the axes of reshape and softmax",
        1.0,
    )


def leakage(program: Program) -> Finding | None:
    """No example is in the training data and in the validation data."""
    if program.validation is None:
        return None
    known = {row.tobytes() for row in np.ascontiguousarray(program.x)}
    others = np.ascontiguousarray(program.validation[0], dtype=np.asarray(program.x).dtype)
    shared = sum(row.tobytes() in known for row in others)
    if shared <= 0.01 * len(others):
        return None
    return Cause(
        "leakage",
        "examples of the validation data are in the training data",
        f"{shared} of {len(others)}",
        "split before augmenting, and by group where examples belong together",
        1.0,
    )


def not_shuffled(program: Program) -> Finding | None:
    """Batches are drawn at random where the data are sorted by what is to be predicted."""
    n, size = len(program.x), program.batch_size or len(program.x)
    y = np.asarray(program.y, np.float64).reshape(n, -1)[:, 0]
    if program.shuffle or size >= n or not np.ptp(y):
        return None
    rest = y - y.mean()
    tied = float(rest[1:] @ rest[:-1] / (rest @ rest))
    if tied < 0.5:
        return None
    return Cause(
        "not-shuffled",
        "the data are sorted and the batches are not drawn at random",
        f"correlation {tied:.2f} between the targets of neighbours",
        "shuffle the examples in every epoch",
        1.0,
    )


STRUCTURE: tuple[Callable[[Program], Finding | None], ...] = (
    missing_zero_grad, inputs_ignored, sum_for_mean, wrong_gradient, wrong_sign, frozen_layer, symmetric, softmax_twice,
    dropout_left_on, batch_leakage, leakage, not_shuffled,
)  # fmt: skip
