"""What a computation does inside, read from its trace: lower precision than outside, random draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradverify.arrays import EPS, dtype_name
from gradverify.frameworks.jax.complexparts import REAL

# Draws in 64 bits are other numbers than draws in 32 bits from the same key.
DRAWS = ("random_bits", "rng_bit_generator", "rng_uniform", "threefry2x32", "random_gamma")


def narrows(traced: Any) -> bool:
    """Whether an operation turns floating numbers into ones of a coarser dtype.

    ``x.astype(jnp.float32)`` ... ``.astype(x.dtype)`` is how half-precision kernels are written: on
    float64 inputs they answer in float64, with the error of float32. Constants do no such harm.
    """
    for operation in operations(traced):
        before, after = _spacings(operation.invars), _spacings(operation.outvars)
        if before and after and min(before) < max(after):
            return True
    return False


def draws(traced: Any) -> list[tuple[str, list[str], list[Any]]]:
    """Every draw of random bits: the generator, the dtypes and the shapes."""
    return [
        (str(op.primitive), _dtypes(op.outvars), [v.aval.shape for v in op.outvars])
        for op in operations(traced) if str(op.primitive) in DRAWS
    ]  # fmt: skip


def operations(traced: Any) -> Iterator[Any]:
    """All operations of a jaxpr, those of loops, branches and calls in it included."""
    for operation in getattr(traced, "jaxpr", traced).eqns:
        yield operation
        for part in parts(operation):
            yield from operations(part)


def parts(operation: Any) -> Iterator[Any]:
    """The jaxprs that an operation holds."""
    values = [part for p in operation.params.values() for part in (p if isinstance(p, (tuple, list)) else (p,))]
    yield from (part for part in values if hasattr(part, "eqns") or hasattr(part, "jaxpr"))


def coarsest(traced: Any) -> str | None:
    """The coarsest dtype that anything made from the inputs is narrowed to, or None where nothing is."""
    found: list[str] = []
    _narrowed(traced, True, found)
    return max(found, key=EPS.__getitem__, default=None)


def _narrowed(traced: Any, moving: bool, found: list[str]) -> bool:
    """Whether an output depends on the inputs, if they are `moving`; in `found` the dtypes narrowed to on the way."""
    jaxpr = getattr(traced, "jaxpr", traced)
    known = set(jaxpr.invars) if moving else set()
    for operation in jaxpr.eqns:
        live = [v for v in operation.invars if not hasattr(v, "val") and v in known]
        inner = [_narrowed(part, bool(live), found) for part in parts(operation)]
        if not live or (inner and not any(inner)):
            continue
        known.update(operation.outvars)
        before, after = _spacings(live), [REAL.get(n, n) for n in _dtypes(operation.outvars)]
        if before and not inner:
            found += [name for name in after if name in EPS and EPS[name] > min(before)]
    return any(not hasattr(v, "val") and v in known for v in jaxpr.outvars)


def _spacings(variables: Any) -> list[float]:
    names = [REAL.get(name, name) for name in _dtypes(variables)]
    return [EPS[name] for name in names if name in EPS]


def _dtypes(variables: Any) -> list[str]:
    return [dtype_name(v.aval) for v in variables if hasattr(v.aval, "dtype")]
