"""HIPS/autograd: functions of `autograd.numpy`, and primitives with `defvjp` and `defjvp`, as targets."""

from __future__ import annotations

from gradverify.frameworks.autograd.target import make_target

__all__ = ["make_target"]
