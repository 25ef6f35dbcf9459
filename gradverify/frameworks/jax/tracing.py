"""Code traced once and then run operation by operation, as JAX itself would run it without jit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
from jax import tree_util

from gradverify.frameworks.jax.widening import bind_wide

try:
    from jax.extend.core import jaxpr_as_fun
except ImportError:  # before jax 0.4.36
    from jax.core import jaxpr_as_fun

Function = Callable[..., Any]

# These move, choose or convert numbers and round none. To perturb what `floor` answers would be to
# send an index to its neighbour, not to round.
EXACT = frozenset("""
    abs argmax argmin broadcast broadcast_in_dim ceil clamp concatenate convert_element_type copy cummax
    cummin dynamic_slice dynamic_update_slice expand_dims floor gather iota max min neg pad real reduce_max
    reduce_min reshape rev round scatter select_n sign slice sort split squeeze stop_gradient top_k transpose
""".split())
CALLS = ("pjit", "jit", "closed_call", "core_call")


@dataclass
class Traced:
    """A function of pytrees whose Python runs at its first call only.

    A check calls a forward hundreds of times. Tracing a derivative anew costs ten times what it
    computes, and a loop made anew (`lax.scan` of a lambda) is compiled anew. Compiling the whole would
    be faster still, but fuses operations and so rounds otherwise than the user's code does.
    Functions that read the values they compute on cannot be traced, and are called as they are.
    """

    function: Function
    widened: bool = False  # run in float64 whatever dtype it asks for
    structure: Any = None
    jaxpr: Any = None
    run: Any = None
    results: list[Any] = field(default_factory=list)  # the structure of what the function returns

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns."""
        if not self._fits(arguments):
            return self._as_it_is(*arguments)
        leaves = self.run(*tree_util.tree_leaves(arguments))
        return tree_util.tree_unflatten(self.results[-1], leaves)

    def perturbed(self, perturb: Function, *arguments: Any) -> Any:
        """The same with `perturb` applied to the result of every operation that rounds.

        What a pullback keeps is computed beforehand: the residual of tanh is 1 - y^2, not y, and shows
        nothing of the digits that its subtraction has lost.
        """
        if not self._fits(arguments):
            return self._as_it_is(*arguments)
        leaves = self._step_by_step(perturb, *tree_util.tree_leaves(arguments))
        return tree_util.tree_unflatten(self.results[-1], leaves)

    def _as_it_is(self, *arguments: Any) -> Any:
        if self.widened:
            raise TypeError("reads the values it computes on: it cannot be run in another dtype")
        return self.function(*arguments)

    def _step_by_step(self, perturb: Function, *leaves: Any) -> list[Any]:
        each = partial(bind_wide, bind) if self.widened else bind
        return _interpreted(self.jaxpr.jaxpr, self.jaxpr.consts, leaves, perturb, each)

    def _fits(self, arguments: tuple[Any, ...]) -> bool:
        structure = tree_util.tree_structure(arguments)
        if self.structure is None:
            self.structure = structure
            self._trace(arguments)
        return self.jaxpr is not None and structure == self.structure

    def _trace(self, arguments: tuple[Any, ...]) -> None:
        def flat(*given: Any) -> list[Any]:
            leaves, structure = tree_util.tree_flatten(self.function(*given))
            self.results.append(structure)
            return leaves

        try:
            self.jaxpr = jax.make_jaxpr(flat)(*arguments)
            # Compiled, rounding changes, but in float64 nobody's own roundings are looked for.
            plainly = jax.jit(partial(self._step_by_step, lambda y: y)) if self.widened else jaxpr_as_fun(self.jaxpr)
            self.run = plainly
        except Exception:  # if it is the function's own error, calling it raises it again
            self.jaxpr = None


def _interpreted(
    jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any], perturb: Function, each: Function
) -> list[Any]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

    def read(variable: Any) -> Any:
        return variable.val if hasattr(variable, "val") else known[variable]

    for operation in jaxpr.eqns:
        results = _applied(operation, [read(variable) for variable in operation.invars], perturb, each)
        known.update(zip(operation.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _applied(operation: Any, arguments: Sequence[Any], perturb: Function, each: Function) -> list[Any]:
    name = str(operation.primitive)
    if name in CALLS and "jaxpr" in operation.params:
        inner = operation.params["jaxpr"]
        return _interpreted(inner.jaxpr, inner.consts, arguments, perturb, each)
    results: list[Any] = each(operation, arguments)
    return results if name in EXACT else [perturb(y) for y in results]


def bind(operation: Any, arguments: Sequence[Any]) -> list[Any]:
    """One operation of a jaxpr, run on these arguments."""
    primitive = operation.primitive
    bound = primitive.get_bind_params(operation.params)
    functions, parameters = bound if isinstance(bound, tuple) else ((), bound)  # a pair before jax 0.10
    found = primitive.bind(*functions, *arguments, **parameters)
    return list(found) if primitive.multiple_results else [found]
