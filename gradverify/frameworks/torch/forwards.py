"""Plain forwards of PyTorch code: at any point, along a line, each from the same random state and leaving no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradverify.arrays import EPS, Arrays, dtype_name, flatten
from gradverify.frameworks.torch.complexparts import joined, parted, split
from gradverify.frameworks.torch.narrowing import Narrowing, uncompiling
from gradverify.frameworks.torch.program import Program, Tensors
from gradverify.frameworks.torch.state import frozen
from gradverify.frameworks.torch.tensors import (
    floating,
    from_host,
    host_strides,
    real_name,
    refuse_unsupported,
    relaid,
    seen_from_host,
    to_host,
    to_host64,
    unmoved,
)
from gradverify.frameworks.torch.widening import widened


def point_of(program: Program) -> Arrays:
    """The leaves as arrays of the host."""
    return {name: seen_from_host(x) for name, x in split({n: program.tensors[n] for n in program.leaves}).items()}


def settled(program: Program) -> tuple[Program, Tensors, Narrowing]:
    """The program with `graph` decided, its outputs, and what it narrows.

    Plain forwards stay unrecorded if that changes no bit.
    """
    with uncompiling(), Narrowing() as watch:
        program, outputs = _differentiable(program)
    if watch.coarsest is None:
        program = replace(program, spacing=max(EPS[real_name(program.tensors[name])] for name in program.leaves))
    try:
        plain = evaluate(program, point_of(program))
    except Exception:  # code that differentiates inside raises what it likes
        return replace(program, graph=True), outputs, watch
    same = outputs.keys() == plain.keys() and all(_same_bits(plain[name], outputs[name]) for name in outputs)
    return (program if same else replace(program, graph=True)), outputs, watch


def _differentiable(program: Program) -> tuple[Program, Tensors]:
    """The program without the leaves that its operators do not differentiate by (the weights of a loss), recorded.

    PyTorch says so by raising as soon as such a leaf asks for a gradient.
    """
    try:
        return program, _record(program)
    except RuntimeError as error:
        if not _refuses_leaf(error):
            raise
        able = tuple(name for name in program.leaves if _records(program, name))
        if not able:
            raise
        part = replace(program, leaves=able)
        return part, _record(part)


def _record(program: Program) -> Tensors:
    return evaluate(replace(program, graph=True), point_of(program))


def _records(program: Program, leaf: str) -> bool:
    try:
        _record(replace(program, leaves=(leaf,)))
    except RuntimeError as error:
        return not _refuses_leaf(error)
    except Exception:  # raised again where it is not in the way
        return True
    return True


def _refuses_leaf(error: RuntimeError) -> bool:
    return "not differentiable with respect to" in str(error)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and np.array_equal(to_host(a), to_host(b), equal_nan=True)


@contextmanager
def running(program: Program, *, graph: bool, states: Sequence[Any] | None = None) -> Iterator[None]:
    """The user's code runs here: in a mode of its own, from one seed or what a forward left, leaving no trace."""
    # set_grad_enabled acts when it is made: made before the other is entered, that would put back what it set.
    calm = frozen(program.seed, program.undos, states)
    with torch.inference_mode(mode=False), torch.set_grad_enabled(graph), calm, widened(on=program.widened):
        yield


def make_leaves(program: Program, point: Mapping[str, Any]) -> Tensors:
    """New tensors with the numbers of a point."""
    kept = split({name: program.tensors[name] for name in program.leaves})
    return {name: from_host(point[name], t.dtype, t.device, _layout(point[name], t)) for name, t in kept.items()}


def _layout(array: Any, kept: Tensor) -> Sequence[int]:
    """The strides of the user's tensor; of an array in another order, as whoever tries layouts gives it, its own."""
    host = np.asarray(array)
    return kept.stride() if host.flags.c_contiguous or not kept.is_contiguous() else host_strides(host)


def given_to(program: Program, leaves: Tensors) -> Tensors:
    """What the code is called on: copies of inputs and constants, which it may write to; with the user's hooks."""
    constants = {n: t.clone() for n, t in program.tensors.items() if n not in program.leaves}
    whole = {n: joined(n, program.tensors[n], leaves) for n in program.leaves}
    copied = program.inputs & leaves.keys()
    writable = {n: relaid(t) if n in copied and t.requires_grad else t for n, t in whole.items()}
    program.hooks.register(writable)
    return {**constants, **writable}


def outputs_of(program: Program, given: Tensors) -> Tensors:
    """The floating outputs by path, complex ones in parts."""
    result = program.within(given, partial(program.call, given))
    found = {path: y for path, y in flatten(result, "out")[0].items() if isinstance(y, Tensor)}
    for path, y in found.items():
        refuse_unsupported(path, y)
    outputs = {path: y for path, y in found.items() if floating(y)}
    if not outputs:
        kinds = ", ".join(f"{path} is {dtype_name(y)}" for path, y in found.items())
        what = kinds or f"it returns {type(result).__name__}, not a tensor"
        raise TypeError(f"nothing to check: {program.name} has no floating output ({what})")
    return parted(outputs)


def evaluate(program: Program, point: Arrays) -> Tensors:
    """The outputs at a point, recorded if the program has to be."""
    with running(program, graph=program.graph):
        leaves = make_leaves(program, point)
        for leaf in leaves.values():
            leaf.requires_grad_(program.graph)
        return outputs_of(program, given_to(program, leaves))


def line(program: Program, point: Arrays, v: Arrays) -> Callable[[float], Arrays] | None:
    """``t -> f(x + t v)``, every leaf written in its place: those that stand still too, for code may write to them."""
    kept = split({name: program.tensors[name] for name in program.leaves})
    plain = all(t.device.type == "cpu" and t.is_contiguous() and t.dtype in _STEPPED for t in kept.values())
    if program.graph or not plain:
        return None
    leaves = {name: from_host(point[name], t.dtype, t.device, t.stride()) for name, t in kept.items()}
    ways = {n: (unmoved(point[n], kept[n]), torch.as_tensor(np.asarray(v[n])) if n in v else None) for n in leaves}

    def outputs(t: float) -> Arrays:
        with running(program, graph=False):
            for name, (start, way) in ways.items():
                _move(leaves[name], start, way, t)
            return {name: to_host64(y) for name, y in outputs_of(program, given_to(program, leaves)).items()}

    return outputs


def _move(x: Tensor, start: Tensor, way: Tensor | None, t: float) -> None:
    if way is None:
        x.copy_(start)
    elif x.dtype == torch.float64:
        torch.add(start, way, alpha=t, out=x)
    else:
        x.copy_(start.double() + t * way.double())


_STEPPED = (torch.float64, torch.float32)  # which `copy_` rounds to once


def forward(program: Program, point: Arrays) -> Arrays:
    """The outputs at a point, on the host."""
    return {name: to_host64(y) for name, y in evaluate(program, point).items()}
