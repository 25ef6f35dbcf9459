"""PyTorch: functions, `autograd.Function` subclasses and modules as targets."""

from __future__ import annotations

from gradverify.frameworks.torch.target import make_target

__all__ = ["make_target"]
