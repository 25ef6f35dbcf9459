"""Remedies, applied to a copy and measured again before anybody is told of them.

Weights rescaled: each layer's weights are divided by the root of what it and the activation below it do to the
gradient's mean square, a few times over, since other weights meet the activation elsewhere (Mishkin and Matas, *All
you need is a good init*, 2016, do so forwards). Another activation: ReLU, whose slopes do not depend on the scale of
what it meets. Normalisation: each layer's sums brought to mean 0 and variance 1 (Ba et al., *Layer normalization*,
2016). Branches scaled: those of n residual blocks divided by the root of n (`Residual.depth`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from gradverify.flow.record import FlowReport, FlowVerdict, Trial
from gradverify.flow.sites import Change, Passage, Site, settled

ROUNDS = 4
FURTHEST = 1e3  # a factor beyond this comes from dead or infinite layers, and scaling by it helps nobody
TREATABLE = (FlowVerdict.VANISHING, FlowVerdict.EXPLODING, FlowVerdict.SATURATED, FlowVerdict.DEAD)


def tried(report: FlowReport, passage: Passage, measure: Callable[[Passage], FlowReport]) -> tuple[Trial, ...]:
    """Each remedy with what it changed, the best first; none where nothing is to be treated."""
    if report.verdict not in TREATABLE or passage.altered is None:
        return ()
    blocks = [site for site in passage.sites if site.rule is not None and site.rule.branch]
    copies = {
        "weights rescaled layer by layer": rescaled(passage),
        "ReLU for every activation, weights rescaled": rescaled(passage, "relu"),
        "layer normalisation behind every layer": passage.altered(Change(normalised=True)),
        f"branches divided by sqrt({len(blocks)})": branches_scaled(passage, len(blocks)) if len(blocks) > 1 else None,
    }
    after = {name: measure(copy) for name, copy in copies.items() if copy is not None}
    trials = [Trial(name, found.verdict, found.decades) for name, found in after.items()]
    return tuple(sorted(trials, key=lambda t: (t.verdict is not FlowVerdict.HEALTHY, abs(t.decades))))


def rescaled(passage: Passage, activation: str | None = None) -> Passage | None:
    """A copy whose layers each keep the gradient's size, as far as scaling weights can do that."""
    assert passage.altered is not None
    scales: dict[str, float] = {}
    copy = passage if activation is None else passage.altered(Change({}, activation))
    for _ in range(ROUNDS):
        if copy is None:
            return None
        for name, scale in _wanted(settled(copy.sites)).items():
            scales[name] = scales.get(name, 1.0) * scale
        copy = passage.altered(Change(dict(scales), activation))
    return copy


def branches_scaled(passage: Passage, blocks: int) -> Passage | None:
    """A copy with the weights within residual blocks divided by the root of their number."""
    assert passage.altered is not None
    last = {site.inside: site.name for site in passage.sites if site.inside and site.weights}
    return passage.altered(Change(dict.fromkeys(last.values(), 1 / math.sqrt(blocks))))


def _wanted(sites: Sequence[Site]) -> Mapping[str, float]:
    """What to multiply the weights of each layer by, so that it and the functions below it have factor 1."""
    wanted, below = {}, 1.0
    for site in sites:
        if site.inside or site.rule is None:
            continue
        factor = site.rule.factor * below
        if site.is_linear:
            within = 1 / FURTHEST < factor < FURTHEST
            wanted[site.name.split("@")[0]] = 1 / math.sqrt(factor) if within and not site.rule.branch else 1.0
        below = 1.0 if site.is_linear else factor
    return wanted
