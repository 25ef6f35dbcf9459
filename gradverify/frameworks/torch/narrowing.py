"""What code does inside, seen operator by operator: coarser dtypes, operators that are not PyTorch's."""

from __future__ import annotations

import sys
import weakref
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
    """Has `seen` an operation turn floating numbers into ones of a coarser dtype, and the `coarsest` of those.

    ``x.float()`` ... ``.to(x.dtype)`` is how half-precision layers are written: on float64 inputs
    they answer in float64, with the error of float32. Constants made in float32 do no such harm. The `coarsest` is
    looked for among what depends on a tensor that asks for a gradient, and is no dtype where nothing was narrowed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = False
        self.coarsest: str | None = None
        self._moving: dict[int, weakref.ref[Any]] = {}  # by identity: tensors compare by their numbers

    _should_skip_dynamo: Any = classmethod(uncompiled)

    def __torch_dispatch__(
        self, func: Callable[..., Any], _types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given, made = [[t for t in tree_leaves(x) if floating(t)] for x in (args, result)]
        narrower = [t for t in made if given and EPS[real_name(t)] > min(EPS[real_name(g)] for g in given)]
        self.seen = self.seen or bool(narrower)
        moving = [t for t in given if t.requires_grad or self._is_moving(t)]
        if moving:
            self._moving.update((id(t), weakref.ref(t)) for t in made)
            finest = min(EPS[real_name(t)] for t in moving)
            self._narrowed([real_name(t) for t in narrower if EPS[real_name(t)] > finest])
        return result

    def _is_moving(self, tensor: Any) -> bool:
        known = self._moving.get(id(tensor))
        return known is not None and known() is tensor

    def _narrowed(self, dtypes: Sequence[str]) -> None:
        for dtype in dtypes:
            if self.coarsest is None or EPS[dtype] > EPS[self.coarsest]:
                self.coarsest = dtype


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
