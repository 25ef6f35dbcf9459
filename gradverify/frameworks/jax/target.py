"""JAX code as a target: eager forwards, `jax.vjp` with its residuals in reach, `jax.jvp`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax import tree_util

from gradverify.arrays import EPS, Arrays, dtype_name
from gradverify.frameworks.jax.leaves import floating, from_host, numeric, refuse_complex, to_host, to_host64
from gradverify.frameworks.jax.narrowing import draws, narrows
from gradverify.frameworks.jax.program import Program, make_program, make_tree
from gradverify.frameworks.jax.substitute import make_substitute
from gradverify.records import Options
from gradverify.targets.gradients import WrongClaim
from gradverify.targets.record import Perturb, Pullback, Target


def make_target(obj: Any, inputs: tuple[Any, ...], options: Options) -> Target:
    """The target of a JAX function, a `custom_vjp` or `custom_jvp` one, a module or a method of one.

    Floating arrays anywhere in the inputs and keywords are leaves, Python floats among the inputs
    too where the code can be differentiated by them, and the floating arrays of the object itself
    if it is a pytree. Raises what the first plain forward raises, and `TypeError` where there is
    nothing to check or an array is complex.
    """
    kwargs = dict(options.kwargs or {})
    program = make_program(obj, inputs, kwargs)
    if not program.leaves:
        raise TypeError(f"nothing to check: {program.name} has no floating input and no parameter")
    arrays = make_program(obj, inputs, kwargs, numbers=False)
    if {} != arrays.leaves != program.leaves and not _linearizes(program):
        program = arrays
    return _target(program, options)


def _linearizes(program: Program) -> bool:
    """Whether the code takes all leaves as traced values; a static argument does not."""
    try:
        _linearize(program, program.point)
    except Exception:  # what is wrong for another reason will be raised again, or reported
        return False
    return True


def _target(program: Program, options: Options) -> Target:
    point = program.point
    outputs = _evaluate(program, point)
    forward_mode, second = partial(_pushforward, program), _hessian(program, options)
    names = [*(leaf.dtype for leaf in program.leaves.values()), *map(dtype_name, outputs.values())]
    cast = cache(partial(_cast, program, options))
    return Target(
        name=program.name,
        point=point,
        dtype=max(names, key=EPS.__getitem__),
        forward=partial(_forward, program),
        linearize=partial(_linearize, program),
        pushforward=forward_mode if options.mode != "reverse" and _works(forward_mode, point) else None,
        hessian_product=second,
        cast=cast,
        substitute=partial(_substituted, program),
        findings=partial(_precision_notes, program, cast),
    )


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


def _outputs(program: Program, values: Mapping[str, Any]) -> dict[str, Any]:
    result = program.call(values)
    found = {path: y for path, y in make_tree(result, "out").values.items() if numeric(y)}
    for path, y in found.items():
        refuse_complex(path, y)
    outputs = {path: y for path, y in found.items() if floating(y)}
    if not outputs:
        kinds = ", ".join(f"{path} is {dtype_name(y)}" for path, y in found.items())
        what = kinds or f"it returns {type(result).__name__}, not an array"
        raise TypeError(f"nothing to check: {program.name} has no floating output ({what})")
    return outputs


def _evaluate(program: Program, point: Arrays) -> dict[str, Any]:
    with program.running():
        return _outputs(program, program.values(point))


def _forward(program: Program, point: Arrays) -> Arrays:
    return {name: to_host64(y) for name, y in _evaluate(program, point).items()}


def _substituted(program: Program, function: Any, dtype: str | None) -> Callable[[Arrays], Arrays]:
    """The forward of `function` at points of `program`."""
    other, twins = make_substitute(program, function, dtype)
    return lambda point: _forward(other, {name: point[twin] for name, twin in twins.items()})


def _linearize(program: Program, point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
    """The outputs and `u -> J^T u`; `perturb` reaches every floating leaf that the pullback holds."""
    with _running(program):
        outputs, pullback = jax.vjp(partial(_outputs, program), program.values(point))
        if perturb is not None:
            pullback = tree_util.tree_map(partial(_moved, perturb), pullback)
        values = {name: to_host64(y) for name, y in outputs.items()}
    dtypes = {name: dtype_name(y) for name, y in outputs.items()}
    return values, partial(_pull_back, program, pullback, values, dtypes)


def _moved(perturb: Perturb, residual: Any) -> Any:
    if not floating(residual):
        return residual
    place = residual.sharding if getattr(residual, "committed", False) else None
    return from_host(perturb(to_host(residual)), dtype_name(residual), place)


def _pull_back(
    program: Program, pullback: Any, values: Arrays, dtypes: Mapping[str, str], u: Arrays
) -> Arrays:
    """``J^T u``; an output without a cotangent counts as zero."""
    asked = {name: u[name] if u.get(name) is not None else np.zeros_like(y) for name, y in values.items()}
    with _running(program):
        (grads,) = pullback({name: from_host(du, dtypes[name]) for name, du in asked.items()})
        return {name: to_host64(g) for name, g in grads.items()}


def _tangents(program: Program, v: Arrays) -> dict[str, Any]:
    """The directions in the leaves' own dtypes; a leaf without one stands still."""
    full = {name: v.get(name, np.zeros_like(leaf.host)) for name, leaf in program.leaves.items()}
    return program.values(full)


