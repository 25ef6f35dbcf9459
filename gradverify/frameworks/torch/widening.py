"""Code in mixed precision run in float64 throughout, so that its formula can be judged apart from its roundings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from gradverify.frameworks.torch.narrowing import uncompiled, uncompiling

WIDER = {
    torch.float32: torch.float64, torch.bfloat16: torch.float64, torch.float16: torch.float64,
    torch.complex64: torch.complex128,
}  # fmt: skip


class Widened(TorchDispatchMode):
    """Wherever code asks for a coarser dtype than float64 it gets float64, and so does what it brings along.

    ``x.float()`` ... ``.to(x.dtype)`` is how half-precision layers are written, and autocast casts what it is given:
    on float64 inputs both would answer with the error of float32. Raises `TypeError` where bits are read as numbers,
    and where float64 ones would be rounded into a coarser tensor that was there before.
    """

    _should_skip_dynamo: Any = classmethod(uncompiled)

    def __torch_dispatch__(
        self, func: Any, _types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func._schema.name == "aten::view" and func._overloadname == "dtype":  # noqa: SLF001 - it has no public name
            raise TypeError("reads the bits of numbers as others")
        named = dict(kwargs or {})
        if not any(isinstance(x, Tensor) for x in tree_leaves((args, named))):
            return tree_map(_wide, func(*args, **named))  # made as it is without: constants, random numbers
        written = _written(func, len(args)) if func._schema.is_mutable else frozenset()  # noqa: SLF001
        if written:
            _refuse_rounding(func, written, [*enumerate(args), *named.items()])
        given = [x if i in written else tree_map(_wide, x) for i, x in enumerate(args)]
        return func(*given, **{name: x if name in written else tree_map(_wide, x) for name, x in named.items()})


@contextmanager
def widened(*, on: bool) -> Iterator[None]:
    """Code runs in float64 here, compiled code as it is written; or as always, if it is not `on`."""
    if not on:
        yield
        return
    with uncompiling(), Widened():
        yield


def _written(func: Any, positional: int) -> frozenset[int | str]:
    """The arguments, by position or name, that the operator writes to: ``add_``'s first, an ``out=``."""
    of_schema = enumerate(func._schema.arguments)  # noqa: SLF001
    targets = [(i, a) for i, a in of_schema if a.alias_info is not None and a.alias_info.is_write]
    return frozenset(i if i < positional and not a.kwarg_only else a.name for i, a in targets)


def _refuse_rounding(func: Any, written: frozenset[int | str], given: Sequence[tuple[int | str, Any]]) -> None:
    into = [t for key, x in given if key in written for t in tree_leaves(x) if isinstance(t, Tensor)]
    others = [t for key, x in given if key not in written for t in tree_leaves(x) if isinstance(t, Tensor)]
    if any(t.dtype in WIDER for t in into) and any(t.dtype in WIDER.values() for t in others):
        raise TypeError(f"{func} rounds float64 numbers into a coarser tensor")


def _wide(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return WIDER.get(value, value)
    return value.to(WIDER[value.dtype]) if isinstance(value, Tensor) and value.dtype in WIDER else value
