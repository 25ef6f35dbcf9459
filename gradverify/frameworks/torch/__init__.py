"""PyTorch: functions, `autograd.Function` subclasses and modules as targets."""

from __future__ import annotations

from gradverify.frameworks.torch.target import make_target
from gradverify.frameworks.torch.tensors import in_dtype, like, to_host

__all__ = ["in_dtype", "like", "make_target", "to_host"]
