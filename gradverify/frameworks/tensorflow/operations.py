"""Every operation that TensorFlow executes, seen or rounded once more on its way.

All eager operations go through one function of TensorFlow's extension module, and all their gradients
through another; both are replaced for the length of a `with`. These are no public names: where a version
of TensorFlow lacks them, operations stay unseen, residuals unmoved, and `observable` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from gradverify.arrays import EPS, dtype_name
from gradverify.frameworks.tensorflow.tensors import floating, from_host, to_host
from gradverify.targets.record import Perturb

try:
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import backprop, record

    _EXECUTE, _GRADIENT = "TFE_Py_FastPathExecute", backprop._gradient_function  # noqa: SLF001 - see above
    observable = all(hasattr(pywrap_tfe, name) for name in (_EXECUTE, "TFE_Py_RegisterGradientFunction"))
except (ImportError, AttributeError):
    observable = False

# These move, choose or convert numbers and round none. To perturb what `Floor` answers would be to
# send an index to its neighbour, not to round. Random draws are compared with rates.
EXACT = frozenset("""
    Abs BatchToSpaceND Bitcast BroadcastTo Cast Ceil ClipByValue ConcatV2 Const DepthToSpace DiagPart DynamicPartition
    DynamicStitch EnsureShape ExpandDims ExtractImagePatches Fill Floor GatherNd GatherV2 Identity IdentityN Max
    MaxPool MaxPool3D Maximum MatrixBandPart MatrixDiagPartV3 MatrixDiagV3 MatrixSetDiagV3 Min Minimum MirrorPad Neg
    OnesLike Pack Pad PadV2 PreventGradient RandomStandardNormal RandomUniform Range ReadVariableOp Real Relu
    Relu6 Reshape ResourceGather ReverseV2 Rint Roll Round Select SelectV2 Shape Sign Slice SpaceToBatchND
    SpaceToDepth Split SplitV Squeeze StatelessRandomNormalV2 StatelessRandomUniformV2 StatelessTruncatedNormalV2
    StopGradient StridedSlice TensorScatterUpdate Tile TopKV2 Transpose TruncatedNormal Unpack Where ZerosLike
""".split())
_ARITHMETIC = frozenset(("Add", "AddV2", "Mul", "Sub"))
_RANDOM = ("Random", "Normal", "Multinomial", "Shuffle")


@dataclass(frozen=True)
class Operation:
    """One operation that was executed: its type, the ids of its inputs, and the floating dtypes in and out."""

    kind: str
    inputs: tuple[int, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def narrows(self) -> bool:
        """Whether floating numbers come out in a coarser dtype than they went in with.

        ``tf.cast(x, tf.float32)`` ... ``tf.cast(y, x.dtype)`` is how half-precision layers are written:
        on float64 inputs they answer in float64, with the error of float32.
        """
        return bool(self.before and self.after) and min(map(_eps, self.before)) < max(map(_eps, self.after))

    @property
    def draws(self) -> bool:
        """Whether it draws floating random numbers: other ones in every dtype."""
        return any(part in self.kind for part in _RANDOM) and bool(self.after)


def _eps(dtype: str) -> float:
    return EPS[dtype]


@contextmanager
def op_by_op() -> Iterator[None]:
    """Code inside `tf.function` runs as plain Python here, so that its operations can be seen."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextmanager
def watching() -> Iterator[list[Operation]]:
    """Yields the list of the operations executed inside."""
    found: list[Operation] = []

    def seen(execute: Callable[..., Any], *arguments: Any) -> Any:
        result = execute(*arguments)
        tensors = [t for t in _flat(arguments[3:]) if isinstance(t, tf.Tensor | tf.Variable)]
        ids = tuple(map(id, tensors))
        found.append(Operation(arguments[1], ids, _dtypes(tensors), _dtypes(_flat([result]))))
        return result

    with op_by_op(), _executing(seen):
        yield found


@contextmanager
def rounding(perturb: Perturb) -> Iterator[None]:
    """The result of every operation that rounds is perturbed, for those after it and for closures that keep it."""

    def moved(execute: Callable[..., Any], *arguments: Any) -> Any:
        result = execute(*arguments)
        if arguments[1] in EXACT or _counts(arguments):
            return result
        if isinstance(result, (list, tuple)):
            return type(result)(_step(perturb, y) for y in result)
        return _step(perturb, result)

    with op_by_op(), _executing(moved):
        yield


@contextmanager
def stopping(kept: Callable[[Any], Any]) -> Iterator[None]:
    """What code hands to `tf.stop_gradient` goes through `kept`."""

    def seen(execute: Callable[..., Any], *arguments: Any) -> Any:
        result = execute(*arguments)
        return kept(result) if arguments[1] == "StopGradient" else result

    with op_by_op(), _executing(seen):
        yield


def _counts(arguments: tuple[Any, ...]) -> bool:
    """Whether whole numbers are added or multiplied: loops count in floating numbers, and that rounds nothing."""
    numbers = [tensor for tensor in _flat(arguments[3:]) if floating(tensor)]
    return arguments[1] in _ARITHMETIC and all(np.all(np.mod(to_host(number), 1) == 0) for number in numbers)


def _step(perturb: Perturb, y: Any) -> Any:
    """The tensor with its values perturbed; to the tape an identity."""
    other = _moved(perturb, y)
    if other is not y:
        record.record_operation("Rounding", [other], [y], lambda dy: [dy])
    return other


@contextmanager
def rounded_residuals(perturb: Perturb) -> Iterator[None]:
    """Gradients of operations are given the inputs and outputs that the tape kept for them perturbed."""
    if not observable:
        yield
        return

    def gradient(name: str, attributes: Any, count: int, inputs: Any, outputs: Any, *rest: Any) -> Any:
        kept = [None if group is None else [_moved(perturb, t) for t in group] for group in (inputs, outputs)]
        return _GRADIENT(name, attributes, count, *kept, *rest)

    pywrap_tfe.TFE_Py_RegisterGradientFunction(gradient)
    try:
        yield
    finally:
        pywrap_tfe.TFE_Py_RegisterGradientFunction(_GRADIENT)


def _moved(perturb: Perturb, tensor: Any) -> Any:
    if not floating(tensor):
        return tensor
    return from_host(perturb(to_host(tensor)), tensor.dtype, tensor.device)


@contextmanager
def _executing(around: Callable[..., Any]) -> Iterator[None]:
    """`around(execute, *arguments)` stands in place of each execution; what it executes itself passes."""
    if not observable:
        yield
        return
    before = getattr(pywrap_tfe, _EXECUTE)

    def execute(*arguments: Any) -> Any:
        setattr(pywrap_tfe, _EXECUTE, before)
        try:
            return around(before, *arguments)
        finally:
            setattr(pywrap_tfe, _EXECUTE, execute)

    setattr(pywrap_tfe, _EXECUTE, execute)
    try:
        yield
    finally:
        setattr(pywrap_tfe, _EXECUTE, before)


def _flat(values: Any) -> list[Any]:
    parts = [_flat(value) if isinstance(value, (list, tuple)) else [value] for value in values]
    return [part for group in parts for part in group]


def _dtypes(values: list[Any]) -> tuple[str, ...]:
    return tuple(dtype_name(value) for value in values if floating(value))
