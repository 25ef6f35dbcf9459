"""`check_optimizer`: an optimizer held against the exact facts of optimization.

First what holds for every rule (`facts`), then which rule it follows (`identify`), then the closed forms of that
rule (`textbook`), and last what it says of itself: its name, its rate, its weight decay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradverify import sheets
from gradverify.convergence.facts import GENERAL, Fact, decay, decay_shrinks, near, only_sums_count
from gradverify.convergence.identify import Match, identify
from gradverify.convergence.rules import DUAL, RIGHT
from gradverify.convergence.steppers import Stepper, make_stepper
from gradverify.convergence.textbook import BOOK
from gradverify.records import Cause, Sheet, Verdict

# What a name promises, longest name first: the families of rules that it may turn out to be.
FAMILIES = {
    "rmsprop": ("rmsprop", "centered"),
    "nesterov": ("nesterov",),
    "momentum": ("momentum", "nesterov"),
    "amsgrad": ("amsgrad",),
    "adagrad": ("adagrad",),
    "adamax": ("adamax",),
    "adamw": ("adam", "amsgrad"),
    "nadam": ("nadam",),
    "adam": ("adam", "amsgrad"),
    "sgd": ("sgd", "momentum", "nesterov"),
}


@dataclass(frozen=True)
class OptimizerReport:
    """Every fact with the number that was measured; fails if one does not hold.

    Someone's own step function that follows no rule known here is inconclusive: the general facts alone cannot
    tell a new rule from a wrong one. For the classes of a library they are what there is, and enough to pass.
    """

    target: str
    facts: tuple[Fact, ...]
    rule: str = ""
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """FAIL if a fact does not hold; INCONCLUSIVE if one could not be decided."""
        held = [fact.held for fact in self.facts]
        return Verdict.FAIL if False in held else Verdict.INCONCLUSIVE if None in held else Verdict.PASS

    @property
    def ok(self) -> bool:
        """Whether every fact holds."""
        return self.verdict is Verdict.PASS

    @property
    def failed(self) -> tuple[Fact, ...]:
        """The facts that do not hold."""
        return tuple(fact for fact in self.facts if fact.held is False)

    def sheet(self) -> Sheet:
        """The table of facts, those that failed as findings."""
        rows = tuple((f.name, f.claim, _WORDS[f.held], f.measured, f.expected, f.allowed) for f in self.facts)
        return Sheet("optimizer", self.target, str(self.verdict), self.ok, _headline(self),
                     ("fact", "claim", "verdict", "measured", "expected", "allowed"), rows,
                     tuple(_cause(fact) for fact in self.failed), notes=self.notes)  # fmt: skip

    frame = sheets.frame
    to_json = sheets.to_json
    to_html = sheets.to_html
    __str__ = sheets.text
    _repr_html_ = sheets.fragment


_WORDS = {True: "pass", False: "fail", None: "inconclusive"}


def check_optimizer(
    step_or_optimizer: Any, *, rule: str | None = None, learning_rate: float | None = None, init: Any = None
) -> OptimizerReport:
    """Hold an optimizer against what theory says exactly: no tolerance is a matter of taste.

    `step_or_optimizer` is a function ``(params, grad, state) -> (params, state)``, an object with ``init`` and
    ``step``, one with ``step(params, grads)`` or ``update(params, grads)`` in place, or an optimizer of torch,
    optax or Keras. `rule` names the rule it is meant to follow (by default what its name promises, if it does),
    `learning_rate` the rate it is meant to have, `init` how its state begins: a value, or a callable of params.

    >>> report = check_optimizer(lambda w, g, state: (w - 0.1 * g, state))
    >>> report.verdict.value, report.rule
    ('pass', 'sgd with rate 0.1')
    >>> check_optimizer(lambda w, g, state: (w + 0.1 * g, state)).failed[0].cause
    'ascends'
    """
    if rule is not None and rule not in FAMILIES:
        raise ValueError(f"rule={rule!r}: must be one of {', '.join(sorted(FAMILIES))}")
    if learning_rate is not None and not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise ValueError(f"learning_rate={learning_rate!r}: must be a positive number")
    with np.errstate(all="ignore"):
        stepper = make_stepper(step_or_optimizer, init)
        meant = rule or stepper.declared.get("rule") or ("" if stepper.library else _promised(stepper.name))
        rate = learning_rate if learning_rate is not None else stepper.declared.get("learning_rate")
        match = identify(stepper)
        sums = match is not None and match.rule.name == DUAL
        asked = (*GENERAL, only_sums_count if sums else decay_shrinks)
        general = [fact for ask in asked if (fact := ask(stepper)) is not None]
        facts = [*general, *_of_rule(stepper, match, meant), *_of_constants(stepper, match, meant, rate)]
    notes = () if match else ("held against the general facts only: its rule is none of those known here",)
    return OptimizerReport(stepper.name, tuple(facts), str(match or ""), notes)


def _promised(name: str) -> str | None:
    return next((known for known in FAMILIES if known in name.lower()), None)


def _of_rule(stepper: Stepper, match: Match | None, meant: str | None) -> list[Fact]:
    """That it follows a right rule, the one it promises, and the closed forms of it."""
    claim = f"its steps are those of {meant}" if meant else "its steps follow a known rule"
    if match is None:
        held = False if meant else None
        remedy = f"compare with the formula of {meant}" if meant else "say which rule is meant: rule='adam'"
        fact = Fact("rule", claim, held, math.nan, 0.0, cause="unknown-rule", remedy=remedy)
        return [] if stepper.library else [fact]
    allowed = FAMILIES.get(meant or "", tuple(known.name for known in RIGHT))
    if match.rule.mistake:
        return [Fact("rule", match.rule.mistake, False, match.residual, 0.0, 1e-6, match.rule.name, match.rule.remedy)]
    fact = Fact("rule", claim, match.rule.name in allowed, match.residual, 0.0, 1e-6, "another-rule",
                f"it follows {match}")  # fmt: skip
    book = [found for ask in BOOK if (found := ask(stepper, match)) is not None]
    return [fact, *book]


def _of_constants(stepper: Stepper, match: Match | None, meant: str | None, rate: float | None) -> list[Fact]:
    """The rate and the weight decay that it was given are those it uses."""
    facts = []
    if match is not None and not match.rule.mistake and rate:
        facts.append(near("learning rate", "the rate is the one given", match.learning_rate, rate, stepper.precision,
                          cause="another-rate", remedy=_about_rate(match, rate)))
    if meant == "adamw" or stepper.declared.get("decoupled"):
        facts.append(_decoupled(stepper))
    return facts


def _about_rate(match: Match, rate: float) -> str:
    """What a wrong rate looks like: an average that lacks its factor 1 - beta changes nothing else."""
    ratio = match.learning_rate / rate
    for name, share in zip(match.rule.constants, match.constants, strict=True):
        for power in (1.0, -1.0, 0.5, -0.5):
            if abs(ratio * (1 - share) ** power - 1) < 1e-6:
                return f"the average with {name} lacks, or has once too often, its factor 1 - {name}"
    return f"it is {ratio:.4g} times the rate given"


def _decoupled(stepper: Stepper) -> Fact:
    """AdamW's decay is -eta decay w, not scaled by the second moment as an L2 penalty would be."""
    _, odd = decay(stepper)
    return near("decoupled decay", "without a gradient the step is a multiple of the parameters", odd, 0.0, 1e-9,
                cause="decay-coupled", remedy="w <- (1 - eta decay) w, apart from the gradient")


def _cause(fact: Fact) -> Cause:
    evidence = f"measured {fact.measured:.4g}, expected {fact.expected:.4g}"
    return Cause(fact.cause or fact.name, fact.claim, evidence, fact.remedy, 1.0)


def _headline(report: OptimizerReport) -> str:
    followed = f"; it follows {report.rule}" if report.rule else ""
    if report.failed:
        return f"{len(report.failed)} of {len(report.facts)} facts do not hold{followed}"
    if not report.ok:
        return "no fact is broken, but it follows none of the rules known here: say which one is meant, rule='adam'"
    return f"all {len(report.facts)} facts hold{followed}"
