"""Shapes nobody gave: an axis of one that only broadcasting accepts is no example, one that is free is."""

from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv

torch = pytest.importorskip("torch")

G = torch.Generator().manual_seed(0)
X = torch.randn(3, 5, generator=G, dtype=torch.float64)
MASK = (torch.rand(3, 5, generator=G) > 0.5).double()


class Dice(torch.autograd.Function):
    """Overlap with a mask that has the shape of X: one row is stretched to three, and its gradient is not summed right."""

    @staticmethod
    def forward(ctx, x):
        p = x.sigmoid()
        ctx.save_for_backward(p)
        return 1 - (2 * (p * MASK).sum() + 1) / (p.sum() + MASK.sum() + 1)

    @staticmethod
    def backward(ctx, dy):
        (p,) = ctx.saved_tensors
        above, below = 2 * (p * MASK).sum() + 1, p.sum() + MASK.sum() + 1
        return -dy * (2 * MASK * below - above) / below**2 * p * (1 - p)


class Centred(torch.autograd.Function):
    """Of any number of rows; the backward forgets the mean where there is one."""

    @staticmethod
    def forward(ctx, x):
        ctx.rows = len(x)
        return x - x.mean(0)

    @staticmethod
    def backward(ctx, dy):
        return dy - dy.mean(0) if ctx.rows > 1 else dy


@pytest.mark.parametrize("search", ["quick", "deep"])
def test_an_axis_that_is_stretched_to_a_constant_is_no_example(search):
    assert gv.check(Dice.apply, X, search=search).ok


def test_a_free_axis_is():
    report = gv.check(Centred.apply, X, search="deep")
    assert report.verdict == "fail"
    assert "of shape (1, " in report.checks[-1].regime


def test_fewer_rows_than_given_are_left_to_a_deep_search():
    # Least squares of five equations in three unknowns, and of one, are two problems with two formulas.
    assert gv.check(Centred.apply, X).ok


class Summed(torch.autograd.Function):
    """Of any number of rows; the backward is right for one."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        return dy @ w.T, torch.outer(x[0], dy[0])


def test_more_rows_than_the_one_given_are_tried():
    report = gv.check(Summed.apply, X[:1], X.T.contiguous(), search="deep")
    assert report.verdict == "fail"
    assert "of shape (4, " in report.checks[-1].regime


class Demanding(torch.autograd.Function):
    """Takes a contiguous upstream gradient alone, with a word."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, dy):
        if not dy.is_contiguous():
            raise ValueError("contiguous ones alone\nplease")
        return dy * ctx.saved_tensors[0].cos()


def test_the_layouts_that_a_backward_refuses_are_named_with_what_it_says():
    x = torch.linspace(0, 1, 12, dtype=torch.float64).reshape(3, 4)
    (failed,) = [c for c in gv.check(Demanding, x).checks if c.verdict == "fail"]
    (cause,) = failed.causes
    assert all(word in cause.text for word in ("transposed", "strided", "a slice", "stride 0"))
    assert cause.evidence == "ValueError: contiguous ones alone"
    assert gv.check(Demanding, x[0, 0]).ok  # a number has no layout


def test_a_backward_in_numpy_may_ask_for_contiguous_arrays():
    def back(dy, x):
        if not dy.flags.c_contiguous:
            raise ValueError("contiguous ones alone")
        return dy * np.cos(x)

    assert gv.check(gv.pair(lambda x: (np.sin(x), x), back), np.linspace(0, 1, 12).reshape(3, 4)).ok
