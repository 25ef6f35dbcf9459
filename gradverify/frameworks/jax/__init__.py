"""JAX: functions, `custom_vjp` and `custom_jvp` functions, and modules that are pytrees, as targets."""

from __future__ import annotations

from gradverify.frameworks.jax.leaves import like, to_host
from gradverify.frameworks.jax.target import make_target

__all__ = ["like", "make_target", "to_host"]
