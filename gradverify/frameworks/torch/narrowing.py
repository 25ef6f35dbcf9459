"""What code does inside, seen operator by operator: coarser dtypes, operators that are not PyTorch's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradverify.arrays import EPS
from gradverify.frameworks.torch.tensors import floating, real_name


def uncompiled(_mode: type) -> bool:
    """Whether a mode asks for PyTorch's compiler, which would be loaded at its first use: that takes seconds."""
    return False


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that the compiler leaves alone where compiled code calls it back."""
    if "torch._dynamo" not in sys.modules:
        return function
    left_alone: Callable[..., Any] = torch.compiler.disable(function)
    return left_alone


@contextmanager
def uncompiling() -> Iterator[None]:
    """Compiled code runs as it is written: under a mode the compiler would trace the mode's own code too."""
    stance = getattr(torch.compiler, "set_stance", None)
    if "torch._dynamo" not in sys.modules or stance is None:
        yield
        return
    with stance("force_eager"):
        yield


class Narrowing(TorchDispatchMode):
    """Has `seen` an operation turn floating numbers into ones of a coarser dtype.

    ``x.float()`` ... ``.to(x.dtype)`` is how half-precision layers are written: on float64 inputs
    they answer in float64, with the error of float32. Constants made in float32 do no such harm.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    _should_skip_dynamo: Any = classmethod(uncompiled)

    def __torch_dispatch__(
        self, func: Callable[..., Any], _types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        before = [EPS[real_name(t)] for t in tree_leaves(args) if floating(t)]
        after = [EPS[real_name(t)] for t in tree_leaves(result) if floating(t)]
        self.seen = self.seen or bool(before and after and min(before) < max(after))
        return result


class Operators(TorchDispatchMode):
    """Has `seen` the operators of other libraries that were called: ``{"mylib.cube.default"}``.

    Never around dual numbers: PyTorch 2.13 crashes where a tangent known to be zero meets such a mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    _should_skip_dynamo: Any = classmethod(uncompiled)

    def __torch_dispatch__(
        self, func: Any, _types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.namespace not in ("aten", "prim", "prims"):
            self.seen.add(str(func))
        return func(*args, **(kwargs or {}))
