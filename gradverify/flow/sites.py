"""What an adapter hands over: each layer's call as seen from outside, and one backward pass for any cotangent.

A *site* is one call of one layer: x went in, y came out. Backwards it *received* dL/dy, the sum of what everything
that used y sent, and *sent* dL/dx, its own share and no other's. The ratio of the two is what the layer did to the
gradient, whatever stands around it: skips, joins, shared weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, to_float64


@dataclass(frozen=True)
class Rule:
    """The expected factor of the gradient's mean square, if what arrives knows nothing of this layer.

    For a linear map J of one example it is |J|_F^2 / (entries of x): for independent weights that is fan_out
    times their variance. For an elementwise f it is the mean of f'(x)^2, and `slopes` holds those squares. A residual
    block has 1 + `branch`. `tied` says that what arrives does know the layer: its weights are used again further on,
    or a maximum above has chosen by its output. `selects` is such a maximum. `probed` is
    a factor that was measured with random directions of x.
    """

    factor: float
    slopes: np.ndarray | None = None
    weights: bool = False
    branch: float = 0.0
    tied: bool = False
    selects: bool = False
    probed: bool = False


@dataclass(frozen=True)
class Site:
    """One call of one layer.

    `axis` is that of the units (features, channels); all other axes are examples, places and steps. `inside` names the
    site that this one is a part of; unless it `follows`, something unseen happens between the site before and this
    one. `weights` are its own parameters by name. `again` is the layer's forward pass at another x.
    """

    name: str
    kind: str
    x: np.ndarray
    y: np.ndarray
    weights: Arrays = field(default_factory=dict)
    rule: Rule | None = None
    axis: int = -1
    inside: str = ""
    follows: bool = True
    again: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def is_linear(self) -> bool:
        """Whether y is a pre-activation: a weighted sum of x, or what a layer with weights of its own makes of it."""
        return self.rule is not None and self.rule.weights


@dataclass(frozen=True)
class Backward:
    """One backward pass: by site what it received, what it sent, its parameters' gradients; and dL/dx of the input."""

    received: Mapping[str, np.ndarray]
    sent: Mapping[str, np.ndarray]
    grads: Mapping[str, Arrays]
    dx: np.ndarray | None = None

    @property
    def leaves(self) -> dict[tuple[str, str], np.ndarray]:
        """The gradients of all parameters, by site and by name there."""
        return {(site, name): g for site, own in self.grads.items() for name, g in own.items()}


@dataclass(frozen=True)
class Change:
    """What a remedy changes in a copy: weights multiplied, by site; another activation everywhere; sums normalised.

    `normalised` puts a layer normalisation without parameters behind every layer with weights but the last.
    """

    scales: Mapping[str, float] = field(default_factory=dict)
    activation: str | None = None
    normalised: bool = False


@dataclass(frozen=True)
class Passage:
    """One forward pass of a network, ready to be pulled back as often as asked.

    `pull` takes a cotangent of `output`. `cotangent` differentiates a loss of the output: its value and dL/doutput.
    `x` is the input, `push` the tangent of the output for one of the input, `forward` the output at another input.
    `altered` watches a copy with a change; None where the adapter cannot make it.
    """

    name: str
    sites: tuple[Site, ...]
    output: np.ndarray
    pull: Callable[[np.ndarray], Backward]
    cotangent: Callable[[Callable[..., Any]], tuple[float, np.ndarray]]
    x: np.ndarray | None = None
    push: Callable[[np.ndarray], np.ndarray] | None = None
    forward: Callable[[np.ndarray], np.ndarray] | None = None
    altered: Callable[[Change], Passage | None] | None = None


def settled(sites: Sequence[Site], seed: int = 0) -> tuple[Site, ...]:
    """The sites with what one alone cannot know: residual blocks are 1 + their parts, maxima tie what is below them.

    A layer of unknown kind gets the factor that its forward pass shows.
    """
    found: list[Site] = []
    for k, site in enumerate(sites):
        rule = site.rule
        if rule is not None and rule.slopes is not None and _is_selected(sites[k + 1 :]):
            rule = replace(rule, tied=True)
        parts = [part for part in found if part.inside == site.name]
        if rule is None and parts:
            rule = residual_rule(parts, site.name)
        if rule is None and site.again is not None and site.x.dtype.kind == "f":
            rule = probed_rule(site, site.again, np.random.default_rng([len(found), seed]))
        found.append(replace(site, rule=rule))
    return tuple(found)


def _is_selected(above: Sequence[Site]) -> bool:
    """Whether a maximum comes before the next weights."""
    for site in above:
        if site.rule is None or site.rule.weights:
            return False
        if site.rule.selects:
            return True
    return False


def residual_rule(parts: Sequence[Site], name: str) -> Rule | None:
    """The factor of body(x) + shortcut(x): both products add up, since random signs leave no cross term."""
    factors = {True: 1.0, False: 1.0}
    for part in parts:
        if part.rule is None:
            return None
        factors[part.name.startswith(f"{name}.shortcut")] *= part.rule.factor
    body, shortcut = factors[False], factors[True]
    return Rule(body + shortcut, branch=body / shortcut if shortcut else math.inf)


PROBES = 8


def probed_rule(site: Site, again: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> Rule | None:
    """|J|_F^2 of any layer from differences of its forward: E|J v|^2 over random directions v.

    No derivative rule is trusted, not even ours. The step is the cube root of the rounding unit times the size of x,
    which balances truncation against rounding; both are far below the error of so few directions.
    """
    h = float(np.finfo(site.x.dtype).eps) ** (1 / 3) * (float(np.sqrt(np.mean(np.square(to_float64(site.x))))) or 1.0)
    squares = []
    for _ in range(PROBES):
        v = rng.normal(size=site.x.shape)
        ends = [to_float64(again((site.x + side * h * v).astype(site.x.dtype))) for side in (1, -1)]
        if ends[0].shape != site.y.shape:
            return None
        squares.append(np.square((ends[0] - ends[1]) / (2 * h)))
    factor = float(np.mean(squares)) * site.y.size / site.x.size
    return Rule(factor, weights=bool(site.weights), probed=True)
