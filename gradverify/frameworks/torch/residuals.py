"""Rounding put into what a forward saved for its backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradverify.arrays import EPS, flatten
from gradverify.frameworks.torch.tensors import arranged, floating, from_host, real_name, to_host
from gradverify.targets.record import Perturb


def perturb_tensor(perturb: Perturb, saved: Tensor, *, spacing: float = math.inf) -> Tensor:
    """A saved tensor with its values perturbed; integer, sparse and coarser ones than `spacing` as they are."""
    if not floating(saved) or saved.layout != torch.strided or EPS[real_name(saved)] > spacing:
        return saved
    if saved.is_complex():
        plain = saved.detach().resolve_conj()
        moved = torch.complex(perturb_tensor(perturb, plain.real), perturb_tensor(perturb, plain.imag))
        return arranged(moved, saved.stride())
    moved = np.asarray(perturb(to_host(saved)))
    return from_host(moved, saved.dtype, saved.device, saved.stride())


def perturb_contexts(outputs: Iterable[Tensor], move: Callable[[Tensor], Tensor]) -> None:
    """Move the tensors that custom Functions keep as attributes of their context.

    ``ctx.x = x`` is common, and no saved-tensor hook sees it. The context is the node of the graph.
    """
    contexts = [n for n in nodes_behind(outputs) if isinstance(n, torch.autograd.function.BackwardCFunction)]
    for context, (name, value) in [(c, item) for c in contexts for item in vars(c).items()]:
        leaves, rebuild = flatten(value, name)
        if any(floating(leaf) for leaf in leaves.values()):
            setattr(context, name, rebuild({n: move(leaf) if floating(leaf) else leaf for n, leaf in leaves.items()}))


def nodes_behind(outputs: Iterable[Tensor]) -> set[Any]:
    """The nodes of the graph that these tensors were computed by."""
    waiting = [y.grad_fn for y in outputs if y.grad_fn is not None]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(before for before, _ in node.next_functions if before is not None)
    return seen
