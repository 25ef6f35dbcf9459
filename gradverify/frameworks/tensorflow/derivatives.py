"""What TensorFlow computes: outputs, taped pullbacks, accumulated tangents and Hessian products, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from gradverify.arrays import dtype_name, flatten
from gradverify.frameworks.tensorflow.operations import rounded_residuals, rounding
from gradverify.frameworks.tensorflow.program import Program
from gradverify.frameworks.tensorflow.tensors import floating, is_tensor, split
from gradverify.targets.record import Perturb

Tensors = dict[str, Any]
Given = Mapping[str, Any]


def outputs_of(program: Program, sources: Given) -> Tensors:
    """The floating outputs by path; raises `TypeError` for code that has none."""
    result = program.call(program.given(sources))
    found = {path: _as_output(y) for path, y in flatten(result, "out")[0].items()}
    parts = {name: part for path, y in found.items() if is_tensor(y) for name, part in split(path, y).items()}
    outputs = {name: part for name, part in parts.items() if floating(part)}
    if not outputs:
        kinds = ", ".join(f"{name} is {dtype_name(y)}" for name, y in parts.items())
        what = kinds or f"it returns {type(result).__name__}, not a tensor"
        raise TypeError(f"nothing to check: {program.name} has no floating output ({what})")
    return outputs


def _as_output(value: Any) -> Any:
    """Variables as tensors; of a sparse or ragged tensor its values."""
    if isinstance(value, (tf.SparseTensor, tf.IndexedSlices)):
        return value.values
    if isinstance(value, tf.RaggedTensor):
        return value.flat_values
    return tf.convert_to_tensor(value) if isinstance(value, (tf.Variable, keras.Variable)) else value


@dataclass(frozen=True)
class Taped:
    """A recorded forward: what it was run at, what its gradients are taken of, and its outputs."""

    program: Program
    values: Tensors
    sources: Tensors
    tape: tf.GradientTape
    outputs: Tensors
    perturb: Perturb | None

    def pull(self, seeds: Given, *, redraws: bool = False) -> Tensors:
        """``J^T u`` of the outputs that have a seed, the variables as in the forward: recomputed code reads them.

        Random numbers are others than the forward's, unless it `redraws` them.
        """
        moved = nullcontext() if self.perturb is None else rounded_residuals(self.perturb)
        with self.program.running(self.values, again=not redraws), moved:
            found = self.tape.gradient([self.outputs[name] for name in seeds], list(self.sources.values()),
                                       output_gradients=list(seeds.values()))
        return dict(zip(self.sources, found, strict=True))


def tape(program: Program, values: Tensors, perturb: Perturb | None = None) -> Taped:
    """A recorded forward; `perturb` reaches every result kept on the way and what the tape holds."""
    moved = nullcontext() if perturb is None else rounding(perturb)
    with program.running(values) as sources, moved, tf.GradientTape(persistent=True) as recorder:
        recorder.watch(list(sources.values()))
        outputs = outputs_of(program, sources)
    return Taped(program, values, sources, recorder, outputs, perturb)


def push(program: Program, values: Given, tangents: Given) -> Tensors:
    """``J v`` by a `ForwardAccumulator`; `TypeError` where it answers None for all outputs: it has no rule there."""
    with program.placed(values) as own:
        sources = {name: own.get(name, value) for name, value in values.items()}
        with tf.autodiff.ForwardAccumulator(list(sources.values()), list(tangents.values())) as accumulator:
            outputs = outputs_of(program, sources)
        slopes = {name: accumulator.jvp(y) for name, y in outputs.items()}
    if all(slope is None for slope in slopes.values()):
        raise TypeError(f"{program.name}: TensorFlow has no forward mode for it")
    return {name: tf.zeros_like(y) if slopes[name] is None else tf.convert_to_tensor(slopes[name])
            for name, y in outputs.items()}


def higher(program: Program, values: Given, u: Given, directions: Sequence[Given]) -> Tensors:
    """``<u, f>`` differentiated along each direction and then by the leaves, one tape inside another."""
    def slope(sources: Given) -> list[Any]:
        return _products(outputs_of(program, sources), u)

    with program.running(values) as sources:
        for v in directions:
            slope = partial(_slope_along, slope, v)
        return _taped_gradient(slope, sources)


def by_upstream(program: Program, values: Given, v: Given) -> Tensors:
    """``<J^T u, v>`` differentiated by u: J v by a tape around the backward pass; None where u does not reach it."""
    with program.running(values) as sources, tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(list(sources.values()))
            outputs = outputs_of(program, sources)
        seeds = {name: tf.ones_like(y) for name, y in outputs.items()}
        outer.watch(list(seeds.values()))
        found = inner.gradient(list(outputs.values()), list(sources.values()), output_gradients=list(seeds.values()))
        terms = _products(dict(zip(sources, found, strict=True)), v)
    return dict(zip(seeds, outer.gradient(terms, list(seeds.values())) if terms else [None] * len(seeds), strict=True))


def _taped_gradient(slope: Callable[[Given], list[Any]], sources: Given) -> Tensors:
    kept = list(sources.values())
    with tf.GradientTape() as recorder:
        recorder.watch(kept)
        terms = slope(sources)
    return dict(zip(sources, recorder.gradient(terms, kept) if terms else [None] * len(kept), strict=True))


def _slope_along(slope: Callable[[Given], list[Any]], v: Given, sources: Given) -> list[Any]:
    return _products(_taped_gradient(slope, sources), v)


def _products(tensors: Given, seeds: Given) -> list[Any]:
    """``<seed, y>`` for each tensor that has a seed."""
    live = {name: tf.convert_to_tensor(y) for name, y in tensors.items() if y is not None and name in seeds}
    return [tf.reduce_sum(y * tf.cast(seeds[name], y.dtype)) for name, y in live.items()]
