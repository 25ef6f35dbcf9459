"""A forward in PyTorch with what it detaches held as it was at one point."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_any, tree_map

from gradverify.arrays import Arrays
from gradverify.frameworks.holding import Forward, Holding, Kept
from gradverify.frameworks.torch.forwards import evaluate, forward, point_of
from gradverify.frameworks.torch.narrowing import uncompiling
from gradverify.frameworks.torch.program import Program
from gradverify.frameworks.torch.tensors import floating


class Detached(TorchFunctionMode):
    """Hands every number to `kept` that comes without a graph from a tensor with one: by ``detach``, `no_grad`."""

    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self.kept = kept

    def __torch_function__(
        self, func: Any, _types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        asks = tree_any(_asks, (args, kwargs))  # before: ``detach_`` answers with its argument
        result = func(*args, **(kwargs or {}))
        if func in _DETACHING and torch._C._functorch.peek_interpreter_stack() is not None:  # noqa: SLF001
            raise TypeError("surrogate=: detach inside a transformation of torch.func cannot be held; write it "
                            "outside, or give the function whose plain derivative is meant")
        if not asks or not tree_any(_is_constant, result) or _in_custom_function():
            return result
        return tree_map(lambda y: self._held(y, args[0] if args else None) if _is_constant(y) else y, result)

    def _held(self, y: Any, own: Any) -> Any:
        if not isinstance(y, Tensor):
            return self.kept(y)
        held = self.kept(y.detach().clone()).to(y.dtype)
        return y.copy_(held) if y is own else held.clone()


_DETACHING = (torch.detach, torch.detach_, Tensor.detach, Tensor.detach_, Tensor.data.__get__)


def _asks(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _is_constant(y: Any) -> bool:
    return isinstance(y, float) or (floating(y) and not y.requires_grad)


def _in_custom_function() -> bool:
    """Whether a custom Function runs its forward, where nothing is recorded and its result has a graph all the same."""
    frame, code = sys._getframe(), torch.autograd.Function.apply.__func__.__code__  # noqa: SLF001
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is code:
            return True
    return False


def holding(program: Program) -> Holding | None:
    """``base -> forward`` with what is detached held as at `base`; None for code that detaches nothing.

    And for code of which no output has a graph: its values alone say what is meant.
    """
    kept = Kept()
    outputs = evaluate(_watched(program, kept), point_of(program))
    if not kept.values or not any(y.requires_grad for y in outputs.values()):
        return None

    def at(base: Arrays) -> Forward:
        first = Kept()
        forward(_watched(program, first), base)
        return lambda point: forward(_watched(program, first.again()), point)

    return at


def _watched(program: Program, kept: Kept) -> Program:
    return replace(program, graph=True, call=partial(_called, program.call, kept))


def _called(call: Any, kept: Kept, given: Mapping[str, Tensor]) -> Any:
    with uncompiling(), Detached(kept):
        return call(given)
