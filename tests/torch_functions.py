"""Autograd functions for tests, made of a forward and a slope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")


def elementwise(value: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``value(x)`` whose backward is ``dy * slope(x)`` at the input it saved."""
    return elementwise_by(value, lambda dy, x: dy * slope(x))


def elementwise_by(value: Callable[[Any], Any], backward: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """``value(x)`` with ``backward(dy, x)`` at the input it saved."""

    class Elementwise(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return value(x)

        @staticmethod
        def backward(ctx, dy):
            return backward(dy, *ctx.saved_tensors)

    return Elementwise.apply
