"""A forward recorded by PyTorch, and its pullback."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradverify.arrays import Arrays
from gradverify.frameworks.torch.forwards import outputs_of, running
from gradverify.frameworks.torch.narrowing import untraced
from gradverify.frameworks.torch.program import Program, Tensors
from gradverify.frameworks.torch.residuals import perturb_tensor
from gradverify.frameworks.torch.tensors import from_host, host_strides, to_host, to_host64
from gradverify.targets.record import Perturb


def recorded(program: Program, given: Tensors, perturb: Perturb | None) -> Tensors:
    """The outputs, what is saved for their backward moved by `perturb`."""
    if perturb is None:
        return outputs_of(program, given)
    try:
        # Leaves that are saved too are moved a second time: what is compared with them has to meet its equal.
        move = untraced(partial(perturb_tensor, perturb, spacing=program.spacing))
        with torch.autograd.graph.saved_tensors_hooks(move, lambda saved: saved):
            return outputs_of(program, given)
    except RuntimeError as error:
        # Code that calls torch.func.grad inside forbids such hooks; its residuals stay as they are.
        if "saved tensor hooks" not in str(error):
            raise
    return outputs_of(program, given)


def pull_back(
    program: Program, leaves: Tensors, given: Tensors, live: Tensors, states: Sequence[Any] | None, u: Arrays
) -> Arrays:
    """``J^T u``, with the modules as in the forward: checkpointed code runs them once more here.

    Random numbers go on from `states`, where the forward stopped: a mask that is drawn again is another mask.
    """
    asked = {name: y for name, y in live.items() if u.get(name) is not None}
    if not asked:
        return dict.fromkeys(leaves)
    with running(program, graph=True, states=states), program.hooks.untraced():
        seeds = [from_host(u[n], y.dtype, y.device, host_strides(np.asarray(u[n]))) for n, y in asked.items()]
        sent = [to_host(seed) for seed in seeds]
        ask = partial(_gradients, tuple(asked.values()), tuple(leaves.values()), seeds)
        grads = program.within({n: t if n in program.leaves else t.clone() for n, t in given.items()}, ask)
        for name, seed, before in zip(asked, seeds, sent, strict=True):
            _write_back(u[name], to_host(seed), before)
        found = dict(zip(leaves, grads, strict=True))
        del grads
        program.hooks.accumulate(leaves, found)
        return {name: None if g is None else to_host64(g) for name in leaves for g in (found.pop(name),)}


def _gradients(outputs: Sequence[Tensor], leaves: Sequence[Tensor], seeds: Sequence[Tensor]) -> Sequence[Tensor | None]:
    try:
        return torch.autograd.grad(outputs, leaves, seeds, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if "use_reentrant" not in str(error):
            raise
    # A reentrant checkpoint runs a backward of its own, which can but accumulate: so does this one, into our leaves.
    torch.autograd.backward(outputs, seeds, retain_graph=True)
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return found


def _write_back(u: Any, after: np.ndarray, before: np.ndarray) -> None:
    """What the code wrote into its upstream gradient stands in the caller's, who looks for that."""
    if not np.array_equal(after, before, equal_nan=True) and np.asarray(u).flags.writeable:
        np.copyto(u, after)
