"""Try one candidate: import it, make it, find inputs, and hand it to the engine. Runs in a worker only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.conventions import in_conventions
from gradverify.audit.guesses import roles_of
from gradverify.audit.inputs import Arguments, required_names
from gradverify.audit.load import NotTriable, find_attribute, instances, load
from gradverify.audit.record import AuditEntry, Candidate
from gradverify.audit.search import Search, silence, twin_call
from gradverify.checking import check
from gradverify.records import Options, Report, Verdict
from gradverify.targets import function, layer, make_targets, pair
from gradverify.targets.calling import argument_names
from gradverify.targets.graph import floating_of
from gradverify.targets.specs import FunctionSpec

_INSTANCES = 4  # instances of a class that the search for inputs looks at
_POINTS = 3  # accepted inputs at which a backward may raise before that is the result

Build = Callable[[Arguments], Any]


@dataclass(frozen=True)
class _Trial:
    """A forward to feed, the arrays its object holds, and how to make a target once it is fed."""

    forward: Callable[..., Any]
    held: tuple[np.ndarray, ...]
    build: Build
    retry: Build | None = None  # another reading of the same names, for a derivative that fails
    retried_as: str = ""


def attempt(candidate: Candidate, seed: int) -> AuditEntry:
    """The entry of a candidate; whatever stands in the way becomes its reason."""
    entry = AuditEntry(
        candidate.symbol, candidate.convention, path=candidate.source.path, line=candidate.line
    )
    try:
        report, convention = _judge(candidate, seed)
    except NotTriable as why:
        return replace(entry, reason=why.reason, remedy=why.remedy)
    except Exception as error:
        return replace(entry, reason=f"{type(error).__name__}: {error}")
    return replace(entry, report=report, convention=convention)


def _judge(candidate: Candidate, seed: int) -> tuple[Report, str]:
    search, last = Search(), None
    for trial in islice(_trials(candidate, seed), _INSTANCES):
        for arguments in islice(search.accepted(trial.forward, trial.held, seed), _POINTS):
            report, suffix = _check(trial, arguments, seed)
            last = report, candidate.convention + suffix
            if not _only_errors(report):
                return last
    if last is not None:
        return last
    complaint = f"no inputs found that {candidate.forward} accepts ({search.complaint})"
    raise NotTriable(complaint, advice(candidate))


def _check(trial: _Trial, arguments: Arguments, seed: int) -> tuple[Report, str]:
    target = trial.build(arguments)
    options: dict[str, Any] = {"kwargs": dict(arguments.kwargs) or None, "seed": seed}
    options["wrt"] = _without_labels(target, trial.forward, arguments)
    report = check(target, *arguments.inputs, **options)
    if report.verdict is Verdict.FAIL and trial.retry is not None:
        second = check(trial.retry(arguments), *arguments.inputs, **options)
        if second.verdict is Verdict.PASS:
            return second, trial.retried_as
    of_scalar = isinstance(target, FunctionSpec) and "gradient" in target.claims
    return (in_conventions(report) if of_scalar else report), ""


def _without_labels(target: Any, forward: Callable[..., Any], arguments: Arguments) -> tuple[str, ...] | None:
    """The leaves without real-valued labels: nobody claims a derivative by those."""
    names = argument_names(forward, len(arguments.inputs))
    roles = zip(names, roles_of(required_names(forward)), arguments.inputs, strict=False)
    labels = {name for name, role, value in roles if role == "label" and is_floating(value)}
    if not labels:
        return None
    leaves = make_targets(target, arguments.inputs, Options(kwargs=dict(arguments.kwargs)))[0].point
    return tuple(leaf for leaf in leaves if leaf not in labels)


def _only_errors(report: Report) -> bool:
    return bool(report.checks) and all(
        c.verdict is Verdict.INCONCLUSIVE and c.reason == "error" for c in report.checks
    )


def advice(candidate: Candidate) -> str:
    """The line that tries a candidate by hand."""
    module, inputs = candidate.source.module, "--input x=float64[5,3]"
    if candidate.kind == "layer":
        return f"gradverify check '{module}:{candidate.owner}(...)' {inputs}"
    if candidate.owner:
        claim = f"obj.{candidate.forward}, {_keyword(candidate)}=obj.{candidate.backward}"
        maker = "pair" if candidate.kind == "pair" else "function"
        return f"gv.check(gv.{maker}({claim}), x) with obj = {candidate.owner}(...)"
    option = f"--{_keyword(candidate)} {candidate.backward}"
    return f"gradverify check {module}:{candidate.forward} {option} {inputs}"


def _keyword(candidate: Candidate) -> str:
    return "backward" if candidate.kind == "pair" else "derivative"


def _trials(candidate: Candidate, seed: int) -> Iterator[_Trial]:
    module = load(candidate.source)
    if not candidate.owner:
        yield _of_functions(candidate, lambda name: find_attribute(module, name), ())
        return
    cls = find_attribute(module, candidate.owner)
    if all(
        isinstance(inspect.getattr_static(cls, n, None), staticmethod)
        for n in (candidate.forward, candidate.backward)
    ):
        yield _of_functions(candidate, lambda name: getattr(cls, name), ())
        return
    for obj in instances(cls, seed):
        held = tuple(floating_of(obj).values())
        if candidate.kind == "layer":
            yield _of_layer(candidate, obj, held)
        else:
            yield _of_functions(candidate, lambda name, obj=obj: getattr(obj, name), held)  # type: ignore[misc]


def _of_layer(candidate: Candidate, obj: Any, held: tuple[np.ndarray, ...]) -> _Trial:
    forward = getattr(obj, candidate.forward)
    return _Trial(forward, held, lambda _: layer(obj, forward=candidate.forward, backward=candidate.backward))


def _of_functions(candidate: Candidate, fetch: Callable[[str], Any], held: tuple[np.ndarray, ...]) -> _Trial:
    forward, backward = fetch(candidate.forward), fetch(candidate.backward)
    if candidate.kind == "pair":
        swapped = _takes_cotangent_last(backward)
        target = function(forward, vjp=backward) if swapped else pair(forward, backward)
        return _Trial(forward, held, lambda _: target)
    # tanh_prime(a) = 1 - a^2 is a right derivative that wants the output: a convention, not a bug.
    unary = len(required_names(forward)) == 1
    return _Trial(
        forward,
        held,
        lambda arguments: _claim(forward, backward, arguments),
        (lambda arguments: _claim(forward, lambda x: backward(forward(x)), arguments)) if unary else None,
        " of the output",
    )


def _claim(forward: Callable[..., Any], derivative: Callable[..., Any], arguments: Arguments) -> Any:
    """The derivative under the name its shape gives it: elementwise, gradient of a scalar, or Jacobian."""
    with silence():
        out = np.asarray(twin_call(forward, arguments))
        claimed = np.shape(twin_call(derivative, arguments))
    leaf = next((np.shape(x) for x in arguments.inputs if is_floating(x)), ())
    if out.ndim == 0 and leaf != ():
        return function(forward, gradient=derivative)
    if out.ndim and claimed == out.shape + leaf != leaf:
        return function(forward, jacobian=derivative)
    return function(forward, derivative=derivative)


def _takes_cotangent_last(backward: Callable[..., Any]) -> bool:
    """Whether ``relu_backward(x, dout)`` has its arguments in the order of a VJP."""
    names = required_names(backward)
    first, last = names[0].lower(), names[-1].lower()
    return last.startswith(_COTANGENTS) and not first.startswith((*_COTANGENTS, "cache"))


_COTANGENTS = ("d", "g", "up", "delta")
