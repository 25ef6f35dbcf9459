"""PyTorch code as a target: plain forwards, recorded ones with their pullback, dual ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from gradverify.arrays import EPS, Arrays, dtype_name
from gradverify.frameworks.holding import Forward, Holding
from gradverify.frameworks.torch.batching import batched
from gradverify.frameworks.torch.complexparts import part_names
from gradverify.frameworks.torch.facts import facts
from gradverify.frameworks.torch.forwards import (
    evaluate,
    forward,
    given_to,
    line,
    make_leaves,
    outputs_of,
    point_of,
    running,
    settled,
)
from gradverify.frameworks.torch.held import holding
from gradverify.frameworks.torch.higher import by_upstream, forward_over_reverse, reverse_over_reverse, tangent
from gradverify.frameworks.torch.hooks import lacking, lifted
from gradverify.frameworks.torch.imaginary import imaginary_step
from gradverify.frameworks.torch.narrowing import Operators, uncompiling
from gradverify.frameworks.torch.program import Program, Tensors, make_program, reached_by
from gradverify.frameworks.torch.recording import pull_back, recorded
from gradverify.frameworks.torch.residuals import perturb_contexts, perturb_tensor
from gradverify.frameworks.torch.state import random_states
from gradverify.frameworks.torch.substitute import make_substitute
from gradverify.frameworks.torch.tensors import (
    from_host,
    lowest,
    real_name,
    to_host64,
)
from gradverify.records import Options
from gradverify.targets.gradients import NotClaimed
from gradverify.targets.orders import composed, highest_order
from gradverify.targets.record import Linearize, Perturb, Pullback, Target


def make_target(obj: Any, inputs: tuple[Any, ...], options: Options) -> Target:
    """The target of a torch function, `autograd.Function` subclass, module or method of one.

    Floating tensors anywhere in the inputs and keywords are leaves, and so are the parameters that
    require a gradient of every module the code reaches: the object itself, its `__self__`, modules
    among the arguments and in the closure. Raises what the first plain forward raises, and
    `TypeError` where there is nothing to check or a kind of tensor is not supported.
    """
    program = make_program(obj, inputs, dict(options.kwargs or {}), options.seed)
    if not program.leaves:
        raise TypeError(f"nothing to check: {program.name} has no floating input and no parameter")
    program, outputs, watch = settled(program)
    leaves = {name: program.tensors[name] for name in program.leaves}
    # A reference says what is meant, in the dtype of the inputs: narrowing on the way may then be the mistake.
    inside = watch.coarsest if options.reference is None else None
    known = facts(reached_by(obj, program), leaves, outputs, inside)
    constant = _constants(outputs) if options.outputs is None else ()
    return replace(_target(program, outputs, options, inside),
                   findings=lambda: (*known, *program.hooks.notes(), *map(_NOT_JUDGED.format, constant)))


_NOT_JUDGED = ("{} has no graph (detached, or marked as non-differentiable): not judged; if it is to have a gradient, "
               "name it in outputs=")


def _constants(outputs: Tensors) -> tuple[str, ...]:
    """The outputs that the code hands out as constants beside others that are none."""
    found = tuple(name for name, y in outputs.items() if not y.requires_grad)
    return found if len(found) < len(outputs) else ()


def _target(program: Program, outputs: Tensors, options: Options, inside: str | None = None) -> Target:
    point = point_of(program)
    foreign = cache(partial(_foreign_operators, program))
    dual, over = (partial(_by_duals, program, foreign, way) for way in (_pushforward, forward_over_reverse))
    higher, over = map(_unclaimed_if_it_raises, (partial(reverse_over_reverse, program), over))
    highest = highest_order(higher, point, outputs, options.order)
    # PyTorch 2.13 crashes where a tangent known to be zero meets a dispatch mode, as widening is one.
    forward_mode = options.mode != "reverse" and not program.widened
    tensors = [*(program.tensors[name] for name in program.leaves), *outputs.values()]
    subset = partial(_subset, program) if len(program.leaves) > 1 else None
    return Target(
        name=program.name,
        point=point,
        dtype=lowest([*(real_name(tensor) for tensor in tensors), *([inside] if inside else [])]),
        start={name: to_host64(y) for name, y in outputs.items()},
        forward=partial(forward, program),
        linearize=partial(_linearize, program),
        pushforward=_if_it_works(dual, point, once=_is_large(point)) if forward_mode else None,
        higher=higher if highest > 1 else None,
        highest=highest,
        composed=composed("forward over reverse", over, highest_order(over, point, outputs, min(options.order, 2)))
        if not program.widened else None,
        by_upstream=partial(by_upstream, program),
        cast=partial(_cast, program, options),
        substitute=partial(_substituted, program),
        holding=partial(_holding, program),
        subset=subset,
        # Under vmap there are none of the user's hooks.
        batched=None if program.hooks or program.widened else partial(batched, program),
        redrawn=partial(_redrawn, program),
        unhooked=partial(_unhooked, program) if program.hooks else None,
        counterpart=partial(_counterpart, program),
        line=partial(line, program),
        strided=True,
        recorded=tuple(name for name in outputs if name not in _constants(outputs)) or None,
        imaginary=partial(imaginary_step, program, running) if _continues(program) else None,
    )


def _continues(program: Program) -> bool:
    """Whether an imaginary part can be put into the leaves, and nothing differentiates on the way."""
    kept = (program.tensors[name] for name in program.leaves)
    return not program.graph and all(t.dtype == torch.float64 and t.device.type == "cpu" for t in kept)


def _substituted(program: Program, function: Any, dtype: str | None) -> Callable[[Arrays], Arrays]:
    """The forward of `function` at points of `program`."""
    other, twins = make_substitute(program, function, dtype)
    other = replace(other, graph=True)
    parts = {own: part for name, twin in twins.items() for own, part in _paired(other, name, program, twin)}
    return lambda point: forward(other, {own: point[part] for own, part in parts.items()})


def _holding(program: Program, function: Any) -> Holding | None:
    """The same with what `function` detaches held."""
    other, twins = make_substitute(program, function, None)
    at = holding(other)
    if at is None:
        return None
    parts = {own: part for name, twin in twins.items() for own, part in _paired(other, name, program, twin)}

    def theirs(point: Arrays) -> Arrays:
        return {own: point[part] for own, part in parts.items()}

    def at_ours(base: Arrays) -> Forward:
        run = at(theirs(base))
        return lambda point: run(theirs(point))

    return at_ours


def _counterpart(program: Program, function: Any, dtype: str) -> Linearize:
    """Outputs and pullback of `function` at points of `program`, gradients named as the program's leaves."""
    other, twins = make_substitute(program, function, dtype)
    parts = {own: part for name, twin in twins.items() for own, part in _paired(other, name, program, twin)}

    def linearize(point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
        outputs, pull = _linearize(other, {own: point[part] for own, part in parts.items()}, perturb)
        return outputs, lambda u: {parts[own]: g for own, g in pull(u).items()}

    return linearize


def _paired(other: Program, name: str, program: Program, twin: str) -> Iterator[tuple[str, str]]:
    return zip(part_names(name, other.tensors[name]), part_names(twin, program.tensors[twin]), strict=True)


def _linearize(
    program: Program, point: Arrays, perturb: Perturb | None = None, wrt: Container[str] | None = None,
    *, redraws: bool = False,
) -> tuple[Arrays, Pullback]:  # fmt: skip
    """The outputs and `u -> J^T u`; `perturb` reaches saved tensors and what contexts hold.

    With `wrt` these leaves alone ask for a gradient, and the others are constants to the code. If it `redraws`, the
    pullback's random numbers are those of the forward, not the ones after them.
    """
    with running(program, graph=True):
        every = make_leaves(program, point)
        leaves = {name: leaf.requires_grad_() for name, leaf in every.items() if wrt is None or name in wrt}
        given = given_to(program, every)
        outputs = recorded(program, given, perturb)
        live = {name: y for name, y in outputs.items() if y.requires_grad}
        if perturb is not None:
            perturb_contexts(live.values(), partial(perturb_tensor, perturb, spacing=program.spacing))
        # Read before any backward: one that writes into a saved output would change the value too.
        values = {name: to_host64(y) for name, y in outputs.items()}
        states = None if redraws else random_states()
    return values, partial(pull_back, program, leaves, given, live, states)


def _subset(program: Program, point: Arrays, u: Arrays, wrt: Container[str]) -> Arrays:
    """``J^T u`` where these leaves alone ask for a gradient."""
    return _linearize(program, point, None, wrt)[1](u)


def _redrawn(program: Program, point: Arrays, u: Arrays) -> Arrays:
    """``J^T u`` where the backward draws what the forward drew."""
    return _linearize(program, point, redraws=True)[1](u)


def _unhooked(program: Program, leaf: str) -> dict[str, Callable[[Arrays, Arrays], Arrays]]:
    """``J^T u`` without any hook, and without each that may reach the leaf, by what that is."""
    return {what: partial(_lacking, replace(program, hooks=hooks), parts)
            for what, hooks, parts in lacking(program.hooks, leaf)}


def _lacking(program: Program, parts: Sequence[torch.nn.Module], point: Arrays, u: Arrays) -> Arrays:
    with lifted(parts):
        return _linearize(program, point)[1](u)


def _by_duals(
    program: Program, foreign: Callable[[], frozenset[str]], derivative: Callable[..., Arrays], *question: Any
) -> Arrays:
    """The derivative, unless the code calls an operator of another library, where a tangent ends and nobody says so."""
    if foreign():
        raise NotClaimed(f"{', '.join(sorted(foreign()))}: no forward derivative")
    return derivative(program, *question)


def _foreign_operators(program: Program) -> frozenset[str]:
    with suppress(Exception), uncompiling(), Operators() as watch:  # what raises here raises, or not, where it is asked
        evaluate(program, point_of(program))
    return frozenset(watch.seen)


def _pushforward(program: Program, point: Arrays, v: Arrays) -> Arrays:
    """``J v`` by dual numbers; a leaf without a tangent stands still."""
    with running(program, graph=program.graph), forward_ad.dual_level():
        leaves = make_leaves(program, point)
        for name, dx in v.items():
            x = leaves[name].requires_grad_(program.graph)
            dual = from_host(dx, x.dtype, x.device, x.stride())
            leaves[name] = forward_ad.make_dual(x, dual)
        outputs = outputs_of(program, given_to(program, leaves))
        return {name: tangent(y) for name, y in outputs.items()}


def _is_large(point: Arrays) -> bool:
    return sum(map(np.size, point.values())) > 2**13


def _if_it_works(derivative: Any, point: Arrays, *, once: bool = False) -> Any:
    """The derivative, or None where one call at the point raises: it is not claimed there.

    With `once` that is found out when it is first asked, so that no call is made for nothing.
    """
    first = _unclaimed_if_it_raises(derivative)
    if once:
        return first
    try:
        first(point, {name: np.ones_like(x) for name, x in point.items()})
    except NotClaimed:
        return None
    return derivative


def _unclaimed_if_it_raises(derivative: Any) -> Any:
    def asked(*question: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # made an error, one would read as "not claimed"
                return derivative(*question)
        except Exception as error:  # a missing derivative is reported in many ways
            raise NotClaimed(str(error)) from error

    return asked


def _cast(program: Program, options: Options, dtype: str) -> Target | None:
    """The target on leaves of another dtype, or None if it raises there or computes in another.

    Code that goes on computing in a coarser one is widened, if it is float64 that is asked for.
    """
    if dtype not in EPS or not isinstance(getattr(torch, dtype, None), torch.dtype):
        return None
    moved = program.in_dtype(getattr(torch, dtype))
    return _in_one_dtype(moved, options, dtype) or (
        _in_one_dtype(replace(moved, widened=True), options, dtype) if dtype == "float64" else None
    )


def _in_one_dtype(program: Program, options: Options, dtype: str) -> Target | None:
    try:
        program, outputs, watch = settled(program)
        if watch.seen or {dtype_name(y) for y in outputs.values()} != {dtype}:
            return None
        return _target(program, outputs, options)
    except Exception:  # a kernel of one dtype refuses others in its own way
        return None
