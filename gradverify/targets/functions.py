"""NumPy functions with hand-written derivatives as targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradverify.arrays import Arrays, select
from gradverify.targets.calling import (
    Call,
    Replay,
    make_call,
    named_outputs,
    overwritten,
    replay,
    stepped,
    substituted,
)
from gradverify.targets.gradients import WrongClaim, as_gradient, assign
from gradverify.targets.record import Higher, Perturb, Pullback, Target
from gradverify.targets.specs import FunctionSpec

Claim = Callable[..., Any]


def function_target(spec: FunctionSpec, inputs: tuple[Any, ...], kwargs: Mapping[str, Any], wrt: Any) -> Target:
    """A target whose pullback, pushforward and Hessian product come from the claims of `spec`."""
    return _build(spec, make_call(spec.forward, inputs), replay(), dict(kwargs), wrt)


def _build(spec: FunctionSpec, call: Call, calm: Replay, kwargs: dict[str, Any], wrt: Any) -> Target:
    def run(function: Claim, point: Mapping[str, Any], *directions: Any, fresh: bool = False) -> Any:
        with calm():
            return function(*call.arguments(point, fresh=fresh), *directions, **kwargs)

    def forward(point: Mapping[str, Any], *, fresh: bool = False) -> Arrays:
        return named_outputs(run(spec.forward, point, fresh=fresh))

    if not call.point:
        raise TypeError(f"nothing to check: no input of {spec.name} is floating (integers and booleans are constants)")
    leaves = select(call.point, wrt, "wrt")
    reverse = next((_REVERSE[name] for name in _REVERSE if name in spec.claims), None)
    name = next((name for name in _REVERSE if name in spec.claims), "")

    def linearize(point: Arrays, perturb: Perturb | None = None) -> tuple[Arrays, Pullback]:
        outputs = forward(point)
        claim = spec.claims[name]

        def pullback(u: Arrays) -> Arrays:
            if name == "vjp":
                return assign(run(claim, point, *u.values()), leaves, call.point, call.names)
            parts = assign(run(claim, point), leaves, call.point, call.names)
            if reverse is None:
                raise AssertionError(name)
            (dy,) = u.values()
            return {leaf: None if g is None else reverse(g, dy, leaf, point[leaf]) for leaf, g in parts.items()}

        return outputs, pullback

    second = _hessian_product(spec, run, leaves, call)
    return Target(
        name=spec.name,
        point=call.point,
        dtype=call.dtype,
        forward=forward,
        line=lambda point, v: lambda t: forward(stepped(point, v, t, call.point), fresh=True),
        linearize=linearize if name else None,
        pushforward=_pushforward(spec, run, leaves),
        higher=second,
        highest=1 if second is None else 2,
        cast=lambda dtype: _build(spec, call.cast(dtype), calm, kwargs, wrt),
        substitute=lambda other, dtype: substituted(other, call.cast(dtype) if dtype else call, calm, kwargs),
        foreign=True,
        overwritten=lambda point: overwritten(spec.forward, call, point, calm, kwargs),
        claimed=_claimed(spec, run, leaves, call),
    )


def _claimed(spec: FunctionSpec, run: Any, leaves: tuple[str, ...], call: Call) -> tuple[str, ...]:
    """Only the leaves that the claim speaks of: the others are data to it."""
    if any(name in spec.claims for name in ("vjp", "jvp", "hvp")) and not set(spec.claims) & _SHAPED:
        return leaves
    name = next(name for name in ("derivative", "gradient", "jacobian", "hessian") if name in spec.claims)
    if name == "hessian":
        return leaves[:1]
    try:
        found = tuple(assign(run(spec.claims[name], call.point), leaves, call.point, call.names))
    except Exception:
        found = ()
    return found or leaves[:1]


_SHAPED = {"derivative", "gradient", "jacobian", "hessian"}


def _pull_derivative(g: np.ndarray, u: Any, leaf: str, x: Any) -> np.ndarray:
    if g.shape not in (np.shape(x), np.shape(u), ()):
        raise WrongClaim("shape", leaf, f"derivative= returned shape {g.shape}; {leaf} has {np.shape(x)}")
    product = np.asarray(u * g)
    extra = product.ndim - np.ndim(x)
    summed = product.sum(axis=tuple(range(extra))) if extra > 0 else product
    ones = tuple(i for i, n in enumerate(np.shape(x)) if n == 1 and summed.shape[i] != 1)
    return np.asarray(summed.sum(axis=ones, keepdims=True) if ones else summed)


def _pull_gradient(g: np.ndarray, u: Any, leaf: str, x: Any) -> np.ndarray:
    if np.size(u) != 1:
        raise WrongClaim("shape", leaf, f"gradient= needs a scalar forward; the output has shape {np.shape(u)}")
    return np.asarray(g * np.reshape(u, ()))


def _pull_jacobian(g: np.ndarray, u: Any, leaf: str, x: Any) -> np.ndarray:
    rows, columns = np.size(u), np.size(x)
    if g.shape not in (np.shape(u) + np.shape(x), (rows, columns)):
        raise WrongClaim(
            "shape",
            leaf,
            f"jacobian= returned shape {g.shape}; {np.shape(u)} + {np.shape(x)} is out.shape + {leaf}.shape",
        )
    return np.asarray((np.reshape(u, rows) @ np.reshape(g, (rows, columns))).reshape(np.shape(x)))


_REVERSE: dict[str, Callable[[np.ndarray, Any, str, Any], np.ndarray]] = {
    "derivative": _pull_derivative,
    "gradient": _pull_gradient,
    "jacobian": _pull_jacobian,
    "vjp": _pull_gradient,
}


def _pushforward(spec: FunctionSpec, run: Any, leaves: tuple[str, ...]) -> Any:
    claim = spec.claims.get("jvp")
    if claim is None:
        return None

    def pushforward(point: Arrays, v: Arrays) -> Arrays:
        tangents = [v.get(leaf, np.zeros_like(point[leaf])) for leaf in leaves]
        return named_outputs(run(claim, point, *tangents))

    return pushforward


def _hessian_product(spec: FunctionSpec, run: Any, leaves: tuple[str, ...], call: Call) -> Higher | None:
    """``H v`` of a scalar output, from the matrix or the product claimed."""
    leaf = leaves[0]

    def from_matrix(point: Arrays, v: Arrays) -> Arrays:
        matrix, n = as_gradient(run(spec.claims["hessian"], point)), np.size(point[leaf])
        if matrix.shape not in (np.shape(point[leaf]) * 2, (n, n)):
            raise WrongClaim(
                "shape",
                leaf,
                f"hessian= returned shape {matrix.shape} for {leaf} of shape {np.shape(point[leaf])}",
            )
        return {leaf: (matrix.reshape(n, n) @ np.ravel(v[leaf])).reshape(np.shape(point[leaf]))}

    def from_product(point: Arrays, v: Arrays) -> Arrays:
        tangents = [v.get(name, np.zeros_like(point[name])) for name in leaves]
        return assign(run(spec.claims["hvp"], point, *tangents), leaves, call.point, call.names)

    claimed = from_matrix if "hessian" in spec.claims else from_product if "hvp" in spec.claims else None

    def second(point: Arrays, u: Arrays, directions: Sequence[Arrays]) -> Arrays:
        (name, dy), (v,) = next(iter(u.items())), directions
        if len(u) != 1 or np.size(dy) != 1:
            raise WrongClaim("shape", leaf, f"a Hessian needs a scalar forward; {name} has shape {np.shape(dy)}")
        found = claimed(point, v) if claimed is not None else {}
        return {n: None if h is None else h * np.reshape(dy, ()) for n, h in found.items()}

    return second if claimed is not None else None
