"""A loss whose gradient is that of the logits, while its forward takes the probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gradverify.audit.conventions import as_convention
from gradverify.audit.inputs import Arguments
from gradverify.checking import check
from gradverify.diagnosis import without_last_resorts
from gradverify.records import Options, Report, Verdict
from gradverify.targets import function, make_targets


def _softmax(z: Any) -> Any:
    e = np.exp(z)
    return e / np.sum(e, axis=-1, keepdims=True)


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


_SQUASHES: Mapping[str, Callable[[Any], Any]] = {"softmax": _softmax, "sigmoid": _sigmoid}


def of_logits(spec: Any, arguments: Arguments, leaf: str, seed: int, accept: Callable[[Report], str | None]) -> str:
    """The name of the squashing function before which the gradient is right, with a factor; empty for none.

    `accept` says of a report whether it will do: None, or what to add.
    """
    target = make_targets(spec, arguments.inputs, Options(kwargs=dict(arguments.kwargs)))[0]
    if leaf not in target.point or target.linearize is None:
        return ""
    z = np.random.default_rng(seed).standard_normal(np.shape(target.point[leaf]))
    for name, squash in _SQUASHES.items():
        if name == "softmax" and (not z.ndim or z.shape[-1] == 1):
            continue  # of one number it is one, whatever the logit
        try:
            with without_last_resorts():
                report = check(_composed(target, leaf, squash), z, search="none", seed=seed, tolerate=1e-4)
        except Exception:  # noqa: S112 - another shape than a loss's: no such convention
            continue
        more = accept(report)
        if more is not None and not any(c.reason == "zero" for c in report.checks):
            return f" of the logits before a {name}{more}"
    for axis in (-1, None):
        try:
            inner = _before(target, leaf, axis)
            with without_last_resorts():
                report = check(inner, target.point[leaf], search="none", seed=seed, tolerate=1e-4)
        except Exception:  # noqa: S112 - no loss of probabilities
            continue
        if accept(report) == "":
            return " of the probabilities that it computes"
    return ""


def _before(target: Any, leaf: str, axis: int | None) -> Any:
    """The loss with its claim taken for that by the probabilities, and carried back through their softmax."""

    def forward(z: Any) -> Any:
        return next(iter(target.forward({**target.point, leaf: z}).values()))

    def vjp(z: Any, u: Any) -> Any:
        outputs, pullback = target.linearize({**target.point, leaf: z}, None)
        claimed, e = pullback({next(iter(outputs)): u})[leaf], np.exp(z - np.max(z, axis=axis, keepdims=True))
        p = e / np.sum(e, axis=axis, keepdims=True)
        return p * (claimed - np.sum(p * claimed, axis=axis, keepdims=True))

    return function(forward, vjp=vjp)


def _composed(target: Any, leaf: str, squash: Callable[[Any], Any]) -> Any:
    def forward(z: Any) -> Any:
        return next(iter(target.forward({**target.point, leaf: squash(z)}).values()))

    def vjp(z: Any, u: Any) -> Any:
        outputs, pullback = target.linearize({**target.point, leaf: squash(z)}, None)
        return pullback({next(iter(outputs)): u})[leaf]

    return function(forward, vjp=vjp)


def undecided(report: Report, convention: str, also: Verdict = Verdict.FAIL) -> Report:
    """The report in which every failure, and what has the verdict `also`, is the convention."""
    text = f"the gradient is right for something other than its own forward: it is that{convention}"
    checks = tuple(as_convention(c, text) if c.verdict in (Verdict.FAIL, also) else c for c in report.checks)
    return replace(report, checks=checks, again="")
