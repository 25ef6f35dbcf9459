"""The oracles alone, as a public function: a derivative with a bound on its own error."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from gradverify.arrays import EPS, Arrays, dot, dtype_name, is_floating, to_float64
from gradverify.oracles.finite import finite
from gradverify.oracles.opinion import FOREIGN, climb, consult
from gradverify.probes import entry_sizes
from gradverify.records import ORACLES, Estimate

_PACKAGES = {"quad": "numpy_quaddtype", "certified": "flint"}
_FINE = 1e-10  # relative; a coarser bound than this is worth the next rung of the ladder


def derivative(f: Callable[..., Any], x: Any, v: Any = None, oracle: str = "auto") -> Estimate:
    """The directional derivative ``d/dt f(x + t v)`` at t = 0 of a scalar function, with an error bound.

    `x` is a real scalar or array, `v` of the same shape; without it `x` must hold a single number.
    ``oracle="finite"`` runs `f` as it is; ``"complex"``, ``"quad"`` and ``"mpmath"`` run it on complex
    numbers (exact to rounding), at 113 bits and at 50 digits; ``"certified"`` encloses the derivative
    rigorously. ``"auto"`` climbs as far as needed, and believes those where differences agree.

    >>> import numpy as np
    >>> estimate = derivative(np.exp, 1.0)
    >>> abs(estimate.value - np.e) <= estimate.error < 1e-13
    True
    """
    point, direction = _checked(f, x, v, oracle)
    sizes = entry_sizes(point)
    # The unit step is a relative change of about one; what is asked may be any multiple of that.
    scale = float(np.max(np.abs(direction) / sizes))
    scale = float(2.0 ** np.floor(np.log2(scale)))
    estimate = _ask(f, point, direction / scale, oracle)
    slopes = None if estimate.slopes is None else (estimate.slopes[0] * scale, estimate.slopes[1] * scale)
    return Estimate(
        estimate.value * scale, estimate.error * scale, estimate.evaluations, estimate.oracle, estimate.reason,
        slopes, estimate.certified,
    )  # fmt: skip


def _ask(f: Callable[..., Any], point: np.ndarray, v: np.ndarray, oracle: str) -> Estimate:
    dtype = point.dtype

    def forward(leaves: Arrays) -> Arrays:
        x = leaves["x"]
        own = np.asarray(x, dtype=dtype)[()] if isinstance(x, (np.ndarray, np.generic)) else x
        return {"out": f(own)}

    def phi(t: float) -> float:
        with np.errstate(all="ignore"):
            return dot(forward({"x": to_float64(point) + t * v}), u)

    u, wide = {"out": np.ones(())}, {"x": to_float64(point)}
    eps = EPS[dtype_name(point)]
    if oracle == "finite":
        return finite(phi, eps)
    if oracle != "auto":
        return FOREIGN[oracle](forward, wide, u, {"x": v})
    opinion = consult(phi=phi, forward=forward, point=wide, u=u, v={"x": v}, eps=eps, need=None)
    if opinion.best.error > _FINE * abs(opinion.best.value):
        opinion = climb(opinion, phi, forward, wide, u, {"x": v})
    return opinion.best


def _checked(f: Callable[..., Any], x: Any, v: Any, oracle: str) -> tuple[np.ndarray, np.ndarray]:
    if oracle not in ORACLES:
        raise ValueError(f"oracle={oracle!r}: must be one of {ORACLES}")
    package = _PACKAGES.get(oracle, "numpy")
    if find_spec(package) is None:
        extra = "certified" if oracle == "certified" else "precise"
        raise ImportError(f"oracle={oracle!r}: needs {package}; pip install 'gradverify[{extra}]'")
    point = np.array(x)
    if point.dtype.kind in "iub" or not is_floating(point):
        raise TypeError(f"x={x!r:.80}: must be real floating numbers, not {point.dtype}")
    if point.size == 0 or not np.all(np.isfinite(to_float64(point))):
        raise ValueError(f"x={x!r:.80}: must hold at least one number, all finite")
    if v is None and point.size != 1:
        raise ValueError(f"v=None: a direction of shape {point.shape} is needed for an x of that shape")
    direction = np.ones(point.shape) if v is None else to_float64(v)
    if direction.shape != point.shape:
        raise ValueError(f"v: has shape {direction.shape}; must have that of x, {point.shape}")
    if not np.all(np.isfinite(direction)) or not np.any(direction):
        raise ValueError(f"v={v!r:.80}: must be finite and not zero")
    out = f(point[()])
    if np.size(out) != 1 or not is_floating(np.asarray(out)):
        raise TypeError(f"f(x): must be one real number; it is {type(out).__name__} of shape {np.shape(out)}")
    return point, direction
