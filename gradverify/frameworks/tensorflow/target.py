"""TensorFlow code as a target: forwards in a graph, taped pullbacks, tangents, and the same in another dtype."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import keras
import numpy as np

from gradverify.arrays import EPS, Arrays, dtype_name
from gradverify.frameworks.holding import Forward, Holding, Kept
from gradverify.frameworks.tensorflow.derivatives import Taped, Tensors, by_upstream, higher, outputs_of, push, tape
from gradverify.frameworks.tensorflow.operations import Operation, observable, stopping, watching
from gradverify.frameworks.tensorflow.program import Program, make_program
from gradverify.frameworks.tensorflow.reached import raw
from gradverify.frameworks.tensorflow.substitute import make_substitute
from gradverify.frameworks.tensorflow.tensors import dense, from_host, to_host64
from gradverify.frameworks.tensorflow.tracing import make_graph
from gradverify.records import Options
from gradverify.targets.orders import highest_order
from gradverify.targets.record import Perturb, Pullback, Target


def make_target(obj: Any, inputs: tuple[Any, ...], options: Options) -> Target:
    """The target of a TensorFlow function, a layer or model of Keras, a `tf.Module` or a method of one.

    Floating tensors anywhere in the inputs and keywords are leaves, and so are the trainable variables the
    code reaches: those of layers and modules, and those in its closure. A layer that is not built is called
    once. Raises what the first plain forward raises, and `TypeError` where there is nothing to check.
    """
    if isinstance(obj, keras.Layer) and keras.backend.backend() != "tensorflow":
        raise TypeError(f"target={obj.name}: Keras runs on {keras.backend.backend()} here; layers are checked on its "
                        "tensorflow backend: set the environment variable KERAS_BACKEND=tensorflow")
    program = make_program(obj, inputs, dict(options.kwargs or {}), options.seed)
    if not program.leaves:
        raise TypeError(f"nothing to check: {program.name} has no floating input and no trainable variable")
    return _target(_settled(program), options)


def _settled(program: Program) -> Program:
    """The program with `seeded` decided: whether two calls from the same state differ without it."""
    first, second = (_numbers(_evaluate(program, program.point)) for _ in range(2))
    same = all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)
    return program if same else replace(program, state=replace(program.state, seeded=True))


def _target(program: Program, options: Options) -> Target:
    point, outputs = program.point, _evaluate(program, program.point)
    names = [dtype_name(value) for value in [*program.leaves.values(), *outputs.values()]]
    products = partial(_higher, program)
    highest = highest_order(products, point, outputs, options.order)
    cast = cache(partial(_cast, program, options))
    return Target(
        name=program.name,
        point=point,
        dtype=max(names, key=EPS.__getitem__),
        forward=_forward(program, outputs),
        linearize=partial(_linearize, program),
        redrawn=lambda point, u: _pull_back(tape(program, program.values(point)), u, redraws=True),
        pushforward=_pushforward(program) if options.mode != "reverse" else None,
        higher=products if highest > 1 else None,
        highest=highest,
        by_upstream=partial(_by_upstream, program, outputs),
        cast=cast,
        substitute=partial(_substituted, program),
        holding=partial(_holding, program),
        findings=partial(_findings, program, cast),
    )


def _numbers(values: Tensors) -> Arrays:
    return {name: to_host64(value) for name, value in values.items()}


def _evaluate(program: Program, point: Arrays) -> Tensors:
    with program.running(program.values(point)) as sources:
        return outputs_of(program, sources)


def _forward(program: Program, outputs: Tensors) -> Callable[[Arrays], Arrays]:
    def placed(values: Tensors) -> Tensors:
        with program.placed(values) as own:
            return outputs_of(program, {**values, **own})

    run = _as_graph(program, placed, (program.values(program.point),), outputs)
    return lambda point: _numbers(run(program.values(point)))


def _as_graph(program: Program, function: Any, arguments: tuple[Tensors, ...], outputs: Tensors) -> Any:
    """The function from the same state each time, as a graph where that is possible.

    A graph cannot be given its random state, and changes nothing but variables.
    """
    def plainly(*given: Tensors) -> Tensors:
        with program.state.frozen():
            return function(*given)

    if program.state.seeded:
        return plainly
    with program.state.frozen():
        graph = make_graph(function, arguments, outputs, program.state.restore_variables)
    return graph or plainly


def _substituted(program: Program, function: Any, dtype: str | None) -> Callable[[Arrays], Arrays]:
    """The forward of `function` at points of `program`."""
    other, twins = make_substitute(program, function, dtype)
    other = replace(other, state=replace(other.state, seeded=program.state.seeded))
    forward = _forward(other, _evaluate(other, other.point))
    return lambda point: forward({name: point[twin] for name, twin in twins.items()})


def _holding(program: Program, function: Any) -> Holding | None:
    """The same with what `function` hands to `tf.stop_gradient` held."""
    other, twins = make_substitute(program, function, None)
    other = replace(other, state=replace(other.state, seeded=program.state.seeded))

    def forward(kept: Kept, point: Arrays) -> Arrays:
        with stopping(kept):
            return _numbers(_evaluate(other, {name: point[twin] for name, twin in twins.items()}))

    def at(base: Arrays) -> Forward:
        first = Kept()
        forward(first, base)
        return lambda point: forward(first.again(), point)

    kept = Kept()
    forward(kept, program.point)
    return at if kept.values else None


def _linearize(program: Program, point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
    """The outputs and `u -> J^T u`; `perturb` reaches every result kept on the way and what the tape holds."""
    taped = tape(program, program.values(point), perturb)
    return _numbers(taped.outputs), partial(_pull_back, taped)


def _pull_back(taped: Taped, u: Arrays, *, redraws: bool = False) -> Arrays:
    """``J^T u``; None where no output asked for depends on a leaf."""
    asked = {name: y for name, y in taped.outputs.items() if u.get(name) is not None}
    if not asked:
        return dict.fromkeys(taped.sources)
    seeds = {name: from_host(u[name], y.dtype, y.device) for name, y in asked.items()}
    found = taped.pull(seeds, redraws=redraws)
    return {name: None if g is None else dense(g) for name, g in found.items()}


def _pushforward(program: Program) -> Callable[[Arrays, Arrays], Arrays] | None:
    """``J v``, or None where TensorFlow has no forward mode for the code."""
    function = partial(push, program)
    values = program.values(program.point)
    try:
        with warnings.catch_warnings(), program.state.frozen():
            warnings.simplefilter("ignore")  # made an error, one would read as "not claimed"
            outputs = function(values, values)
    except Exception:  # a missing derivative is reported in many ways
        return None
    run = _as_graph(program, function, (values, values), outputs)
    return lambda point, v: _numbers(run(program.values(point), _tangents(program, v)))


def _tangents(program: Program, v: Arrays) -> Tensors:
    """The tangents of all leaves; one without a tangent stands still."""
    return program.values({name: v.get(name, np.zeros(tuple(x.shape))) for name, x in program.leaves.items()})


def _higher(program: Program, point: Arrays, u: Arrays, directions: Sequence[Arrays]) -> Arrays:
    found = higher(program, program.values(point), u, [_tangents(program, v) for v in directions])
    return {name: None if h is None else dense(h) for name, h in found.items()}


def _by_upstream(program: Program, outputs: Tensors, point: Arrays, v: Arrays) -> Arrays:
    found = by_upstream(program, program.values(point), _tangents(program, v))
    return {name: np.zeros(tuple(y.shape)) if found[name] is None else dense(found[name])
            for name, y in outputs.items()}


def _cast(program: Program, options: Options, dtype: str) -> Target | None:
    """The target on leaves of another dtype, or None if it raises there or computes something else.

    Something else is: another dtype inside or outside, and other random numbers.
    """
    if dtype not in EPS or dtype == "longdouble" or not observable:
        return None
    moved = program.in_dtype(dtype)
    try:
        with watching() as seen:
            outputs = _evaluate(moved, moved.point)
        changed = any(operation.narrows or operation.draws for operation in seen)
        return _target(moved, options) if not changed and {*map(dtype_name, outputs.values())} == {dtype} else None
    except Exception:  # code of one dtype refuses others in its own way
        return None


def _findings(program: Program, cast: Callable[[str], Target | None]) -> tuple[str, ...]:
    """What the reader has to know of how the code was run, and why a gradient is None."""
    coarse = {dtype_name(leaf) for leaf in program.leaves.values()} != {"float64"}
    alone = coarse and not program.dtype and cast("float64") is None
    notes = ("no float64 run computes the same: judged in its own dtype alone",) if alone else ()
    return (*program.notes, *notes, *_unconnected(program))


def _unconnected(program: Program) -> tuple[str, ...]:
    """A word on every leaf without a gradient: what TensorFlow has recorded of it."""
    with watching() as seen:
        taped = tape(program, program.values(program.point))
    missing = [name for name, g in _pull_back(taped, _numbers(taped.outputs)).items() if g is None]
    return tuple(_why(name, taped.sources[name], seen) for name in missing)


def _why(name: str, source: Any, seen: list[Operation]) -> str:
    readers = sorted({op.kind for op in seen if id(source) in op.inputs or id(raw(source)) in op.inputs})
    if not readers:
        return f"{name}: its gradient is None: no TensorFlow operation reads it; is it unused, or read by .numpy()?"
    return (f"{name}: its gradient is None: no recorded way leads from it to the outputs; it is read by "
            f"{', '.join(readers)}, and integer casts, rounding, tf.stop_gradient and .numpy() end the way")
