"""JAX code as a target: its forward, `jax.vjp` with the residuals in reach, `jax.jvp`."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax import tree_util

from gradverify.arrays import EPS, Arrays, dtype_name
from gradverify.frameworks.holding import Forward, Holding, Kept
from gradverify.frameworks.jax.batching import batched, has_rules
from gradverify.frameworks.jax.complexparts import is_complex, split
from gradverify.frameworks.jax.held import STOP, held
from gradverify.frameworks.jax.leaves import floating, from_host, numeric, to_host, to_host64
from gradverify.frameworks.jax.narrowing import coarsest, draws, narrows, operations
from gradverify.frameworks.jax.program import Program, make_program, make_tree
from gradverify.frameworks.jax.substitute import make_substitute
from gradverify.frameworks.jax.tracing import Function, Traced
from gradverify.records import Options
from gradverify.targets.gradients import WrongClaim
from gradverify.targets.orders import composed, highest_order
from gradverify.targets.record import Perturb, Pullback, Target

Values = Mapping[str, Any]


def make_target(obj: Any, inputs: tuple[Any, ...], options: Options) -> Target:
    """The target of a JAX function, a `custom_vjp` or `custom_jvp` one, a module or a method of one.

    Floating arrays anywhere in the inputs and keywords are leaves, Python floats among the inputs
    too where the code can be differentiated by them, and the floating arrays of the object itself
    if it is a pytree. Raises what the first plain forward raises, and `TypeError` where there is
    nothing to check.
    """
    kwargs = dict(options.kwargs or {})
    program = make_program(obj, inputs, kwargs)
    if not program.leaves:
        raise TypeError(f"nothing to check: {program.name} has no floating input and no parameter")
    arrays = make_program(obj, inputs, kwargs, numbers=False)
    if 0 < len(arrays.leaves) < len(program.leaves) and not _linearizes(program):
        program = arrays
    return _target(_code(program), options)


def _linearizes(program: Program) -> bool:
    """Whether the code takes all leaves as traced values; a static argument does not."""
    try:
        _linearize(_code(program), program.point)
    except Exception:  # what is wrong for another reason will be raised again, or reported
        return False
    return True


@dataclass(frozen=True)
class Code:
    """A program and its derivatives, as functions of JAX values that run operation by operation."""

    program: Program
    outputs: Traced
    linear: Traced
    pull: Traced
    push: Traced
    both: Traced  # outputs and pullback in one, of widened code: what a pullback keeps has the dtypes of the trace

    def spacing(self) -> float:
        """The coarsest of what depends on the leaves, if known: what is coarser is a constant."""
        traced = self.linear.jaxpr
        if traced is None or narrows(traced):
            return math.inf
        return max(EPS[leaf.dtype] for leaf in self.program.leaves.values())


def _code(program: Program) -> Code:
    run = partial(_outputs, program)

    def linear(values: Values) -> Any:
        return jax.vjp(run, values)

    def pull(pullback: Any, u: Values) -> Any:
        return pullback(u)[0]

    def push(values: Values, tangents: Values) -> Any:
        return jax.jvp(run, (values,), (tangents,))[1]

    def both(values: Values, u: Values) -> Any:
        outputs, pullback = jax.vjp(run, values)
        return outputs, pullback(_like(u, outputs))[0]

    return Code(program, *(Traced(f, program.widened) for f in (run, linear, pull, push, both)))


def _like(u: Values, outputs: Values) -> Values:
    """The cotangents in the dtypes of the outputs, which in widened code are those that it asks for."""
    return {name: jax.numpy.asarray(u[name], y.dtype) for name, y in outputs.items()}


def _target(code: Code, options: Options) -> Target:
    program, point = code.program, code.program.point
    outputs = _evaluate(code, point)
    dual = options.mode != "reverse" and _works(code, code.push)
    ways = {modes: partial(_higher, program, outputs, along, {}) for modes, along in OVER_REVERSE.items()}
    orders = {modes: highest_order(way, point, outputs, options.order) for modes, way in ways.items()}
    first, second = sorted(ways, key=orders.__getitem__, reverse=True)
    # A reference says what is meant, in the dtype of the inputs: narrowing on the way may then be the mistake.
    known = None if program.widened or options.reference is not None else code.outputs.jaxpr
    inside = coarsest(known) if known is not None else None  # of code that reads values there is no trace
    ends = [*(leaf.dtype for leaf in program.leaves.values()), *map(dtype_name, outputs.values())]
    names = [*ends, *([inside] if inside else [])]
    cast = cache(partial(_cast, code, options))
    forward_alone = dual and options.mode == "auto" and _has_no_reverse(code)
    return Target(
        name=program.name,
        point=point,
        dtype=max(names, key=EPS.__getitem__),
        forward=partial(_forward, code),
        linearize=None if forward_alone else partial(_linearize, code),
        pushforward=partial(_along, code, code.push) if dual else None,
        higher=ways[first] if orders[first] > 1 else None,
        highest=orders[first],
        composed=composed(second, ways[second], orders[second]),
        by_upstream=partial(_along, code, Traced(partial(_turned, program, outputs), program.widened)),
        batched=None if program.widened else partial(_batched, code),
        cast=cast,
        substitute=partial(_substituted, program),
        holding=partial(_holding, program),
        findings=lambda: (*_precision_notes(program, cast, inside if inside not in ends else None),
                          *([_FORWARD_ALONE] if forward_alone else [])),
    )


_FORWARD_ALONE = "JAX has no reverse mode for a loop whose length it does not know (while_loop): judged in forward mode"


def _has_no_reverse(code: Code) -> bool:
    """Whether the code goes through a loop that only forward mode differentiates."""
    if code.outputs.jaxpr is None or not any(str(op.primitive) == "while" for op in operations(code.outputs.jaxpr)):
        return False
    try:
        _linearize(code, code.program.point)[1]({})
    except ValueError as error:
        return "Reverse-mode differentiation does not work" in str(error)
    except Exception:  # reported where it is asked for
        return False
    return False


@contextmanager
def _running(program: Program) -> Iterator[None]:
    """As `Program.running`; a rule that breaks its contract before any number is compared is a claim."""
    try:
        with program.running():
            yield
    except (TypeError, ValueError) as error:
        # JAX names a rule whose result has another structure, shape or dtype than it must have.
        if re.search(r"[Cc]ustom (VJP|JVP).*\brule\b.*\bmust\b", str(error), re.DOTALL) is None:
            raise
        raise WrongClaim("shape", "", str(error)) from error


def _outputs(program: Program, values: Values) -> dict[str, Any]:
    result = program.call(values)
    found = {path: y for path, y in make_tree(result, "out").values.items() if numeric(y)}
    parts = {name: part for path, y in found.items() for name, part in split(path, y).items()}
    outputs = {name: part for name, part in parts.items() if floating(part)}
    if not outputs:
        kinds = ", ".join(f"{path} is {dtype_name(y)}" for path, y in found.items())
        what = kinds or f"it returns {type(result).__name__}, not an array"
        raise TypeError(f"nothing to check: {program.name} has no floating output ({what})")
    return outputs


def _evaluate(code: Code, point: Arrays) -> dict[str, Any]:
    with code.program.running():
        found: dict[str, Any] = code.outputs(code.program.values(point))
    return found


def _forward(code: Code, point: Arrays) -> Arrays:
    return {name: to_host64(y) for name, y in _evaluate(code, point).items()}


def _substituted(program: Program, function: Any, dtype: str | None) -> Callable[[Arrays], Arrays]:
    """The forward of `function` at points of `program`."""
    other, twins = make_substitute(program, function, dtype)
    code = _code(other)
    return lambda point: _forward(code, {name: point[twin] for name, twin in twins.items()})


def _holding(program: Program, function: Any) -> Holding | None:
    """The same with what `function` hands to `stop_gradient` held."""
    other, twins = make_substitute(program, function, None)
    run = held(partial(_outputs, other))

    def forward(kept: Kept, point: Arrays) -> Arrays:
        with other.running():
            outputs = run(kept, other.values({name: point[twin] for name, twin in twins.items()}))
        return {name: to_host64(y) for name, y in outputs.items()}

    def at(base: Arrays) -> Forward:
        first = Kept()
        forward(first, base)
        return lambda point: forward(first.again(), point)

    return at if _stops(other) else None


def _stops(program: Program) -> bool:
    try:
        with program.running():
            traced = jax.make_jaxpr(partial(_outputs, program))(program.values(program.point))
    except Exception:  # code that reads the values it computes on: what it stops is not to be seen
        return False
    return any(str(op.primitive) == STOP for op in operations(traced))


def _linearize(code: Code, point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
    """The outputs and `u -> J^T u`; `perturb` reaches what the pullback holds and what that is made from."""
    with _running(code.program):
        given = code.program.values(point)
        if code.program.widened:
            return _linearize_wide(code, given, perturb)
        if perturb is None:
            outputs, pullback = code.linear(given)
        else:
            move = partial(_moved, perturb, code.spacing())
            outputs, pullback = code.linear.perturbed(move, given)
            pullback = tree_util.tree_map(move, pullback)
        values = {name: to_host64(y) for name, y in outputs.items()}
    dtypes = {name: dtype_name(y) for name, y in outputs.items()}
    return values, partial(_pull_back, code, pullback, values, dtypes)


def _linearize_wide(code: Code, given: Values, perturb: Perturb | None) -> tuple[Arrays, Pullback]:
    """As `_linearize`, forward and backward run as one for each cotangent."""
    values = {name: to_host64(y) for name, y in code.outputs(given).items()}

    def pull(u: Arrays) -> Arrays:
        asked = {name: from_host(u.get(name, np.zeros_like(y)), "float64") for name, y in values.items()}
        moved = None if perturb is None else partial(_moved, perturb, math.inf)
        found = code.both(given, asked) if moved is None else code.both.perturbed(moved, given, asked)
        return {name: to_host64(g) for name, g in found[1].items()}

    def pullback(u: Arrays) -> Arrays:
        with _running(code.program):
            return pull(u)

    return values, pullback


def _batched(code: Code, points: Sequence[Arrays], us: Sequence[Arrays]) -> list[tuple[Arrays, Arrays]]:
    traced = [way.jaxpr for way in (code.outputs, code.linear, code.pull) if way.jaxpr is not None]
    if not any(map(has_rules, traced)):
        raise TypeError(f"{code.program.name} has no batching rule of its own")
    return batched(code.program, partial(_outputs, code.program), points, us)


def _moved(perturb: Perturb, spacing: float, residual: Any) -> Any:
    if is_complex(residual):
        return jax.lax.complex(*(_moved(perturb, spacing, part) for part in (residual.real, residual.imag)))
    if not floating(residual) or EPS[dtype_name(residual)] > spacing:
        return residual
    place = residual.sharding if getattr(residual, "committed", False) else None
    return from_host(perturb(to_host(residual)), dtype_name(residual), place)


def _pull_back(code: Code, pullback: Any, values: Arrays, dtypes: Mapping[str, str], u: Arrays) -> Arrays:
    """``J^T u``; an output without a cotangent counts as zero."""
    asked = {name: u[name] if u.get(name) is not None else np.zeros_like(y) for name, y in values.items()}
    with _running(code.program):
        grads = code.pull(pullback, {name: from_host(du, dtypes[name]) for name, du in asked.items()})
        return {name: to_host64(g) for name, g in grads.items()}


def _along(code: Code, derivative: Function, point: Arrays, v: Arrays) -> Arrays:
    """``J v``; a leaf without a tangent stands still."""
    program = code.program
    full = {name: v.get(name, np.zeros_like(leaf.host)) for name, leaf in program.leaves.items()}
    with _running(program):
        found = derivative(program.values(point), program.values(full))
        return {name: to_host64(part) for name, part in found.items()}


def _forward_along(gradient: Function, values: Values, v: Values) -> Any:
    """The derivative of a gradient along v by a pushforward; a backward pass need not have one."""
    return jax.jvp(gradient, (values,), (v,))[1]


def _reverse_along(gradient: Function, values: Values, v: Values) -> Any:
    """The same by a pullback: ``H v = H^T v``."""
    first, pullback = jax.vjp(gradient, values)
    return pullback({n: jax.numpy.asarray(v[n], g.dtype) for n, g in first.items()})[0]


OVER_REVERSE = {"forward over reverse": _forward_along, "reverse over reverse": _reverse_along}


def _higher(
    program: Program, outputs: Values, along: Function, known: dict[int, Traced], point: Arrays, u: Arrays,
    directions: Sequence[Arrays],
) -> Arrays:  # fmt: skip
    """``<u, f>`` differentiated by the leaves and then along each direction, traced once for each order."""
    def gradient(values: Values, seeds: Values) -> Any:
        made, pullback = jax.vjp(partial(_outputs, program), values)
        return pullback(_like(seeds, made))[0]

    def derivative(values: Values, seeds: Values, *tangents: Values) -> Any:
        found = partial(gradient, seeds=seeds)
        for v in tangents:
            found = partial(along, found, v=v)
        return found(values)

    traced = known.setdefault(len(directions), Traced(derivative, program.widened))
    full = [{n: v.get(n, np.zeros_like(leaf.host)) for n, leaf in program.leaves.items()} for v in directions]
    with _running(program):
        seeds = {name: from_host(u.get(name, np.zeros(y.shape)), dtype_name(y)) for name, y in outputs.items()}
        found = traced(program.values(point), seeds, *map(program.values, full))
        return {name: to_host64(part) for name, part in found.items()}


def _turned(program: Program, outputs: Values, values: Values, v: Values) -> Any:
    """``<J^T u, v>`` differentiated by u: J v by a pullback of the pullback."""
    seeds = {name: from_host(np.ones(y.shape), dtype_name(y)) for name, y in outputs.items()}
    made, pullback = jax.vjp(partial(_outputs, program), values)
    pulled, turn = jax.vjp(lambda u: pullback(_like(u, made))[0], seeds)
    return turn({name: jax.numpy.asarray(v[name], g.dtype) for name, g in pulled.items()})[0]


def _works(code: Code, derivative: Function) -> bool:
    """Whether there is such a derivative: a `custom_vjp` has no forward mode, and need not."""
    with warnings.catch_warnings(), code.program.running():
        warnings.simplefilter("ignore")  # made an error, one would read as "not claimed"
        values = code.program.values(code.program.point)
        try:
            derivative(values, values)  # an abstract run would do, but custom_vjp refuses real ones only
        except Exception:  # a missing derivative is reported in several ways
            return False
    return True


def _cast(code: Code, options: Options, dtype: str) -> Target | None:
    """The target on leaves of another dtype, or None if it raises there or computes something else.

    Something else is: another dtype inside or outside, and other random numbers.
    """
    if dtype not in EPS or dtype == "longdouble":
        return None
    moved = _code(code.program.in_dtype(dtype))
    try:
        whole = _whole(moved.program)
        drawn = draws(whole)
        if drawn and drawn != draws(_whole(code.program)):
            return None
        if narrows(whole):
            moved = _code(replace(moved.program, widened=dtype == "float64"))
            if not moved.program.widened:
                return None
        outputs = _evaluate(moved, moved.program.point)
        if moved.program.widened:
            _linearize(moved, moved.program.point)[1]({})  # what cannot be rewritten says so here
        return _target(moved, options) if {*map(dtype_name, outputs.values())} == {dtype} else None
    except Exception:  # code of one dtype refuses others, and code that reads values cannot be traced
        return None


def _whole(program: Program) -> Any:
    """Forward and backward as one jaxpr."""

    def both(values: Values) -> Any:
        outputs, pullback = jax.vjp(partial(_outputs, program), values)
        return outputs, pullback(tree_util.tree_map(jax.numpy.ones_like, outputs))

    with program.running():
        return jax.make_jaxpr(both)(program.values(program.point))


def _precision_notes(program: Program, cast: Callable[[str], Target | None], inside: str | None) -> tuple[str, ...]:
    """What the reader has to know of the precision that the code ran in."""
    if inside is not None:
        said = (f"computes in {inside} on the way (a cast inside): the formula is judged in float64 where it runs "
                f"there, the rest by the roundings of {inside}")
        return (said,)
    coarse = {leaf.dtype for leaf in program.leaves.values()} != {"float64"}
    if jax.config.jax_enable_x64 or not coarse:
        return ()
    if cast("float64") is None:
        return ("jax_enable_x64 is off and no float64 run computes the same: judged in its own dtype alone",)
    return ("jax_enable_x64 is off: the formula is judged under scoped x64, the implementation in its own dtype",)
