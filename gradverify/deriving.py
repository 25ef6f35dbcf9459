"""The oracles alone, as a public function: a derivative with a bound on its own error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from gradverify.arrays import EPS, Arrays, dot, dtype_name, is_floating, to_float64
from gradverify.oracles.finite import finite
from gradverify.oracles.higher import Question, consult_higher, foreign
from gradverify.oracles.opinion import FOREIGN, climb, consult
from gradverify.probes import entry_sizes
from gradverify.records import ORACLES, Estimate

_PACKAGES = {"quad": "numpy_quaddtype", "certified": "flint"}
_FINE = 1e-10  # relative; a coarser bound than this is worth the next rung of the ladder


def derivative(
    f: Callable[..., Any], x: Any, v: Any = None, oracle: str = "auto", *, order: int = 1
) -> Estimate:
    """The directional derivative ``d/dt f(x + t v)`` at t = 0 of a scalar function, with an error bound.

    `x` is a real scalar or array, `v` of the same shape; without it `x` must hold a single number.
    ``order=2`` and ``order=3`` are the higher derivatives along `v`, or the mixed one along the rows of a
    `v` of shape ``(order, *x.shape)``: ``<w, H v>`` is that of ``np.stack([v, w])``.
    ``oracle="finite"`` runs `f` as it is; ``"complex"``, ``"quad"`` and ``"mpmath"`` run it on complex
    numbers (exact to rounding), at 113 bits and at 50 digits; ``"certified"`` encloses the derivative
    rigorously. ``"auto"`` climbs as far as needed, and believes those where differences agree.

    >>> import numpy as np
    >>> estimate = derivative(np.exp, 1.0)
    >>> abs(estimate.value - np.e) <= estimate.error < 1e-13
    True
    >>> round(derivative(lambda x: x[0] ** 2 * x[1], np.ones(2), np.eye(2), order=2).value, 9)
    2.0
    """
    point, directions = _checked(f, x, v, oracle, order)
    scales = [_unit(point, d) for d in directions]
    ask = _Asked(f, point, tuple({"x": d / s} for d, s in zip(directions, scales, strict=True)))
    return _scaled(_first(ask, oracle) if order == 1 else _higher(ask, oracle), math.prod(scales))


def _unit(point: np.ndarray, direction: np.ndarray) -> float:
    """The unit step is a relative change of about one; what is asked may be any multiple of that."""
    return float(2.0 ** np.floor(np.log2(np.max(np.abs(direction) / entry_sizes(point)))))


def _scaled(found: Estimate, scale: float) -> Estimate:
    slopes = None if found.slopes is None else (found.slopes[0] * scale, found.slopes[1] * scale)
    return replace(found, value=found.value * scale, error=found.error * scale, slopes=slopes)


@dataclass(frozen=True)
class _Asked:
    """The user's function as the oracles want it: named arrays in and out."""

    f: Callable[..., Any]
    point: np.ndarray
    directions: tuple[Arrays, ...]
    u: Arrays = field(default_factory=lambda: {"out": np.ones(())})

    @property
    def wide(self) -> Arrays:
        return {"x": to_float64(self.point)}

    @property
    def eps(self) -> float:
        return EPS[dtype_name(self.point)]

    def forward(self, leaves: Arrays) -> Arrays:
        x = leaves["x"]
        own = np.asarray(x, dtype=self.point.dtype)[()] if isinstance(x, (np.ndarray, np.generic)) else x
        return {"out": self.f(own)}

    def along(self, v: Arrays) -> Callable[[float], float]:
        """``t -> f(x + t v)`` in the dtype of x."""

        def phi(t: float) -> float:
            with np.errstate(all="ignore"):
                return dot(self.forward({"x": to_float64(self.point) + t * v["x"]}), self.u)

        return phi


def _first(asked: _Asked, oracle: str) -> Estimate:
    (v,) = asked.directions
    phi = asked.along(v)
    if oracle == "finite":
        return finite(phi, asked.eps)
    if oracle != "auto":
        return FOREIGN[oracle](asked.forward, asked.wide, asked.u, v)
    opinion = consult(phi=phi, forward=asked.forward, point=asked.wide, u=asked.u, v=v, eps=asked.eps, need=None)
    if opinion.best.error > _FINE * abs(opinion.best.value):
        opinion = climb(opinion, phi, asked.forward, asked.wide, asked.u, v)
    return opinion.best


def _higher(asked: _Asked, oracle: str) -> Estimate:
    if oracle in FOREIGN:
        return foreign(Question(asked.forward, asked.wide, asked.u, asked.directions), oracle)
    return consult_higher(
        along=asked.along, forward=asked.forward, point=asked.wide, u=asked.u, directions=asked.directions,
        eps=asked.eps, need=None, oracle=oracle,
    ).best  # fmt: skip


def _checked(
    f: Callable[..., Any], x: Any, v: Any, oracle: str, order: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    if oracle not in ORACLES:
        raise ValueError(f"oracle={oracle!r}: must be one of {ORACLES}")
    if not callable(f):
        raise TypeError(f"f={f!r:.80}: must be a function of x")
    if not isinstance(order, int) or isinstance(order, bool) or order not in (1, 2, 3):
        raise ValueError(f"order={order!r}: must be 1, 2 or 3")
    package = _PACKAGES.get(oracle, "numpy")
    if find_spec(package) is None:
        extra = "certified" if oracle == "certified" else "precise"
        raise ImportError(f"oracle={oracle!r}: needs {package}; pip install 'gradverify[{extra}]'")
    point = np.array(_array("x", x))
    if point.dtype.kind in "iub" or not is_floating(point):
        raise TypeError(f"x={x!r:.80}: must be real floating numbers, not {point.dtype}")
    if point.size == 0 or not np.all(np.isfinite(to_float64(point))):
        raise ValueError(f"x={x!r:.80}: must hold at least one number, all finite")
    directions = _directions(point, v, order)
    out = f(point[()])
    if np.size(out) != 1 or not is_floating(np.asarray(out)):
        raise TypeError(f"f(x): must be one real number; it is {type(out).__name__} of shape {np.shape(out)}")
    return point, directions


def _array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: must not be a masked array: what is masked has no derivative")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}={value!r:.80}: must be an array of numbers; {error}") from error


def _directions(point: np.ndarray, v: Any, order: int) -> list[np.ndarray]:
    """One direction for each order; a single one counts for all."""
    if v is None and point.size != 1:
        raise ValueError(f"v=None: a direction of shape {point.shape} is needed for an x of that shape")
    given = np.ones(point.shape) if v is None else _array("v", v)
    if given.dtype.kind not in "fiu":
        raise TypeError(f"v={v!r:.80}: must be real numbers, not {given.dtype}")
    given = to_float64(given)
    rows = list(given) if order > 1 and given.shape == (order, *point.shape) else [given] * order
    if rows[0].shape != point.shape:
        raise ValueError(f"v: has shape {given.shape}; must have that of x, {point.shape}")
    if not all(np.all(np.isfinite(row)) and np.any(row) for row in rows):
        raise ValueError(f"v={v!r:.80}: must be finite and not zero")
    return rows
