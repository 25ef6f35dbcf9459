"""Several points in one call of `torch.func.vmap`: what its rules make of each must be what a call of its own does."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gradverify.arrays import Arrays
from gradverify.frameworks.torch.forwards import make_leaves, outputs_of, running
from gradverify.frameworks.torch.program import Program, Tensors
from gradverify.frameworks.torch.tensors import from_host, to_host64


def batched(program: Program, points: Sequence[Arrays], us: Sequence[Arrays]) -> list[tuple[Arrays, Arrays]]:
    """Outputs and ``J^T u`` at each point, parameters batched like inputs; raises where vmap has no rule.

    Random numbers are the same for every point, as every call of its own starts from the same seed.
    """
    if any(program.tensors[name].is_complex() for name in program.leaves):
        raise TypeError("complex leaves come in parts, which vmap would have to join")
    with running(program, graph=True):
        each = [make_leaves(program, point) for point in points]
        stacks = {name: torch.stack([leaves[name] for leaves in each]).requires_grad_() for name in each[0]}
        constants = {name: t for name, t in program.tensors.items() if name not in stacks}

        def one(leaves: Tensors) -> Tensors:
            return outputs_of(program, {name: t.clone() for name, t in {**constants, **leaves}.items()})

        outputs = torch.func.vmap(one, randomness="same")(stacks)
        live = {name: y for name, y in outputs.items() if y.requires_grad}
        seeds = [torch.stack([from_host(u[name], y.dtype, y.device, y[0].stride()) for u in us])
                 for name, y in live.items()]
        found = torch.autograd.grad(tuple(live.values()), tuple(stacks.values()), seeds, allow_unused=True)
        gradients = dict(zip(stacks, found, strict=True))
        return [(_sample(outputs, i), _sample(gradients, i)) for i in range(len(points))]


def _sample(tensors: Tensors, i: int) -> Arrays:
    return {name: None if t is None else to_host64(t[i]) for name, t in tensors.items()}
