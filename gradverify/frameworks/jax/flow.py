"""JAX programs for `check_flow`: functions, Equinox and Flax NNX modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax import tree_util

from gradverify.flow import rules
from gradverify.flow.sites import Backward, Change, Passage, Rule, Site
from gradverify.frameworks.jax.layers import Key, Layer, Run, Traced, interpreted
from gradverify.frameworks.jax.program import Program, make_program


@dataclass(frozen=True)
class Watched:
    """A program and its jaxpr; `parameters` are the leaves that are no data."""

    program: Program
    jaxpr: Any
    structure: Any
    values: dict[str, Any]
    parameters: frozenset[str]

    def run(self, values: Mapping[str, Any], taps: Mapping[Key, Any]) -> tuple[Any, list[Layer]]:
        """What the program returns, and its layers."""
        named = [(path[0].key, leaf) for path, leaf in tree_util.tree_flatten_with_path(dict(values))[0]]
        given = [Traced(v, n in self.parameters, n if n in self.parameters else None) for n, v in named]
        passing = Run(taps)
        with self.program.running():
            own = [Traced(c, constant=True) for c in self.jaxpr.consts]
            found = interpreted(self.jaxpr.jaxpr, own, given, passing)
        return tree_util.tree_unflatten(self.structure, [t.value for t in found]), passing.layers

    @cached_property
    def first(self) -> tuple[Any, list[Layer]]:
        """The run that the report is about."""
        return self.run(self.values, {})

    @cached_property
    def pullback(self) -> Callable[[Any], tuple[Any, Any]]:
        """From a cotangent of the output to the gradients of leaves and taps."""
        taps = {(*layer.key, place): jnp.zeros_like(getattr(layer, place))
                for layer in self.first[1] for place in ("source", "x", "y")}
        ordered = list(taps)

        def output(values: Any, zeros: Any) -> Any:
            return _main(self.run(values, dict(zip(ordered, zeros, strict=True)))[0])

        _, pull = jax.vjp(output, self.values, list(taps.values()))

        def named(u: Any) -> tuple[Any, Any]:
            dvalues, dtaps = pull(u)
            return dvalues, dict(zip(ordered, dtaps, strict=True))

        return named


def record(network: Any, inputs: tuple[Any, ...]) -> Passage:
    """One forward pass of a module, or of a function ``f(params, x)``; containers among its inputs are parameters."""
    program = make_program(network, inputs, {}, numbers=False)
    values = program.values(program.point)
    with program.running():
        jaxpr, shape = jax.make_jaxpr(program.call, return_shape=True)(values)
    return _passage(Watched(program, jaxpr, tree_util.tree_structure(shape), values, _parameters(program)))


def _passage(watched: Watched) -> Passage:
    program, values = watched.program, watched.values
    y, layers = watched.first
    data = next((name for name in program.inputs if name not in watched.parameters), None)
    calls = _named(layers)
    sites = _sites(calls)
    return Passage(
        name=program.name, sites=sites, output=np.asarray(_main(y)), pull=partial(_pull, watched, calls, sites, data),
        cotangent=partial(_cotangent, y), x=None if data is None else np.asarray(values[data]),
        push=None if data is None else partial(_push, watched, data),
        forward=None if data is None else partial(_forward, watched, data), altered=partial(_altered, watched))


def _altered(watched: Watched, change: Change) -> Passage | None:
    """The program with other weights; what is between them is not named in a jaxpr, and stays as it is."""
    if change.activation is not None or change.normalised:
        return None
    values = {name: v * change.scales[name] if name in change.scales and jnp.ndim(v) > 1 else v
              for name, v in watched.values.items()}
    return _passage(Watched(watched.program, watched.jaxpr, watched.structure, values, watched.parameters))


def _forward(watched: Watched, data: str, x: np.ndarray) -> np.ndarray:
    return np.asarray(_main(watched.run({**watched.values, data: jnp.asarray(x)}, {})[0]))


def _push(watched: Watched, data: str, dx: np.ndarray) -> np.ndarray:
    """J dx as the transpose of the pullback, so that a `custom_vjp` needs no forward mode of its own."""
    like = jax.eval_shape(lambda: _main(watched.first[0]))
    transposed = jax.linear_transpose(lambda u: watched.pullback(u)[0][data], like)
    return np.asarray(transposed(jnp.asarray(dx))[0])


def _parameters(program: Program) -> frozenset[str]:
    """The arrays inside the network; if there are none, those inside containers among the inputs."""
    held = frozenset(program.leaves) - frozenset(program.inputs)
    return held or frozenset(name for name in program.inputs if "." in name or name.endswith("]"))


def _main(y: Any) -> Any:
    found = [leaf for leaf in tree_util.tree_leaves(y) if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating)]
    if not found:
        raise TypeError("nothing to check: the network has no floating output")
    return found[0]


def _named(layers: Sequence[Layer]) -> list[tuple[str, Layer]]:
    """Layers under the names of their weights, numbered where they are used again."""
    seen: Counter[str] = Counter()
    named = []
    for layer in layers:
        named.append((f"{layer.leaf}@{seen[layer.leaf]}" if seen[layer.leaf] else layer.leaf, layer))
        seen[layer.leaf] += 1
    return named


def _units_last(a: Any, axis: int) -> np.ndarray:
    return np.moveaxis(np.asarray(a), axis, -1)


def _sites(calls: Sequence[tuple[str, Layer]]) -> tuple[Site, ...]:
    """The layers, and between them the functions that their values give away."""
    used = Counter(layer.leaf for _, layer in calls)
    sites: list[Site] = []
    for name, layer in calls:
        x, y, source = (_units_last(a, axis) for a, axis in (
            (layer.x, layer.x_axis), (layer.y, layer.y_axis), (layer.source, layer.x_axis)))
        follows = bool(sites) and sites[-1].y.shape == source.shape and np.array_equal(sites[-1].y, source)
        if sites and not follows and (f := rules.recognised(sites[-1].y, source)) is not None:
            below = sites[-1].y
            sites.append(rules.function_site(_between(name), f, below, source))
            follows = True
        rule = _rule(layer, used[layer.leaf] > 1)
        sites.append(Site(name, str(layer.operation.primitive), x, y, {layer.leaf: np.asarray(layer.weights)}, rule,
                          follows=follows or not sites, again=partial(_again, layer)))
    return tuple(sites)


def _between(name: str) -> str:
    return f"> {name}"


def _rule(layer: Layer, tied: bool) -> Rule | None:
    """A matrix has its rule; of a convolution the forward shows it."""
    if str(layer.operation.primitive) != "dot_general":
        return None
    rule = rules.linear_rule(layer.weights, layer.x.shape[layer.x_axis])
    return Rule(rule.factor, weights=True, tied=tied)


def _again(layer: Layer, x: np.ndarray) -> np.ndarray:
    return _units_last(layer.again(jnp.asarray(np.moveaxis(x, -1, layer.x_axis))), layer.product_axis)


def _cotangent(y: Any, loss: Callable[..., Any]) -> tuple[float, np.ndarray]:
    leaves, structure = tree_util.tree_flatten(y)
    place = next(k for k, leaf in enumerate(leaves) if leaf is _main(y))

    def of_main(main: Any) -> Any:
        return loss(tree_util.tree_unflatten(structure, [*leaves[:place], main, *leaves[place + 1 :]]))

    value, u = jax.value_and_grad(of_main)(leaves[place])
    return float(value), np.asarray(u)


def _pull(
    watched: Watched, calls: Sequence[tuple[str, Layer]], sites: Sequence[Site], data: str | None, u: np.ndarray
) -> Backward:
    dvalues, dtaps = watched.pullback(jnp.asarray(u))
    received = {name: _units_last(dtaps[*layer.key, "y"], layer.y_axis) for name, layer in calls}
    sent = {name: _units_last(dtaps[*layer.key, "x"], layer.x_axis) for name, layer in calls}
    for k, site in enumerate(sites):
        if site.name not in received:  # a function between two layers
            _, layer = next(call for call in calls if call[0] == sites[k + 1].name)
            received[site.name] = _units_last(dtaps[*layer.key, "source"], layer.x_axis)
            sent[site.name] = received[sites[k - 1].name]
    grads = {name: {leaf: np.asarray(dvalues[leaf]) for leaf in (layer.leaf, layer.bias) if leaf is not None}
             for name, layer in calls if "@" not in name}
    return Backward(received, sent, grads, None if data is None else np.asarray(dvalues[data]))
