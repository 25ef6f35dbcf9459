"""Other people's numerical derivatives, each as `Case -> (value, its own error estimate, forward evaluations)`.

All are called as their documentation says, with their defaults, along the line of the case. A rival that takes
its step from the dtype of its input is told the spacing of the case's dtype; the others know only float64.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numdifftools
import numpy as np
from autograd.test_util import make_numerical_jvp
from families import Case
from jax._src.public_test_util import numerical_jvp
from scipy.differentiate import derivative
from scipy.optimize import approx_fprime
from scipy.optimize._numdiff import approx_derivative

import gradverify as gv

jax.config.update("jax_enable_x64", True)


@dataclass(frozen=True)
class Answer:
    """What one method says about one case; `error` is NaN where it does not estimate one."""

    value: float
    error: float
    evaluations: int


class Counted:
    """A forward of one number that counts its evaluations and refuses none."""

    def __init__(self, phi: Callable[[Any], Any]) -> None:
        self.phi, self.count = phi, 0

    def __call__(self, t: Any) -> Any:
        self.count += 1
        try:
            return self.phi(t.item() if isinstance(t, np.ndarray) else t)
        except (ValueError, ZeroDivisionError, OverflowError, np.linalg.LinAlgError):
            return math.nan

    def each(self, t: Any) -> Any:
        """The same for every entry of an array."""
        return np.array([self(float(s)) for s in np.ravel(t)], dtype=np.asarray(t).dtype).reshape(np.shape(t))


Method = Callable[[Case, Counted], tuple[Any, Any]]


def by_numdifftools(_: Case, phi: Counted) -> tuple[Any, Any]:
    found = numdifftools.Derivative(phi.each, full_output=True)(0.0)
    return found.estimate, found.error_estimate


def by_scipy_differentiate(case: Case, phi: Counted) -> tuple[Any, Any]:
    found = derivative(phi.each, np.float64(0.0) if case.eps < 1e-10 else np.float32(0.0))
    return found.df, found.error


def by_scipy(method: str) -> Method:
    power = {"2-point": 1 / 2, "3-point": 1 / 3, "cs": 1 / 2}[method]

    def ask(case: Case, phi: Counted) -> tuple[Any, Any]:
        step = case.eps**power
        return approx_derivative(phi, 0.0, method=method, abs_step=step), math.nan

    return ask


def by_approx_fprime(case: Case, phi: Counted) -> tuple[Any, Any]:
    return approx_fprime(np.zeros(1), phi, math.sqrt(case.eps))[0], math.nan


def by_jax(_: Case, phi: Counted) -> tuple[Any, Any]:
    return numerical_jvp(phi, (np.float64(0.0),), (np.float64(1.0),)), math.nan


def by_autograd(_: Case, phi: Counted) -> tuple[Any, Any]:
    return make_numerical_jvp(phi, 0.0)(1.0), math.nan


PEERS: dict[str, Method] = {
    "numdifftools": by_numdifftools,
    "scipy.differentiate": by_scipy_differentiate,
    "scipy 3-point": by_scipy("3-point"),
    "scipy 2-point": by_scipy("2-point"),
    "scipy approx_fprime": by_approx_fprime,
    "jax numerical_jvp": by_jax,
    "autograd numerical_jvp": by_autograd,
}


def ask(method: Method, case: Case, phi: Callable[[Any], Any]) -> Answer:
    """The answer of a peer; NaN where it raises."""
    counted = Counted(phi)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            value, error = method(case, counted)
        except (TypeError, ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError):
            value = error = math.nan
    return Answer(float(np.real(np.ravel(value)[0])), float(np.ravel(error)[0]), counted.count)


class Arrays:
    """NumPy as a formula's number system, for numbers that are NumPy scalars or arrays of any kind."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(np, name)

    @staticmethod
    def solve(a: Any, b: Any) -> list[Any]:
        return list(np.linalg.solve(np.array(a), np.array(b)))

    @staticmethod
    def single(x: Any) -> Any:
        return np.float64(np.float32(x))

    @staticmethod
    def round(x: Any) -> Any:
        return np.rint(x)


def of_array(case: Case) -> Callable[[Any], Any]:
    """The formula as a function of one array, of real or complex numbers."""
    return lambda x: case.formula(Arrays(), [x[i] for i in range(len(case.x))], case.c)


def by_derivative(case: Case) -> Answer:
    """`gradverify.derivative` with its defaults."""
    f, calls = of_array(case), []

    def counted(x: Any) -> Any:
        calls.append(1)
        return f(x)

    found = gv.derivative(counted, np.array(case.x), np.array(case.v))
    return Answer(found.value, found.error, len(calls))


def by_complex_step(case: Case) -> Answer:
    """``approx_derivative(method="cs")``; NaN where the forward does not run on complex numbers."""
    f = of_array(case)

    def phi(t: Any) -> Any:
        return f(np.array(case.x) + t * np.array(case.v))

    return ask(lambda _, counted: (approx_derivative(counted, 0.0, method="cs"), math.nan), case, phi)
