"""Cross-examination: one described network in the reference and in the frameworks, gradients compared pair by pair.

Every party gets the same parameters, input and upstream gradient, and answers with its output and the gradient of
every leaf. Each answer has its own noise: how far it moves when every entry given to the party moves by one rounding
unit. Two parties disagree about a leaf where their answers lie more than four bars apart, a bar being eight times the
noise of both; what they agree on, no shared code made them agree on.
"""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from gradverify.arrays import EPS, Arrays, flatten, is_floating
from gradverify.records import FAIL_FACTOR, NOISE_FACTOR, Verdict
from gradverify.strategies import Case, Point, Upstream, cases, explore

Party: TypeAlias = Callable[[Any, Any, Any, np.ndarray], tuple[Any, Arrays]]
REFERENCE = "reference"
FRAMEWORKS = {"torch": "torch", "jax": "jax", "keras": "tensorflow"}  # name -> folder in gradverify.frameworks
KEYS = (1, 2)  # two ways to move every last bit
ROUNDING = 16.0  # ulps of a leaf's largest entry within which no answer is known better: sums in another order
_RESOLVED = 1e-3


@dataclass(frozen=True)
class Answer:
    """What a party computes: the output and the gradients by leaf, and how uncertain each is."""

    values: Arrays
    noise: dict[str, float]


@dataclass(frozen=True)
class Gap:
    """A leaf, or the output ``y``, about which two parties differ by so much on a bar of so much."""

    parties: tuple[str, str]
    leaf: str
    distance: float
    bar: float
    scale: float

    @property
    def disagrees(self) -> bool:
        """Whether noise does not explain it."""
        return not self.distance <= FAIL_FACTOR * self.bar

    @property
    def relative(self) -> float:
        """The distance on the scale of the leaf; of one that is zero but for rounding there is none to speak of."""
        return self.distance / self.scale if self.bar < _RESOLVED * self.scale else 0.0

    def __str__(self) -> str:
        return (f"{self.parties[0]} and {self.parties[1]} differ about {self.leaf} by {self.distance:.1e} "
                f"({self.relative:.1e} of its largest entry), bar {self.bar:.1e}")


@dataclass
class CrossReport:
    """`ok` where no two parties disagreed and each framework was asked something."""

    seed: int
    parties: tuple[str, ...]
    seconds: float = 0.0
    compared: Counter[str] = field(default_factory=Counter)  # networks that two parties have both computed
    without: Counter[str] = field(default_factory=Counter)  # networks that a party has no layers for, or refuses
    worst: dict[str, Gap] = field(default_factory=dict)  # the largest gap of each pair, relative
    failure: tuple[Case, Gap] | None = None

    @property
    def verdict(self) -> Verdict:
        """`fail` with a disagreement, `inconclusive` where a pair had nothing in common."""
        if self.failure is not None:
            return Verdict.FAIL
        every = all(self.compared[_pair(*two)] for two in itertools.combinations(self.parties, 2))
        return Verdict.PASS if every else Verdict.INCONCLUSIVE

    @property
    def ok(self) -> bool:
        """Whether the verdict is `pass`."""
        return self.verdict is Verdict.PASS

    def __str__(self) -> str:
        lines = [f"{', '.join(self.parties)}: the same networks, {self.seconds:.0f} s, seed {self.seed}"]
        for pair, count in sorted(self.compared.items()):
            gap = self.worst[pair]
            far = f"{gap.relative:.0e} (of {gap.leaf}, bar {gap.bar / gap.scale if gap.scale else 0:.0e})"
            lines.append(f"  {pair}: {count} networks, largest difference {far}")
        lines += [f"  not computed by {party}: {count}" for party, count in sorted(self.without.items())]
        if self.failure is None:
            return "\n".join([*lines, f"{self.verdict}  no two of them disagree"])
        return "\n".join([*lines, f"fail  {self.failure[1]}", f"  {self.failure[0]!r}"])


def cross_examine(
    frameworks: Sequence[str], examples: int = 200, seed: int = 0, progress: Callable[[int], object] = id
) -> CrossReport:
    """So many random networks in the reference and these frameworks; the first disagreement is shrunk.

    Points are ordinary: at ties and kinks each party is free to choose. Raises ValueError for another
    framework, ModuleNotFoundError with the extra to install for one that is not there.
    """
    parties = {REFERENCE: in_reference, **{name: _load(name) for name in dict.fromkeys(frameworks)}}
    report, started = CrossReport(seed, tuple(parties)), time.perf_counter()

    def fails(case: Case) -> bool:
        ordinary = Case(case.architecture, Point(case.point.seed), Upstream(case.upstream.seed))
        gap = _examined(ordinary, parties, report)
        progress(max(report.compared.values(), default=0))
        if gap is not None:
            report.failure = ordinary, gap
        return gap is not None

    explore(cases(max_layers=3), fails, examples, key=seed)
    report.seconds = time.perf_counter() - started
    return report


