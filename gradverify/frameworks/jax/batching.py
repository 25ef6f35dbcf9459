"""Several points in one call of `jax.vmap`: what a batching rule makes of each must be what a call of its own does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import jax
from jax.extend.core import primitives

from gradverify.arrays import Arrays, dtype_name
from gradverify.frameworks.jax.leaves import from_host, to_host64
from gradverify.frameworks.jax.narrowing import operations
from gradverify.frameworks.jax.program import Program

Values = Mapping[str, Any]


@cache
def _jaxs_own() -> frozenset[str]:
    """The operations that JAX lists, and some it does not; none has a rule, a kernel or a host function of a user's."""
    return _UNLISTED.union(str(p) for p in vars(primitives).values() if hasattr(p, "bind"))


_UNLISTED = frozenset(("random_wrap", "random_unwrap", "platform_index", "optimization_barrier", "debug_print",
                       "debug_callback", "ragged_dot_general"))  # fmt: skip


def has_rules(traced: Any) -> bool:
    """Whether a jaxpr holds an operation that JAX batches by something of the user's: the others would test JAX."""
    return any(str(operation.primitive) not in _jaxs_own() for operation in operations(traced))


def batched(
    program: Program, run: Callable[[Values], Values], points: Sequence[Arrays], us: Sequence[Arrays]
) -> list[tuple[Arrays, Arrays]]:
    """Outputs and ``J^T u`` at each point, parameters batched like inputs; raises where vmap has no rule."""

    def one(values: Values, u: Values) -> tuple[Values, Values]:
        outputs, pullback = jax.vjp(run, values)
        return outputs, pullback({name: u[name].astype(y.dtype) for name, y in outputs.items()})[0]

    with program.running():
        values = _stacked([program.values(point) for point in points])
        seeds = _stacked([{name: from_host(x, dtype_name(x)) for name, x in u.items()} for u in us])
        outputs, gradients = jax.vmap(one)(values, seeds)
        return [(_sample(outputs, i), _sample(gradients, i)) for i in range(len(points))]


def _stacked(each: Sequence[Values]) -> Values:
    return {name: jax.numpy.stack([values[name] for values in each]) for name in each[0]}


def _sample(arrays: Values, i: int) -> Arrays:
    return {name: to_host64(a[i]) for name, a in arrays.items()}
