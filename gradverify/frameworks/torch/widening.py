"""Code in mixed precision run in float64 throughout, so that its formula can be judged apart from its roundings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from gradverify.frameworks.torch.narrowing import uncompiled, uncompiling

WIDER = {
    torch.float32: torch.float64, torch.bfloat16: torch.float64, torch.float16: torch.float64,
    torch.complex64: torch.complex128,
}  # fmt: skip


class Widened(TorchDispatchMode):
    """Wherever code asks for a coarser dtype than float64 it gets float64, and so does what it brings along.

    ``x.float()`` ... ``.to(x.dtype)`` is how half-precision layers are written, and autocast casts what it is given:
    on float64 inputs both would answer with the error of float32. Raises `TypeError` where bits are read as numbers.
    """

    _should_skip_dynamo: Any = classmethod(uncompiled)

    def __torch_dispatch__(
        self, func: Any, _types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func._schema.name == "aten::view" and func._overloadname == "dtype":  # noqa: SLF001 - it has no public name
            raise TypeError("reads the bits of numbers as others")
        written = func._schema.is_mutable and len(args) > 0  # noqa: SLF001
        kept = args[:1] if written else ()
        wide = tree_map(_wide, tuple(args[len(kept):]))
        return func(*kept, *wide, **tree_map(_wide, dict(kwargs or {})))


@contextmanager
def widened(*, on: bool) -> Iterator[None]:
    """Code runs in float64 here, compiled code as it is written; or as always, if it is not `on`."""
    if not on:
        yield
        return
    with uncompiling(), Widened():
        yield


def _wide(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return WIDER.get(value, value)
    return value.to(WIDER[value.dtype]) if isinstance(value, Tensor) and value.dtype in WIDER else value
