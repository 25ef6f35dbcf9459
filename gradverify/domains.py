"""Where a leaf may go: directions and points that keep it positive, symmetric, positive definite or summing to one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Region = str | tuple[Callable[..., Any], Callable[..., Any]]


def project(region: Region | None, x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The direction nearest to `v` along which `x` stays in its region to first order."""
    if isinstance(region, tuple):
        return np.asarray(region[0](x, v), dtype=np.float64)
    if region == "symmetric":
        return _symmetric(v)
    if region == "spd":
        # t = 1 may take away half of the smallest eigenvalue: far enough from the edge for any stencil.
        w = _symmetric(v)
        room = np.linalg.eigvalsh(x)[..., :1, np.newaxis] / 2
        return np.asarray(w * room / np.maximum(np.linalg.norm(w, ord=2, axis=(-2, -1), keepdims=True), 1e-300))
    if region == "simplex":
        return np.asarray(v - x * v.sum(axis=-1, keepdims=True))
    return v


def move(region: Region | None, x: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The point at ``x + step``, brought back where the region is curved."""
    if isinstance(region, tuple):
        return np.asarray(region[1](x, step), dtype=np.float64)
    return np.asarray(x + step)


def settle(region: Region | None, x: np.ndarray, proposal: np.ndarray) -> np.ndarray:
    """A proposed value made admissible, or the old one where that has no meaning."""
    if region == "positive":
        return np.asarray(np.where(proposal == 0, x, np.abs(proposal)))
    if region == "symmetric":
        return _symmetric(proposal)
    return proposal if region is None else x


def entries_are_free(region: Region | None) -> bool:
    """Whether single entries may move on their own, so that they can be asked one by one."""
    return region in (None, "positive")


def _symmetric(v: np.ndarray) -> np.ndarray:
    return np.asarray((v + np.swapaxes(v, -1, -2)) / 2)
