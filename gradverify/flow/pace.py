"""What plain descent can do with one rate: how fast it learns what tells examples apart, and how far its steps go.

A step moves outputs by -rate K u, where K = J J^T for the Jacobian J of outputs by parameters (Jacot et al., *Neural
tangent kernel*, 2018) and u is the gradient of the loss by outputs. The largest eigenvalue of K bounds the rate by 2 /
it, and what lies along one that is 10^c times smaller takes 10^c / 2 steps. Much of what moves fast is no use: biases,
and whatever all examples have in common, move outputs of all examples alike. So the slow end is sought among
differences between examples, as weights move them (`conditioning`). Saturated sigmoids fail by it though gradients
pass well: what examples have in common sets the rate, and what tells them apart is 10^5 times weaker.

Near the start sizes do matter: `stride` is what one step at the smallest rate in use does to the weights of a layer,
and `shaken` what a change of all weights by a hundredth does to the outputs. Where J says that outputs change wildly it
may be a few steep places that say so; a step is no infinitesimal change, and most of it lies elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from gradverify.arrays import norm, to_float64
from gradverify.flow.measuring import by_unit
from gradverify.flow.prediction import draw_cotangent, is_finite
from gradverify.flow.sites import Backward, Change, Passage, Site

APART = 32  # cotangents that differ between examples
COMMON = 8  # cotangents that are the same for all of them
SHARE = 3 / 4  # of the directions that were asked, which must be learnt
ENTRIES = 4096  # of each array of parameters are looked at
SLOWEST_RATE = 1e-4  # smaller ones are hardly ever tried: whatever trains by them takes too long
AT_OUTPUT = 0.4  # rms gradient of the cross-entropy of one example by its logits, before anything is learnt
SHAKE, SHAKES = 0.01, 4  # relative change of weights, and in how many random directions

Leaf: TypeAlias = tuple[str, str]  # site, name of the array


def conditioning(passage: Passage, possible: int, rng: np.random.Generator) -> float:
    """log10 of the largest eigenvalue of K over the one that most differences between examples reach; NaN of nothing.

    Both are those of U^T K U / (columns of U) for few random U, which for so many columns are the eigenvalues of K to a
    fraction of a decade. `possible` is in how many directions examples can differ (`Signal.possible`).
    """
    each = passage.output.size // (examples := len(passage.output) if passage.output.ndim > 1 else 1)
    drawn = [_apart(draw_cotangent(rng, passage.output)) for _ in range(APART)]
    first = passage.pull(drawn[0])
    kept = {leaf: rng.permutation(g.size)[:ENTRIES] for leaf, g in sorted(first.leaves.items())}
    within = _grams(passage, drawn, kept)
    moving = [K for leaf, K in within.items() if not _is_common(passage, first, leaf)]
    if not moving:
        return math.nan
    fastest = _eigenvalues(list(within.values()))[0] / APART
    if examples > 1:
        alike = [_alike(draw_cotangent(rng, passage.output)) for _ in range(COMMON)]
        among = _grams(passage, alike, kept)
        fastest = max(fastest, _eigenvalues(list(among.values()))[0] / COMMON / examples)
    directions = min(APART, max(examples - 1, 1) * each, max(possible, 1) * each)
    slow = _eigenvalues(moving)[max(math.ceil(SHARE * directions), 1) - 1] / APART
    return math.nan if math.isnan(fastest) else math.log10(fastest / slow) if slow > 0 else math.inf


def _apart(u: np.ndarray) -> np.ndarray:
    """Less what it tells all examples alike."""
    return u - u.mean(axis=0, keepdims=True).astype(u.dtype) if u.ndim > 1 and len(u) > 1 else u


def _alike(u: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(u[:1], u.shape))


def _is_common(passage: Passage, backward: Backward, leaf: Leaf) -> bool:
    """Whether this array moves all examples alike: a bias, whose gradient is the sum of what its layer received."""
    g = to_float64(backward.grads[leaf[0]][leaf[1]])
    if g.ndim < 2:
        return True
    received = [by_unit(site, backward.received[site.name]).sum(axis=0) for site in _calls(passage, leaf[0])
                if site.name in backward.received]
    if not received or any(r.size != g.size for r in received):
        return False
    total = np.sum(received, axis=0)
    return float(np.linalg.norm(g.ravel() - total)) <= 1e-3 * float(np.linalg.norm(total))


def _calls(passage: Passage, name: str) -> Iterator[Site]:
    own = name.partition("@")[0]
    return (site for site in passage.sites if site.name.split("@")[0] == own)


def _grams(
    passage: Passage, cotangents: Sequence[np.ndarray], kept: Mapping[Leaf, np.ndarray]
) -> dict[Leaf, np.ndarray]:
    """For each array of parameters the products of all pairs of its gradients, from some of its entries."""
    found: dict[Leaf, list[np.ndarray]] = {leaf: [] for leaf in kept}
    sizes: dict[Leaf, int] = {}
    for u in cotangents:
        for leaf, g in passage.pull(u).leaves.items():
            if leaf in kept:
                found[leaf].append(to_float64(g).ravel()[kept[leaf]])
                sizes[leaf] = g.size
    return {leaf: (G := np.array(rows)) @ G.T * (sizes[leaf] / G.shape[1])
            for leaf, rows in found.items() if len(rows) == len(cotangents)}


def _eigenvalues(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Of the sum, the largest first; NaN if that is not finite."""
    K: np.ndarray = np.sum(parts, axis=0)
    return np.linalg.eigvalsh(K)[::-1] if np.all(np.isfinite(K)) else np.full(len(K), math.nan)


def stride(passage: Passage, backward: Backward) -> float:
    """log10 of how much one step at the smallest rate in use changes weights, over the weights: the most of any layer.

    `backward` answers a cotangent of size 1; a loss that is a mean of examples sends AT_OUTPUT / examples.
    """
    y = passage.output
    sent = AT_OUTPUT / (y.size // y.shape[-1] if y.ndim > 1 else max(y.size, 1))
    changes = [_joint(grads) / size for site in passage.sites if (grads := backward.grads.get(site.name))
               and (size := _joint({name: site.weights[name] for name in grads if name in site.weights})) > 0]
    largest = max(changes, default=math.nan)
    return math.log10(largest * sent * SLOWEST_RATE) if largest > 0 else math.nan


def _joint(arrays: Mapping[str, np.ndarray]) -> float:
    return norm({name: to_float64(a) for name, a in arrays.items()})


def shaken(passage: Passage, rng: np.random.Generator) -> float:
    """How much differences between outputs change when the weights of each layer do by a hundredth; 1 is all of them.

    NaN where no copy can be made.
    """
    y = to_float64(passage.output)
    names = sorted({site.name.split("@")[0] for site in passage.sites if site.is_linear})
    if passage.altered is None or y.ndim < 2 or len(y) < 2:
        return math.nan
    found = []
    for _ in range(SHAKES):
        copy = passage.altered(Change({name: 1 + SHAKE * float(rng.choice((-1.0, 1.0))) for name in names}))
        if copy is None or not is_finite(copy.output):
            return math.nan
        found.append(float(np.std(_apart(to_float64(copy.output) - y))))
    whole = math.sqrt(2) * float(np.std(_apart(y)))
    return math.exp(float(np.mean(np.log(np.maximum(found, 1e-300))))) / whole if whole else math.nan
