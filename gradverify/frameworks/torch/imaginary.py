"""PyTorch code run at ``x + ihv``, operator by operator: the imaginary part is h times the derivative along v.

The step, and what may be believed of it, are the oracle's; this page runs the forward. Nothing of PyTorch's
derivatives is asked: a dispatch mode hands every operator that meets a complex number to its kernel, if that
is the analytic continuation of the real one, or to a rule of `analytic`. Whatever else it meets is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_any, tree_map

from gradverify.arrays import Arrays, flatten
from gradverify.frameworks.torch.analytic import AS_IT_IS, COMPARISONS, LINEAR, ON_REAL_PARTS, linear, re
from gradverify.frameworks.torch.analyticlayers import RULES
from gradverify.frameworks.torch.narrowing import uncompiled, uncompiling
from gradverify.frameworks.torch.program import Program
from gradverify.frameworks.torch.tensors import floating, from_host, to_host64, unmoved
from gradverify.frameworks.torch.widening import widened

EPS = 2.0**-52
RANDOM = ("bernoulli", "uniform", "normal", "exponential")
HASH = -7046029254386353131  # 2^64 over the golden ratio, as a signed number


class Refused(Exception):  # noqa: N818 - not an error of the code
    """An operator whose continuation nobody wrote down."""


class Imaginary(TorchDispatchMode):
    """Continues every operator on complex tensors; with a `key` the last bit of every result is moved."""

    def __init__(self, key: int | None = None) -> None:
        super().__init__()
        self.key = key

    _should_skip_dynamo: Any = classmethod(uncompiled)

    def __torch_dispatch__(
        self, func: Any, _types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not tree_any(_is_complex, (args, kwargs)):
            return func(*args, **kwargs)
        result = _continued(func, args, kwargs)
        if self.key is None or func.is_view or func._schema.is_mutable:  # noqa: SLF001 - the schema has no public name
            return result
        return tree_map(lambda y: _moved(y, self.key) if _is_complex(y) else y, result)


CONVOLUTIONS = frozenset(getattr(torch, f"conv{kind}{n}d") for kind in ("", "_transpose") for n in (1, 2, 3))


class Convolutions(TorchFunctionMode):
    """Takes convolutions before PyTorch does: it saves one of four by a difference in which a small h is lost."""

    def __torch_function__(
        self, func: Any, _types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        function = _convolution if func in CONVOLUTIONS and tree_any(_is_complex, (args, kwargs)) else None
        return func(*args, **(kwargs or {})) if function is None else function(func, *args, **(kwargs or {}))


def _convolution(func: Any, z: Tensor, weight: Tensor, bias: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    real = func(re(z), re(weight), re(bias), *args, **kwargs)
    imag = torch.zeros_like(real)
    if _is_complex(z):
        imag = imag + func(z.imag, re(weight), None, *args, **kwargs)
    if _is_complex(weight):
        imag = imag + func(re(z), weight.imag, None, *args, **kwargs)
    if _is_complex(bias):
        imag = imag + bias.imag.reshape([-1, *[1] * (weight.dim() - 2)])
    return torch.complex(real, imag)


def _is_complex(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_complex()


def _moved(z: Tensor, key: int | None) -> Tensor:
    """Every number moved by its last bit, up or down by a hash of its value: equal ones move alike."""
    mixed = (z.real.contiguous().view(torch.int64) ^ key) * HASH
    return z * (1 + EPS * (1 - 2 * (mixed < 0).double()))


def _continued(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    packet = func.overloadpacket.__name__
    if func._schema.is_mutable:  # noqa: SLF001
        return _in_place(func, packet.removesuffix("_"), args, kwargs)
    if packet in COMPARISONS or packet in ON_REAL_PARTS:
        return func(*tree_map(re, args), **tree_map(re, _without_dtype(kwargs)))
    if packet in AS_IT_IS and kwargs.get("rounding_mode") is None:
        return func(*args, **_without_dtype(kwargs))
    if packet == "_to_copy" and kwargs.get("dtype") in (None, torch.float64):
        return args[0].clone()
    if packet in LINEAR and not tree_any(_is_complex, (args[1:], kwargs)):
        return linear(func, *args, **kwargs)
    if packet in RULES:
        return RULES[packet](*args, **_without_dtype(kwargs))
    raise Refused(packet)


def _in_place(func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    z = args[0]
    if not _is_complex(z) or "out" in kwargs:
        raise Refused(f"{name} into a real tensor")
    if name in RANDOM:
        z.copy_(func(torch.empty_like(z.real), *args[1:], **kwargs))
    elif name in RULES:
        z.copy_(RULES[name](*args, **kwargs))
    elif name in AS_IT_IS:
        func(*args, **kwargs)
    else:
        raise Refused(name)
    return z


def _without_dtype(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A result in float64 is a complex one here; one in a coarser dtype is another computation."""
    if kwargs.get("dtype") not in (None, torch.float64, torch.bool, torch.int64):
        raise Refused(f"a result in {kwargs['dtype']}")
    return {name: value for name, value in kwargs.items() if name != "dtype" or value != torch.float64}


def imaginary_step(
    program: Program, running: Callable[..., Any], point: Arrays, v: Arrays, h: float, key: int | None = None
) -> tuple[Arrays, Arrays]:
    """The outputs and their derivatives along v; raises what stood in the way."""
    with running(program, graph=False):
        given = {n: _continued_leaf(program, n, point, v, h) for n in program.tensors}
        # Outside the widening of `running` an imaginary part would meet the dtypes that the code asks for.
        with uncompiling(), Imaginary(key), Convolutions(), widened(on=program.widened):
            result = program.within(given, lambda: program.call(given))
        outputs = {path: y for path, y in flatten(result, "out")[0].items() if floating(y)}
        values = {path: to_host64(re(y)) for path, y in outputs.items()}
        slopes = {path: to_host64(y.imag) / h if y.is_complex() else np.zeros(y.shape) for path, y in outputs.items()}
    return values, slopes


def _continued_leaf(program: Program, name: str, point: Arrays, v: Arrays, h: float) -> Tensor:
    kept = program.tensors[name]
    if name not in program.leaves:
        return kept.clone()
    if name not in v:
        return from_host(point[name], kept.dtype, kept.device, kept.stride())
    z = torch.empty_like(kept, dtype=torch.complex128)
    z.real.copy_(unmoved(point[name], kept))
    torch.mul(torch.as_tensor(np.asarray(v[name], np.float64)), h, out=z.imag)
    return z