def _load(name: str) -> Party:
    if name not in FRAMEWORKS:
        raise ValueError(f"against={name!r}: must be one of {', '.join(FRAMEWORKS)}")
    try:
        differentiate: Party = import_module(f"gradverify.frameworks.{FRAMEWORKS[name]}.build").differentiate
    except ModuleNotFoundError as error:
        install = f"{name} is not installed: pip install 'gradverify[{FRAMEWORKS[name]}]'"
        raise ModuleNotFoundError(install, name=error.name) from error
    return differentiate


def in_reference(network: Any, params: Any, x: Any, u: np.ndarray) -> tuple[Any, Arrays]:
    """The reference's own output and gradients."""
    y, pullback = network.forward(params, x)
    dparams, dx = pullback(u)
    return y, {name: g for name, g in flatten({"params": dparams, "x": dx}, "")[0].items() if g is not None}


def _examined(case: Case, parties: dict[str, Party], report: CrossReport) -> Gap | None:
    """The first disagreement about a case."""
    answers = {name: found for name, party in parties.items() if (found := _asked(name, party, case, report))}
    for one, other in itertools.combinations(answers, 2):
        pair, gaps = _pair(one, other), gaps_between((one, other), answers[one], answers[other])
        report.compared[pair] += 1
        report.worst[pair] = max([*gaps, *filter(None, [report.worst.get(pair)])], key=lambda gap: gap.relative)
        if any(gap.disagrees for gap in gaps):
            return next(gap for gap in gaps if gap.disagrees)
    return None


def _asked(name: str, party: Party, case: Case, report: CrossReport) -> Answer | None:
    """The party's answer; frameworks refuse a layer, or its size, in many ways, and all are counted."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return answer(party, case)
        except Exception as error:
            if name == REFERENCE:
                raise
            report.without[f"{name} ({type(error).__name__})"] += 1
            return None


def _pair(one: str, other: str) -> str:
    return f"{one} - {other}"


def answer(party: Party, case: Case) -> Answer:
    """What the party makes of the case, and how far that moves with the last bits of what it is given."""
    network, point = case.architecture.build(), {"params": case.params(), "x": case.x()}
    y, _ = network.forward(point["params"], point["x"])
    if not is_floating(y):
        raise TypeError("several outputs: one is compared")
    leaves, rebuild = flatten({**point, "u": case.u(y)}, "")

    def ask(values: Arrays) -> Arrays:
        tree = rebuild(values)
        out, gradients = party(network, tree["params"], tree["x"], tree["u"])
        return {"y": np.asarray(out), **{name: np.asarray(g) for name, g in gradients.items()}}

    found = ask(leaves)
    moved = [ask({name: _moved(leaf, np.random.default_rng(key)) for name, leaf in leaves.items()}) for key in KEYS]
    return Answer(found, {name: max(_largest(other[name] - g) for other in moved) for name, g in found.items()})


def _moved(leaf: Any, rng: np.random.Generator) -> Any:
    """Every entry by one rounding unit of its own size, up or down."""
    return leaf * (1.0 + EPS["float64"] * rng.choice((-1.0, 1.0), np.shape(leaf))) if is_floating(leaf) else leaf


def _largest(values: Any) -> float:
    return float(np.max(np.abs(values), initial=0.0))


def gaps_between(parties: tuple[str, str], one: Answer, other: Answer) -> list[Gap]:
    """How far apart the answers lie, leaf by leaf; a leaf without a gradient has the gradient zero."""
    return [_gap(parties, name, one, other) for name in dict.fromkeys([*one.values, *other.values])
            if not name.endswith(("mean", "variance"))]


def _gap(parties: tuple[str, str], name: str, one: Answer, other: Answer) -> Gap:
    a, b = (answer.values.get(name, 0.0) for answer in (one, other))
    scale = max(_largest(a), _largest(b))
    floor = ROUNDING * EPS["float64"] * max(_sizes(one), _sizes(other))
    bar = NOISE_FACTOR * (one.noise.get(name, 0.0) + other.noise.get(name, 0.0)) + floor
    same = np.shape(a) == np.shape(b) or name not in one.values or name not in other.values
    distance = _largest(np.asarray(a) - np.asarray(b)) if same else math.inf
    return Gap(parties, name, distance if math.isfinite(scale) else 0.0, bar, scale)


def _sizes(answer: Answer) -> float:
    return max((_largest(g) for g in answer.values.values() if np.all(np.isfinite(g))), default=0.0)