def _pushforward(program: Program, point: Arrays, v: Arrays) -> Arrays:
    """``J v`` by `jax.jvp`."""
    with _running(program):
        primals, tangents = program.values(point), _tangents(program, v)
        _, pushed = jax.jvp(partial(_outputs, program), (primals,), (tangents,))
        return {name: to_host64(dy) for name, dy in pushed.items()}


def _gradient(program: Program, values: Mapping[str, Any]) -> Any:
    """The gradient of the only output, as something to differentiate again."""
    outputs, pullback = jax.vjp(partial(_outputs, program), values)
    ((name, y),) = outputs.items()
    return pullback({name: jax.numpy.ones_like(y)})[0]


def _forward_over_reverse(program: Program, point: Arrays, v: Arrays) -> Arrays:
    """``H v`` of a scalar output: the derivative along v of its gradient."""
    with _running(program):
        values, tangents = program.values(point), _tangents(program, v)
        _, product = jax.jvp(partial(_gradient, program), (values,), (tangents,))
        return {name: to_host64(h) for name, h in product.items()}


def _reverse_over_reverse(program: Program, point: Arrays, v: Arrays) -> Arrays:
    """``H v = H^T v`` of a scalar output, where its backward pass has no forward mode."""
    with _running(program):
        gradient, pullback = jax.vjp(partial(_gradient, program), program.values(point))
        tangents = _tangents(program, v)
        u = {name: from_host(tangents[name], dtype_name(g)) for name, g in gradient.items()}
        return {name: to_host64(h) for name, h in pullback(u)[0].items()}


def _hessian(program: Program, options: Options) -> Any:
    """The first way to second derivatives that works, or None where none is asked for or there is none."""
    if options.order < 2 or any(y.size != 1 for y in _evaluate(program, program.point).values()):
        return None
    ways = [partial(way, program) for way in (_forward_over_reverse, _reverse_over_reverse)]
    return next((way for way in ways if _works(way, program.point)), None)


def _works(derivative: Callable[[Arrays, Arrays], Arrays], point: Arrays) -> bool:
    """Whether one call at the point answers: a `custom_vjp` has no forward mode, and need not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # made an error, one would read as "not claimed"
            derivative(point, {name: np.ones_like(x) for name, x in point.items()})
    except Exception:  # a missing derivative is reported in several ways
        return False
    return True


def _cast(program: Program, options: Options, dtype: str) -> Target | None:
    """The target on leaves of another dtype, or None if it raises there or computes something else.

    Something else is: another dtype inside or outside, and other random numbers.
    """
    if dtype not in EPS or dtype == "longdouble":
        return None
    moved = program.in_dtype(dtype)
    try:
        here, there = _trace(program), _trace(moved)
        outputs = _evaluate(moved, moved.point)
        if narrows(there) or draws(here) != draws(there) or {*map(dtype_name, outputs.values())} != {dtype}:
            return None
        return _target(moved, options)
    except Exception:  # code of one dtype refuses others, and code that reads values cannot be traced
        return None


def _trace(program: Program) -> Any:
    """Forward and backward as a jaxpr."""
    def both(values: Mapping[str, Any]) -> Any:
        outputs, pullback = jax.vjp(partial(_outputs, program), values)
        return outputs, pullback(tree_util.tree_map(jax.numpy.ones_like, outputs))

    with program.running():
        return jax.make_jaxpr(both)(program.values(program.point))


def _precision_notes(program: Program, cast: Callable[[str], Target | None]) -> tuple[str, ...]:
    """What the reader has to know of the precision that the code ran in."""
    coarse = {leaf.dtype for leaf in program.leaves.values()} != {"float64"}
    if jax.config.jax_enable_x64 or not coarse:
        return ()
    if cast("float64") is None:
        return ("jax_enable_x64 is off, and the code does not run in float64: judged in its own dtype alone",)
    return ("jax_enable_x64 is off: the formula is judged under scoped x64, the implementation in its own dtype",)
