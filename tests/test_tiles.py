"""Whole gradients against a reference: bad tiles are found, roundings of the same dtype are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify as gv
from gradverify.tiles import MOST, worst_tile

RNG = np.random.default_rng(0)
EPS = 2.0**-7


def rounded(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A gradient, the errors of rounding it to eight bits, and the unit of such errors."""
    g = RNG.standard_normal(shape)
    spacing = 2.0 ** np.floor(np.log2(np.abs(g))) * EPS
    return g, np.round(g / spacing) * spacing - g, EPS / 2 * np.abs(g)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (33,), (64, 100), (3, 40, 65), (1, 4096)])
def test_a_rounded_gradient_has_no_bad_tile(shape: tuple[int, ...]) -> None:
    for _ in range(20):
        g, error, unit = rounded(shape)
        assert worst_tile(error, unit, g, EPS).ratio < MOST / 2


@pytest.mark.parametrize(("rows", "columns"), [(slice(None), slice(64, 96)), (slice(32, 64), slice(None)),
                                               (slice(128, 160), slice(224, 256))])
def test_one_bad_block_of_32_in_a_large_gradient_is_found(rows: slice, columns: slice) -> None:
    g, error, unit = rounded((256, 512))
    error[rows, columns] += 0.02 * g[rows, columns]
    tile = worst_tile(error, unit, g, EPS)
    assert tile.ratio > MOST
    assert tile.rows == rows or rows == slice(None)
    assert tile.columns == columns or columns == slice(None)


def test_one_bad_block_of_32_columns_among_4096_x_4096_is_found() -> None:
    g = 1 + np.random.default_rng(3).random((4096, 4096), dtype=np.float32)
    spacing = np.float32(EPS)  # of all numbers from 1 to 2
    error = np.round(g / spacing) * spacing - g
    error[:, 2048:2080] += np.float32(0.01) * g[:, 2048:2080]
    tile = worst_tile(error, spacing / 2 * g, g, EPS)
    assert (tile.columns, tile.ratio > MOST) == (slice(2048, 2080), True)


torch = pytest.importorskip("torch")


def kernel(dtype: Any, wrong: str = "") -> Any:
    """RMSNorm that takes one dtype only, computes in float32 inside, and may be wrong in its backward."""

    class Kernel(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            if x.dtype != dtype:
                raise TypeError(f"this kernel takes {dtype}")
            inv = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6)
            ctx.save_for_backward(x, w, inv)
            return (x.float() * inv * w.float()).to(dtype)

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            x, w, inv = ctx.saved_tensors
            g, h = dy.float() * w.float(), x.float() * inv
            dx = inv * (g - h * (g * h).mean(-1, keepdim=True))
            shares = dy.float() * h
            if wrong == "tail":
                dx[:, 96:] *= 1.02
            dw = narrow_sum(shares.to(dtype)) if wrong == "accumulation" else shares.sum(0)
            return dx.to(dtype), dw.to(dtype)

    return Kernel


def narrow_sum(rows: Any) -> Any:
    total = torch.zeros_like(rows[0])
    for row in rows:
        total = total + row
    return total


def plain(x: Any, w: Any) -> Any:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * w


@pytest.mark.parametrize(("dtype", "wrong", "leaf"), [
    *((dtype, wrong, leaf) for dtype in (torch.float32, torch.bfloat16, torch.float16)
      for wrong, leaf in (("", ""), ("tail", "x"))),
    *((dtype, "accumulation", "w") for dtype in (torch.bfloat16, torch.float16)),
])
def test_kernels_of_one_dtype_are_judged_by_a_reference(dtype: Any, wrong: str, leaf: str) -> None:
    rows = 512 if wrong == "accumulation" else 64
    x, w = torch.tensor(RNG.standard_normal((rows, 100))).to(dtype), torch.tensor(RNG.uniform(0.8, 1.2, 100)).to(dtype)
    report = gv.check(kernel(dtype, wrong), x, w, reference=plain, search="none")
    failed = {c.wrt for c in report.checks if c.verdict is gv.Verdict.FAIL}
    assert failed == ({leaf} if wrong else set()), str(report)
    assert report.ok or wrong, str(report)
