"""Derivatives of PyTorch's derivatives: a backward through a backward, and dual numbers through one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from gradverify.arrays import Arrays
from gradverify.frameworks.torch.forwards import given_to, make_leaves, outputs_of, running
from gradverify.frameworks.torch.program import Program
from gradverify.frameworks.torch.residuals import nodes_behind
from gradverify.frameworks.torch.tensors import from_host, to_host64
from gradverify.targets.gradients import NotClaimed


def reverse_over_reverse(program: Program, point: Arrays, u: Arrays, directions: Sequence[Arrays]) -> Arrays:
    """``<u, f>`` differentiated along each direction, and then by the leaves: one backward through another."""
    with running(program, graph=True), program.hooks.untraced():
        leaves = {name: leaf.requires_grad_() for name, leaf in make_leaves(program, point).items()}
        # A cotangent that asks for a gradient: only then does `once_differentiable` put its error into the graph.
        kept, slope = tuple(leaves.values()), _contracted(outputs_of(program, given_to(program, leaves)), u, ask=True)
        for v in directions:
            if slope is None:
                return dict.fromkeys(leaves)
            found = torch.autograd.grad(slope, kept, create_graph=True, allow_unused=True)
            slope = _along(dict(zip(leaves, found, strict=True)), v)
        last = torch.autograd.grad(slope, kept, allow_unused=True) if slope is not None else [None] * len(kept)
        return {name: None if h is None else to_host64(h) for name, h in zip(leaves, last, strict=True)}


def by_upstream(program: Program, point: Arrays, v: Arrays) -> Arrays:
    """``<J^T u, v>`` differentiated by u: J v by a backward through the backward, as `gradgradcheck` asks it too."""
    with running(program, graph=True), program.hooks.untraced():
        leaves = {name: leaf.requires_grad_() for name, leaf in make_leaves(program, point).items()}
        outputs = outputs_of(program, given_to(program, leaves))
        still = {name: np.zeros(tuple(y.shape)) for name, y in outputs.items()}
        live = {name: y for name, y in outputs.items() if y.requires_grad}
        seeds = {name: torch.ones_like(y).requires_grad_() for name, y in live.items()}
        found = torch.autograd.grad(tuple(live.values()), tuple(leaves.values()), tuple(seeds.values()),
                                    create_graph=True, allow_unused=True)
        slope = _along(dict(zip(leaves, found, strict=True)), v)
        if slope is None:
            return still
        moved = torch.autograd.grad(slope, tuple(seeds.values()), allow_unused=True)
        return {**still, **{name: to_host64(g) for name, g in zip(seeds, moved, strict=True) if g is not None}}


def _along(gradients: Mapping[str, Tensor | None], v: Arrays) -> Tensor | None:
    """``<v, gradients>``, to be differentiated again; raises where a node of its graph can only raise.

    No path from there leads to a leaf, so it would never be reached.
    """
    slope = _contracted(gradients, v)
    if slope is not None and any(node.name() == "torch::autograd::Error" for node in nodes_behind([slope])):
        raise NotClaimed("a backward on the way is differentiable once")
    return slope


def _contracted(tensors: Mapping[str, Tensor | None], u: Arrays, *, ask: bool = False) -> Tensor | None:
    """``<u, y>`` over what depends on a leaf, or None where nothing does."""
    live = {name: y for name, y in tensors.items() if y is not None and y.requires_grad and u.get(name) is not None}
    seeds = {name: from_host(u[name], y.dtype, y.device, y.stride()).requires_grad_(ask) for name, y in live.items()}
    terms = [(y * seeds[name]).sum() for name, y in live.items()]
    return torch.stack(terms).sum() if terms else None


def forward_over_reverse(program: Program, point: Arrays, u: Arrays, directions: Sequence[Arrays]) -> Arrays:
    """The gradient of ``<u, f>`` at dual numbers: its tangent is ``H v``. One direction only."""
    (v,) = directions
    with running(program, graph=True), program.hooks.untraced(), forward_ad.dual_level():
        leaves = {name: leaf.requires_grad_() for name, leaf in make_leaves(program, point).items()}
        still = {name: np.zeros(tuple(x.shape)) for name, x in leaves.items()}
        moved = {name: from_host(dx, leaves[name].dtype, leaves[name].device, leaves[name].stride())
                 for name, dx in {**still, **v}.items()}
        duals = {name: forward_ad.make_dual(x, moved[name]) for name, x in leaves.items()}
        slope = _contracted(outputs_of(program, given_to(program, duals)), u)
        if slope is None:
            return dict.fromkeys(leaves)
        found = torch.autograd.grad(slope, tuple(duals.values()), allow_unused=True)
        return {name: None if g is None else tangent(g) for name, g in zip(leaves, found, strict=True)}


def tangent(y: Tensor) -> np.ndarray:
    """The tangent of a dual number; zero where it has none."""
    moved = forward_ad.unpack_dual(y).tangent
    return np.zeros(tuple(y.shape)) if moved is None else to_host64(moved)
